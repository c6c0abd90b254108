// Coroutines: one thread waits for several keys, with asio.
//
//   coroutine_client [SERVER]
#include <chrono>
#include <exception>
#include <iostream>
#include <string>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <dflockd/asio.hpp>

using namespace std::chrono_literals;

namespace {

asio::awaitable<void> work(asio::io_context& io, std::string server, std::string key) {
  dflockd::ConnectionOptions options;
  options.server = server;
  dflockd::AsyncConnection connection(io);
  co_await connection.async_connect(options, asio::use_awaitable);

  auto grant = co_await connection.async_acquire(key, 10s, 30s, asio::use_awaitable);
  const auto left = co_await connection.async_renew(key, grant->token, 60s, asio::use_awaitable);
  std::cout << key << " is held for " << left.count() << " s\n";
  co_await connection.async_release(key, grant->token, asio::use_awaitable);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string server = argc > 1 ? argv[1] : "127.0.0.1:6388";
  bool failed = false;
  const auto done = [&failed](const std::exception_ptr& thrown) {
    if (thrown == nullptr) return;
    failed = true;
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      std::cerr << error.what() << '\n';
    }
  };

  asio::io_context io;
  for (const char* const key : {"a", "b", "c"}) {
    asio::co_spawn(io, work(io, server, key), done);
  }
  io.run();
  return failed ? 1 : 0;
}
