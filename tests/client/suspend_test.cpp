// A machine that is suspended: CLOCK_BOOTTIME goes on, no thread does, and after the resume timers
// of that clock are due that would have been.

#include <atomic>
#include <ctime>
#include <map>
#include <mutex>

#include <dlfcn.h>
#include <sys/timerfd.h>

#include "fixture.hpp"

namespace dflockd::client_test {
namespace {

using Nanoseconds = std::chrono::nanoseconds;

timespec operator+(const timespec& time, Nanoseconds length) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t sum = time.tv_sec * kSecond + time.tv_nsec + length.count();
  return {.tv_sec = sum / kSecond, .tv_nsec = sum % kSecond};
}

/// What `clock_gettime` and `timerfd_settime` below go by.
class Suspension {
 public:
  static Nanoseconds lost() { return lost_; }

  /// Suspends the machine for `length`. Timers do not notice, as if their thread were busy, unless
  /// `resume` is called.
  static void suspend(Nanoseconds length) { lost_ = lost_.load() + length; }
  static void resume() {
    const std::lock_guard guard(mutex_);
    for (const auto& [timer, time] : armed_) set(timer, time);
  }

  static int arm(int timer, const itimerspec& time) {
    const std::lock_guard guard(mutex_);
    armed_[timer] = time;
    return set(timer, time);
  }

 private:
  static int set(int timer, itimerspec time) {
    using Function = int (*)(int, int, const itimerspec*, itimerspec*);
    static const auto kReal = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "timerfd_settime"));
    time.it_value = time.it_value + -lost();
    if (time.it_value.tv_sec < 0) time.it_value = {.tv_sec = 0, .tv_nsec = 1};
    return kReal(timer, TFD_TIMER_ABSTIME, &time, nullptr);
  }

  inline static std::atomic<Nanoseconds> lost_{Nanoseconds(0)};
  inline static std::mutex mutex_;
  inline static std::map<int, itimerspec> armed_;  ///< the timers of CLOCK_BOOTTIME
};

class Suspended : public testing::Test {
 protected:
  ~Suspended() override { Suspension::resume(); }

  [[nodiscard]] LockOptions options(std::chrono::seconds lease) {
    LockOptions options = lock_options(address_of(server_));
    options.lease_ttl = lease;
    options.on_renew_error = [this](const Error& error) { lost_ = error.code().value(); };
    return options;
  }

  Server server_;
  std::atomic<int> lost_ = 0;  ///< the code of the loss
};

TEST_F(Suspended, for_longer_than_the_lease_holds_nothing_even_before_a_timer_fires) {
  Lock job(options(30s));
  ASSERT_TRUE(job.acquire());
  Suspension::suspend(29s);
  EXPECT_TRUE(job.held());
  Suspension::suspend(1s);
  EXPECT_FALSE(job.held());
  EXPECT_EQ(code_of([&](auto& error) { job.release(error); }), errc::not_held);
}

TEST_F(Suspended, for_longer_than_the_lease_is_reported_at_the_resume) {
  Lock job(options(30s));
  ASSERT_TRUE(job.acquire());
  Suspension::suspend(1h);
  Suspension::resume();
  EXPECT_TRUE(eventually([&] { return lost_ == static_cast<int>(errc::lease_expired); }));
  EXPECT_FALSE(job.held());
}

TEST_F(Suspended, for_less_than_the_lease_renews_at_the_resume) {
  test::Client observer(server_);
  Lock job(options(60s));
  ASSERT_TRUE(job.acquire());
  const auto left = [&] {
    return test::held(observer, test::lock("job")).at("lease_expires_in_s").get<double>();
  };
  ASSERT_TRUE(eventually([&] { return left() <= 59; }));
  Suspension::suspend(40s);  // more than half of it, at which it is renewed
  Suspension::resume();
  EXPECT_TRUE(eventually([&] { return left() > 59; }, within(2s)));
  EXPECT_TRUE(job.held());
  EXPECT_EQ(lost_, 0);
}

TEST_F(Suspended, while_it_waited_for_the_grant_it_is_renewed_before_it_is_believed) {
  Lock holder(options(60s));
  Lock job(options(60s));
  ASSERT_TRUE(holder.acquire());
  EXPECT_EQ(job.enqueue(), EnqueueStatus::kQueued);
  Suspension::suspend(59s);
  holder.release();
  ASSERT_TRUE(job.wait(10s));
  EXPECT_TRUE(job.held());
  Suspension::suspend(50s);
  EXPECT_TRUE(job.held()) << "its lease began when it was granted, not when it was asked for";
}

}  // namespace

/// For the definitions below.
Nanoseconds time_lost() {
  return Suspension::lost();
}
int arm_timer(int timer, const itimerspec& time) {
  return Suspension::arm(timer, time);
}

}  // namespace dflockd::client_test

// In place of the C library's.

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  using Function = int (*)(clockid_t, timespec*);
  static const auto kReal = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "clock_gettime"));
  const int status = kReal(clock, time);
  if (clock == CLOCK_BOOTTIME) {
    const std::int64_t now =
        time->tv_sec * 1'000'000'000 + time->tv_nsec + dflockd::client_test::time_lost().count();
    *time = {.tv_sec = now / 1'000'000'000, .tv_nsec = now % 1'000'000'000};
  }
  return status;
}

/// Only the library's timers are absolute, and those are of CLOCK_BOOTTIME.
extern "C" int timerfd_settime(int timer, int flags, const itimerspec* time,
                               itimerspec* before) noexcept {
  using Function = int (*)(int, int, const itimerspec*, itimerspec*);
  static const auto kReal = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "timerfd_settime"));
  if ((flags & TFD_TIMER_ABSTIME) == 0) return kReal(timer, flags, time, before);
  return dflockd::client_test::arm_timer(timer, *time);
}
