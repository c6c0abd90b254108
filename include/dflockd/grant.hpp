// What the server hands out.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <dflockd/api.hpp>

namespace dflockd {

/// A lock, or a slot of a semaphore, that was granted. Thread-safe: a value.
struct DFLOCKD_API Grant {
  /// 32 lowercase hex characters. Everybody who has it may renew and release the grant.
  std::string token{};
  /// How long the grant lives without a renewal.
  std::chrono::seconds lease_ttl{0};

  /// The token's first half as a number: it grows with every grant of the server, so storage that
  /// remembers the largest it has seen can refuse a holder that has lost its lock. 0 without a
  /// token.
  [[nodiscard]] std::uint64_t fence() const noexcept;
};

/// What came of `enqueue`.
enum class EnqueueStatus {
  kFailed,    ///< only from overloads that take a `std::error_code`, which says why
  kAcquired,  ///< granted at once
  kQueued,    ///< a place in the queue is taken; `wait` waits for the grant
};

}  // namespace dflockd
