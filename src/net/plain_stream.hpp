// A TCP connection as it is. The other stream is `TlsStream`; a connection is a template over them,
// so that plain text pays nothing for TLS. What a stream is:
//
//   bytes = co_await stream.async_read_some(space, error);   // waits for something to arrive
//   bytes = stream.read_some(space, error);                  // what is there, or `would_block`
//   bytes = stream.write_some(text, error);                  // what there is room for
//   bytes = co_await stream.async_write(buffers, error);     // all of it
//
// The end of what the peer sends is `asio::error::eof`. Only what a write has returned is on its
// way: after `would_block` the next write must begin with the same bytes. Reading and writing may
// overlap. For the loop's thread only.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <asio/buffer.hpp>
#include <asio/write.hpp>

#include "net/net.hpp"
#include "net/receive_buffer.hpp"

namespace dflockd::net {

class PlainStream {
 public:
  static constexpr bool kBeginsWithHandshake = false;

  /// What a stream is made of: a socket that is connected and non-blocking.
  using Origin = Socket;

  explicit PlainStream(Origin socket) : socket_(std::move(socket)) {}

  /// The socket beneath: for cancelling and closing, and for reading what is thrown away.
  [[nodiscard]] Socket& socket() { return socket_; }
  [[nodiscard]] const Socket& socket() const { return socket_; }

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

 private:
  Socket socket_;
};

}  // namespace dflockd::net
