// A TLS connection, with the interface that `plain_stream.hpp` describes and a handshake before
// everything else.
//
// OpenSSL reads and writes the socket itself, through a BIO of ours, and asio waits for it to
// become ready. asio's own `ssl::stream` copies everything once more through a pair of BIOs, keeps
// 72 KB for each connection at rest, and cannot write without waiting while a read is under way,
// as a reply to a blocked request must be.
//
// What has not been encrypted and handed to the socket as a whole record has not been written: the
// peer could not decrypt it. For the loop's thread only.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include "net/net.hpp"
#include "net/plain_stream.hpp"
#include "net/tls_context.hpp"
#include "net/turns.hpp"

namespace dflockd::net {

/// Finds the messages of a handshake in what has been received before there are keys, to refuse one
/// that is announced to be too long: OpenSSL would make room for 128 KB of ClientHello at once.
class HandshakeSizes {
 public:
  /// False if too long a message begins in `received`.
  [[nodiscard]] bool admit(std::string_view received);

 private:
  bool admit_content(std::string_view content);

  std::array<std::uint8_t, 5> record_{};   ///< the header of a record: its type, version and length
  std::array<std::uint8_t, 4> message_{};  ///< the header of a message: its type and length
  std::uint8_t record_size_ = 0;           ///< how much of it there is
  std::uint8_t message_size_ = 0;
  std::uint16_t record_left_ = 0;  ///< of its content
  std::uint32_t message_left_ = 0;
};

class TlsStream : public SocketStream {
 public:
  static constexpr bool kBeginsWithHandshake = true;

  /// What a stream is made of: a socket that is connected and non-blocking, and what
  /// `TlsContext::accept` returned.
  struct Origin {
    Socket socket;
    Ssl ssl;
  };

  /// Throws std::bad_alloc.
  explicit TlsStream(Origin origin);
  /// Tells the peer that this is the end and nothing was cut off (RFC 8446, 6.1), if there is room.
  ~TlsStream();

  /// Agrees on versions and keys, and checks the client's certificate if one is demanded. After an
  /// error nothing more can be sent or received. Closing the socket interrupts it. With `turns`,
  /// each step waits for one of them: it costs as much as a hundred requests.
  Awaitable handshake(std::error_code& error, Turns* turns = nullptr);

  /// Why a handshake failed, for the log.
  [[nodiscard]] static std::string why(const std::error_code& error);

  /// Whether the peer has sent anything.
  [[nodiscard]] bool has_heard() const { return heard_; }

  /// Interrupted by cancelling; may return nothing and `would_block` where only a part of a record
  /// has come, since that may have swallowed an interruption.
  AwaitableOf<std::size_t> async_read_some(std::span<char> space, std::error_code& error);

  std::size_t read_some(std::span<char> space, std::error_code& error);
  [[nodiscard]] bool has_unread();
  [[nodiscard]] bool has_arrivals() const;
  std::size_t write_some(std::string_view bytes, std::error_code& error);

  template <class Buffers>
  AwaitableOf<std::size_t> async_write(const Buffers& buffers, std::error_code& error) {
    std::size_t written = 0;
    for (auto buffer = asio::buffer_sequence_begin(buffers);
         buffer != asio::buffer_sequence_end(buffers); ++buffer) {
      const std::string_view bytes(static_cast<const char*>(buffer->data()), buffer->size());
      written += co_await async_write_bytes(bytes, error);
      if (error) break;
    }
    co_return written;
  }

  void end_sending();

 private:
  /// The functions that OpenSSL calls.
  struct Transport;

  AwaitableOf<std::size_t> async_write_bytes(std::string_view bytes, std::error_code& error);
  [[nodiscard]] bool has_nothing_buffered() const;
  std::size_t read_buffered(std::span<char> space, std::error_code& error);
  void begin_receiving();
  void say_goodbye();
  /// Waits until the socket is ready for what OpenSSL wanted last.
  auto wait(std::error_code& error) {
    return socket_.async_wait(wants_write_ ? Socket::wait_write : Socket::wait_read, into(error));
  }
  std::error_code outcome(int result);
  bool admit(std::string_view received);
  void send_alert(std::uint8_t alert);

  Ssl ssl_;
  std::error_code transport_error_;  ///< the socket's last
  std::error_code failure_;          ///< why nothing more can be sent or received
  HandshakeSizes sizes_;
  bool heard_ = false;  ///< the peer has sent something
  bool wants_write_ = false;
  bool delivering_ = false;  ///< has read, and gives others their turn before it returns that
  bool drained_ = false;     ///< nothing is to be received, unless the socket says so again
  std::size_t slice_ = 0;    ///< how much was received since it last said so
  bool ended_ = false;       ///< the peer has closed the connection beneath
};

}  // namespace dflockd::net
