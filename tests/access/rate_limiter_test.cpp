#include "access/rate_limiter.hpp"

#include <chrono>
#include <limits>
#include <optional>
#include <string>

#include <gtest/gtest.h>

namespace dflockd::access {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr nanoseconds kNow = 100s;

asio::ip::address peer(const std::string& text = "192.0.2.1") {
  return asio::ip::make_address(text);
}

/// How many tokens the bucket of `from` gives at once.
int tokens(RateLimiter& limiter, nanoseconds now, const asio::ip::address& from = peer()) {
  int count = 0;
  while (count < 10'000 && !limiter.take(from, now)) ++count;
  return count;
}

/// Ticks often enough to look at every bucket.
void tick_over_all(RateLimiter& limiter, nanoseconds now) {
  const std::size_t ticks = limiter.addresses() / 1'024 + 2;
  for (std::size_t i = 0; i < ticks; ++i) limiter.tick(now);
}

// --- Refusing ---

TEST(RateLimiterTest, burst_is_given_at_once_and_no_more) {
  for (const std::size_t burst : {1U, 2U, 7U, 1'000U}) {
    RateLimiter limiter({.per_second = 10, .burst = burst});
    EXPECT_EQ(tokens(limiter, kNow), static_cast<int>(burst));
    EXPECT_EQ(tokens(limiter, kNow), 0);
  }
}

TEST(RateLimiterTest, burst_of_0_is_one_of_1) {
  RateLimiter limiter({.per_second = 10, .burst = 0});
  EXPECT_EQ(tokens(limiter, kNow), 1);
}

TEST(RateLimiterTest, wait_is_exact_to_the_nanosecond) {
  RateLimiter limiter({.per_second = 10, .burst = 3});
  EXPECT_EQ(tokens(limiter, kNow), 3);
  EXPECT_EQ(limiter.take(peer(), kNow), 100ms);
  EXPECT_EQ(limiter.take(peer(), kNow + 30ms), 70ms);
  EXPECT_EQ(limiter.take(peer(), kNow + 100ms - 1ns), 1ns);
  EXPECT_EQ(limiter.take(peer(), kNow + 100ms), std::nullopt);
  EXPECT_EQ(limiter.take(peer(), kNow + 100ms), 100ms);
}

TEST(RateLimiterTest, wait_is_exact_for_rates_that_do_not_divide_a_second) {
  RateLimiter limiter({.per_second = 3, .burst = 1});
  EXPECT_EQ(tokens(limiter, kNow), 1);
  const std::optional<nanoseconds> wait = limiter.take(peer(), kNow);
  EXPECT_EQ(wait, 333'333'333ns);
  EXPECT_TRUE(limiter.take(peer(), kNow + *wait - 1ns));
  EXPECT_FALSE(limiter.take(peer(), kNow + *wait));
}

TEST(RateLimiterTest, being_refused_costs_nothing) {
  RateLimiter limiter({.per_second = 1, .burst = 1});
  EXPECT_FALSE(limiter.take(peer(), kNow));
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(limiter.take(peer(), kNow + 400ms), 600ms);
  EXPECT_FALSE(limiter.take(peer(), kNow + 1s));
}

// --- Refilling ---

TEST(RateLimiterTest, tokens_come_back_one_by_one) {
  RateLimiter limiter({.per_second = 10, .burst = 5});
  EXPECT_EQ(tokens(limiter, kNow), 5);
  EXPECT_EQ(tokens(limiter, kNow + 99ms), 0);
  EXPECT_EQ(tokens(limiter, kNow + 100ms), 1);
  EXPECT_EQ(tokens(limiter, kNow + 350ms), 2);
  EXPECT_EQ(tokens(limiter, kNow + 400ms), 1);
}

TEST(RateLimiterTest, no_more_than_the_burst_is_saved) {
  RateLimiter limiter({.per_second = 10, .burst = 5});
  EXPECT_EQ(tokens(limiter, kNow), 5);
  EXPECT_EQ(tokens(limiter, kNow + 500ms), 5);
  EXPECT_EQ(tokens(limiter, kNow + 24h), 5);
}

TEST(RateLimiterTest, rate_holds_over_a_long_time) {
  RateLimiter limiter({.per_second = 50, .burst = 10});
  int count = 0;
  for (nanoseconds now = kNow; now < kNow + 10s; now += 1ms) count += tokens(limiter, now);
  EXPECT_GE(count, 10 + 499);
  EXPECT_LE(count, 10 + 500);
}

// --- By address ---

TEST(RateLimiterTest, each_address_has_its_own_bucket) {
  RateLimiter limiter({.per_second = 1, .burst = 2});
  for (const char* const address : {"192.0.2.1", "192.0.2.2", "2001:db8::1", "::192.0.2.1"}) {
    EXPECT_EQ(tokens(limiter, kNow, peer(address)), 2) << address;
  }
  EXPECT_EQ(tokens(limiter, kNow, peer("192.0.2.1")), 0);
  EXPECT_EQ(limiter.addresses(), 4U);
}

TEST(RateLimiterTest, addresses_of_one_ipv6_network_share_a_bucket) {
  RateLimiter limiter({.per_second = 10, .burst = 2});
  EXPECT_FALSE(limiter.take(peer("2001:db8::1"), kNow));
  EXPECT_FALSE(limiter.take(peer("2001:db8::2"), kNow));
  EXPECT_TRUE(limiter.take(peer("2001:db8::3"), kNow));
  EXPECT_FALSE(limiter.take(peer("2001:db8:0:1::1"), kNow));
  EXPECT_EQ(limiter.addresses(), 2U);
  RateLimiter whole({.per_second = 10, .burst = 1, .ipv6_prefix = 128});
  EXPECT_FALSE(whole.take(peer("2001:db8::1"), kNow));
  EXPECT_FALSE(whole.take(peer("2001:db8::2"), kNow));
}

TEST(RateLimiterTest, mapped_address_counts_as_the_ipv4_address) {
  RateLimiter limiter({.per_second = 1, .burst = 2});
  EXPECT_FALSE(limiter.take(peer("192.0.2.1"), kNow));
  EXPECT_FALSE(limiter.take(peer("::ffff:192.0.2.1"), kNow));
  EXPECT_TRUE(limiter.take(peer("192.0.2.1"), kNow));
  EXPECT_TRUE(limiter.take(peer("::ffff:192.0.2.1"), kNow));
  EXPECT_EQ(limiter.addresses(), 1U);
}

// --- Forgetting ---

TEST(RateLimiterTest, bucket_is_forgotten_when_it_is_full_and_not_before) {
  RateLimiter limiter({.per_second = 10, .burst = 5});
  EXPECT_FALSE(limiter.take(peer(), kNow));
  EXPECT_FALSE(limiter.take(peer(), kNow));
  limiter.tick(kNow + 200ms - 1ns);
  EXPECT_EQ(limiter.addresses(), 1U);
  limiter.tick(kNow + 200ms);
  EXPECT_EQ(limiter.addresses(), 0U);
  EXPECT_EQ(tokens(limiter, kNow + 200ms), 5);
}

TEST(RateLimiterTest, every_bucket_gets_its_turn_to_be_forgotten) {
  RateLimiter limiter({.per_second = 10, .burst = 1});
  for (unsigned int i = 0; i < 5'000; ++i) {
    EXPECT_FALSE(limiter.take(asio::ip::make_address_v4(0x0a000000U + i), kNow));
  }
  EXPECT_FALSE(limiter.take(peer("2001:db8::1"), kNow));
  EXPECT_EQ(limiter.addresses(), 5'001U);
  tick_over_all(limiter, kNow);
  EXPECT_EQ(limiter.addresses(), 5'001U);

  const std::size_t before = limiter.addresses();
  limiter.tick(kNow + 1s);
  EXPECT_LT(limiter.addresses(), before);
  EXPECT_GE(limiter.addresses() + 1'024, before) << "a tick must not stall the loop";
  tick_over_all(limiter, kNow + 1s);
  EXPECT_EQ(limiter.addresses(), 0U);
}

TEST(RateLimiterTest, busy_address_does_not_keep_the_others) {
  RateLimiter limiter({.per_second = 10, .burst = 1});
  for (unsigned int i = 0; i < 3'000; ++i) {
    EXPECT_FALSE(limiter.take(asio::ip::make_address_v4(0x0a000000U + i), kNow));
  }
  EXPECT_FALSE(limiter.take(asio::ip::make_address_v4(0x0a000000U + 1'500), kNow + 1s));
  tick_over_all(limiter, kNow + 1s);
  EXPECT_EQ(limiter.addresses(), 1U);
}

TEST(RateLimiterTest, tick_without_buckets_does_nothing) {
  RateLimiter limiter({.per_second = 10, .burst = 1});
  limiter.tick(kNow);
  EXPECT_EQ(limiter.addresses(), 0U);
}

// --- Extremes ---

TEST(RateLimiterTest, rate_of_0_is_no_limit) {
  for (const std::size_t burst : {0U, 1U, 1'000U}) {
    RateLimiter limiter({.per_second = 0, .burst = burst});
    EXPECT_EQ(tokens(limiter, kNow), 10'000);
    EXPECT_EQ(limiter.addresses(), 0U) << "addresses are remembered though nothing depends on it";
  }
}

TEST(RateLimiterTest, huge_rates_and_bursts_do_not_overflow) {
  constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
  for (const std::size_t rate : {std::size_t{1}, std::size_t{1'000'000'001}, kHuge - 1, kHuge}) {
    for (const std::size_t burst : {std::size_t{1'000'000'001}, kHuge - 1, kHuge}) {
      RateLimiter limiter({.per_second = rate, .burst = burst});
      EXPECT_EQ(tokens(limiter, kNow), 10'000);
      EXPECT_EQ(tokens(limiter, std::chrono::hours(24 * 365 * 100)), 10'000) << "up for a century";
    }
  }
  RateLimiter limiter({.per_second = kHuge, .burst = 1});
  EXPECT_FALSE(limiter.take(peer(), kNow));
  EXPECT_EQ(limiter.take(peer(), kNow), 1ns);
}

TEST(RateLimiterTest, clock_may_start_at_0) {
  RateLimiter limiter({.per_second = 1, .burst = 2});
  EXPECT_EQ(tokens(limiter, 0ns), 2);
  EXPECT_EQ(limiter.take(peer(), 0ns), 1s);
}

}  // namespace
}  // namespace dflockd::access
