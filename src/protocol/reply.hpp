// What a client gets back: one line a request, appended to an output buffer. See docs/protocol.md.
// Free functions; thread-safe as far as the buffer is.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/terms.hpp"
#include "service/verbs.hpp"

namespace dflockd::protocol {

using service::Status;

/// At least as long as any reply of the functions below, its line end included.
inline constexpr std::size_t kLongestReply = 80;

/// Appends the status and a line end.
void append_status(std::string& out, Status status);

/// Appends `ok <token> <lease_ttl>`, what `l`, `w`, `sl` and `sw` answer, and a line end.
void append_grant(std::string& out, const base::Token& token, std::chrono::seconds lease);

/// Appends `acquired <token> <lease_ttl>`, what `e` and `se` answer, and a line end.
void append_acquired(std::string& out, const base::Token& token, std::chrono::seconds lease);

/// Appends `ok <seconds>`, what `n` and `sn` answer, and a line end.
void append_remaining(std::string& out, std::chrono::seconds remaining);

/// The tokens of the grants in `replies`, which are whole lines that these functions have made.
[[nodiscard]] std::vector<base::Token> granted_tokens(std::string_view replies);

}  // namespace dflockd::protocol
