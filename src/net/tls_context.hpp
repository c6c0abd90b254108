// What TLS connections have in common: certificate, key, the authorities that client certificates
// are checked against, and what is spoken: TLS 1.2 and 1.3 (RFC 5246, RFC 8446) by the rules of
// `base/tls.hpp`, sessions resumed by tickets.
//
//   const TlsContext context = TlsContext::load({.certificate = "server.crt", .key =
//   "server.key"}); Ssl connection = context.accept();
//
// Loading is for any thread, the rest for the loop's. A context may be replaced at any time:
// connections keep what they began with.
#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/ssl.h>

namespace dflockd::net {

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

/// One connection's state of OpenSSL.
using Ssl = std::unique_ptr<SSL, SslDeleter>;

/// PEM files.
struct TlsFiles {
  std::filesystem::path certificate;  ///< the server's, followed by those that lead to its root
  std::filesystem::path key;          ///< the certificate's private key, not encrypted
  std::filesystem::path client_ca;    ///< empty: clients need no certificate
};

/// A file that cannot be used, and why. The text is one line and shows nothing of a key.
class TlsFileError : public std::runtime_error {
 public:
  TlsFileError(std::string_view setting, const std::string& what)
      : std::runtime_error(what), setting_(setting) {}

  /// "tls-cert", "tls-key" or "tls-client-ca".
  [[nodiscard]] std::string_view setting() const { return setting_; }

 private:
  std::string_view setting_;
};

/// What an operator wants to know of a certificate.
struct CertificateInfo {
  std::string subject;    ///< as RFC 2253 writes it
  std::string not_after;  ///< ISO 8601, UTC
  std::string sha256;     ///< its fingerprint in hex
  bool expired = false;   ///< when it was loaded
};

class TlsContext {
 public:
  /// Reads the files, which must be regular ones, so that this never waits. Throws TlsFileError.
  [[nodiscard]] static TlsContext load(const TlsFiles& files);

  /// The state of a connection that a client has opened. Throws std::bad_alloc.
  [[nodiscard]] Ssl accept() const;

  /// Makes new keys for the tickets by which sessions are resumed, so that no key that lies in
  /// memory opens what was recorded long ago. Sessions begun before are not resumed any more.
  void renew_ticket_keys();

  [[nodiscard]] const CertificateInfo& certificate() const { return certificate_; }
  /// The fingerprints of the authorities that client certificates are checked against; none if
  /// clients need no certificate.
  [[nodiscard]] const std::vector<std::string>& client_authorities() const { return authorities_; }

 private:
  using Context = std::unique_ptr<SSL_CTX, SslDeleter>;

  TlsContext(Context context, CertificateInfo certificate, std::vector<std::string> authorities);

  Context context_;
  CertificateInfo certificate_;
  std::vector<std::string> authorities_;
};

}  // namespace dflockd::net
