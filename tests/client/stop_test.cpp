// Stopping calls with a `std::stop_token`: at once, and without leaving a grant behind.

#include <atomic>
#include <csignal>
#include <future>
#include <random>
#include <thread>

#include "fixture.hpp"
#include "support/relay.hpp"

namespace dflockd::client_test {
namespace {

class Stops : public OfEachKind {
 protected:
  [[nodiscard]] auto contender(const Server& server) const {
    return make(lock_options(address_of(server)));
  }
};
FOR_EACH_KIND(Stops);

TEST_P(Stops, stopped_before_it_began) {
  Server server;
  const auto job = contender(server);
  std::stop_source stop;
  stop.request_stop();
  const auto token = stop.get_token();
  EXPECT_EQ(code_of([&](auto& error) { job->acquire(token, error); }), errc::canceled);
  EXPECT_EQ(code_of([&](auto& error) { job->enqueue(token, error); }), errc::canceled);
  EXPECT_EQ(code_of([&](auto& error) { job->acquire_for(0ms, token, error); }), errc::canceled);
  EXPECT_EQ(code_of([&](auto& error) { job->try_acquire(token, error); }), errc::canceled);
  EXPECT_THROW(job->try_acquire(token), Error);
  EXPECT_THROW(job->acquire(token), Error);
  EXPECT_TRUE(job->acquire());
}

TEST_P(Stops, stopped_while_waiting_returns_at_once_and_leaves_the_queue) {
  Server server;
  test::Client observer(server);
  const auto holder = contender(server);
  const auto other = contender(server);
  ASSERT_TRUE(holder->acquire());
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    return code_of([&](auto& error) { other->acquire(stop.get_token(), error); });
  });
  test::await_waiters(observer, key(), 1);
  const auto begun = Time::now();
  stop.request_stop();
  EXPECT_EQ(waiting.get(), errc::canceled);
  EXPECT_LE(Time::now() - begun, within(200ms));
  EXPECT_TRUE(eventually([&] { return test::waiters(observer, key()) == 0; }));
}

TEST_P(Stops, stopped_while_waiting_in_the_second_phase) {
  Server server;
  test::Client observer(server);
  const auto holder = contender(server);
  const auto other = contender(server);
  ASSERT_TRUE(holder->acquire());
  ASSERT_EQ(other->enqueue(), EnqueueStatus::kQueued);
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    return code_of([&](auto& error) { other->wait(10s, stop.get_token(), error); });
  });
  // A place that nobody has asked for yet has no timeout.
  ASSERT_TRUE(eventually([&] {
    const std::string stat =
        observer.ask("stat", key().name, key().limit ? "semaphore" : "lock").substr(3);
    return !test::Json::parse(stat).at("waiters").at(0).at("times_out_in_s").is_null();
  }));
  stop.request_stop();
  EXPECT_EQ(waiting.get(), errc::canceled);
  holder->release();
  EXPECT_TRUE(holder->acquire_for(10s));
}

TEST_P(Stops, stopped_while_the_server_is_frozen) {
  Server server;
  const auto job = contender(server);
  server.signal(SIGSTOP);
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    return code_of([&](auto& error) { job->acquire(stop.get_token(), error); });
  });
  EXPECT_EQ(waiting.wait_for(50ms), std::future_status::timeout);
  const auto begun = Time::now();
  stop.request_stop();
  EXPECT_EQ(waiting.get(), errc::canceled);
  EXPECT_LE(Time::now() - begun, within(1s));
  server.signal(SIGCONT);
  EXPECT_TRUE(contender(server)->acquire_for(5s)) << "nothing is left behind";
}

TEST_P(Stops, release_that_is_stopped_ends_the_connection_instead) {
  Server server;
  const auto job = contender(server);
  ASSERT_TRUE(job->acquire());
  server.signal(SIGSTOP);
  std::stop_source stop;
  auto releasing = std::async(std::launch::async, [&] {
    return code_of([&](auto& error) { job->release(stop.get_token(), error); });
  });
  EXPECT_EQ(releasing.wait_for(50ms), std::future_status::timeout);
  stop.request_stop();
  EXPECT_EQ(releasing.get(), errc::canceled);
  EXPECT_FALSE(job->held());
  server.signal(SIGCONT);
  EXPECT_TRUE(contender(server)->acquire_for(5s)) << "nothing is left behind";
}

// Like a thread that works until a stop is requested, and then releases the lock.
TEST_P(Stops, release_with_a_stop_requested_before_lets_go_all_the_same) {
  const Server server;
  const auto job = contender(server);
  ASSERT_TRUE(job->acquire());
  std::stop_source stop;
  stop.request_stop();
  std::error_code error;
  job->release(stop.get_token(), error);
  EXPECT_FALSE(job->held());
  EXPECT_TRUE(contender(server)->acquire_for(5s)) << "it is renewed no more, nor held";
}

TEST_P(Stops, stopped_while_another_thread_has_it) {
  Server server;
  const auto job = contender(server);
  ASSERT_TRUE(job->acquire());
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    return code_of([&](auto& error) { job->acquire(stop.get_token(), error); });
  });
  stop.request_stop();
  EXPECT_EQ(waiting.get(), errc::canceled);
  EXPECT_TRUE(job->held());
}

/// Stops an acquisition at a random moment, with a release going on that may grant it just then.
void stop_at_random_moments(const std::vector<std::string>& flags, Kind kind, int rounds) {
  Server server(flags);
  test::Client observer(server);
  const test::Key key = kind == Kind::kLock ? test::lock("job") : test::semaphore("job", 1);
  std::mt19937 random(testing::UnitTest::GetInstance()->random_seed());
  std::uniform_int_distribution<int> microseconds(0, 400);
  const auto options = lock_options(address_of(server));
  SemaphoreOptions semaphore_options;
  static_cast<LockOptions&>(semaphore_options) = options;
  Lock lock(options);
  Semaphore semaphore(semaphore_options);
  Contender& job = kind == Kind::kLock ? static_cast<Contender&>(lock) : semaphore;
  int stopped = 0;
  // Who looks meanwhile sees all of a grant or nothing.
  std::jthread reader([&job](const std::stop_token& done) {
    while (!done.stop_requested()) {
      const std::string token = job.token();
      EXPECT_TRUE(token.empty() || token.size() == 32);
      std::this_thread::yield();
    }
  });
  for (int round = 0; round < rounds; ++round) {
    const auto theirs = observer.hold(key);
    std::stop_source stop;
    std::atomic<bool> granted = false;
    std::thread waiting([&] {
      std::error_code error;
      granted = job.acquire(stop.get_token(), error);
      EXPECT_TRUE(granted || error == errc::canceled) << error;
    });
    const auto until_release = std::chrono::microseconds(microseconds(random));
    const auto until_stop = std::chrono::microseconds(microseconds(random));
    std::thread stopper([&] {
      std::this_thread::sleep_for(until_stop);
      stop.request_stop();
    });
    std::this_thread::sleep_for(until_release);
    ASSERT_EQ(observer.release(key, theirs.token), "ok");
    waiting.join();
    stopper.join();
    if (granted) {
      job.release();
    } else {
      ++stopped;
    }
    ASSERT_TRUE(eventually([&] {
      return test::held(observer, key).is_null() && test::waiters(observer, key) == 0;
    })) << "round "
        << round << " left a grant or a waiter behind";
  }
  EXPECT_GT(stopped, 0);
}

TEST_P(Stops, at_1000_random_moments_leave_no_grant_behind) {
  stop_at_random_moments({}, GetParam(), test::kSanitized ? 200 : 1'000);
}

TEST_P(Stops, at_random_moments_leave_no_grant_behind_that_survives_its_connection) {
  stop_at_random_moments({"--auto-release-on-disconnect=false"}, GetParam(),
                         test::kSanitized ? 200 : 1'000);
}

}  // namespace
}  // namespace dflockd::client_test
