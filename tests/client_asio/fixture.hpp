// What the tests of the asynchronous connection share: an io_context that runs until a coroutine
// ends, and a server that says what a test wants it to.
//
//   TEST_F(Operations, something) {
//     run([&]() -> asio::awaitable<void> { co_await connection.async_ping(use_awaitable); });
//   }
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <dflockd/asio.hpp>
#include <gtest/gtest.h>

#include "support/deadlines.hpp"
#include "support/server.hpp"

namespace dflockd::client_asio {

using asio::use_awaitable;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::kPatience;
using test::Server;
using namespace std::chrono_literals;
using Task = asio::awaitable<void>;

inline ConnectionOptions options_for(const std::string& server) {
  ConnectionOptions options;
  options.server = server;
  return options;
}

inline ConnectionOptions options_for(const Server& server) {
  return options_for("127.0.0.1:" + std::to_string(server.port()));
}

/// As `use_awaitable`, with the error in `error` instead of thrown.
inline auto into(std::error_code& error) {
  return asio::redirect_error(use_awaitable, error);
}

/// Listens on a free port, and answers each request of the one connection with the next line.
class ScriptedServer {
 public:
  /// Nothing: it ends the connection instead of answering.
  using Lines = std::vector<std::optional<std::string>>;

  ScriptedServer(asio::io_context& io, Lines lines)
      : acceptor_(io, {asio::ip::address_v4::loopback(), 0}), socket_(io) {
    asio::co_spawn(io, serve(std::move(lines)), asio::detached);
  }

  [[nodiscard]] std::string address() const {
    return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }

  /// Says something unasked, and ends the connection.
  void say_farewell(const std::string& line) {
    asio::write(socket_, asio::buffer(line));
    socket_.close();
  }

 private:
  Task serve(Lines lines) {
    co_await acceptor_.async_accept(socket_, use_awaitable);
    std::string received;
    auto space = asio::dynamic_buffer(received);
    for (const auto& line : lines) {
      for (int part = 0; part < 3; ++part) {
        const std::size_t size =
            co_await asio::async_read_until(socket_, space, '\n', use_awaitable);
        space.consume(size);
      }
      if (!line) {
        socket_.close();
        co_return;
      }
      co_await asio::async_write(socket_, asio::buffer(*line), use_awaitable);
    }
  }

  asio::ip::tcp::acceptor acceptor_;
  asio::ip::tcp::socket socket_;
};

class AsyncTest : public testing::Test {
 protected:
  /// Runs the coroutine that `make` makes, and rethrows what it throws.
  template <class Make>
  void run(const Make& make) {
    std::exception_ptr failure;
    bool done = false;
    asio::co_spawn(io, make, [&](const std::exception_ptr& thrown) {
      failure = thrown;
      done = true;
    });
    const auto deadline = test::Clock::now() + kPatience;
    io.restart();
    while (!done && test::Clock::now() < deadline) io.run_one_until(deadline);
    ASSERT_TRUE(done) << "the coroutine does not end";
    if (failure) std::rethrow_exception(failure);
  }

  /// Runs handlers until `condition` is true.
  template <class Condition>
  [[nodiscard]] bool run_until(const Condition& condition) {
    const auto deadline = test::Clock::now() + kPatience;
    io.restart();
    while (!condition() && test::Clock::now() < deadline) {
      if (io.run_one_until(deadline) == 0) break;
    }
    return condition();
  }

  /// Runs what can be run without waiting.
  void finish() {
    io.restart();
    io.poll();
  }

  asio::io_context io;
};

}  // namespace dflockd::client_asio
