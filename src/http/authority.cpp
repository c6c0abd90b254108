#include "http/authority.hpp"

#include <algorithm>
#include <cstddef>
#include <span>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace dflockd::http {

namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";

/// Of an IPv4-mapped address (RFC 4291, 2.5.5.2).
constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_alphanumeric(char c) {
  return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

/// Unreserved characters, sub-delimiters and whole percent-encodings of anything but a NUL (RFC
/// 3986, 3.2.2).
bool is_name(std::string_view text) {
  constexpr std::string_view kAllowed = "-._~!$&'()*+,;=";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '%') {
      const std::string_view digits = text.substr(i + 1, 2);
      if (digits.size() != 2 || digits.find_first_not_of(kHexDigits) != std::string_view::npos ||
          digits == "00") {
        return false;
      }
    } else if (!is_alphanumeric(c) && kAllowed.find(c) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

/// Unreserved characters. The percent sign in front of a zone may be encoded (RFC 6874), or not.
bool is_zone(std::string_view text) {
  if (text.starts_with("25") && text.size() > 2) text.remove_prefix(2);
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~';
  });
}

/// Copies `text` to where inet_pton(3) reads it.
bool read_address(int family, std::string_view text, void* target) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) return false;
  std::ranges::copy(text, terminated.begin());
  return ::inet_pton(family, terminated.data(), target) == 1;
}

std::optional<IpAddress> to_ipv6(std::string_view text) {
  IpAddress address{};
  return read_address(AF_INET6, text, address.data()) ? std::optional(address) : std::nullopt;
}

/// What stands in brackets: an IPv6 address, perhaps with a zone.
bool is_bracketed(std::string_view text) {
  const std::size_t percent = text.find('%');
  return to_ipv6(text.substr(0, percent)) &&
         (percent == std::string_view::npos || is_zone(text.substr(percent + 1)));
}

}  // namespace

std::optional<Authority> parse_authority(std::string_view text) {
  Authority authority;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || !is_bracketed(text.substr(1, end - 1))) {
      return std::nullopt;
    }
    authority.host = text.substr(1, end - 1);
    authority.host = authority.host.substr(0, authority.host.find('%'));
    text.remove_prefix(end + 1);
  } else {
    authority.host = text.substr(0, text.find(':'));
    if (!is_name(authority.host)) return std::nullopt;
    text.remove_prefix(authority.host.size());
    if (authority.host.ends_with('.')) authority.host.remove_suffix(1);
  }
  if (text.empty()) return authority;
  authority.port = text.substr(1);
  const bool is_port =
      text.starts_with(':') && authority.port.find_first_not_of(kDigits) == std::string_view::npos;
  return is_port ? std::optional(authority) : std::nullopt;
}

std::optional<IpAddress> to_ip_address(std::string_view host) {
  IpAddress address{};
  std::ranges::copy(kMapped, address.begin());
  if (read_address(AF_INET, host, address.data() + kMapped.size())) return address;
  return to_ipv6(host.substr(0, host.find('%')));
}

bool is_loopback(const IpAddress& address) {
  constexpr std::uint8_t kLoopbackNet = 127;
  constexpr IpAddress kLoopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  const bool is_mapped = std::ranges::equal(kMapped, std::span(address).first<kMapped.size()>());
  return is_mapped ? address[kMapped.size()] == kLoopbackNet : address == kLoopback;
}

bool same_name(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, {}, lower, lower);
}

}  // namespace dflockd::http
