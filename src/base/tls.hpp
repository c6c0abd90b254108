// What server, clients and load generator have in common when they speak TLS: what may be agreed
// on, how much a peer may send, and which name a certificate must be for. Thread-safe, but for one
// `SSL` only as OpenSSL is.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <openssl/ssl.h>

namespace dflockd::base {

/// The longest message of a handshake.
inline constexpr std::size_t kMaxHandshakeMessage = 16UL * 1024;
/// How many records, or messages about the connection itself such as changes of keys, a peer may
/// send between data.
inline constexpr int kMaxWithoutData = 32;

/// TLS 1.2 and 1.3 with ephemeral keys of elliptic groups and authenticated encryption.
/// Finite-field groups are refused: one packet for one of 8,192 bits costs a tenth of a second.
/// What is trusted is what the trust file holds, be it a root, an intermediate or a leaf. A peer
/// that sends too much without data is cut off. False if memory is short.
[[nodiscard]] bool set_tls_rules(SSL_CTX* context);

/// Calls `role`, SSL_set_accept_state or SSL_set_connect_state. False if memory is short, which it
/// does not say itself: from OpenSSL 3.2 on it allocates, and then `ssl` can only be freed.
[[nodiscard]] bool set_role(SSL* ssl, void (*role)(SSL*));

/// To be called whenever `ssl` has returned data, before it is asked for more.
void note_data(SSL* ssl);

/// Whether the peer was cut off for what it sent without data. What has not been read is lost.
[[nodiscard]] bool was_cut_off(const SSL* ssl);

/// The name that a certificate must be for.
struct TlsName {
  std::string text;  ///< a name without its final dot, or an address as inet_ntop(3) writes it
  bool is_address;
};

/// What `host` is to certificates, which know neither the final dot of a name nor the zone of an
/// address (`fe80::1%eth0`) or brackets around it. Nothing for what is neither a name nor an
/// address: OpenSSL would take an empty name for any, and one that begins with a dot for all below
/// it.
[[nodiscard]] std::optional<TlsName> tls_name(std::string_view host);

/// Makes certificates count only if they are for `name`. False if memory is short.
[[nodiscard]] bool demand_name(SSL_CTX* context, const TlsName& name);

/// Announces `name` (SNI), unless it is an address. False if memory is short.
[[nodiscard]] bool announce_name(SSL* ssl, const TlsName& name);

}  // namespace dflockd::base
