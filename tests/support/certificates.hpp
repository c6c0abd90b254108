// A certificate authority for one test, made on the fly.
//
//   const TemporaryDirectory directory;
//   const Authority authority;
//   const IdentityFiles files = directory.write("server", authority.issue());
//   Server server({"--tls-cert", files.certificate, "--tls-key", files.key});
//
// Whatever OpenSSL refuses to do is a `std::runtime_error`.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "support/files.hpp"

namespace dflockd::test {

enum class KeyType { kEcP256, kRsa2048, kRsa1024 };
enum class Usage { kServer, kClient };

struct Request {
  std::string subject = "server";  ///< the common name
  /// Subject alternative names, as OpenSSL's configuration files write them.
  std::string names = "DNS:localhost,IP:127.0.0.1";
  Usage usage = Usage::kServer;
  std::chrono::seconds valid_from = std::chrono::hours(-1);  ///< from now
  std::chrono::seconds valid_until = std::chrono::hours(24);
  KeyType key = KeyType::kEcP256;
};

/// A certificate, its key, and the certificates that lead to its authority.
struct Identity {
  std::shared_ptr<X509> certificate;
  std::shared_ptr<EVP_PKEY> key;
  std::vector<std::shared_ptr<X509>> chain{};  ///< without the root

  /// The certificate and the chain.
  [[nodiscard]] std::string certificate_pem() const;
  [[nodiscard]] std::string key_pem() const;
  /// The key in a file that only a passphrase opens.
  [[nodiscard]] std::string encrypted_key_pem(const std::string& passphrase) const;
};

/// SHA-256 of a certificate in hex.
std::string fingerprint(const X509* certificate);

class Authority {
 public:
  explicit Authority(const std::string& name = "Test authority");

  [[nodiscard]] Identity issue(const Request& request = {}) const;
  /// An authority whose certificate this one has signed.
  [[nodiscard]] Authority intermediate(const std::string& name) const;

  [[nodiscard]] X509* certificate() const { return identity_.certificate.get(); }
  [[nodiscard]] std::string pem() const;

 private:
  explicit Authority(Identity identity) : identity_(std::move(identity)) {}

  Identity identity_;
};

/// What a client's certificate is asked with.
inline Request client_request(std::string subject) {
  return {.subject = std::move(subject), .names = {}, .usage = Usage::kClient};
}

struct IdentityFiles {
  std::string certificate;
  std::string key;
};

}  // namespace dflockd::test
