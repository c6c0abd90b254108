// What a connection, a lock or a semaphore is made with. Plain values; the constructors that take
// them check all of it and throw `Error` (`errc::invalid_argument`) that says what is allowed.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <dflockd/error.hpp>
#include <dflockd/shard.hpp>

namespace dflockd {

/// How to speak TLS. The server's certificate is always verified; TLS 1.2 at least, elliptic groups
/// only.
struct TlsOptions {
  /// A PEM file with what to trust, as it stands: roots, intermediates, the server's own
  /// certificate. Empty: the authorities of the system.
  std::string ca_file{};
  /// A PEM file with a client certificate (and its chain), and one with its key, for servers that
  /// demand one (`--tls-client-ca`). Both or neither.
  std::string cert_file{};
  std::string key_file{};
  /// The name (or address) that the certificate must be for. Empty: the host that is connected to.
  /// A final dot and the zone of an address do not count.
  std::string server_name{};
};

/// What one `Connection` is made with.
struct ConnectionOptions {
  /// `host:port`, or a host alone for port 6388: a name, an IPv4 address, an IPv6 address in
  /// brackets.
  std::string server = "127.0.0.1:6388";
  /// How long resolving, connecting, the TLS handshake and authenticating may take together.
  /// More than zero.
  std::chrono::milliseconds connect_timeout{10'000};
  /// How long an answer may take, beyond the time that the server is asked to wait. More than zero.
  std::chrono::milliseconds response_timeout{10'000};
  /// Speak TLS. Nothing: plain text.
  std::optional<TlsOptions> tls{};
  /// The shared secret. Empty: the server has none. Without line ends, at most 65,536 bytes.
  std::string auth_token{};
};

/// What a `Lock` is made with.
struct LockOptions {
  /// What to lock: 1 to 256 bytes, without space, tab, CR and LF.
  std::string key{};
  /// The servers, as `ConnectionOptions::server`; `shard` chooses one of them. At least one.
  std::vector<std::string> servers{"127.0.0.1:6388"};
  /// How long `acquire()` waits in the queue. Not negative; at most 9,223,372,036 s.
  std::chrono::milliseconds acquire_timeout{10'000};
  /// How long the server lets the grant live without a renewal. Zero: the server's default. At most
  /// 9,223,372,036 s.
  std::chrono::seconds lease_ttl{0};
  /// Which part of the lease may pass before it is renewed: at least 0, less than 1. Up to a tenth
  /// earlier, at random, so that locks taken together are not renewed together. 0: never renewed.
  double renew_ratio = 0.5;
  /// What the server runs with, `--auto-release-on-disconnect`: whether it takes grants back when
  /// their connection ends. If so, nothing is held for certain once the connection has ended.
  bool auto_release_on_disconnect = true;
  /// Called once if the lock is lost while it is held: with `errc::not_held` if the server let it
  /// go, `errc::lease_expired` if it could not be renewed in time. Called on the thread that renews
  /// all locks of the process, so it must be short: it may ask and release the lock, but not wait
  /// for one, which is `errc::invalid_argument` there. What another thread has acquired meanwhile
  /// with the same object it cannot release: `errc::not_held`. It must not throw.
  std::function<void(const Error&)> on_renew_error{};
  /// Chooses the server.
  Shard shard = crc32_shard;
  /// See `ConnectionOptions`.
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds response_timeout{10'000};
  std::optional<TlsOptions> tls{};
  std::string auth_token{};
};

/// What a `Semaphore` is made with.
struct SemaphoreOptions : LockOptions {
  /// How many may hold it at a time: 1 to 1,048,576, the same for everybody who uses the key.
  int limit = 1;
};

}  // namespace dflockd
