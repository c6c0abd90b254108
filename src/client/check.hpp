// Whether options and arguments are allowed. What is not throws `Failure`
// (`errc::invalid_argument`), which names it, the value and what is allowed. Pure and thread-safe.
#pragma once

#include <chrono>
#include <string_view>

#include <dflockd/options.hpp>

namespace dflockd::client {

void check_key(std::string_view key);
void check_token(std::string_view token);
void check_limit(int limit);
/// `name` is what the message calls it.
void check_timeout(std::string_view name, std::chrono::milliseconds timeout);
void check_timeout(std::string_view name, std::chrono::seconds timeout);
void check_lease(std::chrono::seconds lease);
/// All but the server's name, which `parse_endpoint` checks.
void check(const ConnectionOptions& options);
/// All but what `check(ConnectionOptions)` checks.
void check(const LockOptions& options);

}  // namespace dflockd::client
