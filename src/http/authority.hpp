// The host and perhaps the port of a request, as they stand in `Host`, in an absolute target and in
// an origin (RFC 3986, 3.2). Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dflockd::http {

struct Authority {
  std::string_view host;  ///< as given, but for brackets, zone and one final dot; may be empty
  std::string_view port;  ///< digits; may be empty
};

/// Takes `text` apart. Nothing if it is not a name or an address with or without a port: user
/// information, a NUL, an IPv6 address without brackets. Refers to `text`.
[[nodiscard]] std::optional<Authority> parse_authority(std::string_view text);

/// An IPv6 address in network order; an IPv4 address is the one that is mapped to it.
using IpAddress = std::array<std::uint8_t, 16>;

/// The address that `host` is, with or without a zone, which does not count; nothing for a name.
[[nodiscard]] std::optional<IpAddress> to_ip_address(std::string_view host);

[[nodiscard]] bool is_loopback(const IpAddress& address);

/// Whether names are the same: ASCII letters in either case.
[[nodiscard]] bool same_name(std::string_view left, std::string_view right);

}  // namespace dflockd::http
