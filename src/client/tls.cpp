#include "client/tls.hpp"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "base/small_file.hpp"
#include "base/tls.hpp"
#include "client/failure.hpp"

namespace dflockd::client {
namespace {

base::TlsName expected_name(const TlsOptions& options, const std::string& host) {
  const std::string& name = options.server_name.empty() ? host : options.server_name;
  auto expected = base::tls_name(name);
  if (!expected) throw Failure(errc::invalid_argument, in_quotes(name) + " is no name of a server");
  return *std::move(expected);
}

/// For what only fails when memory is short or OpenSSL is broken.
void require(bool succeeded) {
  if (!succeeded) throw Failure(errc::tls, tls_reason(nullptr));
}

/// Calls `load` with the name of a file. OpenSSL itself would wait for a pipe without a writer, and
/// its error for an unreadable file is "system lib".
template <class Load>
void load_file(const char* option, const std::string& file, const Load& load) {
  std::string why;
  try {
    base::check_readable(file);
    if (load(file.c_str()) == 1) return;
    why = "cannot use " + in_quotes(file) + ": " + tls_reason(nullptr);
  } catch (const base::FileError& error) {
    why = error.what();
  }
  throw Failure(errc::tls, why + " (" + option + ")");
}

/// What the server's alert says; `code` is OpenSSL's for it.
std::string refusal(SSL* ssl, unsigned long code, int alert) {
  constexpr std::string_view kBefore = " alert ";  // "tlsv13 alert certificate required"
  const char* const known = ERR_reason_error_string(code);
  std::string_view text = known != nullptr ? known : "alert of a kind that OpenSSL does not know";
  if (const auto at = text.find(kBefore); at != text.npos) text.remove_prefix(at + kBefore.size());
  switch (alert) {
    case SSL_AD_HANDSHAKE_FAILURE: {
      // The alert of TLS 1.2 for a missing certificate.
      const unsigned char* types = nullptr;
      const bool was_asked = ssl != nullptr && SSL_get0_certificate_types(ssl, &types) > 0;
      if (!was_asked || SSL_get_certificate(ssl) != nullptr) break;
      return "the server refused the certificate: certificate required";
    }
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
      return std::string("the server refused the certificate: ").append(text);
    default:
      break;
  }
  return std::string("the server refused the connection: ").append(text);
}

}  // namespace

void prepare_tls(SSL_CTX* context, const TlsOptions& options, const std::string& host) {
  require(base::set_tls_rules(context));
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  require(base::demand_name(context, expected_name(options, host)));
  if (options.ca_file.empty()) {
    require(SSL_CTX_set_default_verify_paths(context) == 1);
  } else {
    load_file("tls.ca_file", options.ca_file,
              [&](const char* file) { return SSL_CTX_load_verify_file(context, file); });
  }
  if (options.cert_file.empty()) return;
  load_file("tls.cert_file", options.cert_file,
            [&](const char* file) { return SSL_CTX_use_certificate_chain_file(context, file); });
  load_file("tls.key_file", options.key_file, [&](const char* file) {
    return SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM);
  });
}

TlsContext make_tls_context(const TlsOptions& options, const std::string& host) {
  TlsContext context(SSL_CTX_new(TLS_client_method()));
  require(context != nullptr);
  prepare_tls(context.get(), options, host);
  return context;
}

void announce_name(SSL* ssl, const TlsOptions& options, const std::string& host) {
  require(base::announce_name(ssl, expected_name(options, host)));
}

std::string tls_reason(SSL* ssl) {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  return tls_reason(ssl, code);
}

std::string tls_reason(SSL* ssl, unsigned long code) {
  const int reason = ERR_GET_REASON(code);
  if (ssl != nullptr && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return std::string("the server's certificate is not trusted: ") +
           X509_verify_cert_error_string(SSL_get_verify_result(ssl));
  }
  if (ssl != nullptr && base::was_cut_off(ssl)) return "the server sends messages without data";
  if (reason == SSL_R_WRONG_VERSION_NUMBER) return "the server does not speak TLS";
  if (ERR_SYSTEM_ERROR(code)) return std::generic_category().message(reason);
  if (reason > SSL_AD_REASON_OFFSET && ERR_GET_LIB(code) == ERR_LIB_SSL) {
    return refusal(ssl, code, reason - SSL_AD_REASON_OFFSET);
  }
  const char* const text = ERR_reason_error_string(code);
  return text != nullptr ? text : "OpenSSL does not say why";
}

}  // namespace dflockd::client
