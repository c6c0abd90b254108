// The line on a terminal that tells how a load is doing. Not thread-safe.
#pragma once

#include <cstdint>

#include "bench/measurement.hpp"
#include "bench/options.hpp"

namespace dflockd::bench {

class Progress {
 public:
  /// Whether there is someone to read it: standard error is a terminal, and `--quiet` is not set.
  [[nodiscard]] static bool is_wanted(const Options& options);

  /// Shows the progress of `measurement`, which must outlive it.
  Progress(const Measurement& measurement, const Options& options);

  /// Erases the line.
  ~Progress();

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Replaces the line by one about the time since the last call.
  void show();

 private:
  const Measurement& measurement_;
  const char* const unit_;
  TimePoint started_;
  TimePoint shown_;
  std::uint64_t shown_cycles_ = 0;
};

}  // namespace dflockd::bench
