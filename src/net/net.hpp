// The asio types of the event loop, bound to its one io_context rather than to any executor, which
// saves an indirection for each operation.
#pragma once

#include <chrono>
#include <exception>
#include <system_error>
#include <utility>

#include <asio/awaitable.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>

#include "base/boot_clock.hpp"

namespace dflockd::net {

using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, Executor>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;
/// A timer of the clock that goes on while the machine is suspended. The system's timers, on which
/// it stands, do not: after a resume it fires with the next timer that does, of either kind.
using BootTimer =
    asio::basic_waitable_timer<base::BootClock, asio::wait_traits<base::BootClock>, Executor>;
template <class T>
using AwaitableOf = asio::awaitable<T, Executor>;
using Awaitable = AwaitableOf<void>;

inline constexpr asio::use_awaitable_t<Executor> kUseAwaitable{};

/// Starts a coroutine that the server cannot do without: an exception that escapes it ends the
/// process, rather than leave a server that no longer accepts or expires.
inline void spawn(asio::io_context& context, Awaitable task) {
  asio::co_spawn(context.get_executor(), std::move(task),
                 [](const std::exception_ptr& failure) noexcept {
                   if (failure) std::rethrow_exception(failure);
                 });
}

/// A completion token that awaits an operation and stores its error in `error` instead of throwing.
inline auto into(std::error_code& error) {
  return asio::redirect_error(kUseAwaitable, error);
}

}  // namespace dflockd::net
