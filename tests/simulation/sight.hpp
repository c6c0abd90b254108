// What can be seen of the server after a step.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dflockd::simulation {

using Time = std::chrono::nanoseconds;
using ConnectionId = std::uint64_t;

inline constexpr Time kNever = Time::max();

/// A reply, with its line end, and whose it is.
struct Said {
  ConnectionId to = 0;
  std::string line;
};

/// A key as `stats` shows it.
struct KeySight {
  bool semaphore = false;
  std::string name;
  std::uint32_t limit = 0;
  std::uint32_t holders = 0;
  std::uint32_t waiters = 0;
  ConnectionId owner = 0;  ///< of the oldest grant
  Time held{0};
  Time lease_left{0};
  Time idle{0};
};

struct Sight {
  std::vector<Said> said;      ///< during the step
  std::vector<KeySight> keys;  ///< the first `key_count`
  std::size_t key_count = 0;
  std::size_t locks_held = 0;
  std::size_t semaphore_holders = 0;
  std::size_t lock_waiters = 0;
  std::size_t semaphore_waiters = 0;
  std::size_t counted_keys = 0;
  Time next_deadline{0};
};

}  // namespace dflockd::simulation
