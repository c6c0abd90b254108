#include <gtest/gtest.h>

#include "ctl/text.hpp"

namespace dflockd::ctl {
namespace {

using namespace std::chrono_literals;

TEST(Duration, is_a_whole_number_and_a_unit) {
  EXPECT_EQ(parse_duration("500ms"), 500ms);
  EXPECT_EQ(parse_duration("10s"), 10s);
  EXPECT_EQ(parse_duration("2m"), 2min);
  EXPECT_EQ(parse_duration("1h"), 1h);
  EXPECT_EQ(parse_duration("7"), 7s);
  EXPECT_EQ(parse_duration("0"), 0s);
  EXPECT_EQ(parse_duration("007s"), 7s);
}

TEST(Duration, is_at_most_what_the_protocol_allows) {
  EXPECT_EQ(parse_duration("9223372036s"), base::kMaxSeconds);
  EXPECT_EQ(parse_duration("9223372036000ms"), base::kMaxSeconds);
  EXPECT_EQ(parse_duration("9223372037s"), std::nullopt);
  EXPECT_EQ(parse_duration("9223372036001ms"), std::nullopt);
  EXPECT_EQ(parse_duration("2562048h"), std::nullopt);
  EXPECT_EQ(parse_duration("99999999999999999999999h"), std::nullopt);
}

TEST(Duration, is_nothing_else) {
  for (const char* text : {"", "s", "ms", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1S", "1d",
                           "1us", "1m30s", "0x10s", "1e3"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

TEST(Duration, is_shown_with_its_two_largest_units) {
  EXPECT_EQ(short_text(0ms), "0ms");
  EXPECT_EQ(short_text(999ms), "999ms");
  EXPECT_EQ(short_text(59'999ms), "59s");
  EXPECT_EQ(short_text(185s), "3m05s");
  EXPECT_EQ(short_text(2h + 4min + 59s), "2h04m");
  EXPECT_EQ(short_text(9 * 24h + 3h), "9d03h");
}

}  // namespace
}  // namespace dflockd::ctl
