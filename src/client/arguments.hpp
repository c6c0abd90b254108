// Whether options and arguments are allowed, and where a server is. What is not allowed throws
// `Failure`
// (`errc::invalid_argument`), which names it, the value and what is allowed. Pure and thread-safe.
#pragma once

#include <chrono>
#include <string>
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

/// The port of a server that is given without one.
inline constexpr std::string_view kDefaultPort = "6388";

/// Whether `host` may be a name or an address.
[[nodiscard]] bool is_host(std::string_view host);

struct Endpoint {
  std::string host;  ///< a name or an address, without brackets
  std::string port;  ///< 1 to 65535, decimal

  /// As it is given: `[::1]:6388`.
  [[nodiscard]] std::string text() const;
};

/// Parses `host`, `host:port`, `[address]` or `[address]:port`.
[[nodiscard]] Endpoint parse_endpoint(std::string_view server);

}  // namespace dflockd::client
