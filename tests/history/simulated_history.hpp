// The history of a lock server that works: the real table, clients at a few keys, each with one
// connection at a time, and replies that take their time.
#pragma once

#include <chrono>
#include <cstdint>

#include "history.hpp"

namespace dflockd::history {

/// How long the table keeps what a client leaves to its ref.
constexpr std::chrono::seconds kSimulatedTtl{2};

/// Always the same for a seed.
History simulated_history(std::uint64_t seed);

}  // namespace dflockd::history
