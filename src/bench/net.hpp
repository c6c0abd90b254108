// The asio types of the generator, bound to its one io_context rather than to any executor, which
// saves an indirection for each operation.
#pragma once

#include <chrono>
#include <system_error>

#include <asio/awaitable.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>

namespace dflockd::bench {

using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;

template <typename Value>
using Awaitable = asio::awaitable<Value, Executor>;

/// A completion token that awaits an operation and stores its error in `error` instead of throwing.
inline auto into(std::error_code& error) {
  return asio::redirect_error(asio::use_awaitable_t<Executor>{}, error);
}

}  // namespace dflockd::bench
