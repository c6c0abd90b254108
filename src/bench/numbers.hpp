// Numbers as people read them. Pure functions.
#pragma once

#include <string>

namespace dflockd::bench {

/// A number with this many digits behind its point and its thousands grouped: "1,234,567.8".
/// `value` is finite and not negative.
[[nodiscard]] std::string decimal(double value, int digits);

}  // namespace dflockd::bench
