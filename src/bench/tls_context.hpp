// What the TLS connections of a load have in common: the rules of base/tls.hpp, and how the
// server's certificate is verified. Built once from the options and never changed.
#pragma once

#include <memory>

#include <openssl/ssl.h>

#include "base/tls.hpp"
#include "bench/options.hpp"

namespace dflockd::bench {

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
template <class T>
using Owned = std::unique_ptr<T, SslDeleter>;

/// One connection's state of OpenSSL.
using Ssl = Owned<SSL>;
using TlsSession = Owned<SSL_SESSION>;

class TlsContext {
 public:
  /// Throws `std::runtime_error` with one clear line if the authorities cannot be used.
  explicit TlsContext(const Options& options);

  /// The state of a connection that is about to begin. It resumes `session` if the server agrees;
  /// null means a full handshake. Throws `std::bad_alloc`.
  [[nodiscard]] Ssl connect(SSL_SESSION* session) const;

 private:
  void verify(const Options& options);

  Owned<SSL_CTX> context_;
  base::TlsName server_name_;  ///< whom its certificate must be for
};

}  // namespace dflockd::bench
