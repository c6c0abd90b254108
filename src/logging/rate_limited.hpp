// Keeps a warning that anyone can provoke from flooding the log.
//
//   RateLimited accept_failures;
//   ...
//   if (const auto suppressed = accept_failures.admit(now)) {
//     logging::warn("accept_failed", {{"reason", reason}, {"suppressed", *suppressed}});
//   }
//
// One object for each kind of warning; not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace dflockd::logging {

class RateLimited {
 public:
  static constexpr std::chrono::nanoseconds kInterval = std::chrono::seconds(1);

  /// Asks to log a line at `now`, a steady clock's time since any epoch. If the last line admitted
  /// is at least `kInterval` old, or there is none, admits this one and returns how many were
  /// refused in between; otherwise refuses it and returns nothing.
  [[nodiscard]] std::optional<std::uint64_t> admit(std::chrono::nanoseconds now);

 private:
  std::optional<std::chrono::nanoseconds> last_;
  std::uint64_t suppressed_ = 0;
};

}  // namespace dflockd::logging
