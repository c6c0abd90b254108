// A client of the line protocol over TLS, which can do all that `Client` can and the mistakes that
// TLS adds.
//
//   TlsClient client(server, {.trusted = &authority, .host = "localhost"});
//   EXPECT_EQ(client.ping(), "ok");
//
// OpenSSL writes to memory, and what it has written is sent as it is: so tests send halves of
// records, and a peer that leaves is no SIGPIPE.
#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <openssl/ssl.h>

#include "support/certificates.hpp"
#include "support/client.hpp"

namespace dflockd::test {

/// What either side found wrong, in OpenSSL's words: "certificate verify failed: ...", or the alert
/// that the server sent.
class TlsFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

using Session = std::shared_ptr<SSL_SESSION>;

struct TlsOptions {
  const Authority* trusted = nullptr;  ///< null: every certificate will do
  std::string host{};                  ///< whom the certificate must name; empty: anybody
  const Identity* identity = nullptr;  ///< to show if asked for one
  int min_version = TLS1_2_VERSION;
  int max_version = TLS1_3_VERSION;
  std::string ciphers{};  ///< of TLS 1.2; empty: OpenSSL's choice
  std::string suites{};   ///< of TLS 1.3
  std::string groups{};   ///< the first of which is what the hello has a key for
  Session session{};      ///< to resume
};

class TlsClient : public Client {
 public:
  /// Connects and shakes hands. Throws TlsFailure.
  explicit TlsClient(const Server& server, const TlsOptions& options = {},
                     std::optional<int> receive_buffer = {});
  TlsClient(const Server& server, const TlsOptions& options, const Route& route);

  std::size_t send_some(std::string_view bytes, Duration patience) override;
  bool has_input() override;

  // --- Leaving; `close` and `reset` say no goodbye ---

  /// Sends close_notify and leaves the connection beneath open.
  void say_goodbye();
  /// Sends close_notify and ends this direction.
  void half_close() override;

  /// True if the server has sent close_notify.
  [[nodiscard]] bool heard_goodbye() const;

  // --- What was agreed on ---

  [[nodiscard]] std::string version() const { return SSL_get_version(ssl_.get()); }
  [[nodiscard]] std::string cipher() const { return SSL_get_cipher_name(ssl_.get()); }
  [[nodiscard]] bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  /// The session so far. In TLS 1.3 it comes after the handshake: wait for a reply first.
  [[nodiscard]] Session session() const;
  [[nodiscard]] std::string server_fingerprint() const;
  /// What the keys of this side are made of (TLS 1.3).
  [[nodiscard]] const std::string& traffic_secret() const { return traffic_secret_; }

  // --- Bytes as they are on the wire ---

  /// The records for `bytes`, not sent.
  std::string encrypted(std::string_view bytes);
  /// The record of a close_notify, not sent.
  std::string goodbye_bytes();
  /// Records that change the key and carry nothing (TLS 1.3), not sent.
  std::string key_updates(int count);
  /// The record that asks for another handshake (TLS 1.2), not sent.
  std::string renegotiation();
  void send_raw(std::string_view bytes);

 protected:
  bool receive(Clock::time_point deadline) override;

 private:
  struct Deleter {
    void operator()(SSL* ssl) const {
      // OpenSSL would not resume the session of a connection that ended without a goodbye.
      SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
      SSL_free(ssl);
    }
  };

  void shake_hands();
  void decrypt();
  bool flush(Clock::time_point deadline);
  std::string take_written();
  [[noreturn]] void fail() const;

  std::unique_ptr<SSL, Deleter> ssl_;
  std::string traffic_secret_;
  std::string outbound_;  ///< records that the socket has had no room for
  bool ended_ = false;
};

/// The first message of a handshake, as it is on the wire.
std::string client_hello(const TlsOptions& options = {});

/// Why a handshake and a ping fail; empty if they don't.
std::string failure_of(const Server& server, const TlsOptions& options);

/// The text with an alert of the old kind called as in OpenSSL 3.0; 3.5 calls it "ssl/tls alert".
std::string as_openssl_3_0_has_it(std::string text);

}  // namespace dflockd::test
