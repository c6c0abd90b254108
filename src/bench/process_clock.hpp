// Reads how much CPU time another process has used, all its threads together, to the nanosecond.
#pragma once

#include <chrono>
#include <optional>

#include <sys/types.h>
#include <time.h>

namespace dflockd::bench {

class ProcessClock {
 public:
  /// Nothing if there is no such process.
  [[nodiscard]] static std::optional<ProcessClock> of(pid_t pid);

  /// User and system time since the process started; nothing once it is gone.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> read() const;

 private:
  explicit ProcessClock(clockid_t clock) : clock_(clock) {}

  clockid_t clock_;
};

}  // namespace dflockd::bench
