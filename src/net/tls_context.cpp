#include "net/tls_context.hpp"

#include <array>
#include <new>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/small_file.hpp"
#include "base/text.hpp"
#include "base/tls.hpp"

namespace dflockd::net {

namespace {

constexpr std::string_view kCertificate = "tls-cert";
constexpr std::string_view kKey = "tls-key";
constexpr std::string_view kClientCa = "tls-client-ca";

/// How long a session can be resumed, in seconds. Ticket keys do not live longer either.
constexpr long kSessionLifetimeS = 3600;

struct OpenSslDeleter {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_NAME* name) const { X509_NAME_free(name); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(STACK_OF(X509_NAME) * names) const {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
  }
};
template <class T>
using Owned = std::unique_ptr<T, OpenSslDeleter>;

/// Why OpenSSL's last call failed, in its words.
std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "OpenSSL does not say why" : reason;
}

/// For what only fails when memory is short or OpenSSL is broken.
void require(bool succeeded) {
  if (!succeeded) throw std::runtime_error("OpenSSL: " + openssl_reason());
}

/// A file's bytes, wiped when it goes: they may be a key.
class PemFile {
 public:
  PemFile(std::string_view setting, const std::filesystem::path& path)
      : setting_(setting), path_(path) {
    try {
      bytes_ = base::read_small_file(path.string()).bytes;
    } catch (const base::FileError& error) {
      throw TlsFileError(setting, error.what());
    }
    // Of an empty file there are no bytes to point at.
    bio_.reset(
        BIO_new_mem_buf(bytes_.empty() ? "" : bytes_.data(), static_cast<int>(bytes_.size())));
    require(bio_ != nullptr);
  }
  PemFile(const PemFile&) = delete;
  PemFile& operator=(const PemFile&) = delete;

  /// The next certificate, or null at the end.
  Owned<X509> next_certificate() {
    Owned<X509> certificate(PEM_read_bio_X509(bio_.get(), nullptr, nullptr, nullptr));
    const unsigned long error = ERR_peek_last_error();
    if (certificate == nullptr && ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
      refuse("not a PEM certificate: " + openssl_reason());
    }
    ERR_clear_error();
    return certificate;
  }

  Owned<EVP_PKEY> key() {
    bool is_encrypted = false;
    // OpenSSL's own callback would ask the terminal.
    const auto no_passphrase = [](char*, int, int, void* asked) {
      *static_cast<bool*>(asked) = true;
      return -1;
    };
    Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio_.get(), nullptr, no_passphrase, &is_encrypted));
    if (is_encrypted) refuse("it is encrypted; expected a key without a passphrase");
    if (key == nullptr) {
      ERR_clear_error();  // OpenSSL only says "unsupported" of whatever is no key
      refuse("no private key in PEM format is in it");
    }
    return key;
  }

  [[noreturn]] void refuse(const std::string& why) const {
    throw TlsFileError(setting_, "cannot use " + base::in_quotes(path_.string()) + ": " + why);
  }

 private:
  std::string_view setting_;
  const std::filesystem::path& path_;
  base::WipedBytes bytes_;
  Owned<BIO> bio_;
};

std::string to_text(const X509_NAME* name) {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  require(bio != nullptr && X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) >= 0);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string to_text(const ASN1_TIME* time) {
  tm utc{};
  std::array<char, sizeof "2026-11-24T09:00:00Z"> text{};
  if (ASN1_TIME_to_tm(time, &utc) != 1) return "unknown";
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text.data(), size};
}

std::string fingerprint(const X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  require(X509_digest(certificate, EVP_sha256(), digest.data(), &size) == 1);
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += kHexDigits[digest[i] >> 4U];
    text += kHexDigits[digest[i] & 0xfU];
  }
  return text;
}

CertificateInfo describe(const X509* certificate) {
  const ASN1_TIME* const not_after = X509_get0_notAfter(certificate);
  return {.subject = to_text(X509_get_subject_name(certificate)),
          .not_after = to_text(not_after),
          .sha256 = fingerprint(certificate),
          .expired = X509_cmp_current_time(not_after) < 0};
}

void set_rules(SSL_CTX* context) {
  require(base::set_tls_rules(context));
  // A stream that ends without a close_notify is a peer that left, as without TLS: every request
  // says itself where it ends, so that nobody gains by cutting one off.
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                   SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_read_ahead(context, 1);
  // Tickets keep sessions at the clients, and one is enough: each resumption brings another.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_timeout(context, kSessionLifetimeS);
  require(SSL_CTX_set_num_tickets(context, 1) == 1);
  constexpr std::string_view kSessionContext = "dflockd";
  require(SSL_CTX_set_session_id_context(
              context, reinterpret_cast<const unsigned char*>(kSessionContext.data()),
              static_cast<unsigned int>(kSessionContext.size())) == 1);
}

CertificateInfo use_certificate(SSL_CTX* context, const std::filesystem::path& path) {
  PemFile file(kCertificate, path);
  const Owned<X509> own = file.next_certificate();
  if (own == nullptr) file.refuse("no certificate in PEM format is in it");
  if (SSL_CTX_use_certificate(context, own.get()) != 1) file.refuse(openssl_reason());
  while (const Owned<X509> issuer = file.next_certificate()) {
    if (SSL_CTX_add1_chain_cert(context, issuer.get()) != 1) file.refuse(openssl_reason());
  }
  return describe(own.get());
}

void use_key(SSL_CTX* context, const std::filesystem::path& path) {
  PemFile file(kKey, path);
  const Owned<EVP_PKEY> key = file.key();
  if (X509_check_private_key(SSL_CTX_get0_certificate(context), key.get()) != 1) {
    ERR_clear_error();
    file.refuse("it is not the key of the certificate");
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) file.refuse(openssl_reason());
}

/// Who issues what `trusted` vouches for: itself, if it is an authority.
const X509_NAME* issuer_by(X509* trusted) {
  return X509_check_ca(trusted) > 0 ? X509_get_subject_name(trusted)
                                    : X509_get_issuer_name(trusted);
}

/// Lists for clients the issuers of the certificates that are asked for. The list is optional, and
/// left out if it would be longer than clients read.
void announce_issuers(SSL_CTX* context, const std::vector<Owned<X509>>& trusted) {
  constexpr std::size_t kLongestList = base::kMaxHandshakeMessage / 2;
  Owned<STACK_OF(X509_NAME)> names(sk_X509_NAME_new_null());
  require(names != nullptr);
  std::size_t size = 0;
  for (const Owned<X509>& certificate : trusted) {
    Owned<X509_NAME> name(X509_NAME_dup(issuer_by(certificate.get())));
    require(name != nullptr);
    size += static_cast<std::size_t>(i2d_X509_NAME(name.get(), nullptr)) + 2;
    require(sk_X509_NAME_push(names.get(), name.get()) > 0);
    static_cast<void>(name.release());
  }
  if (size <= kLongestList) SSL_CTX_set_client_CA_list(context, names.release());
}

/// Demands certificates of clients. Returns the authorities' fingerprints.
std::vector<std::string> verify_clients(SSL_CTX* context, const std::filesystem::path& path) {
  PemFile file(kClientCa, path);
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  std::vector<std::string> fingerprints;
  std::vector<Owned<X509>> trusted;
  while (Owned<X509> authority = file.next_certificate()) {
    if (X509_STORE_add_cert(store, authority.get()) != 1) file.refuse(openssl_reason());
    fingerprints.push_back(fingerprint(authority.get()));
    trusted.push_back(std::move(authority));
  }
  if (trusted.empty()) file.refuse("no certificate in PEM format is in it");
  announce_issuers(context, trusted);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return fingerprints;
}

}  // namespace

TlsContext::TlsContext(Context context, CertificateInfo certificate,
                       std::vector<std::string> authorities)
    : context_(std::move(context)),
      certificate_(std::move(certificate)),
      authorities_(std::move(authorities)) {}

TlsContext TlsContext::load(const TlsFiles& files) {
  ERR_clear_error();
  Context context(SSL_CTX_new(TLS_server_method()));
  require(context != nullptr);
  set_rules(context.get());
  CertificateInfo certificate = use_certificate(context.get(), files.certificate);
  use_key(context.get(), files.key);
  std::vector<std::string> authorities;
  if (!files.client_ca.empty()) authorities = verify_clients(context.get(), files.client_ca);
  return {std::move(context), std::move(certificate), std::move(authorities)};
}

Ssl TlsContext::accept() const {
  Ssl ssl(SSL_new(context_.get()));
  if (ssl == nullptr || !base::set_role(ssl.get(), &SSL_set_accept_state)) throw std::bad_alloc();
  return ssl;
}

void TlsContext::renew_ticket_keys() {
  std::array<unsigned char, 80> keys{};
  static_assert(sizeof keys == 80);
  require(RAND_bytes(keys.data(), static_cast<int>(keys.size())) == 1);
  require(SSL_CTX_set_tlsext_ticket_keys(context_.get(), keys.data(),
                                         static_cast<long>(keys.size())) == 1);
  OPENSSL_cleanse(keys.data(), keys.size());
}

}  // namespace dflockd::net
