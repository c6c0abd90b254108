#include "client/endpoint.hpp"

#include <algorithm>
#include <charconv>

#include "client/failure.hpp"

namespace dflockd::client {
namespace {

[[noreturn]] void refuse(std::string_view server, const char* why) {
  throw Failure(errc::invalid_argument,
                "server " + in_quotes(server) + " " + why +
                    "; expected host:port, with an IPv6 address in brackets as in [::1]:6388");
}

bool is_port(std::string_view text) {
  unsigned int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65'535;
}

}  // namespace

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
    if (end == std::string_view::npos) refuse(server, "has no closing bracket");
    host = server.substr(1, end - 1);
    rest = server.substr(end + 1);
    if (host.find(':') == std::string_view::npos) refuse(server, "has no IPv6 address in brackets");
  } else {
    const std::size_t end = std::min(server.find(':'), server.size());
    host = server.substr(0, end);
    rest = server.substr(end);
    if (rest.find(':', 1) != std::string_view::npos) refuse(server, "has more than one colon");
  }
  if (host.empty()) refuse(server, "has no host");
  if (!is_host(host)) refuse(server, "is no host");
  if (rest.empty()) return {.host = std::string(host), .port = std::string(kDefaultPort)};
  if (rest.front() != ':' || !is_port(rest.substr(1))) {
    refuse(server, "has no port from 1 to 65535");
  }
  return {.host = std::string(host), .port = std::string(rest.substr(1))};
}

}  // namespace dflockd::client
