// A server in a thread, which does one thing with its one connection and then closes it.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

namespace dflockd::bench {

class OneConnectionServer {
 public:
  explicit OneConnectionServer(std::function<void(asio::ip::tcp::socket&)> serve)
      : acceptor_(io_, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        thread_([this, serve] {
          asio::ip::tcp::socket peer = acceptor_.accept();
          serve(peer);
        }) {}

  ~OneConnectionServer() { thread_.join(); }

  OneConnectionServer(const OneConnectionServer&) = delete;
  OneConnectionServer& operator=(const OneConnectionServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
  asio::io_context io_;
  asio::ip::tcp::acceptor acceptor_;
  std::thread thread_;
};

}  // namespace dflockd::bench
