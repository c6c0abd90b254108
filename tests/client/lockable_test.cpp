// `Lock` as the standard's TimedLockable.

#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include <dflockd/lock.hpp>

#include "fixture.hpp"

namespace dflockd::client_test {
namespace {

class Lockables : public testing::Test {
 protected:
  [[nodiscard]] LockOptions options(const std::string& key = "job") const {
    return lock_options(address_of(server_), key);
  }

  Server server_;
  test::Client observer_{server_};
};

TEST_F(Lockables, lock_guard) {
  Lock job(options());
  {
    const std::lock_guard guard(job);
    EXPECT_TRUE(job.held());
  }
  EXPECT_FALSE(job.held());
  EXPECT_TRUE(test::held(observer_, test::lock("job")).is_null());
}

TEST_F(Lockables, unique_lock) {
  Lock job(options());
  Lock other(options());
  std::unique_lock mine(job, std::defer_lock);
  std::unique_lock theirs(other, std::defer_lock);
  EXPECT_TRUE(mine.try_lock());
  EXPECT_FALSE(theirs.try_lock());
  EXPECT_FALSE(theirs.try_lock_for(50ms));
  EXPECT_FALSE(theirs.try_lock_until(std::chrono::system_clock::now() + 50ms));
  EXPECT_FALSE(theirs.try_lock_until(std::chrono::steady_clock::now() - 50ms));
  mine.unlock();
  EXPECT_TRUE(theirs.try_lock_for(std::chrono::hours::max()));
}

TEST_F(Lockables, scoped_lock_over_several_keys_in_any_order) {
  std::atomic<int> inside = 0;
  const auto work = [&](bool reversed) {
    Lock a(options("a"));
    Lock b(options("b"));
    for (int i = 0; i < 20; ++i) {
      if (reversed) {
        const std::scoped_lock both(b, a);
        EXPECT_EQ(++inside, 1);
        --inside;
      } else {
        const std::scoped_lock both(a, b);
        EXPECT_EQ(++inside, 1);
        --inside;
      }
    }
  };
  std::thread other(work, true);
  work(false);
  other.join();
}

TEST_F(Lockables, lock_waits_as_long_as_it_takes) {
  LockOptions impatient = options();
  impatient.acquire_timeout = 0ms;
  Lock holder(options());
  Lock other(impatient);
  holder.lock();
  auto waiting = std::async(std::launch::async, [&] { other.lock(); });
  test::await_waiters(observer_, test::lock("job"), 1);
  holder.unlock();
  waiting.get();
  EXPECT_TRUE(other.held());
}

TEST_F(Lockables, lock_throws_what_acquire_throws) {
  Server full({"--max-locks", "1"});
  Lock first(lock_options(address_of(full), "first"));
  Lock second(lock_options(address_of(full), "second"));
  first.lock();
  EXPECT_THROW(second.lock(), Error);
}

TEST_F(Lockables, unlock_of_what_is_not_held_is_silent) {
  Lock job(options());
  job.unlock();
}

}  // namespace
}  // namespace dflockd::client_test
