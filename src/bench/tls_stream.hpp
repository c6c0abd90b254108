// A TLS connection, with the interface that `plain_stream.hpp` describes and a handshake before
// everything else.
//
// OpenSSL reads and writes memory, and asio the socket: as without TLS, replies that arrive
// together cost one `recv` and requests that leave together one `send`. asio's own `ssl::stream`
// would do that too, with 70 KB for each connection. For the thread of the io_context only.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "bench/measurement.hpp"
#include "bench/net.hpp"
#include "bench/tls_context.hpp"

namespace dflockd::bench {

class TlsStream {
 public:
  /// The socket is yet to be connected. `session` is as for `TlsContext::connect`.
  TlsStream(asio::io_context& io, const TlsContext& context, SSL_SESSION* session = nullptr);

  /// The socket beneath.
  [[nodiscard]] Socket& socket() { return socket_; }

  /// Agrees on versions and keys, and verifies the server's certificate.
  [[nodiscard]] Awaitable<void> handshake(std::error_code& error);

  /// Why a handshake failed, in a few words.
  [[nodiscard]] std::string why(const std::error_code& error) const;

  /// After the handshake.
  [[nodiscard]] TlsAgreement agreed() const;
  [[nodiscard]] bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }

  /// What lets a later connection resume this one: null unless the server has sent a ticket.
  [[nodiscard]] TlsSession session() const;

  [[nodiscard]] bool send(std::string_view text, std::error_code& error);
  [[nodiscard]] Awaitable<void> send_rest(std::error_code& error);
  [[nodiscard]] Awaitable<std::size_t> read_some(std::span<char> space, std::error_code& error);

  /// Says that nothing more will come, and waits until the server has said so too, or has just
  /// closed the connection. A server that has not completed the handshake fails here.
  [[nodiscard]] Awaitable<void> say_goodbye(std::error_code& error);

 private:
  [[nodiscard]] Awaitable<void> receive(std::error_code& error);
  [[nodiscard]] bool has_unread() const;
  [[nodiscard]] std::size_t take(std::span<char> space, std::error_code& error);
  [[nodiscard]] bool flush(std::error_code& error);
  [[nodiscard]] std::error_code outcome(int result) const;

  Socket socket_;
  Ssl ssl_;
  BIO* incoming_;  ///< what has arrived and was not yet decrypted; owned by `ssl_`
  BIO* outgoing_;  ///< what was encrypted and is to be sent; owned by `ssl_`
  std::array<char, 4096> arriving_{};
  std::string leaving_;
  std::string_view unsent_;  ///< the end of `leaving_`
};

}  // namespace dflockd::bench
