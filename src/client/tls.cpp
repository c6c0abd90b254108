#include "client/tls.hpp"

#include <array>

#include <arpa/inet.h>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "client/failure.hpp"

namespace dflockd::client {
namespace {

bool is_address(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

std::string expected_name(const TlsOptions& options, const std::string& host) {
  return options.server_name.empty() ? host : options.server_name;
}

/// For what only fails when memory is short or OpenSSL is broken.
void require(bool succeeded) {
  if (!succeeded) throw Failure(errc::tls, tls_reason(nullptr));
}

void require_file(bool succeeded, const char* option, const std::string& file) {
  if (!succeeded) {
    throw Failure(errc::tls, std::string(option) + " " + in_quotes(file) +
                                 " cannot be used: " + tls_reason(nullptr));
  }
}

}  // namespace

TlsContext make_tls_context(const TlsOptions& options, const std::string& host) {
  TlsContext owner(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* const context = owner.get();
  require(context != nullptr);
  require(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);

  const std::string name = expected_name(options, host);
  X509_VERIFY_PARAM* const rules = SSL_CTX_get0_param(context);
  require(is_address(name) ? X509_VERIFY_PARAM_set1_ip_asc(rules, name.c_str()) == 1
                           : X509_VERIFY_PARAM_set1_host(rules, name.data(), name.size()) == 1);
  if (options.ca_file.empty()) {
    require(SSL_CTX_set_default_verify_paths(context) == 1);
  } else {
    require_file(SSL_CTX_load_verify_file(context, options.ca_file.c_str()) == 1, "tls.ca_file",
                 options.ca_file);
  }
  if (!options.cert_file.empty()) {
    require_file(SSL_CTX_use_certificate_chain_file(context, options.cert_file.c_str()) == 1,
                 "tls.cert_file", options.cert_file);
    require_file(
        SSL_CTX_use_PrivateKey_file(context, options.key_file.c_str(), SSL_FILETYPE_PEM) == 1,
        "tls.key_file", options.key_file);
  }
  return owner;
}

void announce_name(SSL* ssl, const TlsOptions& options, const std::string& host) {
  const std::string name = expected_name(options, host);
  if (!is_address(name)) require(SSL_set_tlsext_host_name(ssl, name.c_str()) == 1);
}

std::string tls_reason(const SSL* ssl) {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const int reason = ERR_GET_REASON(code);
  if (ssl != nullptr && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return std::string("the server's certificate is not trusted: ") +
           X509_verify_cert_error_string(SSL_get_verify_result(ssl));
  }
  if (reason == SSL_R_WRONG_VERSION_NUMBER) return "the server does not speak TLS";
  if (ERR_SYSTEM_ERROR(code)) return std::generic_category().message(reason);
  const char* const text = ERR_reason_error_string(code);
  return text != nullptr ? text : "OpenSSL does not say why";
}

}  // namespace dflockd::client
