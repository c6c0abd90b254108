#include "bench/measurement.hpp"

#include <gtest/gtest.h>

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{};

TEST(Measurement, counts_nothing_but_errors_before_its_begin_and_after_its_end) {
  Measurement measurement(std::nullopt);
  measurement.acquired(1us, 1);
  measurement.released(1us, 2us, 1);
  measurement.begin(kStart);
  measurement.acquired(10us, 3);
  measurement.released(20us, 30us, 2);
  measurement.end(kStart + 5s);
  measurement.acquired(1s, 1);
  measurement.released(1s, 2s, 1);
  measurement.unexpected("acquire", "timeout");

  const Result& result = measurement.result();
  EXPECT_EQ(result.elapsed, 5s);
  EXPECT_EQ(result.acquire.count(), 3U);
  EXPECT_EQ(result.cycles(), 2U);
  EXPECT_EQ(result.cycle.max(), 30us);
  EXPECT_EQ(result.errors, 1U);
}

TEST(Measurement, a_visit_counts_as_a_cycle) {
  Measurement measurement(std::nullopt);
  measurement.visited(1us, 2us, true);
  measurement.begin(kStart);
  measurement.visited(10us, 30us, false);
  measurement.visited(10us, 20us, true);
  measurement.end(kStart + 5s);

  const Result& result = measurement.result();
  EXPECT_EQ(result.cycles(), 2U);
  EXPECT_EQ(result.handshake.count(), 2U);
  EXPECT_EQ(result.cycle.max(), 30us);
  EXPECT_EQ(result.resumed, 1U);
  EXPECT_EQ(measurement.replies(), 2U);
}

TEST(Measurement, admits_every_cycle_until_its_end) {
  Measurement measurement(std::nullopt);
  EXPECT_EQ(measurement.admit(16), 16U);
  measurement.begin(kStart);
  EXPECT_EQ(measurement.admit(16), 16U);
  measurement.end(kStart);
  EXPECT_EQ(measurement.admit(16), 0U);
}

TEST(Measurement, admits_exactly_its_count) {
  Measurement measurement(20);
  measurement.begin(kStart);
  EXPECT_EQ(measurement.admit(16), 16U);
  EXPECT_EQ(measurement.admit(16), 4U);
  EXPECT_EQ(measurement.admit(16), 0U);
}

TEST(Measurement, keeps_the_first_unexpected_reply_in_printable_form) {
  Measurement measurement(std::nullopt);
  measurement.unexpected("acquire", "-ERR \x1b[2J\xff\r");
  measurement.unexpected("release", "error");
  EXPECT_EQ(measurement.result().errors, 2U);
  EXPECT_EQ(measurement.result().first_error, R"(acquire was answered "-ERR \x1b[2J\xff")");
}

TEST(Measurement, cuts_a_long_unexpected_reply_short) {
  Measurement measurement(std::nullopt);
  measurement.unexpected("acquire", std::string(5000, 'x'));
  EXPECT_LT(measurement.result().first_error.size(), 200U);
  EXPECT_TRUE(measurement.result().first_error.ends_with("...\""));
}

}  // namespace
}  // namespace dflockd::bench
