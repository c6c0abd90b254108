// A connection to the server that is measured: its stream, and what has arrived on it, taken out a
// reply at a time. `Stream` is `net::PlainStream` or `net::TlsStream`. For the loop's thread only.
//
// What a client says before the load throws `std::runtime_error` with one clear line if the server
// does not answer as it should.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <openssl/ssl.h>

#include "base/tls.hpp"
#include "bench/measurement.hpp"
#include "bench/options.hpp"
#include "bench/wire.hpp"
#include "net/net.hpp"
#include "net/plain_stream.hpp"
#include "net/tls_context.hpp"
#include "net/tls_stream.hpp"

namespace dflockd::bench {

struct SessionDeleter {
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using TlsSession = std::unique_ptr<SSL_SESSION, SessionDeleter>;

/// What the TLS connections of a load have in common: the rules of base/tls.hpp, and how the
/// server's certificate is verified. Built once from the options and never changed.
class TlsContext {
 public:
  /// Throws `std::runtime_error` with one clear line if the authorities cannot be used.
  explicit TlsContext(const Options& options);

  /// The state of a connection that is about to begin. It resumes `session` if the server agrees;
  /// null means a full handshake. Throws `std::bad_alloc`.
  [[nodiscard]] net::Ssl connect(SSL_SESSION* session) const;

 private:
  void verify(const Options& options);

  std::unique_ptr<SSL_CTX, net::SslDeleter> context_;
  base::TlsName server_name_;  ///< that its certificate must be for
};

/// What has arrived and was not taken out yet. Its size never changes.
class Input {
 public:
  /// Replies are lines, or those of HTTP/1.1 (RFC 9112), with a `Content-Length` or no body.
  Input(std::size_t capacity, bool is_http) : is_http_(is_http), bytes_(capacity) {}

  /// Where to write what arrives; invalidates replies. Empty if a reply is longer than the buffer.
  [[nodiscard]] std::span<char> space();

  /// `size` bytes have been written to the start of `space()`.
  void commit(std::size_t size) { end_ += size; }

  /// The next complete reply, or nothing.
  [[nodiscard]] std::optional<Reply> next();

  /// What has arrived is no reply of HTTP/1.1. Nothing more comes out.
  [[nodiscard]] bool is_broken() const { return broken_; }

  [[nodiscard]] std::string_view unread() const { return {bytes_.data() + begin_, end_ - begin_}; }

 private:
  [[nodiscard]] std::optional<Reply> next_line();
  [[nodiscard]] std::optional<Reply> next_of_http();

  bool is_http_;
  bool broken_ = false;
  std::vector<char> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

template <class Stream>
class Connection {
 public:
  /// `tls` is null for plain text; `options` and `tls` outlive the connection.
  Connection(asio::io_context& io, const TlsContext* tls, const Options& options,
             std::size_t input_size);

  /// Connects, blocking until that is done. May be called again after an error.
  void connect(const asio::ip::tcp::endpoint& server, std::error_code& error);
  /// The same without blocking. TLS resumes `session` unless it is null.
  net::Awaitable connect(const asio::ip::tcp::endpoint& server, SSL_SESSION* session,
                         std::error_code& error);
  void close();

  // What follows is for a connection that is there.

  [[nodiscard]] Stream& stream() { return *stream_; }
  [[nodiscard]] Input& input() { return input_; }

  net::Awaitable shake_hands();
  net::Awaitable authenticate();
  net::Awaitable ping();
  /// Opens a session of the HTTP API, and gives its id.
  net::AwaitableOf<std::string> open_session();
  /// Says that nothing more comes, and waits until the server has said so too.
  net::Awaitable say_goodbye();

  /// Throws if the input is broken.
  void check_input() const;

  /// After the handshake.
  [[nodiscard]] TlsAgreement agreed() const;
  [[nodiscard]] bool resumed() const { return SSL_session_reused(ssl_) == 1; }
  /// What lets a later connection resume this one; null unless the server has sent a ticket.
  [[nodiscard]] TlsSession session() const;

 private:
  void adopt(net::Socket socket, SSL_SESSION* session, std::error_code& error);
  /// The answer to a request, valid while the input is not touched.
  net::AwaitableOf<Reply> ask(std::string_view request);
  [[nodiscard]] std::string why(const std::error_code& error) const;

  asio::io_context& io_;
  const TlsContext* tls_;
  const Options& options_;
  std::optional<Stream> stream_;
  SSL* ssl_ = nullptr;  ///< the stream's
  Input input_;
};

}  // namespace dflockd::bench
