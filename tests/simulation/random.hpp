// The only source of chance in a simulation: the same seed gives the same numbers on every machine
// and with every standard library.
#pragma once

#include <cstdint>
#include <span>

namespace dflockd::simulation {

/// Spreads the bits of a number; different numbers give different results.
[[nodiscard]] constexpr std::uint64_t spread(std::uint64_t number) {
  number = (number ^ (number >> 30U)) * 0xBF58476D1CE4E5B9;
  number = (number ^ (number >> 27U)) * 0x94D049BB133111EB;
  return number ^ (number >> 31U);
}

/// SplitMix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() { return spread(state_ += 0x9E3779B97F4A7C15); }

  /// A number below `end`, which is not 0. Slightly uneven, which does no harm here.
  std::uint64_t below(std::uint64_t end) { return next() % end; }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) {
    return least + below(most - least + 1);
  }
  bool percent(unsigned chance) { return below(100) < chance; }
  bool one_in(std::uint64_t times) { return below(times) == 0; }

  template <class T>
  T& pick(std::span<T> from) {
    return from[below(from.size())];
  }
  template <class Container>
  auto& pick(Container& from) {
    return from[below(from.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace dflockd::simulation
