#include "bench/process_clock.hpp"

namespace dflockd::bench {

std::optional<ProcessClock> ProcessClock::of(pid_t pid) {
  clockid_t clock{};
  if (clock_getcpuclockid(pid, &clock) != 0) return std::nullopt;
  return ProcessClock(clock);
}

std::optional<std::chrono::nanoseconds> ProcessClock::read() const {
  timespec used{};
  if (clock_gettime(clock_, &used) != 0) return std::nullopt;
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

}  // namespace dflockd::bench
