#include "cli/bench/tls_context.hpp"

#include <new>
#include <stdexcept>

#include <asio/ip/address.hpp>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "base/text.hpp"

namespace dflockd::bench {
namespace {

bool is_address(const std::string& host) {
  std::error_code is_name;
  asio::ip::make_address(host, is_name);
  return !is_name;
}

std::string openssl_reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "OpenSSL does not say why";
}

/// For what only fails when memory is short or OpenSSL is broken.
void require(bool succeeded) {
  if (!succeeded) throw std::runtime_error("OpenSSL: " + openssl_reason());
}

}  // namespace

TlsContext::TlsContext(const Options& options)
    : context_(SSL_CTX_new(TLS_client_method())),
      server_name_(is_address(options.host) ? "" : options.host) {
  require(context_ != nullptr);
  require(SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION) == 1);
  SSL_CTX_set_mode(context_.get(), SSL_MODE_RELEASE_BUFFERS);
  if (!options.tls_insecure) verify(options);
}

void TlsContext::verify(const Options& options) {
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  X509_VERIFY_PARAM* const rules = SSL_CTX_get0_param(context);
  require(server_name_.empty()
              ? X509_VERIFY_PARAM_set1_ip_asc(rules, options.host.c_str()) == 1
              : X509_VERIFY_PARAM_set1_host(rules, server_name_.data(), server_name_.size()) == 1);
  if (options.tls_ca.empty()) {
    require(SSL_CTX_set_default_verify_paths(context) == 1);
  } else if (SSL_CTX_load_verify_file(context, options.tls_ca.c_str()) != 1) {
    throw std::runtime_error("cannot use " + base::in_quotes(options.tls_ca) + ": " +
                             openssl_reason() + " (--tls-ca)");
  }
}

Ssl TlsContext::connect(SSL_SESSION* session) const {
  Ssl ssl(SSL_new(context_.get()));
  if (ssl == nullptr) throw std::bad_alloc();
  SSL_set_connect_state(ssl.get());
  if (!server_name_.empty()) {
    require(SSL_set_tlsext_host_name(ssl.get(), server_name_.c_str()) == 1);
  }
  if (session != nullptr) require(SSL_set_session(ssl.get(), session) == 1);
  return ssl;
}

}  // namespace dflockd::bench
