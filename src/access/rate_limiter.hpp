// Limits how often an address may do something: a token bucket for each.
//
//   RateLimiter limiter({.per_second = 100, .burst = 200});
//   if (const auto wait = limiter.take(peer.address(), now)) { /* refused: try again after *wait */
//   }
//
// A bucket that is full again is forgotten, so there are only as many as addresses that have been
// busy lately. For the loop's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>

#include <asio/ip/address.hpp>

#include "access/address.hpp"

namespace dflockd::access {

class RateLimiter {
 public:
  struct Rate {
    std::size_t per_second = 0;  ///< 0: no limit
    std::size_t burst = 0;       ///< at once, after a pause; at least 1 if there is a limit
    std::size_t ipv6_prefix = kDefaultIpv6Prefix;  ///< see `network_of`
  };

  explicit RateLimiter(const Rate& rate);

  /// Takes a token from the bucket of `peer`. If there is none, returns how long until there will
  /// be. `now` is a steady clock's.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> take(const asio::ip::address& peer,
                                                             std::chrono::nanoseconds now);

  /// Forgets some of the full buckets. Call it regularly.
  void tick(std::chrono::nanoseconds now);

  /// How many buckets there are.
  [[nodiscard]] std::size_t addresses() const { return full_at_.size(); }

 private:
  const std::size_t ipv6_prefix_;
  /// How far ahead a bucket may be drawn upon: the time that `burst` tokens take.
  std::chrono::nanoseconds token_;
  std::chrono::nanoseconds depth_;
  /// A bucket is the time at which it will be full again (the generic cell rate algorithm, ITU-T
  /// I.371).
  std::map<asio::ip::address, std::chrono::nanoseconds> full_at_;
  asio::ip::address swept_;  ///< where the next tick goes on
};

}  // namespace dflockd::access
