// A TCP connection as it is. The other streams are `TlsStream` and, in the tests, one without a
// socket; a pump is a template over them, so that plain text pays nothing for TLS. A stream moves
// bytes:
//
//   bytes = co_await stream.async_read_some(space, error);   // waits for something to arrive
//   bytes = stream.read_some(space, error);                  // what is there, or `would_block`
//   bytes = stream.write_some(text, error);                  // what there is room for
//   bytes = co_await stream.async_write(buffers, error);     // all of it
//
// The end of what the peer sends is `asio::error::eof`. Only what a write has returned is on its
// way: after `would_block` the next write must begin with the same bytes. Reading and writing may
// overlap. Besides, it has what `SocketStream` has and `has_unread`, `has_arrivals` and
// `end_sending`. For the loop's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <poll.h>

#include <asio/buffer.hpp>
#include <asio/write.hpp>

#include "net/net.hpp"
#include "net/receive_buffer.hpp"

namespace dflockd::net {

/// The socket beneath a stream, as far as it is the same whatever moves over it.
class SocketStream {
 public:
  SocketStream(const SocketStream&) = delete;
  SocketStream& operator=(const SocketStream&) = delete;

  [[nodiscard]] Socket& socket() { return socket_; }
  /// For `Watch`.
  [[nodiscard]] int descriptor() { return socket_.native_handle(); }

  /// The address at this end; empty if the system does not say.
  [[nodiscard]] std::string local_address() const {
    std::error_code error;
    const asio::ip::tcp::endpoint local = socket_.local_endpoint(error);
    return error ? std::string() : local.address().to_string();
  }

  /// Whether the peer has closed or reset the connection, even if nobody has noticed yet.
  [[nodiscard]] bool peer_gone() {
    pollfd descriptor{.fd = socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
    return ::poll(&descriptor, 1, 0) > 0;
  }

  /// Ends after this time, whatever becomes of the socket.
  [[nodiscard]] Awaitable wait_for(std::chrono::milliseconds time) {
    Timer timer(socket_.get_executor(), time);
    std::error_code ignored;
    co_await timer.async_wait(into(ignored));
  }

  /// Interrupts what is being sent and received.
  void cancel() {
    std::error_code ignored;
    socket_.cancel(ignored);
  }
  /// The same, and nothing else can begin.
  void close() {
    std::error_code ignored;
    socket_.close(ignored);
  }

  /// Reads what is thrown away, as it comes from the socket: waits for something to arrive.
  [[nodiscard]] auto async_discard_some(std::span<char> space, std::error_code& error) {
    return socket_.async_read_some(asio::mutable_buffer(space.data(), space.size()), into(error));
  }
  /// The same of what is there, or `would_block`.
  std::size_t discard_some(std::span<char> space, std::error_code& error) {
    return socket_.read_some(asio::mutable_buffer(space.data(), space.size()), error);
  }

 protected:
  explicit SocketStream(Socket socket) : socket_(std::move(socket)) {}
  ~SocketStream() = default;

  Socket socket_;
};

class PlainStream : public SocketStream {
 public:
  static constexpr bool kBeginsWithHandshake = false;

  /// What a stream is made of: a socket that is connected and non-blocking.
  using Origin = Socket;

  explicit PlainStream(Origin socket) : SocketStream(std::move(socket)) {}

  /// `space` and `error` must live until the operation is over.
  [[nodiscard]] auto async_read_some(std::span<char> space, std::error_code& error) {
    return socket_.async_read_some(ReceiveBuffer(space.data(), space.size()), into(error));
  }

  std::size_t read_some(std::span<char> space, std::error_code& error) {
    return socket_.read_some(asio::buffer(space.data(), space.size()), error);
  }

  /// Whether something has arrived that has not been read.
  [[nodiscard]] bool has_unread() const { return has_arrivals(); }

  /// Whether there is something that the `async_read_some` under way has yet to return.
  [[nodiscard]] bool has_arrivals() const {
    std::error_code ignored;
    return socket_.available(ignored) > 0;
  }

  std::size_t write_some(std::string_view bytes, std::error_code& error) {
    return socket_.write_some(asio::buffer(bytes), error);
  }

  /// `buffers` is a sequence of constant buffers; what they point to must live until the operation
  /// is over, and `error` too.
  template <class Buffers>
  [[nodiscard]] auto async_write(const Buffers& buffers, std::error_code& error) {
    return asio::async_write(socket_, buffers, into(error));
  }

  /// Tells the peer that nothing more will be sent.
  void end_sending() {
    std::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }
};

}  // namespace dflockd::net
