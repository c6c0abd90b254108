#include "logging/rate_limited.hpp"

#include <gtest/gtest.h>

namespace dflockd::logging {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(RateLimitedTest, further_lines_within_a_second_are_refused) {
  RateLimited limited;
  ASSERT_EQ(limited.note(seconds(100)), 1U);
  EXPECT_EQ(limited.note(seconds(100)), std::nullopt);
  EXPECT_EQ(limited.note(seconds(101) - nanoseconds(1)), std::nullopt);
}

TEST(RateLimitedTest, first_event_is_told_at_any_time) {
  EXPECT_EQ(RateLimited().note(nanoseconds(0)), 1U);
  EXPECT_EQ(RateLimited().note(seconds(-5)), 1U);
}

TEST(RateLimitedTest, line_tells_how_many_events_there_were_since_the_last) {
  RateLimited limited;
  EXPECT_EQ(limited.note(seconds(1)), 1U);
  for (int i = 0; i < 41; ++i) {
    EXPECT_EQ(limited.note(seconds(1)), std::nullopt);
  }
  EXPECT_EQ(limited.note(seconds(2)), 42U);
  EXPECT_EQ(limited.note(seconds(3)), 1U) << "counted once only";
}

TEST(RateLimitedTest, interval_starts_at_the_last_line) {
  RateLimited limited;
  EXPECT_TRUE(limited.note(seconds(1)));
  EXPECT_TRUE(limited.note(nanoseconds(2'900'000'000)));
  EXPECT_FALSE(limited.note(nanoseconds(3'100'000'000)));
}

TEST(RateLimitedTest, events_are_told_when_no_other_follows) {
  RateLimited limited;
  EXPECT_EQ(limited.overdue(seconds(1)), std::nullopt) << "there was none";
  EXPECT_EQ(limited.note(seconds(1)), 1U);
  EXPECT_EQ(limited.overdue(seconds(9)), std::nullopt) << "reported already";
  EXPECT_EQ(limited.note(seconds(1)), std::nullopt);
  EXPECT_EQ(limited.note(seconds(1)), std::nullopt);
  EXPECT_EQ(limited.overdue(seconds(2) - nanoseconds(1)), std::nullopt);
  EXPECT_EQ(limited.overdue(seconds(2)), 2U);
  EXPECT_EQ(limited.overdue(seconds(3)), std::nullopt) << "reported once only";
  EXPECT_EQ(limited.note(seconds(2)), std::nullopt) << "it was a line too";
}

}  // namespace
}  // namespace dflockd::logging
