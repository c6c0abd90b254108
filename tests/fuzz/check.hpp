// What a fuzz target demands of what it tries.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace dflockd::fuzz {

/// Ends the process, which libFuzzer takes for a finding, if `invariant` does not hold. `text` says
/// what should be.
inline void check(bool invariant, const char* text) {
  if (invariant) return;
  std::fprintf(stderr, "violated: %s\n", text);
  std::abort();
}

}  // namespace dflockd::fuzz
