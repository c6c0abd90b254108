#include "bench/http_request.hpp"

namespace dflockd::bench {

std::string http_request(const Options& options, std::string_view method, std::string_view target,
                         std::string_view session, std::string_view body) {
  std::string out(method);
  out.append(" ").append(target).append(" HTTP/1.1\r\nHost: ").append(address(options));
  if (options.auth_token) out.append("\r\nAuthorization: Bearer ").append(*options.auth_token);
  if (!session.empty()) out.append("\r\nX-Dflockd-Session: ").append(session);
  if (!body.empty()) out.append("\r\nContent-Type: application/json");
  out.append("\r\nContent-Length: ").append(std::to_string(body.size()));
  return out.append("\r\n\r\n").append(body);
}

}  // namespace dflockd::bench
