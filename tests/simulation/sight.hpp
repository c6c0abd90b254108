// What can be seen of the server after a step.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "locks/types.hpp"

namespace dflockd::simulation {

using Time = std::chrono::nanoseconds;
using ConnectionId = std::uint64_t;

inline constexpr Time kNever = Time::max();

/// A reply, with its line end, and whose it is.
struct Said {
  ConnectionId to = 0;
  std::string line;

  friend bool operator==(const Said&, const Said&) = default;
};

struct Sight {
  std::vector<Said> said;            ///< during the step
  std::vector<locks::KeyInfo> keys;  ///< by kind and name; their owners' indexes are connections
  locks::TableCounts counts;
  Time next_deadline{0};
};

}  // namespace dflockd::simulation
