#include "bench/numbers.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace dflockd::bench {
namespace {

TEST(Decimal, groups_thousands) {
  EXPECT_EQ(decimal(0, 0), "0");
  EXPECT_EQ(decimal(999, 0), "999");
  EXPECT_EQ(decimal(1000, 0), "1,000");
  EXPECT_EQ(decimal(123456, 0), "123,456");
  EXPECT_EQ(decimal(1234567.89, 1), "1,234,567.9");
}

TEST(Decimal, keeps_trailing_zeros) {
  EXPECT_EQ(decimal(12, 3), "12.000");
}

TEST(Decimal, has_room_for_any_number) {
  EXPECT_EQ(decimal(std::numeric_limits<double>::max(), 0).size(), 309U + 102U);
}

}  // namespace
}  // namespace dflockd::bench
