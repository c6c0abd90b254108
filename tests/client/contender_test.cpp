// Acquiring, queueing and releasing, against the real server.

#include <atomic>
#include <future>
#include <thread>

#include <dflockd/contender.hpp>

#include "fixture.hpp"

namespace dflockd::client_test {
namespace {

class Contenders : public OfEachKind {
 protected:
  [[nodiscard]] Contending contender(const std::string& name = "job") const {
    return make(lock_options(address_of(server_), name));
  }

  Server server_;
  test::Client observer_{server_};
};
FOR_EACH_KIND(Contenders);

/// What `holder_` holds, `other_` would like to have.
class Contended : public Contenders {
 protected:
  void SetUp() override { ASSERT_TRUE(holder_->acquire()); }

  Contending holder_ = contender();
  Contending other_ = contender();
};
FOR_EACH_KIND(Contended);

TEST_P(Contenders, acquired_is_held_until_released) {
  const auto job = contender();
  EXPECT_FALSE(job->held());
  EXPECT_EQ(job->token(), "");
  EXPECT_EQ(job->fence(), 0U);
  EXPECT_EQ(job->lease_ttl(), 0s);
  EXPECT_EQ(job->remaining(), 0ms);
  ASSERT_TRUE(job->acquire());
  EXPECT_TRUE(job->held());
  EXPECT_EQ(job->token().size(), 32U);
  EXPECT_NE(job->fence(), 0U);
  EXPECT_EQ(job->lease_ttl(), 33s);
  EXPECT_GT(job->remaining(), 30s);
  EXPECT_LT(job->remaining(), 33s);
  EXPECT_FALSE(test::held(observer_, key()).is_null());
  job->release();
  EXPECT_FALSE(job->held());
  EXPECT_EQ(job->token(), "");
  EXPECT_TRUE(test::held(observer_, key()).is_null());
}

TEST_P(Contenders, lease_that_was_asked_for_is_granted) {
  LockOptions options = lock_options(address_of(server_));
  options.lease_ttl = 60s;
  const auto job = make(options);
  ASSERT_TRUE(job->acquire());
  EXPECT_EQ(job->lease_ttl(), 60s);
}

TEST_P(Contenders, fence_grows_with_every_grant) {
  const auto job = contender();
  ASSERT_TRUE(job->acquire());
  const std::uint64_t first = job->fence();
  job->release();
  ASSERT_TRUE(job->acquire());
  EXPECT_GT(job->fence(), first);
}

TEST_P(Contenders, one_connection_serves_all_cycles) {
  const auto job = contender();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(job->acquire());
    job->release();
  }
  EXPECT_EQ(test::stats(observer_)["connections"], 2);
}

TEST_P(Contended, trying_what_another_holds_is_false_at_once) {
  EXPECT_FALSE(other_->try_acquire());
  EXPECT_EQ(code_of([&](auto& error) { other_->try_acquire(error); }), errc::timeout);
  EXPECT_EQ(code_of([&](auto& error) { other_->acquire_for(0ms, error); }), errc::timeout);
  holder_->release();
  EXPECT_TRUE(other_->try_acquire());
}

TEST_P(Contended, waiting_ends_with_the_timeout) {
  for (const auto timeout : {300ms, 1'000ms}) {
    const auto begun = Time::now();
    EXPECT_FALSE(other_->acquire_for(timeout));
    EXPECT_GE(Time::now() - begun, timeout);
    EXPECT_LE(Time::now() - begun, timeout + within(500ms));
  }
  EXPECT_TRUE(eventually([&] { return test::waiters(observer_, key()) == 0; }));
}

TEST_P(Contenders, acquire_timeout_is_that_of_the_options) {
  const auto holder = contender();
  ASSERT_TRUE(holder->acquire());
  LockOptions options = lock_options(address_of(server_));
  options.acquire_timeout = 1s;
  const auto other = make(options);
  const auto begun = Time::now();
  EXPECT_EQ(code_of([&](auto& error) { other->acquire(error); }), errc::timeout);
  EXPECT_GE(Time::now() - begun, 1s);
}

TEST_P(Contended, released_lock_goes_to_who_waits) {
  auto waiting = std::async(std::launch::async, [&] { return other_->acquire(); });
  test::await_waiters(observer_, key(), 1);
  holder_->release();
  EXPECT_TRUE(waiting.get());
  EXPECT_TRUE(other_->held());
}

TEST_P(Contenders, destruction_releases) {
  contender()->acquire();
  EXPECT_TRUE(contender()->try_acquire());
}

TEST_P(Contenders, close_releases_and_the_contender_can_be_used_again) {
  const auto job = contender();
  ASSERT_TRUE(job->acquire());
  job->close();
  EXPECT_FALSE(job->held());
  EXPECT_TRUE(test::held(observer_, key()).is_null());
  EXPECT_TRUE(eventually([&] { return test::stats(observer_)["connections"] == 1; }));
  EXPECT_TRUE(job->acquire());
}

TEST_P(Contended, close_ends_a_call_on_another_thread) {
  auto waiting = std::async(std::launch::async,
                            [&] { return code_of([&](auto& error) { other_->acquire(error); }); });
  test::await_waiters(observer_, key(), 1);
  other_->close();
  EXPECT_EQ(waiting.get(), errc::canceled);
  EXPECT_TRUE(eventually([&] { return test::waiters(observer_, key()) == 0; }));
}

TEST_P(Contended, close_does_not_queue_behind_who_tries_again_and_again) {
  std::atomic<bool> done = false;
  std::thread retrying([&] {
    std::error_code error;
    while (!done) other_->acquire_for(60s, error);
  });
  test::await_waiters(observer_, key(), 1);
  const auto begun = Time::now();
  other_->close();
  EXPECT_LE(Time::now() - begun, within(2s));
  done = true;
  holder_->release();
  retrying.join();
}

TEST_P(Contenders, releasing_what_is_not_held_is_an_error) {
  const auto job = contender();
  EXPECT_EQ(code_of([&](auto& error) { job->release(error); }), errc::not_held);
  EXPECT_EQ(message_of([&] { job->release(); }),
            address_of(server_) + ": cannot release \"job\": nothing is held");
  ASSERT_TRUE(job->acquire());
  job->release();
  EXPECT_EQ(code_of([&](auto& error) { job->release(error); }), errc::not_held);
}

TEST_P(Contenders, release_of_what_somebody_else_released_is_an_error) {
  const auto job = contender();
  ASSERT_TRUE(job->acquire());
  EXPECT_EQ(observer_.release(key(), job->token()), "ok");
  EXPECT_EQ(code_of([&](auto& error) { job->release(error); }), errc::not_held);
  EXPECT_TRUE(job->acquire()) << "it can be used again";
}

TEST_P(Contenders, moved_contender_goes_on_holding) {
  if (GetParam() == Kind::kLock) {
    Lock first(lock_options(address_of(server_)));
    ASSERT_TRUE(first.acquire());
    Lock second(std::move(first));
    EXPECT_TRUE(second.held());
    Lock third(lock_options(address_of(server_), "another"));
    ASSERT_TRUE(third.acquire());
    third = std::move(second);
    EXPECT_TRUE(third.held());
    EXPECT_EQ(third.key(), "job");
    EXPECT_TRUE(test::held(observer_, key("another")).is_null());
  }
}

// --- Two phases ---

TEST_P(Contenders, enqueue_takes_what_is_free) {
  const auto job = contender();
  EXPECT_EQ(job->enqueue(), EnqueueStatus::kAcquired);
  EXPECT_TRUE(job->held());
  EXPECT_TRUE(job->wait(0ms)) << "there is nothing to wait for";
  job->release();
}

TEST_P(Contended, enqueue_takes_a_place_that_wait_redeems) {
  ASSERT_EQ(other_->enqueue(), EnqueueStatus::kQueued);
  EXPECT_FALSE(other_->held());
  EXPECT_EQ(test::waiters(observer_, key()), 1);
  holder_->release();
  EXPECT_TRUE(other_->wait(10s));
  EXPECT_TRUE(other_->held());
  other_->release();
}

TEST_P(Contended, wait_that_times_out_gives_up_the_place) {
  for (const auto timeout : {0ms, 200ms, 1'000ms}) {
    ASSERT_EQ(other_->enqueue(), EnqueueStatus::kQueued);
    EXPECT_FALSE(other_->wait(timeout));
    EXPECT_TRUE(eventually([&] { return test::waiters(observer_, key()) == 0; }));
    EXPECT_EQ(code_of([&](auto& error) { other_->wait(0ms, error); }), errc::not_enqueued);
  }
}

TEST_P(Contended, release_gives_up_the_place) {
  ASSERT_EQ(other_->enqueue(), EnqueueStatus::kQueued);
  other_->release();
  EXPECT_EQ(test::waiters(observer_, key()), 0);
  EXPECT_EQ(code_of([&](auto& error) { other_->wait(0ms, error); }), errc::not_enqueued);
}

TEST_P(Contended, release_gives_back_what_was_granted_while_queued) {
  ASSERT_EQ(other_->enqueue(), EnqueueStatus::kQueued);
  holder_->release();
  other_->release();
  EXPECT_TRUE(holder_->try_acquire());
}

TEST_P(Contended, enqueueing_twice_is_an_error) {
  EXPECT_EQ(
      code_of([&](auto& error) { EXPECT_EQ(holder_->enqueue(error), EnqueueStatus::kFailed); }),
      errc::already_enqueued);
  ASSERT_EQ(other_->enqueue(), EnqueueStatus::kQueued);
  EXPECT_EQ(code_of([&](auto& error) { other_->enqueue(error); }), errc::already_enqueued);
}

TEST_P(Contenders, waiting_without_enqueueing_is_an_error) {
  EXPECT_EQ(code_of([&](auto& error) { contender()->wait(0ms, error); }), errc::not_enqueued);
}

TEST_P(Contenders, grant_that_was_not_fetched_in_time_is_an_error_once) {
  const auto holder = contender();
  LockOptions options = lock_options(address_of(server_));
  options.lease_ttl = 1s;
  const auto other = make(options);
  ASSERT_TRUE(holder->acquire());
  ASSERT_EQ(other->enqueue(), EnqueueStatus::kQueued);
  holder->release();
  ASSERT_TRUE(eventually([&] { return test::held(observer_, key()).is_null(); }));
  EXPECT_EQ(code_of([&](auto& error) { other->wait(1s, error); }), errc::lease_expired);
  EXPECT_EQ(code_of([&](auto& error) { other->wait(1s, error); }), errc::not_enqueued);
  EXPECT_EQ(other->enqueue(), EnqueueStatus::kAcquired);
}

// --- Threads that share one ---

TEST_P(Contenders, threads_that_share_one_take_turns) {
  const auto job = contender();
  int inside = 0;
  int rounds = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        ASSERT_TRUE(job->acquire());
        EXPECT_EQ(++inside, 1);
        ++rounds;
        --inside;
        job->release();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(rounds, 100);
}

TEST_P(Contenders, another_thread_waits_no_longer_than_asked_for_a_shared_one) {
  const auto job = contender();
  ASSERT_TRUE(job->acquire());
  EXPECT_TRUE(std::async(std::launch::async, [&] { return !job->acquire_for(50ms); }).get());
}

}  // namespace
}  // namespace dflockd::client_test
