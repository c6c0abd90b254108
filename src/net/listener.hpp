// A listening socket and its accept loop: admits connections through a gate and hands them on.
//
//   Listener listener(context, "tcp", {.host = "127.0.0.1", .port = 0}, gate,
//                     [](Socket socket, const tcp::endpoint& peer, Gate::Pass pass) { … });
//   spawn(context, listener.run());
//
// Every listener of the server is one of these. For the loop's thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <asio/ip/tcp.hpp>

#include "access/gate.hpp"
#include "logging/rate_limited.hpp"
#include "net/net.hpp"

namespace dflockd::net {

/// Where to listen.
struct ListenAddress {
  std::string host = "127.0.0.1";  ///< an address, or a name: IPv4 is preferred
  std::uint16_t port = 0;          ///< 0 picks a free one
  /// A socket that listens already, to be used instead; the listener closes it.
  std::optional<int> descriptor{};
};

class Listener {
 public:
  /// Takes over a connection that was let in. The socket is non-blocking. May throw, for lack of
  /// memory or descriptors: then the connection is closed and the log says why.
  using Welcome = std::function<void(Socket socket, const asio::ip::tcp::endpoint& peer,
                                     access::Gate::Pass pass)>;

  /// Binds and listens. Throws `std::system_error`, whose text names host and port or the
  /// descriptor, if that fails. `context` and `gate` must outlive the listener; `name` must be a
  /// literal.
  Listener(asio::io_context& context, std::string_view name, const ListenAddress& address,
           access::Gate& gate, Welcome welcome);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Where it listens, until it is closed.
  [[nodiscard]] asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  /// Accepts until `close`.
  Awaitable run();

  /// Logs unreported failures, if it is time. To be called once in a while.
  void tick(std::chrono::nanoseconds now);

  /// Accepts no more, and lets go of the port. May be called again.
  void close();

 private:
  void adopt(int descriptor);
  void never_wait_in_accept();
  void listen(const ListenAddress& address);
  void accept(std::error_code& error);
  void admit(Socket socket);
  void note_failure(std::string_view error);
  void warn(std::string_view error, std::uint64_t count) const;

  const std::string_view name_;
  bool adopted_ = false;  ///< it was listening before
  asio::io_context& context_;
  Acceptor acceptor_;
  Timer pause_;
  access::Gate& gate_;
  const Welcome welcome_;
  logging::RateLimited failures_;
};

}  // namespace dflockd::net
