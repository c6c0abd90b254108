// How many fences to keep ahead of grants, by the rate at which they are used: a disk may be slow,
// and a grant must not wait for it, nor be refused because of it.
//
//   FenceDemand demand;
//   demand.note(now, grants);              // some times a second
//   if (left < demand.low_water()) reserver.request(demand.step());
//
// Why the numbers suffice for 700,000 grants a second and an fsync(2) of 1.5 s: one reservation
// goes on at a time, so the worst moment for such a load to begin is when a small one has just been
// asked for, with a little less than `kLeastLowWater` left. That many are used up in 2.2 s; after
// 1.5 s there are `kStep` more, which suffice until the next reservation has come, 3 s after the
// beginning, which is as large as the load wants it. From then on there are more than ten seconds
// ahead.
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "fencing/fence_file.hpp"

namespace dflockd::fencing {

class FenceDemand {
 public:
  /// How many fences are reserved at a time while few are used.
  static constexpr std::uint64_t kStep = std::uint64_t{1} << 20;
  /// How many are left when more are asked for, while few are used.
  static constexpr std::uint64_t kLeastLowWater = kStep + kStep / 2;
  /// How long the fences left and reserved should last at the rate of the busiest recent moment, as
  /// far as `FenceSteps::kMost` allows.
  static constexpr std::chrono::seconds kAhead{10};

  /// Notes how many fences have been used in all.
  void note(std::chrono::nanoseconds now, std::uint64_t used) {
    const auto elapsed = std::chrono::floor<std::chrono::microseconds>(now - noted_at_);
    if (elapsed < kShortest) return;
    const auto passed = static_cast<std::uint64_t>(elapsed.count());
    const std::uint64_t rate = (used - used_) * std::micro::den / passed;
    rate_ = std::max(rate, rate_ - rate_ / kFade);
    noted_at_ = now;
    used_ = used;
    const std::uint64_t ahead = rate_ * static_cast<std::uint64_t>(kAhead.count());
    low_water_ = std::clamp(ahead, kLeastLowWater, FenceSteps::kMost);
    step_ = std::clamp(ahead, kStep, FenceSteps::kMost);
  }

  /// The number of fences left below which more have to be reserved.
  [[nodiscard]] std::uint64_t low_water() const { return low_water_; }
  /// How many to reserve then.
  [[nodiscard]] std::uint64_t step() const { return step_; }

 private:
  /// A shorter time says little about a rate.
  static constexpr std::chrono::milliseconds kShortest{20};
  /// A rate is forgotten by this part with every note: by half in two seconds of ticks.
  static constexpr std::uint64_t kFade = 64;

  std::chrono::nanoseconds noted_at_{0};
  std::uint64_t used_ = 0;
  std::uint64_t rate_ = 0;  ///< a second
  std::uint64_t low_water_ = kLeastLowWater;
  std::uint64_t step_ = kStep;
};

}  // namespace dflockd::fencing
