#include "logging/rate_limited.hpp"

#include <utility>

namespace dflockd::logging {

std::optional<std::uint64_t> RateLimited::admit(std::chrono::nanoseconds now) {
  if (last_ && now - *last_ < kInterval) {
    ++suppressed_;
    return std::nullopt;
  }
  last_ = now;
  return std::exchange(suppressed_, 0);
}

}  // namespace dflockd::logging
