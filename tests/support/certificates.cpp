#include "support/certificates.hpp"

#include <array>
#include <cstdint>
#include <ctime>
#include <stdexcept>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

namespace dflockd::test {

namespace {

void require(bool succeeded) {
  if (succeeded) return;
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  throw std::runtime_error(std::string("OpenSSL: ") + (reason == nullptr ? "?" : reason));
}

std::shared_ptr<EVP_PKEY> make_key(KeyType type) {
  EVP_PKEY* key = nullptr;
  switch (type) {
    case KeyType::kEcP256:
      key = EVP_EC_gen("P-256");
      break;
    case KeyType::kRsa2048:
      key = EVP_RSA_gen(2048);
      break;
    case KeyType::kRsa1024:
      key = EVP_RSA_gen(1024);
      break;
  }
  require(key != nullptr);
  return {key, EVP_PKEY_free};
}

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  require(extension != nullptr);
  const int added = X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  require(added == 1);
}

/// A certificate with everything but its extensions and its signature.
std::shared_ptr<X509> make_certificate(const Request& request, EVP_PKEY* key) {
  std::shared_ptr<X509> certificate(X509_new(), X509_free);
  require(certificate != nullptr && X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  std::array<unsigned char, 8> serial{};
  require(RAND_bytes(serial.data(), static_cast<int>(serial.size())) == 1);
  std::uint64_t number = 0;
  for (const unsigned char byte : serial) number = number << 8U | byte;
  require(ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), number) == 1);
  X509_NAME* const name = X509_get_subject_name(certificate.get());
  require(X509_NAME_add_entry_by_txt(
              name, "CN", MBSTRING_UTF8,
              reinterpret_cast<const unsigned char*>(request.subject.c_str()), -1, -1, 0) == 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), request.valid_from.count());
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), request.valid_until.count());
  require(X509_set_pubkey(certificate.get(), key) == 1);
  return certificate;
}

void sign(X509* certificate, X509* issuer, EVP_PKEY* key) {
  require(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1);
  add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
  add_extension(certificate, issuer, NID_authority_key_identifier, "keyid");
  require(X509_sign(certificate, key, EVP_sha256()) > 0);
}

Identity make_authority(const std::string& name, const Identity* issuer) {
  const std::shared_ptr<EVP_PKEY> key = make_key(KeyType::kEcP256);
  const std::shared_ptr<X509> certificate =
      make_certificate({.subject = name, .valid_from = std::chrono::hours(-48)}, key.get());
  X509* const signer = issuer == nullptr ? certificate.get() : issuer->certificate.get();
  add_extension(certificate.get(), signer, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate.get(), signer, NID_key_usage, "critical,keyCertSign,cRLSign");
  sign(certificate.get(), signer, issuer == nullptr ? key.get() : issuer->key.get());
  Identity authority{.certificate = certificate, .key = key};
  if (issuer != nullptr) {
    authority.chain.push_back(certificate);
    authority.chain.insert(authority.chain.end(), issuer->chain.begin(), issuer->chain.end());
  }
  return authority;
}

/// What `write` writes to a BIO.
template <class Write>
std::string written(Write&& write) {
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(BIO_new(BIO_s_mem()), BIO_free);
  require(bio != nullptr && write(bio.get()) == 1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  return written([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

}  // namespace

std::string Identity::certificate_pem() const {
  std::string pem = pem_of(certificate.get());
  for (const auto& issuer : chain) pem += pem_of(issuer.get());
  return pem;
}

std::string Identity::key_pem() const {
  return written([&](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

std::string Identity::encrypted_key_pem(const std::string& passphrase) const {
  return written([&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), EVP_aes_256_cbc(), passphrase.c_str(),
                                         static_cast<int>(passphrase.size()), nullptr, nullptr);
  });
}

std::string fingerprint(const X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  require(X509_digest(certificate, EVP_sha256(), digest.data(), &size) == 1);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4U];
    text += "0123456789abcdef"[digest[i] & 0xfU];
  }
  return text;
}

Authority::Authority(const std::string& name) : identity_(make_authority(name, nullptr)) {}

Identity Authority::issue(const Request& request) const {
  const std::shared_ptr<EVP_PKEY> key = make_key(request.key);
  const std::shared_ptr<X509> certificate = make_certificate(request, key.get());
  X509* const issuer = identity_.certificate.get();
  add_extension(certificate.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(certificate.get(), issuer, NID_key_usage,
                request.key == KeyType::kEcP256 ? "critical,digitalSignature"
                                                : "critical,digitalSignature,keyEncipherment");
  add_extension(certificate.get(), issuer, NID_ext_key_usage,
                request.usage == Usage::kServer ? "serverAuth" : "clientAuth");
  if (!request.names.empty()) {
    add_extension(certificate.get(), issuer, NID_subject_alt_name, request.names);
  }
  sign(certificate.get(), issuer, identity_.key.get());
  return {.certificate = certificate, .key = key, .chain = identity_.chain};
}

Authority Authority::intermediate(const std::string& name) const {
  return Authority(make_authority(name, &identity_));
}

std::string Authority::pem() const {
  return pem_of(certificate());
}

IdentityFiles TemporaryDirectory::write(const std::string& name, const Identity& identity) const {
  return {.certificate = write(name + ".crt", identity.certificate_pem()),
          .key = write(name + ".key", identity.key_pem())};
}

}  // namespace dflockd::test
