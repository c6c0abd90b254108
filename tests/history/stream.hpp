// A TCP connection with or without TLS, every wait on which ends: at its deadline, or when the
// process is told to stop.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <openssl/ssl.h>

namespace dflockd::history {

using Clock = std::chrono::steady_clock;

/// The connection has ended, or could not be made.
class Lost : public std::runtime_error {
 public:
  Lost(const std::string& why, bool by_peer) : std::runtime_error(why), by_peer_(by_peer) {}
  /// The server has ended it; otherwise our own system has given up.
  [[nodiscard]] bool by_peer() const { return by_peer_; }

 private:
  bool by_peer_;
};

/// The deadline has passed.
class Impatient : public std::runtime_error {
 public:
  Impatient() : std::runtime_error("no answer in time") {}
};

/// Whether the process has been told to stop. Set it from a signal handler.
extern volatile bool stopping;

/// Sleeps, but not through the end.
void rest(std::chrono::nanoseconds length);

struct Address {
  std::string host;  ///< an IPv4 address
  std::uint16_t port = 0;
};

using TlsContext = std::shared_ptr<SSL_CTX>;

/// Trusts one certificate file, and no other.
TlsContext trusting(const std::string& file);

class Stream {
 public:
  /// Connects, and shakes hands if there is a context. Throws Lost, Impatient.
  Stream(const Address& address, const TlsContext& tls, Clock::time_point deadline);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  void send(std::string_view bytes, Clock::time_point deadline);
  /// The next line without its end, `\r` included.
  std::string read_line(Clock::time_point deadline);
  std::string read_bytes(std::size_t size, Clock::time_point deadline);
  /// Closes it so that the peer is sent a reset.
  void reset();

 private:
  struct FreeTls {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  void wait_for(short events, Clock::time_point deadline) const;
  void receive(Clock::time_point deadline);
  /// Waits for what OpenSSL wants; throws if it has failed.
  void serve_tls(int result, Clock::time_point deadline);

  int socket_ = -1;
  std::unique_ptr<SSL, FreeTls> ssl_;
  std::string unread_;
};

}  // namespace dflockd::history
