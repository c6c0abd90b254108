// The words of the simulation.
#pragma once

#include <chrono>
#include <cstdint>

namespace dflockd::simulation {

using Time = std::chrono::nanoseconds;
using ConnectionId = std::uint64_t;

inline constexpr Time kNever = Time::max();

/// How a connection speaks.
enum class Door : std::uint8_t { kLines, kHttp };

}  // namespace dflockd::simulation
