#include "logging/rate_limited.hpp"

#include <utility>

namespace dflockd::logging {

std::optional<std::uint64_t> RateLimited::note(std::chrono::nanoseconds now) {
  ++untold_;
  return overdue(now);
}

std::optional<std::uint64_t> RateLimited::overdue(std::chrono::nanoseconds now) {
  if (untold_ == 0 || (last_ && now - *last_ < kInterval)) return std::nullopt;
  last_ = now;
  return std::exchange(untold_, 0);
}

}  // namespace dflockd::logging
