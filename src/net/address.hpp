// Addresses as people write and compare them. Free functions, thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

namespace dflockd::net {

/// The address itself, or the IPv4 address that an IPv4-mapped IPv6 address stands for (RFC 4291,
/// section 2.5.5.2): a client is the same whichever kind of listener it came by.
[[nodiscard]] asio::ip::address canonical(const asio::ip::address& address);

/// A host and a port as one writes them: "127.0.0.1:6388", "[::1]:6388".
[[nodiscard]] std::string joined(const std::string& host, std::uint16_t port);

/// The canonical address and the port.
[[nodiscard]] std::string to_text(const asio::ip::tcp::endpoint& endpoint);

}  // namespace dflockd::net
