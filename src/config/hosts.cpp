#include "config/hosts.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/text.hpp"

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

constexpr std::string_view kAny = "*";

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_scheme(std::string_view text) {
  return !text.empty() && is_letter(text.front()) && std::ranges::all_of(text, [](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  });
}

/// Whether it is a host as it stands in an origin: an IPv6 address in brackets, without a zone.
bool is_host(std::string_view text) {
  if (!text.starts_with('[')) {
    return is_host_name(text);
  }
  return text.ends_with(']') && text.find('%') == std::string_view::npos &&
         is_ipv6_address(std::string(text.substr(1, text.size() - 2)));
}

bool is_port(std::string_view text) {
  std::uint16_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end && number != 0;
}

bool is_origin(std::string_view text) {
  constexpr std::string_view kSeparator = "://";
  const std::size_t scheme_end = text.find(kSeparator);
  if (scheme_end == std::string_view::npos || !is_scheme(text.substr(0, scheme_end))) {
    return false;
  }
  const std::string_view rest = text.substr(scheme_end + kSeparator.size());
  // The colons inside brackets are the address's own.
  const std::size_t bracket = rest.starts_with('[') ? rest.find(']') : 0;
  const std::size_t colon = rest.find(':', bracket);
  return is_host(rest.substr(0, colon)) &&
         (colon == std::string_view::npos || is_port(rest.substr(colon + 1)));
}

/// Browsers send scheme and host in small letters, and no port that the scheme implies.
void as_browsers_send(std::string& origin) {
  for (char& c : origin) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  for (const auto& [scheme, port] : {std::pair("http://", ":80"), std::pair("https://", ":443")}) {
    if (origin.starts_with(scheme) && origin.ends_with(port)) {
      origin.erase(origin.rfind(port));
    }
  }
}

/// Takes a list apart; returns nothing if one of its entries is not `allowed`.
template <typename Allowed>
std::optional<std::vector<std::string>> read_list(std::string_view text, const Allowed& allowed) {
  std::vector<std::string> entries;
  if (text.empty()) {
    return entries;
  }
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view entry = base::trim(text.substr(begin, end - begin), " \t");
    if (!allowed(entry)) {
      return std::nullopt;
    }
    entries.emplace_back(entry);
    begin = end + 1;
  }
  return entries;
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

std::optional<std::vector<std::string>> read_origins(std::string_view text) {
  auto origins =
      read_list(text, [](std::string_view entry) { return entry == kAny || is_origin(entry); });
  if (origins) std::ranges::for_each(*origins, as_browsers_send);
  return origins;
}

std::optional<std::vector<std::string>> read_hosts(std::string_view text) {
  auto hosts = read_list(text, [](std::string_view entry) {
    return (is_host(entry) && entry != ".") || is_host("[" + std::string(entry) + "]");
  });
  if (hosts) {
    for (std::string& host : *hosts) {
      if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    }
  }
  return hosts;
}

std::string show_list(const std::vector<std::string>& entries) {
  std::string text;
  for (const std::string& entry : entries) {
    text += (text.empty() ? "" : ",") + entry;
  }
  return text;
}

}  // namespace dflockd::config
