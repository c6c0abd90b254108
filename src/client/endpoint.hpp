// Where a server is.
#pragma once

#include <string>
#include <string_view>

namespace dflockd::client {

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

/// Parses `host`, `host:port`, `[address]` or `[address]:port`. Throws `Failure`
/// (`errc::invalid_argument`) that says what is allowed.
[[nodiscard]] Endpoint parse_endpoint(std::string_view server);

}  // namespace dflockd::client
