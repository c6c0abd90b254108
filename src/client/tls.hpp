// TLS without sockets: what a client trusts and who it is, and OpenSSL's errors as text.
#pragma once

#include <memory>
#include <string>

#include <dflockd/options.hpp>
#include <openssl/ssl.h>

namespace dflockd::client {

struct FreeTls {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using TlsContext = std::unique_ptr<SSL_CTX, FreeTls>;
using Tls = std::unique_ptr<SSL, FreeTls>;

/// Has `context` trust and present what `options` say, and demand that certificates be for their
/// `server_name`, or for `host` if that is empty. Reads the files. Throws `Failure` (`errc::tls`)
/// that names the file.
void prepare_tls(SSL_CTX* context, const TlsOptions& options, const std::string& host);

/// A context that `prepare_tls` has prepared.
[[nodiscard]] TlsContext make_tls_context(const TlsOptions& options, const std::string& host);

/// Announces the name (SNI) that `make_tls_context` demands, if it is no address.
void announce_name(SSL* ssl, const TlsOptions& options, const std::string& host);

/// Why a call of OpenSSL for `ssl` failed, and forgets about it. `ssl` may be null.
[[nodiscard]] std::string tls_reason(SSL* ssl);
/// As well, for a `code` of OpenSSL's.
[[nodiscard]] std::string tls_reason(SSL* ssl, unsigned long code);

}  // namespace dflockd::client
