// The clock that leases are counted by.
#pragma once

#include <chrono>
#include <ctime>

namespace dflockd::client {

/// CLOCK_BOOTTIME (clock_gettime(2)): never set, and unlike std::chrono::steady_clock it goes on
/// while the machine sleeps, as the server's does meanwhile.
struct Clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Clock>;
  // NOLINTNEXTLINE(readability-identifier-naming): what the standard calls it
  static constexpr bool is_steady = true;

  static time_point now() noexcept {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
  }
};

/// `time + length`, or the end of time.
inline Clock::time_point later(Clock::time_point time, std::chrono::milliseconds length) noexcept {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::time_point::max() - time);
  return length < left ? time + length : Clock::time_point::max();
}

}  // namespace dflockd::client
