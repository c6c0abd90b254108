// What may be a host, and values that are lists: entries separated by commas, with blanks
// around them or without; an empty text is an empty list. Internal to the room.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dflockd::config {

/// Whether all characters are allowed in a host name; every IPv4 address is one too.
[[nodiscard]] bool is_host_name(std::string_view text);

/// Whether it is an IPv6 address, with or without a zone: "fe80::1%eth0".
[[nodiscard]] bool is_ipv6_address(const std::string& text);

/// Whether two hosts surely name one address, or one of them all addresses: no two sockets can then
/// listen on one port. Names are not looked up, but for "localhost".
[[nodiscard]] bool overlap(const std::string& left, const std::string& right);

/// Reads origins of web pages. Each is "*" for any, or "scheme://host[:port]" with nothing behind
/// it; returns nothing if one is neither.
[[nodiscard]] std::optional<std::vector<std::string>> read_origins(std::string_view text);

/// Reads host names and addresses; an IPv6 address may stand in brackets, which are left off.
/// Returns nothing if one is neither, has a port, or is an IPv6 address with a zone.
[[nodiscard]] std::optional<std::vector<std::string>> read_hosts(std::string_view text);

/// The entries in the form that `read_origins` and `read_hosts` take.
[[nodiscard]] std::string show_list(const std::vector<std::string>& entries);

}  // namespace dflockd::config
