// What the TLS connections of a load have in common: the rules of base/tls.hpp, and how the
// server's certificate is verified. Built once from the options and never changed.
#pragma once

#include <memory>

#include <openssl/ssl.h>

#include "base/tls.hpp"
#include "bench/options.hpp"
#include "net/tls_context.hpp"

namespace dflockd::bench {

struct SessionDeleter {
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using TlsSession = std::unique_ptr<SSL_SESSION, SessionDeleter>;

class TlsContext {
 public:
  /// Throws `std::runtime_error` with one clear line if the authorities cannot be used.
  explicit TlsContext(const Options& options);

  /// The state of a connection that is about to begin. It resumes `session` if the server agrees;
  /// null means a full handshake. Throws `std::bad_alloc`.
  [[nodiscard]] net::Ssl connect(SSL_SESSION* session) const;

 private:
  void verify(const Options& options);

  std::unique_ptr<SSL_CTX, net::SslDeleter> context_;
  base::TlsName server_name_;  ///< whom its certificate must be for
};

}  // namespace dflockd::bench
