// What clients ask for and what becomes of it, whatever the door: the words by which metrics count
// and which the line protocol speaks. Pure and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "locks/command.hpp"

namespace dflockd::service {

enum class Verb : std::uint8_t {
  kInvalid,  ///< unknown, or its key or argument is not allowed; the answer is `error`
  kAcquire,
  kRelease,
  kRenew,
  kEnqueue,
  kWait,
  kAuth,
  kPing,
  kStats,
  kStat,
  kName,
  kStableRef,
  kBarrier,
};

/// The number of what metrics call a request. Only an acquire or an enqueue is shared.
[[nodiscard]] constexpr std::size_t label(Verb verb, locks::Kind kind, bool shared = false) {
  constexpr std::size_t kShared = 2 * (static_cast<std::size_t>(Verb::kBarrier) + 1);
  if (shared) return kShared + (verb == Verb::kEnqueue ? 1 : 0);
  return 2 * static_cast<std::size_t>(verb) + (kind == locks::Kind::kSemaphore ? 1 : 0);
}

/// What metrics call a request, by its `label`: "l", "sl", "invalid". Live for ever.
[[nodiscard]] std::span<const std::string_view> labels();

/// What became of a request.
enum class Status : std::uint8_t {
  kOk,
  kError,
  kTimeout,
  kQueued,
  kMaxLocks,
  kMaxWaiters,
  kLimitMismatch,
  kAlreadyEnqueued,
  kNotEnqueued,
  kLeaseExpired,
  kDraining,
  kAuth,      ///< not authenticated
  kAcquired,  ///< granted to an enqueue
};

/// The text of a status: "ok", "error_max_locks". Never null, lives for ever.
[[nodiscard]] std::string_view text(Status status);

/// The texts of all statuses, by their number. Live for ever.
[[nodiscard]] std::span<const std::string_view> status_names();

/// What became of a request with this outcome, but for a grant to an enqueue: that is `kAcquired`.
[[nodiscard]] Status status_of(locks::Outcome outcome);

}  // namespace dflockd::service
