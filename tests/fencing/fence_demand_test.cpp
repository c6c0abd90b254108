// How many fences are kept ahead: enough for any load up to the promised one on a slow disk,
// whenever it begins, and about a million at a time for all others.
#include "fencing/fence_demand.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

#include <gtest/gtest.h>

namespace dflockd::fencing {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

/// A server that grants as fast as asked to, with a tick every 50 ms and a disk that takes its
/// time.
class Server {
 public:
  explicit Server(nanoseconds fsync) : fsync_(fsync) {}

  /// Goes on for a while. False if a grant was refused.
  bool grant(std::uint64_t a_second, nanoseconds time) {
    constexpr nanoseconds kMoment = 1ms;
    for (const nanoseconds end = now_ + time; now_ < end; now_ += kMoment) {
      if (done_ && now_ >= *done_) {
        left_ += asked_;
        done_.reset();
      }
      const std::uint64_t wanted = a_second / 1'000;
      if (left_ < wanted) return false;
      left_ -= wanted;
      used_ += wanted;
      if (now_ % 50ms == 0ms) demand_.note(now_, used_);
      if (!done_ && left_ < demand_.low_water()) {
        asked_ = demand_.step();
        largest = std::max(largest, asked_);
        done_ = now_ + fsync_;
      }
    }
    return true;
  }
  /// Goes on until a reservation has just begun.
  void grant_until_asking(std::uint64_t a_second) {
    while (done_) EXPECT_TRUE(grant(a_second, 1ms));
    while (!done_) ASSERT_TRUE(grant(a_second, 1ms));
  }

  std::uint64_t largest = 0;  ///< reservation

 private:
  const nanoseconds fsync_;
  FenceDemand demand_;
  nanoseconds now_ = 1'000'000s;
  std::uint64_t left_ = FenceSteps::kFirst;
  std::uint64_t used_ = 0;
  std::uint64_t asked_ = 0;
  std::optional<nanoseconds> done_;
};

TEST(FenceDemandTest, load_that_begins_with_the_server_is_not_refused_by_a_slow_disk) {
  Server server(1'500ms);
  EXPECT_TRUE(server.grant(700'000, 60s));
}

TEST(FenceDemandTest, load_that_begins_in_the_midst_of_a_small_reservation_is_not_refused) {
  for (const std::uint64_t before : {1'000U, 50'000U, 200'000U}) {
    Server server(1'500ms);
    server.grant_until_asking(before);
    EXPECT_TRUE(server.grant(700'000, 60s)) << before;
  }
}

TEST(FenceDemandTest, load_that_comes_and_goes_is_not_refused) {
  Server server(1'500ms);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(server.grant(700'000, 700ms)) << i;
    ASSERT_TRUE(server.grant(1'000, i * 100ms)) << i;
  }
}

TEST(FenceDemandTest, load_of_millions_is_not_refused_by_a_disk_as_it_should_be) {
  Server server(50ms);
  EXPECT_TRUE(server.grant(5'000'000, 30s));
}

TEST(FenceDemandTest, a_million_is_reserved_at_a_time_for_ordinary_loads) {
  Server server(10ms);
  EXPECT_TRUE(server.grant(50'000, 120s));
  EXPECT_EQ(server.largest, FenceDemand::kStep);
}

TEST(FenceDemandTest, never_asks_for_more_than_the_file_promises) {
  FenceDemand demand;
  demand.note(1s, 0);
  demand.note(2s, std::uint64_t{1} << 40);
  EXPECT_EQ(demand.step(), FenceSteps::kMost);
  EXPECT_EQ(demand.low_water(), FenceSteps::kMost);
}

TEST(FenceDemandTest, forgets_a_load_that_is_over) {
  FenceDemand demand;
  demand.note(1s, 0);
  demand.note(2s, 1'000'000);
  EXPECT_GT(demand.step(), FenceDemand::kStep);
  for (nanoseconds now = 2s; now < 60s; now += 50ms) demand.note(now, 1'000'000);
  EXPECT_EQ(demand.step(), FenceDemand::kStep);
  EXPECT_EQ(demand.low_water(), FenceDemand::kLeastLowWater);
}

TEST(FenceDemandTest, moments_too_short_to_tell_a_rate_tell_none) {
  FenceDemand demand;
  demand.note(1s, 0);
  demand.note(1s, 1'000'000);
  demand.note(1s + 1us, 1'000'000);
  EXPECT_EQ(demand.step(), FenceDemand::kStep);
}

}  // namespace
}  // namespace dflockd::fencing
