// The history of a lock server that works: the real table, and clients with one connection each at
// a few keys, and replies that take their time.
#pragma once

#include <cstdint>

#include "history.hpp"

namespace dflockd::history {

/// Always the same for a seed.
History simulated_history(std::uint64_t seed);

}  // namespace dflockd::history
