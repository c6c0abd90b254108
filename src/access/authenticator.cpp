#include "access/authenticator.hpp"

#include <stdexcept>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

namespace dflockd::access {

Authenticator::Authenticator(std::string_view secret) : required_(!secret.empty()) {
  if (!required_) return;
  if (RAND_bytes(key_.data(), static_cast<int>(key_.size())) != 1 || !digest(secret, expected_)) {
    throw std::runtime_error("OpenSSL cannot make a digest of the shared secret");
  }
}

Authenticator::~Authenticator() {
  OPENSSL_cleanse(key_.data(), key_.size());
  OPENSSL_cleanse(expected_.data(), expected_.size());
}

bool Authenticator::accepts(std::string_view guess) const {
  Digest actual{};
  const bool made = digest(guess, actual);
  const bool equal = CRYPTO_memcmp(actual.data(), expected_.data(), actual.size()) == 0;
  return made && equal && required_;
}

/// False if memory is too short.
bool Authenticator::digest(std::string_view text, Digest& result) const {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  const bool made = HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), bytes,
                         text.size(), result.data(), nullptr) != nullptr;
  if (!made) ERR_clear_error();
  return made;
}

}  // namespace dflockd::access
