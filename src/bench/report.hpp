// Prints what was measured, for people or for programs.
#pragma once

#include <iosfwd>

#include "bench/measurement.hpp"
#include "bench/options.hpp"

namespace dflockd::bench {

/// What the keys of the JSON object mean, for `--help`.
extern const char* const kJsonKeys;

/// A few aligned lines.
void print_text(std::ostream& out, const Options& options, const Result& result);

/// One JSON object on one line, with the keys that `kJsonKeys` describes.
void print_json(std::ostream& out, const Options& options, const Result& result);

}  // namespace dflockd::bench
