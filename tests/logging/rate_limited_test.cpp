#include "logging/rate_limited.hpp"

#include <gtest/gtest.h>

namespace dflockd::logging {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(RateLimitedTest, further_lines_within_a_second_are_refused) {
  RateLimited limited;
  ASSERT_TRUE(limited.admit(seconds(100)));
  EXPECT_FALSE(limited.admit(seconds(100)));
  EXPECT_FALSE(limited.admit(seconds(101) - nanoseconds(1)));
}

TEST(RateLimitedTest, first_line_is_admitted_at_any_time) {
  EXPECT_EQ(RateLimited().admit(nanoseconds(0)), 0U);
  EXPECT_EQ(RateLimited().admit(seconds(-5)), 0U);
}

TEST(RateLimitedTest, admitted_line_tells_how_many_were_refused) {
  RateLimited limited;
  EXPECT_EQ(limited.admit(seconds(1)), 0U);
  for (int i = 0; i < 41; ++i) {
    EXPECT_EQ(limited.admit(seconds(1)), std::nullopt);
  }
  EXPECT_EQ(limited.admit(seconds(2)), 41U);
  EXPECT_EQ(limited.admit(seconds(3)), 0U) << "counted once only";
}

TEST(RateLimitedTest, interval_starts_at_the_last_admitted_line) {
  RateLimited limited;
  EXPECT_TRUE(limited.admit(seconds(1)));
  EXPECT_TRUE(limited.admit(nanoseconds(2'900'000'000)));
  EXPECT_FALSE(limited.admit(nanoseconds(3'100'000'000)));
}

}  // namespace
}  // namespace dflockd::logging
