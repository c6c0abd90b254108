#include "bench/tls_context.hpp"

#include <new>
#include <stdexcept>

#include <openssl/err.h>

#include "base/text.hpp"

namespace dflockd::bench {
namespace {

base::TlsName name_of(const std::string& host) {
  auto name = base::tls_name(host);
  if (!name) throw std::runtime_error("--host '" + host + "' is no name of a server");
  return *std::move(name);
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
    : context_(SSL_CTX_new(TLS_client_method())), server_name_(name_of(options.host)) {
  require(context_ != nullptr);
  require(base::set_tls_rules(context_.get()));
  SSL_CTX_set_mode(context_.get(), SSL_MODE_RELEASE_BUFFERS);
  if (!options.tls_insecure) verify(options);
}

void TlsContext::verify(const Options& options) {
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  require(base::demand_name(context, server_name_));
  if (options.tls_ca.empty()) {
    require(SSL_CTX_set_default_verify_paths(context) == 1);
  } else if (SSL_CTX_load_verify_file(context, options.tls_ca.c_str()) != 1) {
    throw std::runtime_error("cannot use " + base::in_quotes(options.tls_ca) + ": " +
                             openssl_reason() + " (--tls-ca)");
  }
}

net::Ssl TlsContext::connect(SSL_SESSION* session) const {
  net::Ssl ssl(SSL_new(context_.get()));
  if (ssl == nullptr || !base::set_role(ssl.get(), &SSL_set_connect_state)) throw std::bad_alloc();
  require(base::announce_name(ssl.get(), server_name_));
  if (session != nullptr) require(SSL_set_session(ssl.get(), session) == 1);
  return ssl;
}

}  // namespace dflockd::bench
