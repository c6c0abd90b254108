// The clock that leases, and whatever else measures a client's time, are counted by: CLOCK_BOOTTIME
// (clock_gettime(2)), in nanoseconds since the machine started. Nobody sets it, it never goes back,
// and unlike std::chrono::steady_clock it goes on while the machine is suspended. After a resume it
// is ahead by the length of the suspend, so a deadline may be long over when it is first looked at;
// sleeps and timers of the system do not know that, for they stand still meanwhile.
//
//   const base::BootClock::time_point deadline = base::later(base::BootClock::now(), 10s);
//
// Safe to use from any thread, and in a signal handler. `now` costs what steady_clock's does.
#pragma once

#include <chrono>
#include <ctime>

namespace dflockd::base {

/// A clock as <chrono> knows them.
struct BootClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  // NOLINTNEXTLINE(readability-identifier-naming): what the standard calls it
  static constexpr bool is_steady = true;

  static time_point now() noexcept {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
  }
};

/// `time + length`, or the end of time. `length` is not negative.
inline BootClock::time_point later(BootClock::time_point time,
                                   std::chrono::milliseconds length) noexcept {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(BootClock::time_point::max() - time);
  return length < left ? time + length : BootClock::time_point::max();
}

}  // namespace dflockd::base
