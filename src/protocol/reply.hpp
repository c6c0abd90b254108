// What a client gets back: one line a request, appended to an output buffer. See docs/protocol.md.
// Free functions; thread-safe as far as the buffer is.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/request.hpp"

namespace dflockd::protocol {

/// The replies that carry nothing.
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
  kAcquired,  ///< what `append_acquired` begins with
};

/// At least as long as any reply of the functions below, its line end included.
inline constexpr std::size_t kLongestReply = 80;

/// The text of a status: "ok", "error_max_locks". Never null, lives for ever.
[[nodiscard]] std::string_view text(Status status);

/// The texts of all statuses, by their number. Live for ever.
[[nodiscard]] std::span<const std::string_view> status_names();

/// Appends the status and a line end.
void append_status(std::string& out, Status status);

/// Appends `ok <token> <lease_ttl>`, what `l`, `w`, `sl` and `sw` answer, and a line end.
void append_grant(std::string& out, const Token& token, std::chrono::seconds lease);

/// Appends `acquired <token> <lease_ttl>`, what `e` and `se` answer, and a line end.
void append_acquired(std::string& out, const Token& token, std::chrono::seconds lease);

/// Appends `ok <seconds>`, what `n` and `sn` answer, and a line end.
void append_remaining(std::string& out, std::chrono::seconds remaining);

/// The tokens of the grants in `replies`, which are whole lines that these functions have made.
[[nodiscard]] std::vector<Token> granted_tokens(std::string_view replies);

}  // namespace dflockd::protocol
