#include "config/host.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

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

/// Whether they are the same but for case and a final dot.
bool is_same_name(std::string_view left, std::string_view right) {
  if (left.ends_with('.')) left.remove_suffix(1);
  if (right.ends_with('.')) right.remove_suffix(1);
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
  return std::ranges::equal(left, right, {}, lower, lower);
}

/// The address that the server binds for a host, if that is known without a look-up: IPv4 as IPv6
/// has it, which is also what "localhost" is first.
std::optional<in6_addr> address_of(const std::string& host) {
  in6_addr address{};
  if (::inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &address) == 1) return address;
  in_addr ipv4{};
  const char* const text = is_same_name(host, "localhost") ? "127.0.0.1" : host.c_str();
  if (::inet_aton(text, &ipv4) == 0) return std::nullopt;
  address.s6_addr[10] = address.s6_addr[11] = 0xff;
  std::memcpy(&address.s6_addr[12], &ipv4, sizeof ipv4);
  return address;
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
  if (is_same_name(left, right)) return true;
  const std::optional<in6_addr> one = address_of(left);
  const std::optional<in6_addr> other = address_of(right);
  if (!one || !other) return false;
  const auto covers = [](const in6_addr& wide, const in6_addr& narrow) {
    const bool is_any_ipv4 = IN6_IS_ADDR_V4MAPPED(&wide) && last_four(wide) == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(&wide) || (is_any_ipv4 && IN6_IS_ADDR_V4MAPPED(&narrow));
  };
  const bool equal = IN6_ARE_ADDR_EQUAL(&*one, &*other) && zone_of(left) == zone_of(right);
  return equal || covers(*one, *other) || covers(*other, *one);
}

}  // namespace dflockd::config
