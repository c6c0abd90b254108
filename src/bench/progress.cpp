#include "bench/progress.hpp"

#include <iostream>

#include <unistd.h>

#include "bench/numbers.hpp"

namespace dflockd::bench {
namespace {

constexpr const char* kEraseLine = "\r\x1b[K";

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

bool Progress::is_wanted(const Options& options) {
  return !options.quiet && isatty(STDERR_FILENO) == 1;
}

Progress::Progress(const Measurement& measurement, const Options& options)
    : measurement_(measurement),
      unit_(options.handshakes ? " handshakes/s, " : " cycles/s, "),
      started_(Clock::now()),
      shown_(started_) {}

Progress::~Progress() {
  std::cerr << kEraseLine << std::flush;
}

void Progress::show() {
  const TimePoint now = Clock::now();
  const Result& result = measurement_.result();
  const double rate = double(result.cycles() - shown_cycles_) / seconds_between(shown_, now);
  std::cerr << kEraseLine << decimal(seconds_between(started_, now), 0) << " s: ";
  if (measurement_.is_measuring()) {
    std::cerr << decimal(rate, 0) << unit_ << decimal(double(result.errors), 0) << " errors";
  } else {
    std::cerr << "warming up";
  }
  std::cerr << std::flush;
  shown_ = now;
  shown_cycles_ = result.cycles();
}

}  // namespace dflockd::bench
