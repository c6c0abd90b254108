// What the server shows to its clients and asks of them, for all its listeners. Read at the start
// and again on SIGHUP, when it is replaced as a whole. Connections keep the TLS context that they
// began with; every request to authenticate meets the secret of its time.
#pragma once

#include <optional>

#include "access/authenticator.hpp"
#include "net/tls_context.hpp"

namespace dflockd::server {

struct Credentials {
  std::optional<net::TlsContext> tls;  ///< none: plain text
  access::Authenticator authenticator;
};

}  // namespace dflockd::server
