#include "config/host.hpp"

#include <algorithm>
#include <cstddef>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace dflockd::config {

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

}  // namespace dflockd::config
