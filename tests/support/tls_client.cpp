#include "support/tls_client.hpp"

#include <system_error>
#include <utility>

#include <poll.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

namespace dflockd::test {

namespace {

void require(bool succeeded) {
  if (succeeded) return;
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  throw std::runtime_error(std::string("OpenSSL: ") + (reason == nullptr ? "?" : reason));
}

using Context = std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)>;

/// Keeps the secret of this side in the string that is the connection's data.
void keep_secret(const SSL* ssl, const char* line) {
  auto* const secret = static_cast<std::string*>(SSL_get_app_data(ssl));
  const std::string_view text(line);
  if (secret == nullptr || !text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) return;
  const std::string_view digits = text.substr(text.rfind(' ') + 1);
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    *secret += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
  }
}

Context make_context(const TlsOptions& options) {
  Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  require(context != nullptr);
  SSL_CTX_set_keylog_callback(context.get(), &keep_secret);
  // The client offers all that a test asks for, weak or not: it is the server that must refuse.
  SSL_CTX_set_security_level(context.get(), 0);
  require(SSL_CTX_set_min_proto_version(context.get(), options.min_version) == 1);
  require(SSL_CTX_set_max_proto_version(context.get(), options.max_version) == 1);
  if (!options.ciphers.empty()) {
    require(SSL_CTX_set_cipher_list(context.get(), options.ciphers.c_str()) == 1);
  }
  if (!options.suites.empty()) {
    require(SSL_CTX_set_ciphersuites(context.get(), options.suites.c_str()) == 1);
  }
  if (!options.groups.empty()) {
    require(SSL_CTX_set1_groups_list(context.get(), options.groups.c_str()) == 1);
  }
  if (options.trusted != nullptr) {
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    require(X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()),
                                options.trusted->certificate()) == 1);
  }
  if (options.identity != nullptr) {
    require(SSL_CTX_use_certificate(context.get(), options.identity->certificate.get()) == 1);
    require(SSL_CTX_use_PrivateKey(context.get(), options.identity->key.get()) == 1);
    for (const auto& issuer : options.identity->chain) {
      require(SSL_CTX_add1_chain_cert(context.get(), issuer.get()) == 1);
    }
  }
  return context;
}

SSL* make_connection(const TlsOptions& options) {
  SSL* const ssl = SSL_new(make_context(options).get());
  require(ssl != nullptr);
  BIO* const received = BIO_new(BIO_s_mem());
  BIO* const written = BIO_new(BIO_s_mem());
  require(received != nullptr && written != nullptr);
  BIO_set_mem_eof_return(received, -1);
  BIO_set_mem_eof_return(written, -1);
  SSL_set_bio(ssl, received, written);
  SSL_set_connect_state(ssl);
  if (!options.host.empty()) {
    require(SSL_set1_host(ssl, options.host.c_str()) == 1);
    require(SSL_set_tlsext_host_name(ssl, options.host.c_str()) == 1);
  }
  if (options.session) require(SSL_set_session(ssl, options.session.get()) == 1);
  return ssl;
}

}  // namespace

TlsClient::TlsClient(const Server& server, const TlsOptions& options,
                     std::optional<int> receive_buffer)
    : Client(server, receive_buffer), ssl_(make_connection(options)) {
  shake_hands();
}

TlsClient::TlsClient(const Server& server, const TlsOptions& options, const Route& route)
    : Client(server, route), ssl_(make_connection(options)) {
  shake_hands();
}

void TlsClient::shake_hands() {
  SSL_set_app_data(ssl_.get(), &traffic_secret_);
  const auto deadline = Clock::now() + kPatience;
  for (;;) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    const int error = SSL_get_error(ssl_.get(), result);
    try {
      flush(deadline);
    } catch (const std::system_error&) {  // what the server said before it left may still be read
    }
    if (result == 1) break;
    if (error != SSL_ERROR_WANT_READ) fail();
    if (!wait_for(POLLIN, deadline)) throw std::runtime_error("no handshake in time");
    std::string bytes;
    if (receive_raw(bytes) == Arrival::kEnd) throw TlsFailure("the server closed the connection");
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
  }
  decrypt();  // what came with the last message
}

void TlsClient::fail() const {
  const char* const reason = ERR_reason_error_string(ERR_peek_error());
  std::string text = reason == nullptr ? "unknown failure" : reason;
  if (const long verdict = SSL_get_verify_result(ssl_.get()); verdict != X509_V_OK) {
    text += std::string(": ") + X509_verify_cert_error_string(verdict);
  }
  throw TlsFailure(text);
}

/// Reads all that has come in.
void TlsClient::decrypt() {
  for (;;) {
    char bytes[16'384];
    std::size_t size = 0;
    ERR_clear_error();
    const int result = SSL_read_ex(ssl_.get(), bytes, sizeof bytes, &size);
    append_unread({bytes, size});
    if (result == 1) continue;
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_ZERO_RETURN) ended_ = true;
    if (error == SSL_ERROR_SSL) fail();
    return;
  }
}

bool TlsClient::receive(Clock::time_point deadline) {
  if (ended_) return false;
  // The server may be waiting for what has not been sent yet.
  const bool sent = flush(Clock::now());
  if (!wait_for(static_cast<short>(sent ? POLLIN : POLLIN | POLLOUT), deadline)) {
    throw std::runtime_error("no reply in time");
  }
  std::string bytes;
  const Arrival arrival = receive_raw(bytes);
  if (arrival == Arrival::kEnd) ended_ = true;
  if (arrival != Arrival::kBytes) return !ended_;
  BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
  decrypt();
  return !ended_ || has_unread();
}

bool TlsClient::has_input() {
  if (!has_unread() && !ended_ && wait_for(POLLIN, Clock::now())) receive(Clock::now());
  return has_unread() || ended_;
}

std::string TlsClient::take_written() {
  BIO* const bio = SSL_get_wbio(ssl_.get());
  std::string bytes(BIO_ctrl_pending(bio), '\0');
  if (!bytes.empty()) BIO_read(bio, bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

/// Sends what OpenSSL has written. False if the socket does not take all of it.
bool TlsClient::flush(Clock::time_point deadline) {
  outbound_ += take_written();
  if (!outbound_.empty()) {
    outbound_.erase(0, Client::send_some(outbound_, deadline - Clock::now()));
  }
  return outbound_.empty();
}

std::size_t TlsClient::send_some(std::string_view bytes, Duration patience) {
  constexpr std::size_t kRecord = 16'384;
  const auto deadline = Clock::now() + patience;
  std::size_t taken = 0;
  while (flush(deadline) && taken < bytes.size()) {
    const std::string_view chunk = bytes.substr(taken, kRecord);
    outbound_ += encrypted(chunk);
    taken += chunk.size();
  }
  return taken;
}

std::string TlsClient::encrypted(std::string_view bytes) {
  std::size_t size = 0;
  ERR_clear_error();
  require(SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &size) == 1 && size == bytes.size());
  return take_written();
}

std::string TlsClient::goodbye_bytes() {
  SSL_shutdown(ssl_.get());
  return take_written();
}

std::string TlsClient::key_updates(int count) {
  for (int i = 0; i < count; ++i) {
    require(SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
    require(SSL_do_handshake(ssl_.get()) == 1);
  }
  return take_written();
}

std::string TlsClient::renegotiation() {
  require(SSL_renegotiate(ssl_.get()) == 1);
  SSL_do_handshake(ssl_.get());
  return take_written();
}

void TlsClient::send_raw(std::string_view bytes) {
  if (Client::send_some(bytes, kPatience) != bytes.size()) {
    throw std::runtime_error("the server does not read");
  }
}

void TlsClient::say_goodbye() {
  outbound_ += goodbye_bytes();
  flush(Clock::now() + kPatience);
}

void TlsClient::half_close() {
  say_goodbye();
  Client::half_close();
}

bool TlsClient::heard_goodbye() const {
  return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
}

Session TlsClient::session() const {
  return {SSL_get1_session(ssl_.get()), SSL_SESSION_free};
}

std::string TlsClient::server_fingerprint() const {
  return fingerprint(SSL_get0_peer_certificate(ssl_.get()));
}

std::string client_hello(const TlsOptions& options) {
  const std::unique_ptr<SSL, void (*)(SSL*)> ssl(make_connection(options), SSL_free);
  SSL_do_handshake(ssl.get());
  BIO* const bio = SSL_get_wbio(ssl.get());
  std::string bytes(BIO_ctrl_pending(bio), '\0');
  BIO_read(bio, bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

std::string failure_of(const Server& server, const TlsOptions& options) {
  try {
    return TlsClient(server, options).ping() == "ok" ? "" : "no pong";
  } catch (const std::exception& failure) {
    return as_openssl_3_0_has_it(failure.what());
  }
}

std::string as_openssl_3_0_has_it(std::string text) {
  constexpr std::string_view kLater = "ssl/tls alert";
  const std::size_t at = text.find(kLater);
  return at == std::string::npos ? text : text.replace(at, kLater.size(), "sslv3 alert");
}

}  // namespace dflockd::test
