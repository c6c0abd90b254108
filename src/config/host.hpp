// What may stand for a host. Internal to the room.
#pragma once

#include <string>
#include <string_view>

namespace dflockd::config {

/// Whether all characters may stand in a host name; every IPv4 address is one too.
[[nodiscard]] bool is_host_name(std::string_view text);

/// Whether it is an IPv6 address, with or without a zone: "fe80::1%eth0".
[[nodiscard]] bool is_ipv6_address(const std::string& text);

/// Whether two hosts surely name one address, or one of them all addresses: no two sockets can then
/// listen on one port. Names are not looked up, but for "localhost".
[[nodiscard]] bool overlap(const std::string& left, const std::string& right);

}  // namespace dflockd::config
