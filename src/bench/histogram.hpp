// Counts durations in buckets that grow with the duration, so that a small, fixed amount of memory
// answers any percentile to within 0.5 %.
//
//   Histogram latencies;
//   latencies.record(412us);
//   latencies.percentile(99.9);
//
// Recording takes a few instructions and never allocates. Not thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace dflockd::bench {

class Histogram {
 public:
  using Duration = std::chrono::nanoseconds;

  /// Counts `value`, which must not be negative, `times` times.
  void record(Duration value, std::uint64_t times = 1);

  [[nodiscard]] std::uint64_t count() const { return count_; }

  /// The largest value recorded, exactly; zero without any.
  [[nodiscard]] Duration max() const { return max_; }

  /// The smallest value that `percent` per cent of the values do not exceed, to within 0.5 %; zero
  /// without any. `percent` is above 0 and at most 100.
  [[nodiscard]] Duration percentile(double percent) const;

 private:
  // Each power of two is cut into this many buckets of equal width; values below twice as many
  // nanoseconds have a bucket each.
  static constexpr unsigned kStepBits = 7;
  static constexpr std::size_t kSteps = std::size_t{1} << kStepBits;
  static constexpr unsigned kValueBits = 63;
  static constexpr std::size_t kBuckets = (kValueBits - kStepBits + 1) * kSteps;

  static std::size_t bucket_of(std::uint64_t value);
  static std::uint64_t middle_of(std::size_t bucket);

  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  Duration max_{0};
};

}  // namespace dflockd::bench
