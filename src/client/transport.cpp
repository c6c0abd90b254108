#include <dflockd/detail/transport.hpp>

#include "base/tls.hpp"
#include "client/arguments.hpp"
#include "client/failure.hpp"
#include "client/socket.hpp"
#include "client/tls.hpp"

namespace dflockd::detail {
namespace {

template <class Call>
std::error_code code_of(const Call& call) {
  try {
    call();
    return {};
  } catch (const client::Failure& failure) {
    return failure.code();
  }
}

}  // namespace

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

std::error_code prepare_tls(SSL_CTX* context, const TlsOptions& options, const std::string& host) {
  return code_of([&] { client::prepare_tls(context, options, host); });
}

std::error_code announce_name(SSL* ssl, const TlsOptions& options, const std::string& host) {
  return code_of([&] { client::announce_name(ssl, options, host); });
}

void note_data(SSL* ssl) noexcept {
  base::note_data(ssl);
}

}  // namespace dflockd::detail
