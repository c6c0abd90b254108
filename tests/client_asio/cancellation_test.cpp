// How operations are ended before their time.
#include <memory>
#include <optional>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/steady_timer.hpp>

#include "fixture.hpp"

namespace dflockd::client_asio {
namespace {

class CancelledOperation : public AsyncTest {
 protected:
  Server server;
  AsyncConnection holder{io};
  std::optional<AsyncConnection> waiting{io};
  std::string token;
  std::optional<std::error_code> result;

  /// What is held ends with the connections, so that the server need not wait for it.
  void TearDown() override {
    holder.close();
    waiting.reset();
    finish();
  }

  /// Has `waiting` wait for what `holder` holds; `result` is what comes of it.
  template <class Decorate>
  void wait_in_vain(const Decorate& decorate) {
    run([&]() -> Task {
      co_await holder.async_connect(options_for(server), use_awaitable);
      const auto grant = co_await holder.async_acquire("key", 0s, 60s, use_awaitable);
      token = grant->token;
      co_await waiting->async_connect(options_for(server), use_awaitable);
      waiting->async_acquire("key", 60s, 60s,
                             decorate([&](std::error_code error, const std::optional<Grant>& none) {
                               EXPECT_FALSE(none.has_value());
                               result = error;
                             }));
      co_await until_waiters(1);
    });
  }
  void wait_in_vain() {
    wait_in_vain([](auto handler) { return handler; });
  }

  Task until_waiters(int count) {
    const std::string expected = "\"waiters\":" + std::to_string(count);
    std::string stats;
    while (stats.find(expected) == std::string::npos) {
      stats = co_await holder.async_stats(use_awaitable);
    }
  }

  void expect_given_up() {
    EXPECT_TRUE(run_until([&] { return result.has_value(); }));
    EXPECT_EQ(result, errc::canceled);
    run([&]() -> Task { co_await until_waiters(0); });
  }
};

TEST_F(CancelledOperation, by_its_slot) {
  asio::cancellation_signal signal;
  wait_in_vain([&](auto handler) { return asio::bind_cancellation_slot(signal.slot(), handler); });
  signal.emit(asio::cancellation_type::terminal);
  expect_given_up();
  EXPECT_FALSE(signal.slot().has_handler());
  run([&]() -> Task {
    std::error_code error;
    co_await waiting->async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
    co_await waiting->async_connect(options_for(server), use_awaitable);
    co_await waiting->async_ping(use_awaitable);
  });
}

TEST_F(CancelledOperation, not_by_a_weaker_request_than_it_can_honour) {
  asio::cancellation_signal signal;
  wait_in_vain([&](auto handler) { return asio::bind_cancellation_slot(signal.slot(), handler); });
  signal.emit(asio::cancellation_type::partial);
  run([&]() -> Task {
    co_await holder.async_ping(use_awaitable);
    EXPECT_FALSE(result.has_value());
    co_await until_waiters(1);
  });
  waiting->close();
  expect_given_up();
}

TEST_F(CancelledOperation, by_an_operator_of_coroutines) {
  using namespace asio::experimental::awaitable_operators;
  run([&]() -> Task {
    co_await holder.async_connect(options_for(server), use_awaitable);
    co_await holder.async_acquire("key", 0s, 60s, use_awaitable);
    co_await waiting->async_connect(options_for(server), use_awaitable);
    asio::steady_timer timer(io, 20ms);
    const auto first = co_await (waiting->async_acquire("key", 60s, 60s, use_awaitable) ||
                                 timer.async_wait(use_awaitable));
    EXPECT_EQ(first.index(), 1U);
    co_await until_waiters(0);
  });
}

TEST_F(CancelledOperation, by_close) {
  wait_in_vain();
  waiting->close();
  expect_given_up();
}

TEST_F(CancelledOperation, by_the_destructor) {
  wait_in_vain();
  waiting.reset();
  expect_given_up();
}

TEST_F(CancelledOperation, before_it_has_begun) {
  asio::cancellation_signal signal;
  waiting->async_connect(
      options_for(server),
      asio::bind_cancellation_slot(signal.slot(), [&](std::error_code error) { result = error; }));
  signal.emit(asio::cancellation_type::all);
  EXPECT_TRUE(run_until([&] { return result.has_value(); }));
  EXPECT_EQ(result, errc::canceled);
}

TEST_F(CancelledOperation, after_it_has_ended) {
  asio::cancellation_signal signal;
  waiting->async_connect(
      options_for(server),
      asio::bind_cancellation_slot(signal.slot(), [&](std::error_code error) { result = error; }));
  EXPECT_TRUE(run_until([&] { return result.has_value(); }));
  signal.emit(asio::cancellation_type::all);
  run([&]() -> Task { co_await waiting->async_ping(use_awaitable); });
}

TEST_F(CancelledOperation, closing_takes_effect_before_what_comes_after_it) {
  run([&]() -> Task {
    std::error_code error;
    co_await waiting->async_connect(options_for(server), use_awaitable);
    waiting->close();
    co_await waiting->async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
    waiting->close();
    co_await waiting->async_connect(options_for(server), use_awaitable);
    co_await waiting->async_ping(use_awaitable);
  });
}

TEST_F(CancelledOperation, handlers_are_destroyed_with_the_io_context) {
  const auto owned = std::make_shared<int>();
  {
    asio::io_context short_lived;
    AsyncConnection connection(short_lived);
    bool connected = false;
    connection.async_connect(options_for(server), [&](std::error_code) { connected = true; });
    while (!connected) short_lived.run_one_for(kPatience);
    connection.async_wait("key", 60s, [owned](std::error_code, const std::optional<Grant>&) {
      FAIL() << "called without anybody to run it";
    });
    short_lived.poll_one();
  }
  EXPECT_EQ(owned.use_count(), 1);
}

}  // namespace
}  // namespace dflockd::client_asio
