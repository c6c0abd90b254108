#include "bench/histogram.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::bench {
namespace {

using std::chrono::nanoseconds;

TEST(Histogram, is_zero_without_values) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.max(), nanoseconds(0));
  EXPECT_EQ(histogram.percentile(50), nanoseconds(0));
  EXPECT_EQ(histogram.percentile(100), nanoseconds(0));
}

TEST(Histogram, one_value_is_every_percentile) {
  Histogram histogram;
  histogram.record(nanoseconds(200));
  for (const double percent : {0.1, 50.0, 99.9, 100.0}) {
    EXPECT_EQ(histogram.percentile(percent), nanoseconds(200)) << percent;
  }
}

TEST(Histogram, small_values_are_exact) {
  Histogram histogram;
  for (int value = 1; value <= 200; ++value) histogram.record(nanoseconds(value));
  EXPECT_EQ(histogram.percentile(0.5), nanoseconds(1));
  EXPECT_EQ(histogram.percentile(50), nanoseconds(100));
  EXPECT_EQ(histogram.percentile(99), nanoseconds(198));
  EXPECT_EQ(histogram.percentile(100), nanoseconds(200));
}

TEST(Histogram, a_value_recorded_many_times_counts_as_often) {
  Histogram histogram;
  histogram.record(nanoseconds(10), 99);
  histogram.record(nanoseconds(20));
  histogram.record(nanoseconds(30), 0);
  EXPECT_EQ(histogram.count(), 100U);
  EXPECT_EQ(histogram.percentile(99), nanoseconds(10));
  EXPECT_EQ(histogram.percentile(99.1), nanoseconds(20));
  EXPECT_EQ(histogram.max(), nanoseconds(20));
}

TEST(Histogram, every_magnitude_is_within_half_a_percent) {
  for (double value = 1; value < 9e18; value *= 1.37) {
    Histogram histogram;
    const nanoseconds exact(static_cast<std::int64_t>(value));
    histogram.record(exact);
    histogram.record(nanoseconds::max());  // so that the maximum does not correct the percentile
    const double found = double(histogram.percentile(50).count());
    EXPECT_NEAR(found, double(exact.count()), 0.005 * value) << value;
  }
}

TEST(Histogram, the_largest_duration_has_a_bucket) {
  Histogram histogram;
  histogram.record(nanoseconds::max());
  histogram.record(nanoseconds(0));
  EXPECT_EQ(histogram.max(), nanoseconds::max());
  EXPECT_EQ(histogram.percentile(50), nanoseconds(0));
  EXPECT_NEAR(double(histogram.percentile(100).count()), double(nanoseconds::max().count()), 5e16);
}

TEST(Histogram, percentiles_agree_with_sorted_values) {
  std::mt19937_64 random(20'240'607);
  std::lognormal_distribution<double> latencies(11, 2);
  Histogram histogram;
  std::vector<double> sorted;
  for (int i = 0; i < 20'000; ++i) {
    const double value = std::floor(latencies(random));
    sorted.push_back(value);
    histogram.record(nanoseconds(static_cast<std::int64_t>(value)));
  }
  std::sort(sorted.begin(), sorted.end());
  for (const double percent : {1.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * double(sorted.size())));
    const double exact = sorted[rank - 1];
    EXPECT_NEAR(double(histogram.percentile(percent).count()), exact, 0.005 * exact) << percent;
  }
}

}  // namespace
}  // namespace dflockd::bench
