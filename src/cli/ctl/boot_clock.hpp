// The clock that leases are counted by, as the client library does.
#pragma once

#include <chrono>
#include <ctime>

namespace dflockd::ctl {

/// CLOCK_BOOTTIME: never set, and it goes on while the machine sleeps. Async-signal-safe.
struct BootClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;

  static time_point now() noexcept {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
  }
};

}  // namespace dflockd::ctl
