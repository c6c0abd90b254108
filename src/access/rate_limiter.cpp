#include "access/rate_limiter.hpp"

#include <algorithm>

namespace dflockd::access {

namespace {

/// How many buckets a tick looks at.
constexpr int kSlice = 1024;

/// Beyond that a limit is none.
constexpr std::size_t kMost = 1'000'000'000;

std::chrono::nanoseconds time_of_a_token(const RateLimiter::Rate& rate) {
  if (rate.per_second == 0) return std::chrono::nanoseconds::zero();
  constexpr std::chrono::nanoseconds kSecond = std::chrono::seconds(1);
  return kSecond / static_cast<std::int64_t>(std::min(rate.per_second, kMost));
}

}  // namespace

RateLimiter::RateLimiter(const Rate& rate)
    : ipv6_prefix_(rate.ipv6_prefix),
      token_(time_of_a_token(rate)),
      depth_(token_ * static_cast<std::int64_t>(std::clamp<std::size_t>(rate.burst, 1, kMost))) {}

std::optional<std::chrono::nanoseconds> RateLimiter::take(const asio::ip::address& peer,
                                                          std::chrono::nanoseconds now) {
  if (token_ == std::chrono::nanoseconds::zero()) return std::nullopt;
  std::chrono::nanoseconds& full_at =
      full_at_.try_emplace(network_of(peer, ipv6_prefix_), now).first->second;
  const std::chrono::nanoseconds after = std::max(full_at, now) + token_;
  if (after - now > depth_) return after - now - depth_;
  full_at = after;
  return std::nullopt;
}

void RateLimiter::tick(std::chrono::nanoseconds now) {
  auto bucket = full_at_.lower_bound(swept_);
  for (int i = 0; i < kSlice && bucket != full_at_.end(); ++i) {
    bucket = bucket->second <= now ? full_at_.erase(bucket) : std::next(bucket);
  }
  swept_ = bucket == full_at_.end() ? asio::ip::address() : bucket->first;
}

}  // namespace dflockd::access
