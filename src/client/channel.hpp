// A connection to a server: TCP or TLS, authenticated, one request and its answer at a time.
// Not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <dflockd/detail/wire.hpp>
#include <dflockd/options.hpp>

#include "client/socket.hpp"
#include "client/tls.hpp"

namespace dflockd::client {

class Channel {
 public:
  /// Connects, with TLS and the secret if `options` have them. Throws `Failure`:
  /// `errc::connection`, `tls`, `auth`, `timeout`, `canceled`.
  Channel(const Endpoint& endpoint, const ConnectionOptions& options, const Limits& limits);
  /// Closes. Sends nothing: after `fork` the connection may be another process's too.
  ~Channel() = default;
  Channel(Channel&&) noexcept = default;
  Channel& operator=(Channel&&) noexcept = default;

  /// Sends `request` and returns the line that answers it, without its line end; it lives until the
  /// next call. Throws `Failure`: `errc::connection`, `tls`, `timeout`, `canceled`, `protocol` (a
  /// line longer than `longest`). Only `abandon` may be called then.
  std::string_view call(std::string_view request, const Limits& limits,
                        std::size_t longest = detail::kLongestAnswer);

  /// Throws `Failure` if the server has closed an idle channel, or said anything unasked on it:
  /// `errc::connection`, or `tls` if it has refused the handshake. Never waits.
  void expect_quiet();

  /// Gives up waiting for the answer, which the server notices, and returns the line that it had
  /// sent already, or nothing. Never throws; ends when `limits` say so.
  std::string_view abandon(const Limits& limits) noexcept;

  /// The socket.
  [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }

 private:
  void shake_hands(const TlsOptions& options, const std::string& host, const Limits& limits);
  void send(std::string_view text, const Limits& limits);
  void send_bytes(std::string_view bytes, const Limits& limits);
  void flush(const Limits& limits);
  /// Adds what arrives to `received_`, at least one byte, or throws.
  void receive(const Limits& limits);
  bool decrypt(char* space, std::size_t capacity, std::size_t& size);
  bool hears_refusal(const Limits& limits);
  std::size_t receive_bytes(char* space, std::size_t size, const Limits& limits);
  std::string_view read_line(const Limits& limits, std::size_t longest);

  base::Descriptor socket_;
  Tls tls_;                  ///< null: plain text
  BIO* incoming_ = nullptr;  ///< both owned by `tls_`
  BIO* outgoing_ = nullptr;
  std::string received_;
  std::size_t taken_ = 0;  ///< how much of `received_` has been returned
};

}  // namespace dflockd::client
