#include "base/tls.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <memory>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

namespace dflockd::base {
namespace {

/// Where an `SSL` keeps its `WithoutData`: the slot itself holds the two numbers.
int counter() {
  static const int kIndex = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return kIndex;
}

/// What the peer has sent since the last data. A record holds any number of messages.
struct WithoutData {
  std::int16_t records;
  std::int16_t messages;
};

WithoutData without_data(const SSL* ssl) {
  const auto slot = reinterpret_cast<std::uintptr_t>(SSL_get_ex_data(ssl, counter()));
  return {static_cast<std::int16_t>(slot >> 16U), static_cast<std::int16_t>(slot)};
}

/// A peer that has gone too far stays cut off: OpenSSL returns then, and does not go on with what
/// it has received.
void set_without_data(SSL* ssl, WithoutData sent) {
  const std::uintptr_t slot = std::uintptr_t{static_cast<std::uint16_t>(sent.records)} << 16U |
                              static_cast<std::uint16_t>(sent.messages);
  SSL_set_ex_data(ssl, counter(),
                  reinterpret_cast<void*>(slot));  // NOLINT(performance-no-int-to-ptr)
  if (was_cut_off(ssl)) SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

/// OpenSSL calls it with the header of each record, among others.
void on_bytes(int is_written, int /*version*/, int content, const void* /*bytes*/,
              std::size_t /*size*/, SSL* ssl, void* /*argument*/) {
  if (content != SSL3_RT_HEADER || is_written != 0 || SSL_is_init_finished(ssl) != 1) return;
  WithoutData sent = without_data(ssl);
  ++sent.records;
  set_without_data(ssl, sent);
}

/// OpenSSL calls it as a handshake goes on, and for each of its messages that comes later.
void on_progress(const SSL* observed, int where, int result) {
  auto* const ssl = const_cast<SSL*>(observed);
  if (where == SSL_CB_HANDSHAKE_DONE) return set_without_data(ssl, {0, -1});  // its end follows
  const bool is_message = (where & SSL_CB_EXIT) != 0 && result == 1;
  const bool is_refused_renegotiation = where == SSL_CB_WRITE_ALERT;
  if (!is_message && !is_refused_renegotiation) return;
  if (SSL_is_init_finished(ssl) != 1) return;
  WithoutData sent = without_data(ssl);
  ++sent.messages;
  sent.messages = std::max(sent.messages, sent.records);  // the record that it came in is no data
  set_without_data(ssl, sent);
}

/// `host` as inet_ntop(3) writes it, if it is an address; else empty.
std::string address_text(std::string host) {
  if (host.find(':') != std::string::npos) host.resize(std::min(host.find('%'), host.size()));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  const void* const bytes =
      found->ai_family == AF_INET6
          ? static_cast<const void*>(&reinterpret_cast<sockaddr_in6*>(found->ai_addr)->sin6_addr)
          : &reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_addr;
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(found->ai_family, bytes, text.data(), text.size());
  return text.data();
}

}  // namespace

bool set_tls_rules(SSL_CTX* context) {
  constexpr const char* kSuites12 =
      "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
      "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
      "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
  constexpr const char* kSuites13 =
      "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_max_cert_list(context, static_cast<long>(kMaxHandshakeMessage));
  SSL_CTX_set_info_callback(context, &on_progress);
  SSL_CTX_set_msg_callback(context, &on_bytes);
  return counter() >= 0 && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
         SSL_CTX_set_cipher_list(context, kSuites12) == 1 &&
         SSL_CTX_set_ciphersuites(context, kSuites13) == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1 &&
         X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN) == 1;
}

bool set_role(SSL* ssl, void (*role)(SSL*)) {
  ERR_clear_error();
  role(ssl);
  return ERR_peek_error() == 0;
}

void note_data(SSL* ssl) {
  set_without_data(ssl, {0, 0});
}

bool was_cut_off(const SSL* ssl) {
  const WithoutData sent = without_data(ssl);
  // What the latest record holds shows only when it has been read.
  return sent.records > kMaxWithoutData + 1 || sent.messages > kMaxWithoutData;
}

std::optional<TlsName> tls_name(std::string_view host) {
  if (host.find('\0') != std::string_view::npos) return {};
  if (host.ends_with('.')) host.remove_suffix(1);
  const bool is_bracketed = host.size() > 2 && host.starts_with('[') && host.ends_with(']');
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  if (std::string address = address_text(std::string(host)); !address.empty()) {
    return TlsName{.text = std::move(address), .is_address = true};
  }
  if (is_bracketed || host.empty() || host.starts_with('.') || host.ends_with('.') ||
      host.find_first_of("[]") != std::string_view::npos) {
    return {};
  }
  return TlsName{.text = std::string(host), .is_address = false};
}

bool demand_name(SSL_CTX* context, const TlsName& name) {
  assert(!name.text.empty());  // OpenSSL would take any certificate
  X509_VERIFY_PARAM* const rules = SSL_CTX_get0_param(context);
  return name.is_address
             ? X509_VERIFY_PARAM_set1_ip_asc(rules, name.text.c_str()) == 1
             : X509_VERIFY_PARAM_set1_host(rules, name.text.data(), name.text.size()) == 1;
}

bool announce_name(SSL* ssl, const TlsName& name) {
  return name.is_address || SSL_set_tlsext_host_name(ssl, name.text.c_str()) == 1;
}

}  // namespace dflockd::base
