// Keeps a warning that anyone can provoke from flooding the log: one line a second, each with the
// number of events that it stands for.
//
//   RateLimited refusals;
//   ...
//   if (const auto count = refusals.note(now)) logging::warn("refused", {{"count", *count}});
//   ...                                                       // and once a second or so:
//   if (const auto count = refusals.overdue(now)) logging::warn("refused", {{"count", *count}});
//
// One object for each kind of warning; not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace dflockd::logging {

class RateLimited {
 public:
  static constexpr std::chrono::nanoseconds kInterval = std::chrono::seconds(1);

  /// Notes an event at `now`, a steady clock's time since any epoch. If a line may be logged, since
  /// there was none for `kInterval`, returns how many events it stands for, this one included.
  [[nodiscard]] std::optional<std::uint64_t> note(std::chrono::nanoseconds now) {
    ++unreported_;
    return overdue(now);
  }

  /// If a line may be logged and there are unreported events, returns how many.
  [[nodiscard]] std::optional<std::uint64_t> overdue(std::chrono::nanoseconds now) {
    if (unreported_ == 0 || (last_ && now - *last_ < kInterval)) return std::nullopt;
    last_ = now;
    return std::exchange(unreported_, 0);
  }

 private:
  std::optional<std::chrono::nanoseconds> last_;  ///< when the last line was logged
  std::uint64_t unreported_ = 0;
};

}  // namespace dflockd::logging
