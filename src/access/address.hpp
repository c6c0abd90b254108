// Addresses as people write and compare them. Free functions, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

namespace dflockd::access {

/// The address itself, or the IPv4 address that an IPv4-mapped IPv6 address stands for (RFC 4291,
/// section 2.5.5.2): a client is the same whichever kind of listener it came by.
[[nodiscard]] asio::ip::address canonical(const asio::ip::address& address);

/// What a client is counted by where each address has a cap or a rate: the canonical address, of
/// which the first `ipv6_prefix` bits count if it is IPv6, as a host has as many of those addresses
/// as it likes.
[[nodiscard]] asio::ip::address network_of(const asio::ip::address& address,
                                           std::size_t ipv6_prefix);

/// That network as one writes it, "2001:db8::/64"; an address alone is written without its length.
[[nodiscard]] std::string network_text(const asio::ip::address& address, std::size_t ipv6_prefix);

/// How many bits of an IPv6 address its owner was given at the least (RFC 6177), and of how many
/// bits it is.
inline constexpr std::size_t kDefaultIpv6Prefix = 64;
inline constexpr std::size_t kWholeIpv6Address = 128;

/// A host and a port as one writes them: "127.0.0.1:6388", "[::1]:6388".
[[nodiscard]] std::string joined(const std::string& host, std::uint16_t port);

/// The canonical address and the port.
[[nodiscard]] std::string to_text(const asio::ip::tcp::endpoint& endpoint);

}  // namespace dflockd::access
