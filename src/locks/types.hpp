// The words of the lock table that commands, answers and reports share.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/terms.hpp"
#include "locks/sip_hash.hpp"

namespace dflockd::locks {

using base::Token;

/// A point in time: nanoseconds since an epoch that the caller chooses, never decreasing.
using Instant = std::chrono::nanoseconds;

/// A time that never comes. A deadline that would overflow is this one.
inline constexpr Instant kNever = Instant::max();

/// `start` plus `delay`, or `kNever` if that is too late to be said.
[[nodiscard]] constexpr Instant later(Instant start, std::chrono::seconds delay) {
  const auto room = std::chrono::duration_cast<std::chrono::seconds>(kNever - start);
  return delay >= room ? kNever : start + delay;
}

/// Locks and semaphores are separate namespaces: a lock "job" and a semaphore "job" never meet.
enum class Kind : std::uint8_t { kLock, kSemaphore };

/// A key with its kind. The name may hold any bytes.
struct Key {
  Kind kind = Kind::kLock;
  std::string_view name;
  friend bool operator==(const Key&, const Key&) = default;
};

/// What waits and holds: a TCP connection, an HTTP session. `index` is small and dense, so that
/// callers can keep what they know of an owner in a vector; it serves again for a later owner, with
/// another `generation`, once the earlier one is closed and holds nothing.
struct OwnerId {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
  friend bool operator==(const OwnerId&, const OwnerId&) = default;
};

/// One key, for `stats`.
struct KeyInfo {
  Key key;  ///< the name is valid only during the visit
  std::uint32_t limit = 1;
  std::uint32_t holders = 0;  ///< 0: the key is idle
  std::uint32_t waiters = 0;
  bool shared = false;    ///< the oldest grant is
  OwnerId owner{};        ///< of the oldest grant, if there is one
  Instant held{0};        ///< since the oldest grant was made
  Instant lease_left{0};  ///< until the oldest grant's lease runs out
  Instant waited{0};      ///< since the first in the queue joined it
  /// Since the last holder left, or since a phase-1 state that had outlived its grant was dropped;
  /// 0 unless idle.
  Instant idle{0};

  friend bool operator==(const KeyInfo&, const KeyInfo&) = default;
};

/// One claim on a key, for `stat`.
struct ClaimInfo {
  OwnerId owner;
  bool held = false;  ///< else it waits
  bool shared = false;
  std::uint64_t fence = 0;  ///< when held
  Instant age{0};           ///< since it was granted or, if it waits, joined the queue
  Instant ends_in{0};       ///< until its lease or its wait ends; `kNever` of a place in phase 1
};

/// How many claims an owner has.
struct OwnerClaims {
  std::size_t held = 0;
  std::size_t waiting = 0;  ///< places in queues, those of phase 1 too

  friend bool operator==(const OwnerClaims&, const OwnerClaims&) = default;
};

/// Caps. Zero means no cap.
struct TableOptions {
  std::size_t max_locks = 1024;  ///< keys with state, locks and semaphores together
  std::size_t max_waiters = 0;   ///< for each key
  /// Grants, waits and phase-1 states together, those that have outlived their grants too.
  std::size_t max_claims = 1'000'000;
  /// Secret, so that nobody can choose keys, or grants to keep, that collide. Nothing that the
  /// table does depends on it.
  HashKey hash_key{};
};

/// How many of each there are now.
struct TableCounts {
  std::size_t keys = 0;
  std::size_t claims = 0;  ///< what `TableOptions::max_claims` bounds
  std::size_t locks_held = 0;
  std::size_t semaphore_holders = 0;
  std::size_t lock_waiters = 0;
  std::size_t semaphore_waiters = 0;

  friend bool operator==(const TableCounts&, const TableCounts&) = default;
};

}  // namespace dflockd::locks
