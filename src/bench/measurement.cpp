#include "bench/measurement.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdio>

namespace dflockd::bench {

std::string printable(std::string_view reply) {
  constexpr std::size_t kLongest = 120;
  if (reply.ends_with('\r')) reply.remove_suffix(1);
  std::string out;
  for (const char c : reply.substr(0, kLongest)) {
    if (c >= ' ' && c <= '~') {
      out += c;
      continue;
    }
    std::array<char, 8> hex{};
    std::snprintf(hex.data(), hex.size(), "\\x%02x", static_cast<unsigned char>(c));
    out += hex.data();
  }
  return reply.size() > kLongest ? out + "..." : out;
}

void Measurement::begin(TimePoint now) {
  assert(phase_ == Phase::kWarmingUp);
  phase_ = Phase::kMeasuring;
  begun_ = now;
}

void Measurement::end(TimePoint now) {
  if (is_measuring()) result_.elapsed = now - begun_;
  phase_ = Phase::kDraining;
}

std::size_t Measurement::admit(std::size_t wanted) {
  if (is_draining()) return 0;
  if (!remaining_) return wanted;
  const auto admitted = static_cast<std::size_t>(std::min<std::uint64_t>(*remaining_, wanted));
  *remaining_ -= admitted;
  return admitted;
}

void Measurement::acquired(Histogram::Duration latency, std::uint64_t times) {
  if (is_measuring()) result_.acquire.record(latency, times);
}

void Measurement::released(Histogram::Duration latency, Histogram::Duration cycle,
                           std::uint64_t times) {
  if (!is_measuring()) return;
  result_.release.record(latency, times);
  result_.cycle.record(cycle, times);
}

void Measurement::visited(Histogram::Duration handshake, Histogram::Duration whole, bool resumed) {
  if (!is_measuring()) return;
  result_.handshake.record(handshake);
  result_.cycle.record(whole);
  if (resumed) ++result_.resumed;
}

void Measurement::unexpected(std::string_view what, std::string_view reply) {
  if (result_.errors++ > 0) return;
  result_.first_error = std::string(what) + " was answered \"" + printable(reply) + "\"";
}

}  // namespace dflockd::bench
