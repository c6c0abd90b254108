// A server that does with each of its connections, one after the other, what a test says.
//
//   SmallServer server([](asio::ip::tcp::socket& peer) { ... });
//   options.servers = {server.address()};
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <system_error>
#include <thread>

#include <sys/socket.h>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

namespace dflockd::test {

class SmallServer {
 public:
  using Serve = std::function<void(asio::ip::tcp::socket&)>;

  /// Closes each connection when `serve` returns.
  explicit SmallServer(Serve serve)
      : thread_([this, serve = std::move(serve)] {
          for (;;) {
            std::error_code ended;
            asio::ip::tcp::socket peer = acceptor_.accept(ended);
            if (ended) return;
            serve(peer);
          }
        }) {}
  ~SmallServer() { ::shutdown(acceptor_.native_handle(), SHUT_RDWR); }
  SmallServer(const SmallServer&) = delete;
  SmallServer& operator=(const SmallServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port()); }

 private:
  asio::io_context io_;
  asio::ip::tcp::acceptor acceptor_{io_, {asio::ip::address_v4::loopback(), 0}};
  std::jthread thread_;
};

}  // namespace dflockd::test
