// The buffer that a connection receives into, a type of its own so that a reception costs one
// system call.
//
// asio, up to 1.30 at least, takes it that there may be more to read unless the last recv(2)
// returned nothing at all, and so follows each with another one that fails with EAGAIN. But epoll
// is edge-triggered here: a recv that returned less than it had room for has emptied the socket,
// and bytes that come later raise a new event (epoll(7), "Questions and answers", 9). There are two
// exceptions: the end of the stream may have come with the last bytes, which `HangupWatch`
// sees; and a recv stops at TCP urgent data, which no client of ours sends: what is behind it waits
// for the next byte.
#pragma once

#include <asio/basic_stream_socket.hpp>  // what the header of asio's own template leaves out
#include <asio/buffer.hpp>
#include <asio/detail/reactive_socket_recv_op.hpp>
#include <asio/version.hpp>

// A later asio may have other insides: until somebody has looked, its own template serves, at one
// more call a reception, and the test `short_read_costs_one_system_call` says so.
#if ASIO_VERSION <= 103002

namespace dflockd::net {

struct ReceiveBuffer : asio::mutable_buffer {
  using asio::mutable_buffer::mutable_buffer;
};

}  // namespace dflockd::net

/// As asio's own template, but for what `do_perform` says of a short read.
template <>
class asio::detail::reactive_socket_recv_op_base<dflockd::net::ReceiveBuffer>
    : public asio::detail::reactor_op {
 public:
  reactive_socket_recv_op_base(const std::error_code& success, socket_type socket,
                               socket_ops::state_type /*state*/,
                               const dflockd::net::ReceiveBuffer& buffer,
                               socket_base::message_flags flags, func_type completion)
      : reactor_op(success, &reactive_socket_recv_op_base::do_perform, completion),
        socket_(socket),
        buffer_(buffer),
        flags_(flags) {}

  static status do_perform(reactor_op* operation) {
    auto* self = static_cast<reactive_socket_recv_op_base*>(operation);
    constexpr bool kIsStream = true;
    if (!socket_ops::non_blocking_recv1(self->socket_, self->buffer_.data(), self->buffer_.size(),
                                        self->flags_, kIsStream, self->ec_,
                                        self->bytes_transferred_)) {
      return not_done;
    }
    return self->bytes_transferred_ < self->buffer_.size() ? done_and_exhausted : done;
  }

 private:
  socket_type socket_;
  dflockd::net::ReceiveBuffer buffer_;
  socket_base::message_flags flags_;
};

#else

namespace dflockd::net {

using ReceiveBuffer = asio::mutable_buffer;

}  // namespace dflockd::net

#endif
