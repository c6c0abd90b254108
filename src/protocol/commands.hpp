// Carries out the requests of the line protocol: a request becomes a call of the lock service, and
// its outcome a reply.
#pragma once

#include <optional>
#include <string>

#include "locks/command.hpp"
#include "protocol/reply.hpp"
#include "protocol/request.hpp"
#include "service/service.hpp"

namespace dflockd::protocol {

/// Carries out any request but `auth` and `stats` for `owner` and appends the reply to `out`.
/// Returns what the reply says, or nothing if the request blocks: then there is no reply yet, and
/// `Waiter::wait_over` follows.
[[nodiscard]] std::optional<Status> execute(const Request& request, service::Service& service,
                                            locks::OwnerId owner, std::string& out);

/// Appends the reply to a request that blocked and is over, and returns what it says.
Status append_answer(std::string& out, const locks::Answer& answer);

}  // namespace dflockd::protocol
