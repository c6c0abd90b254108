// A TCP connection as it is. The other stream is `TlsStream`; clients are templates over them, so
// that plain text pays nothing for TLS. What a stream is:
//
//   if (!stream.send(text, error)) co_await stream.send_rest(error);
//   bytes = co_await stream.read_some(space, error);
//
// `send` sends what the socket takes at once and tells whether that was all; a socket that is full
// is no error. The text stays valid until all of it is sent. The end of what the server sends is
// `asio::error::eof`. For the thread of the io_context only.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/write.hpp>

#include "bench/net.hpp"

namespace dflockd::bench {

class PlainStream {
 public:
  explicit PlainStream(asio::io_context& io) : socket_(io.get_executor()) {}

  [[nodiscard]] Socket& socket() { return socket_; }

  [[nodiscard]] bool send(std::string_view text, std::error_code& error) {
    const std::size_t sent = socket_.write_some(asio::buffer(text), error);
    if (error == asio::error::would_block) error.clear();
    unsent_ = text.substr(sent);
    return error || unsent_.empty();
  }

  [[nodiscard]] auto send_rest(std::error_code& error) {
    return asio::async_write(socket_, asio::buffer(unsent_), into(error));
  }

  [[nodiscard]] auto read_some(std::span<char> space, std::error_code& error) {
    return socket_.async_read_some(asio::buffer(space.data(), space.size()), into(error));
  }

 private:
  Socket socket_;
  std::string_view unsent_;
};

}  // namespace dflockd::bench
