#include "bench/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

namespace dflockd::bench {

void Histogram::record(Duration value, std::uint64_t times) {
  assert(value >= Duration::zero());
  if (times == 0) return;
  buckets_[bucket_of(static_cast<std::uint64_t>(value.count()))] += times;
  count_ += times;
  max_ = std::max(max_, value);
}

Histogram::Duration Histogram::percentile(double percent) const {
  assert(percent > 0 && percent <= 100);
  const auto rank = static_cast<std::uint64_t>(std::ceil(percent / 100 * double(count_)));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    seen += buckets_[bucket];
    if (seen > 0 && seen >= rank) return std::min(Duration(middle_of(bucket)), max_);
  }
  return max_;
}

std::size_t Histogram::bucket_of(std::uint64_t value) {
  const auto bits = static_cast<unsigned>(std::bit_width(value));
  const unsigned shift = bits > kStepBits + 1 ? bits - (kStepBits + 1) : 0;
  return shift * kSteps + (value >> shift);
}

std::uint64_t Histogram::middle_of(std::size_t bucket) {
  const std::size_t shift = bucket < 2 * kSteps ? 0 : bucket / kSteps - 1;
  const std::uint64_t low = (bucket - shift * kSteps) << shift;
  const std::uint64_t width = std::uint64_t{1} << shift;
  return low + (width - 1) / 2;
}

}  // namespace dflockd::bench
