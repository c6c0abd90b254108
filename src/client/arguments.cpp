#include "client/arguments.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "base/terms.hpp"
#include "base/tls.hpp"
#include "client/failure.hpp"

namespace dflockd::client {
namespace {

/// The longest line of `auth`'s argument that the protocol allows.
constexpr std::size_t kMaxSecret = 65'536;

[[noreturn]] void refuse(const std::string& what) {
  throw Failure(errc::invalid_argument, what);
}

void check_positive(std::string_view name, std::chrono::milliseconds length) {
  if (length <= length.zero() || length > base::kMaxSeconds) {
    refuse(std::string(name) + " of " + std::to_string(length.count()) +
           " ms is not allowed; expected more than 0 and at most 9223372036 s");
  }
}

void check_tls(const TlsOptions& tls) {
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    refuse("tls.cert_file and tls.key_file need each other");
  }
  const std::string& name = tls.server_name;
  if (!name.empty() && (!is_host(name) || !base::tls_name(name))) {
    refuse("tls.server_name " + in_quotes(name) + " is not allowed; expected a name or an address");
  }
  for (const std::string* const file : {&tls.ca_file, &tls.cert_file, &tls.key_file}) {
    if (file->find('\0') != std::string::npos) {
      refuse("tls file " + in_quotes(*file) + " has a NUL in its name");
    }
  }
}

[[noreturn]] void refuse_server(std::string_view server, const char* why) {
  refuse("server " + in_quotes(server) + " " + why +
         "; expected host:port, with an IPv6 address in brackets as in [::1]:6388");
}

bool is_port(std::string_view text) {
  unsigned int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65'535;
}

}  // namespace

void check_key(std::string_view key) {
  if (base::is_key(key)) return;
  if (key.empty()) refuse("the key is empty; expected 1 to 256 bytes");
  if (key.size() > base::kMaxKey) {
    refuse("a key of " + std::to_string(key.size()) + " bytes is too long; expected 1 to 256");
  }
  refuse("key " + in_quotes(key) + " has a space, tab or line end in it, which is not allowed");
}

void check_token(std::string_view token) {
  if (!base::parse_token(token)) refuse("a token has 32 lowercase hex characters");
}

void check_limit(int limit) {
  if (limit < 1 || static_cast<std::uint32_t>(limit) > base::kMaxLimit) {
    refuse("limit " + std::to_string(limit) + " is not allowed; expected 1 to 1048576");
  }
}

void check_timeout(std::string_view name, std::chrono::milliseconds timeout) {
  if (timeout < timeout.zero() || timeout > base::kMaxSeconds) {
    refuse(std::string(name) + " of " + std::to_string(timeout.count()) +
           " ms is not allowed; expected 0 to 9223372036 s");
  }
}

// Not via milliseconds: the longest timeouts have too many of them.
void check_timeout(std::string_view name, std::chrono::seconds timeout) {
  if (timeout < timeout.zero() || timeout > base::kMaxSeconds) {
    refuse(std::string(name) + " of " + std::to_string(timeout.count()) +
           " s is not allowed; expected 0 to 9223372036 s");
  }
}

void check_lease(std::chrono::seconds lease) {
  if (lease < lease.zero() || lease > base::kMaxSeconds) {
    refuse("lease_ttl of " + std::to_string(lease.count()) +
           " s is not allowed; expected 0, for the server's default, to 9223372036");
  }
}

void check(const ConnectionOptions& options) {
  check_positive("connect_timeout", options.connect_timeout);
  check_positive("response_timeout", options.response_timeout);
  if (options.tls) check_tls(*options.tls);
  if (options.auth_token.size() > kMaxSecret) refuse("auth_token is longer than 65536 bytes");
  if (options.auth_token.find_first_of("\r\n") != std::string::npos) {
    refuse("auth_token has a line end in it, which is not allowed");
  }
}

void check(const LockOptions& options) {
  check_key(options.key);
  check_timeout("acquire_timeout", options.acquire_timeout);
  check_lease(options.lease_ttl);
  if (const double ratio = options.renew_ratio; std::isnan(ratio) || ratio < 0 || ratio >= 1) {
    refuse("renew_ratio " + std::to_string(options.renew_ratio) +
           " is not allowed; expected at least 0 and less than 1");
  }
  if (options.servers.empty()) refuse("servers is empty; expected at least one");
  for (const std::string& server : options.servers) static_cast<void>(parse_endpoint(server));
  if (!options.shard) refuse("shard is empty; expected a function, such as crc32_shard");
}

bool is_host(std::string_view host) {
  const auto is_foreign = [](unsigned char byte) {
    return byte <= ' ' || byte == 0x7f || byte == '/' || byte == '@';
  };
  return !host.empty() && host.front() != '.' && std::none_of(host.begin(), host.end(), is_foreign);
}

std::string Endpoint::text() const {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? '[' + host + ']' : host) + ':' + port;
}

Endpoint parse_endpoint(std::string_view server) {
  std::string_view host;
  std::string_view rest;
  if (server.starts_with('[')) {
    const std::size_t end = server.find(']');
    if (end == std::string_view::npos) refuse_server(server, "has no closing bracket");
    host = server.substr(1, end - 1);
    rest = server.substr(end + 1);
    if (host.find(':') == std::string_view::npos)
      refuse_server(server, "has no IPv6 address in brackets");
  } else {
    const std::size_t end = std::min(server.find(':'), server.size());
    host = server.substr(0, end);
    rest = server.substr(end);
    if (rest.find(':', 1) != std::string_view::npos)
      refuse_server(server, "has more than one colon");
  }
  if (host.empty()) refuse_server(server, "has no host");
  if (!is_host(host)) refuse_server(server, "is no host");
  if (rest.empty()) return {.host = std::string(host), .port = std::string(kDefaultPort)};
  if (rest.front() != ':' || !is_port(rest.substr(1))) {
    refuse_server(server, "has no port from 1 to 65535");
  }
  return {.host = std::string(host), .port = std::string(rest.substr(1))};
}

}  // namespace dflockd::client
