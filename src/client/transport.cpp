#include <dflockd/detail/transport.hpp>

#include "client/check.hpp"
#include "client/endpoint.hpp"
#include "client/failure.hpp"
#include "client/socket.hpp"

namespace dflockd::detail {

Endpoint check_options(const ConnectionOptions& options) {
  try {
    client::check(options);
    client::Endpoint endpoint = client::parse_endpoint(options.server);
    return {.host = std::move(endpoint.host), .port = std::move(endpoint.port)};
  } catch (const client::Failure& failure) {
    throw client::to_error(failure, "", "");
  }
}

int open_socket(int family) {
  try {
    return client::open_socket(family).release();
  } catch (const client::Failure&) {
    return -1;
  }
}

}  // namespace dflockd::detail
