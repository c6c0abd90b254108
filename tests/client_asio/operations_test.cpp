// What the operations do, by coroutines, callbacks and futures.
#include <algorithm>
#include <csignal>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <asio/bind_executor.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>

#include "fixture.hpp"
#include "support/sockets.hpp"

namespace dflockd::client_asio {
namespace {

class Operations : public AsyncTest {
 protected:
  Server server{{"--max-locks", "3", "--max-waiters", "1"}};
  AsyncConnection connection{io};
  AsyncConnection other{io};

  /// What is held ends with the connections, so that the server need not wait for it.
  void TearDown() override {
    connection.close();
    other.close();
    finish();
  }

  Task connect() {
    co_await connection.async_connect(options_for(server), use_awaitable);
    co_await other.async_connect(options_for(server), use_awaitable);
  }
};

TEST_F(Operations, lock_is_acquired_renewed_and_released) {
  run([&]() -> Task {
    co_await connect();
    const auto grant = co_await connection.async_acquire("key", 10s, 30s, use_awaitable);
    EXPECT_TRUE(grant.has_value());
    EXPECT_EQ(grant->lease_ttl, 30s);
    EXPECT_GT(grant->fence(), 0U);
    const seconds left = co_await other.async_renew("key", grant->token, 60s, use_awaitable);
    EXPECT_EQ(left, 60s);
    co_await other.async_release("key", grant->token, use_awaitable);
    const auto again = co_await other.async_acquire("key", 0s, 0s, use_awaitable);
    EXPECT_GT(again->fence(), grant->fence());
  });
}

TEST_F(Operations, connection_is_not_inherited_by_what_a_child_executes) {
  run([&]() -> Task {
    co_await connection.async_connect(options_for(server), use_awaitable);
    const std::vector<int> sockets = client_test::sockets_to(server.port());
    EXPECT_EQ(sockets.size(), 1U);
    EXPECT_TRUE(std::none_of(sockets.begin(), sockets.end(), client_test::is_inherited));
  });
}

TEST_F(Operations, waiting_acquire_gets_what_is_released) {
  run([&]() -> Task {
    co_await connect();
    const auto grant = co_await connection.async_acquire("key", 0s, 30s, use_awaitable);
    std::optional<Grant> next;
    bool done = false;
    other.async_acquire("key", 60s, 30s, [&](std::error_code error, std::optional<Grant> granted) {
      EXPECT_FALSE(error) << error.message();
      next = std::move(granted);
      done = true;
    });
    std::string stats;
    while (stats.find("\"waiters\":1") == std::string::npos) {
      stats = co_await connection.async_stats(use_awaitable);
    }
    co_await connection.async_release("key", grant->token, use_awaitable);
    while (!done) co_await connection.async_ping(use_awaitable);
    EXPECT_TRUE(next.has_value());
  });
}

TEST_F(Operations, semaphore_has_as_many_slots_as_its_limit) {
  run([&]() -> Task {
    co_await connect();
    std::error_code error;
    std::vector<std::string> tokens;
    for (int slot = 0; slot < 2; ++slot) {
      const auto grant =
          co_await connection.async_semaphore_acquire("key", 0s, 2, 30s, use_awaitable);
      tokens.push_back(grant->token);
    }
    auto none = co_await other.async_semaphore_acquire("key", 0s, 2, 30s, into(error));
    EXPECT_EQ(error, errc::timeout);
    EXPECT_FALSE(none.has_value());
    none = co_await other.async_semaphore_acquire("key", 0s, 3, 30s, into(error));
    EXPECT_EQ(error, errc::limit_mismatch);
    const seconds left = co_await other.async_semaphore_renew("key", tokens[0], 90s, use_awaitable);
    EXPECT_EQ(left, 90s);
    co_await other.async_semaphore_release("key", tokens[0], use_awaitable);
    co_await other.async_semaphore_acquire("key", 0s, 2, 30s, use_awaitable);
  });
}

TEST_F(Operations, two_phases_of_a_lock) {
  run([&]() -> Task {
    co_await connect();
    const auto grant = co_await connection.async_enqueue("key", 30s, use_awaitable);
    EXPECT_TRUE(grant.has_value());
    const auto same = co_await connection.async_wait("key", 0s, use_awaitable);
    EXPECT_EQ(same->token, grant->token);
    const auto queued = co_await other.async_enqueue("key", 30s, use_awaitable);
    EXPECT_FALSE(queued.has_value());
    co_await connection.async_release("key", grant->token, use_awaitable);
    const auto next = co_await other.async_wait("key", 10s, use_awaitable);
    EXPECT_EQ(next->lease_ttl, 30s);
  });
}

TEST_F(Operations, two_phases_of_a_semaphore) {
  run([&]() -> Task {
    co_await connect();
    const auto grant = co_await connection.async_semaphore_enqueue("key", 1, 30s, use_awaitable);
    EXPECT_TRUE(grant.has_value());
    const auto queued = co_await other.async_semaphore_enqueue("key", 1, 30s, use_awaitable);
    EXPECT_FALSE(queued.has_value());
    std::error_code error;
    co_await other.async_semaphore_wait("key", 0s, into(error));
    EXPECT_EQ(error, errc::timeout);
    co_await connection.async_semaphore_release("key", grant->token, use_awaitable);
    co_await other.async_semaphore_acquire("key", 0s, 1, 30s, use_awaitable);
  });
}

TEST_F(Operations, refusals_leave_the_connection_usable) {
  run([&]() -> Task {
    co_await connect();
    const std::string foreign(32, '0');
    std::error_code error;
    const auto held = co_await connection.async_acquire("key", 0s, 30s, use_awaitable);
    co_await other.async_acquire("key", 0s, 30s, into(error));
    EXPECT_EQ(error, errc::timeout);
    co_await other.async_release("key", foreign, into(error));
    EXPECT_EQ(error, errc::not_held);
    co_await other.async_renew("key", foreign, 0s, into(error));
    EXPECT_EQ(error, errc::not_held);
    co_await other.async_wait("key", 0s, into(error));
    EXPECT_EQ(error, errc::not_enqueued);
    co_await other.async_enqueue("key", 30s, use_awaitable);
    co_await other.async_enqueue("key", 30s, into(error));
    EXPECT_EQ(error, errc::already_enqueued);
    co_await connection.async_acquire("key", 1s, 30s, into(error));
    EXPECT_EQ(error, errc::max_waiters);
    co_await connection.async_acquire("second", 0s, 30s, use_awaitable);
    co_await connection.async_acquire("third", 0s, 30s, use_awaitable);
    co_await connection.async_acquire("fourth", 0s, 30s, into(error));
    EXPECT_EQ(error, errc::max_locks);
    server.signal(SIGTERM);
    while (error != errc::draining) {
      co_await connection.async_acquire("key", 0s, 30s, into(error));
    }
    co_await connection.async_release("key", held->token, use_awaitable);
    co_await connection.async_ping(use_awaitable);
  });
  connection.close();
  other.close();
  finish();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_F(Operations, arguments_are_checked_before_anything_is_sent) {
  const std::string token(32, 'a');
  run([&]() -> Task {
    std::error_code error;
    co_await connection.async_acquire("a key", 0s, 0s, into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    co_await connection.async_acquire("key", -1s, 0s, into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    co_await connection.async_acquire("key", 0s, -1s, into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    for (const int limit : {-1, 0, 1'048'577}) {
      co_await connection.async_semaphore_acquire("key", 0s, limit, 0s, into(error));
      EXPECT_EQ(error, errc::invalid_argument) << limit;
      co_await connection.async_semaphore_enqueue("key", limit, 0s, into(error));
      EXPECT_EQ(error, errc::invalid_argument) << limit;
    }
    co_await connection.async_enqueue("", 0s, into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    co_await connection.async_wait("key", seconds::max(), into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    co_await connection.async_release("key", "token", into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    co_await connection.async_renew("key", "token", 0s, into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    co_await connection.async_connect(options_for("host:port"), into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    ConnectionOptions never = options_for(server);
    never.response_timeout = 0ms;
    co_await connection.async_connect(never, into(error));
    EXPECT_EQ(error, errc::invalid_argument);
    co_await connection.async_release("key", token, into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

TEST_F(Operations, longest_timeout_is_no_overflow) {
  run([&]() -> Task {
    co_await connect();
    const auto grant =
        co_await connection.async_acquire("key", 9'223'372'036s, 9'223'372'036s, use_awaitable);
    EXPECT_EQ(grant->lease_ttl, 9'223'372'036s);
  });
}

TEST_F(Operations, large_stats_arrive_whole) {
  Server roomy({"--max-locks", "2000"});
  run([&]() -> Task {
    co_await connection.async_connect(options_for(roomy), use_awaitable);
    for (int number = 0; number < 2'000; ++number) {
      const std::string key = std::string(200, 'k') + std::to_string(number);
      co_await connection.async_acquire(key, 0s, 60s, use_awaitable);
    }
    const std::string stats = co_await connection.async_stats(use_awaitable);
    EXPECT_GT(stats.size(), 400'000U);
    EXPECT_EQ(stats.front(), '{');
    EXPECT_EQ(stats.back(), '}');
    co_await connection.async_ping(use_awaitable);
  });
}

TEST_F(Operations, host_is_resolved_by_name) {
  run([&]() -> Task {
    const std::string address = "localhost:" + std::to_string(server.port());
    co_await connection.async_connect(options_for(address), use_awaitable);
    co_await connection.async_ping(use_awaitable);
  });
}

TEST_F(Operations, callback_is_never_called_within_the_call) {
  bool within = true;
  bool refused = false;
  connection.async_acquire("", 0s, 0s, [&](std::error_code error, const std::optional<Grant>&) {
    EXPECT_FALSE(within);
    EXPECT_EQ(error, errc::invalid_argument);
    refused = true;
  });
  within = false;
  EXPECT_TRUE(run_until([&] { return refused; }));
  bool connected = false;
  connection.async_connect(options_for(server), [&](std::error_code error) {
    EXPECT_FALSE(error) << error.message();
    connected = true;
  });
  EXPECT_FALSE(connected);
  EXPECT_TRUE(run_until([&] { return connected; }));
}

TEST_F(Operations, callback_may_begin_the_next_operation) {
  int pings = 0;
  std::function<void(std::error_code)> again = [&](std::error_code error) {
    EXPECT_FALSE(error) << error.message();
    if (++pings < 100) connection.async_ping(again);  // an lvalue, which must stay as it is
  };
  connection.async_connect(options_for(server), again);
  EXPECT_TRUE(run_until([&] { return pings == 100; }));
  EXPECT_TRUE(again);
}

TEST_F(Operations, callback_need_not_be_copyable) {
  bool called = false;
  auto owned = std::make_unique<int>(1);
  connection.async_connect(options_for(server), [&, owned = std::move(owned)](std::error_code) {
    called = *owned == 1;
  });
  EXPECT_TRUE(run_until([&] { return called; }));
}

TEST_F(Operations, handler_runs_where_it_wants_to) {
  asio::thread_pool pool(1);
  auto strand = asio::make_strand(pool);
  std::promise<bool> there;
  connection.async_connect(options_for(server),
                           asio::bind_executor(strand, [&](std::error_code error) {
                             there.set_value(!error && strand.running_in_this_thread());
                           }));
  auto future = there.get_future();
  io.run_for(kPatience);
  ASSERT_EQ(future.wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(future.get());
  pool.join();
}

TEST_F(Operations, io_context_runs_out_of_work_with_an_open_connection) {
  connection.async_connect(options_for(server), [](std::error_code) {});
  io.run_for(kPatience);
  EXPECT_TRUE(io.stopped());
}

TEST_F(Operations, futures_from_many_threads_share_a_pool) {
  const Server roomy;
  asio::thread_pool pool(4);
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&] {
      AsyncConnection own(pool);
      own.async_connect(options_for(roomy), asio::use_future).get();
      for (int round = 0; round < 20; ++round) {
        const auto grant = own.async_acquire("key", 60s, 30s, asio::use_future).get();
        own.async_release("key", grant->token, asio::use_future).get();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  pool.join();
}

TEST_F(Operations, moving_takes_the_connection_along) {
  run([&]() -> Task {
    co_await connect();
    AsyncConnection moved(std::move(connection));
    co_await moved.async_acquire("key", 0s, 30s, use_awaitable);
    other = std::move(moved);
    std::error_code error;
    co_await other.async_enqueue("key", 30s, into(error));
    co_await other.async_ping(use_awaitable);
    EXPECT_EQ(other.get_executor(), asio::any_io_executor(io.get_executor()));
  });
}

}  // namespace
}  // namespace dflockd::client_asio
