#include "access/address.hpp"

#include <algorithm>

#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>

namespace dflockd::access {

asio::ip::address canonical(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

asio::ip::address network_of(const asio::ip::address& address, std::size_t ipv6_prefix) {
  asio::ip::address whole = canonical(address);
  if (!whole.is_v6() || ipv6_prefix >= kWholeIpv6Address) return whole;
  constexpr std::size_t kByte = 8;
  asio::ip::address_v6::bytes_type bytes = whole.to_v6().to_bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t kept = std::min(ipv6_prefix - std::min(ipv6_prefix, i * kByte), kByte);
    bytes[i] &= static_cast<unsigned char>(0xff00U >> kept);
  }
  return asio::ip::address_v6(bytes, whole.to_v6().scope_id());
}

std::string network_text(const asio::ip::address& address, std::size_t ipv6_prefix) {
  const asio::ip::address network = network_of(address, ipv6_prefix);
  const bool is_whole = network.is_v4() || ipv6_prefix >= kWholeIpv6Address;
  return network.to_string() + (is_whole ? "" : "/" + std::to_string(ipv6_prefix));
}

std::string joined(const std::string& host, std::uint16_t port) {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string to_text(const asio::ip::tcp::endpoint& endpoint) {
  return joined(canonical(endpoint.address()).to_string(), endpoint.port());
}

}  // namespace dflockd::access
