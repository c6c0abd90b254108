#include "config/host.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace dflockd::config {
namespace {

std::string zone_of(const std::string& host) {
  return host.substr(std::min(host.find('%'), host.size()));
}

std::uint32_t last_four(const in6_addr& address) {
  std::uint32_t bytes = 0;
  std::memcpy(&bytes, &address.s6_addr[12], sizeof bytes);
  return ntohl(bytes);
}

/// What a host stands for without a look-up; IPv4 addresses as IPv6 has them.
std::vector<in6_addr> addresses_of(const std::string& host) {
  if (host == "localhost") return {addresses_of("127.0.0.1").front(), in6addr_loopback};
  in6_addr address{};
  const bool is_ipv6 = ::inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &address) == 1;
  if (is_ipv6 || ::inet_pton(AF_INET6, ("::ffff:" + host).c_str(), &address) == 1) return {address};
  return {};
}

}  // namespace

bool is_host_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

bool is_ipv6_address(const std::string& text) {
  const std::size_t percent = text.find('%');
  in6_addr address{};
  return ::inet_pton(AF_INET6, text.substr(0, percent).c_str(), &address) == 1 &&
         (percent == std::string::npos || is_host_name(text.substr(percent + 1)));
}

bool overlap(const std::string& left, const std::string& right) {
  if (left == right) return true;
  const std::string zone = zone_of(left);
  const auto covers = [](const in6_addr& wide, const in6_addr& other) {
    const bool is_any_ipv4 = IN6_IS_ADDR_V4MAPPED(&wide) && last_four(wide) == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(&wide) || (is_any_ipv4 && IN6_IS_ADDR_V4MAPPED(&other));
  };
  for (const in6_addr& one : addresses_of(left)) {
    for (const in6_addr& other : addresses_of(right)) {
      const bool equal = IN6_ARE_ADDR_EQUAL(&one, &other) && zone == zone_of(right);
      if (equal || covers(one, other) || covers(other, one)) return true;
    }
  }
  return false;
}

}  // namespace dflockd::config
