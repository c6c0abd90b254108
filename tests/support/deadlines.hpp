// How the tests deal with time: they wait for conditions under a generous deadline, and where real
// time is itself what is tested they measure it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace dflockd::test {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Duration = Clock::duration;

/// Whether the test or the server that it talks to runs under AddressSanitizer, and takes its time.
#ifdef __SANITIZE_ADDRESS__
inline const bool kSanitized = true;
#else
inline const bool kSanitized = std::getenv("DFLOCKD_SANITIZED") != nullptr;
#endif

/// How long a test waits for something that must happen before it gives up.
inline const Duration kPatience = kSanitized ? 40s : 15s;

/// A bound on something measured; under sanitizers a loose one.
inline Duration within(Duration bound) {
  return kSanitized ? 10 * bound : bound;
}

/// Waits until `condition` is true. False if it did not become so in time.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition, Duration patience = kPatience) {
  const auto deadline = Clock::now() + patience;
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// The best of up to five measurements, or the first that keeps to `bound`. A promise for a server
/// that gets the processor when it asks for it cannot be refuted by one measurement on a machine
/// that is busy with other tests; five times too late in a row is the server's doing.
template <class Measure>
[[nodiscard]] Duration best_measured(Duration bound, Measure&& measure) {
  Duration best = measure();
  for (int round = 1; round < 5 && best > bound; ++round) best = std::min(best, measure());
  return best;
}

}  // namespace dflockd::test
