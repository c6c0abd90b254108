// Carries out the requests of the line protocol: a request becomes a call of the lock service, and
// its outcome a reply, one line that is appended to an output buffer. See docs/protocol.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/terms.hpp"
#include "locks/command.hpp"
#include "protocol/request.hpp"
#include "service/service.hpp"
#include "service/verbs.hpp"

namespace dflockd::protocol {

using service::Status;

/// Carries out any request but `auth` and `stats` for `owner` and appends the reply to `out`.
/// Returns what the reply says, or nothing if the request blocks: then there is no reply yet, and
/// `Waiter::wait_over` follows.
[[nodiscard]] std::optional<Status> execute(const Request& request, service::Service& service,
                                            locks::OwnerId owner, std::string& out);

/// Appends the reply to a request that blocked and is over, and returns what it says.
Status append_answer(std::string& out, const locks::Answer& answer);

// --- Replies ---

/// At least as long as any reply but that to `stats`, its line end included.
inline constexpr std::size_t kLongestReply = 80;

/// Appends the status, which it returns, and a line end.
Status append_status(std::string& out, Status status);

/// Appends `ok <token> <lease_ttl>`, what `l`, `w`, `sl` and `sw` answer, and a line end.
void append_grant(std::string& out, const base::Token& token, std::chrono::seconds lease);

/// Appends `acquired <token> <lease_ttl>`, what `e` and `se` answer, and a line end.
void append_acquired(std::string& out, const base::Token& token, std::chrono::seconds lease);

/// Appends `ok <seconds>`, what `n` and `sn` answer, and a line end.
void append_remaining(std::string& out, std::chrono::seconds remaining);

/// The tokens of the grants in `replies`, which are whole lines that these functions have made.
[[nodiscard]] std::vector<base::Token> granted_tokens(std::string_view replies);

}  // namespace dflockd::protocol
