#include "net/address.hpp"

#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>

namespace dflockd::net {

asio::ip::address canonical(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

std::string joined(const std::string& host, std::uint16_t port) {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string to_text(const asio::ip::tcp::endpoint& endpoint) {
  return joined(canonical(endpoint.address()).to_string(), endpoint.port());
}

}  // namespace dflockd::net
