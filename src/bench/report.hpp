// Prints what is being measured, and what was, for people or for programs. Not thread-safe.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "bench/measurement.hpp"
#include "bench/options.hpp"

namespace dflockd::bench {

/// A few aligned lines.
void print_text(std::ostream& out, const Options& options, const Result& result);

/// One JSON object on one line, with the keys that `--help` describes.
void print_json(std::ostream& out, const Options& options, const Result& result);

/// A number with this many digits after its point and its thousands grouped: "1,234,567.8". `value`
/// is finite and not negative.
[[nodiscard]] std::string decimal(double value, int digits);

/// The line on a terminal that shows how a load is doing.
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
