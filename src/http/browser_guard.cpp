#include "http/browser_guard.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>

#include "base/json.hpp"

namespace dflockd::http {

namespace {

/// How much of what was refused is shown.
constexpr std::size_t kShown = 64;

std::string shown(std::string_view text) {
  return base::json_string(text.substr(0, kShown));
}

/// The names that lead nowhere else (RFC 6761, 6.3; /etc/hosts of Debian).
bool is_loopback_name(std::string_view name) {
  if (same_name(name, "ip6-localhost") || same_name(name, "ip6-loopback")) return true;
  constexpr std::string_view kName = "localhost";
  if (name.size() <= kName.size()) return same_name(name, kName);
  name.remove_prefix(name.size() - kName.size() - 1);
  return name.starts_with('.') && same_name(name.substr(1), kName);
}

bool same_host(std::string_view left, std::string_view right) {
  const std::optional<IpAddress> address = to_ip_address(left);
  return address ? address == to_ip_address(right) : same_name(left, right);
}

/// Nothing for a port that there is not.
std::optional<std::uint16_t> port_number(std::string_view digits, bool tls) {
  constexpr std::uint16_t kHttp = 80;
  constexpr std::uint16_t kHttps = 443;
  std::uint16_t port = tls ? kHttps : kHttp;
  if (digits.empty()) return port;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return error == std::errc() ? std::optional(port) : std::nullopt;
}

}  // namespace

BrowserGuard::BrowserGuard(const std::vector<std::string>& allowed_hosts,
                           std::vector<std::string> allowed_origins)
    : allowed_origins_(std::move(allowed_origins)) {
  for (std::string_view host : allowed_hosts) {
    if (host.ends_with('.')) host.remove_suffix(1);
    if (const auto address = to_ip_address(host)) {
      allowed_addresses_.push_back(*address);
    } else {
      allowed_names_.emplace_back(host);
    }
  }
}

bool BrowserGuard::allows(std::string_view origin) const {
  return std::ranges::any_of(allowed_origins_, [origin](const std::string& allowed) {
    return allowed == "*" || allowed == origin;
  });
}

/// A loopback name or address, or one that the operator has listed.
bool BrowserGuard::is_known(const Authority& host) const {
  if (const auto address = to_ip_address(host.host)) {
    return is_loopback(*address) ||
           std::ranges::find(allowed_addresses_, *address) != allowed_addresses_.end();
  }
  return is_loopback_name(host.host) ||
         std::ranges::any_of(allowed_names_, [&host](const std::string& allowed) {
           return same_name(allowed, host.host);
         });
}

bool BrowserGuard::is_at(const Authority& host, std::string_view address) {
  const std::optional<IpAddress> expected = to_ip_address(address);
  return expected && expected == to_ip_address(host.host);
}

/// Whether the page came from where its request goes to.
bool BrowserGuard::is_own(std::string_view origin, const Authority& host, bool tls) {
  const std::string_view scheme = tls ? "https://" : "http://";
  if (!same_name(origin.substr(0, scheme.size()), scheme)) return false;
  const std::optional<Authority> page = parse_authority(origin.substr(scheme.size()));
  if (!page || page->host.empty() || !same_host(page->host, host.host)) return false;
  const std::optional<std::uint16_t> port = port_number(page->port, tls);
  return port && port == port_number(host.port, tls);
}

Failure BrowserGuard::forbidden_host(std::string_view host) {
  return {.status = 403,
          .code = "forbidden_host",
          .detail = "Host " + shown(host) +
                    " does not name this server; if it should, add it to --http-allowed-hosts"};
}

Failure BrowserGuard::forbidden_origin(std::string_view origin) {
  return {.status = 403,
          .code = "forbidden_origin",
          .detail = "pages from " + shown(origin) +
                    " may not use this server; see --http-cors-allowed-origins"};
}

}  // namespace dflockd::http
