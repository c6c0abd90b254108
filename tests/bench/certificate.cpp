#include "certificate.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace dflockd::bench {
namespace {

struct Deleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};
template <class T>
using Owned = std::unique_ptr<T, Deleter>;

void require(bool succeeded) {
  if (!succeeded) throw std::runtime_error("cannot make a certificate");
}

Owned<X509> self_signed(EVP_PKEY* key, const std::string& names) {
  constexpr long kDay = 86'400;
  Owned<X509> certificate(X509_new());
  X509* const x509 = certificate.get();
  require(x509 != nullptr && X509_set_version(x509, X509_VERSION_3) == 1);
  require(ASN1_INTEGER_set(X509_get_serialNumber(x509), 1) == 1);
  require(X509_gmtime_adj(X509_getm_notBefore(x509), -kDay) != nullptr);
  require(X509_gmtime_adj(X509_getm_notAfter(x509), kDay) != nullptr);
  X509_NAME* const name = X509_get_subject_name(x509);
  const unsigned char common_name[] = "test";
  require(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common_name, -1, -1, 0) == 1);
  require(X509_set_issuer_name(x509, name) == 1 && X509_set_pubkey(x509, key) == 1);
  const Owned<X509_EXTENSION> extension(
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str()));
  require(extension != nullptr && X509_add_ext(x509, extension.get(), -1) == 1);
  require(X509_sign(x509, key, EVP_sha256()) > 0);
  return certificate;
}

Owned<std::FILE> create(const std::string& path) {
  Owned<std::FILE> file(std::fopen(path.c_str(), "we"));
  require(file != nullptr);
  return file;
}

}  // namespace

Certificate::Certificate(const std::string& names) {
  std::string pattern = std::filesystem::temp_directory_path() / "dflockd-bench-test-XXXXXX";
  require(mkdtemp(pattern.data()) != nullptr);
  directory_ = pattern;
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  require(key != nullptr);
  const Owned<X509> certificate = self_signed(key.get(), names);
  require(PEM_write_X509(create(file()).get(), certificate.get()) == 1);
  require(PEM_write_PrivateKey(create(key_file()).get(), key.get(), nullptr, nullptr, 0, nullptr,
                               nullptr) == 1);
}

Certificate::~Certificate() {
  std::error_code ignored;  // the system tidies up what stays
  std::filesystem::remove_all(directory_, ignored);
}

std::string Certificate::write(const std::string& name, const std::string& text) const {
  std::ofstream(directory_ / name) << text;
  return directory_ / name;
}

}  // namespace dflockd::bench
