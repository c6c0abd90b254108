// A connection for programs that use asio: the operations of `dflockd::Connection`, asynchronous.
//
//     asio::awaitable<void> work(dflockd::AsyncConnection& connection) {
//       co_await connection.async_connect(dflockd::ConnectionOptions(), asio::use_awaitable);
//       const auto grant = co_await connection.async_acquire("etl-job", 10s, 30s,
//                                                            asio::use_awaitable);
//       ...
//       co_await connection.async_release("etl-job", grant->token, asio::use_awaitable);
//     }
//
// For standalone asio, 1.22 or later, so define ASIO_STANDALONE, and link OpenSSL. Nothing else of
// the library includes asio or OpenSSL.
//
// Thread-safety: the members of `AsyncConnection` may be called from any thread, but for
// construction, moving and destruction; what they do runs on a strand of its own. One operation at
// a time: it is an error, and asserted, to begin one before the handler of the last has been
// called. The cancellation slot of an operation must be used where its handler runs, as with all of
// asio. Fork: what asio says of `execution_context::notify_fork`.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/execution_context.hpp>
#include <dflockd/detail/async.hpp>
#include <dflockd/detail/transport.hpp>
#include <dflockd/detail/wire.hpp>
#include <dflockd/error.hpp>
#include <dflockd/grant.hpp>
#include <dflockd/options.hpp>

namespace dflockd {

/// A connection that does not block. Requests, their arguments and what is answered are those of
/// `Connection`, and so are the limits on time: `ConnectionOptions::connect_timeout` for all of
/// connecting, and `response_timeout` on top of what the server is asked to wait.
///
/// Every operation takes a completion token: a callback, `asio::use_awaitable`,
/// `asio::use_future`. Its handler gets a `std::error_code` of `errc`, and what there is besides:
/// nothing, or an empty value, with an error. The handler is never called within the call that
/// begins the operation. It is called on the executor that is associated with it, or else on that
/// of the connection.
///
/// After `errc::connection` (which no answer in time is, too), `tls`, `auth`, `canceled` and
/// `protocol` of an unknown answer the connection is closed, and every operation fails with
/// `errc::connection` until `async_connect` succeeds again.
///
/// An operation is cancelled by its handler's cancellation slot
/// (`asio::cancellation_type::terminal`), by `close`, and by the destructor; it ends with
/// `errc::canceled`, and the connection is closed. So the server takes back what it may have
/// granted at that moment; if it runs with
/// `--auto-release-on-disconnect=false`, when the lease ends.
class AsyncConnection {
 public:
  /// Where handlers run that name no executor.
  using executor_type = asio::any_io_executor;

  /// Not connected. The executor's context must outlive the connection.
  explicit AsyncConnection(const executor_type& executor)
      : session_(std::make_shared<detail::Session>(executor)) {}
  /// As with the executor of `context`, such as an `asio::io_context`.
  template <class Context>
  requires std::is_convertible_v<Context&, asio::execution_context&>
  explicit AsyncConnection(Context& context) : AsyncConnection(context.get_executor()) {}
  /// Closes.
  ~AsyncConnection() { close(); }
  AsyncConnection(AsyncConnection&&) noexcept = default;
  AsyncConnection& operator=(AsyncConnection&& other) noexcept {
    if (this == &other) return *this;
    close();
    session_ = std::move(other.session_);
    return *this;
  }

  /// What the connection was made with.
  [[nodiscard]] executor_type get_executor() const noexcept { return session_->executor(); }

  /// Connects, with TLS and the secret if `options` have them, after closing what is open. Files of
  /// `options.tls` are read here. Errors: `invalid_argument`, `connection`, `tls`, `auth`.
  /// @param completion  void(std::error_code)
  template <class Token>
  auto async_connect(ConnectionOptions options, Token&& completion) {
    return initiate<std::monostate>(nullptr, std::move(options), std::forward<Token>(completion));
  }

  /// Waits up to `timeout` for the lock; 0 tries once. `errc::timeout`: not granted in time, and no
  /// longer queued. Errors: `max_locks`, `max_waiters`, `draining`.
  /// @param completion  void(std::error_code, std::optional<Grant>), as for the next five
  template <class Token>
  auto async_acquire(std::string_view key, std::chrono::seconds timeout,
                     std::chrono::seconds lease_ttl, Token&& completion) {
    return acquire({.key = key}, timeout, lease_ttl, std::forward<Token>(completion));
  }
  /// As `async_acquire`, for a slot of a semaphore of `limit`. Also `limit_mismatch`.
  template <class Token>
  auto async_semaphore_acquire(std::string_view key, std::chrono::seconds timeout, int limit,
                               std::chrono::seconds lease_ttl, Token&& completion) {
    return acquire(semaphore(key, limit), timeout, lease_ttl, std::forward<Token>(completion));
  }

  /// Takes the lock if it is free, else a place in its queue: the grant, or nothing if queued.
  /// Errors: `already_enqueued`, `max_locks`, `max_waiters`, `draining`.
  template <class Token>
  auto async_enqueue(std::string_view key, std::chrono::seconds lease_ttl, Token&& completion) {
    return enqueue({.key = key}, lease_ttl, std::forward<Token>(completion));
  }
  /// As `async_enqueue`, for a slot of a semaphore of `limit`. Also `limit_mismatch`.
  template <class Token>
  auto async_semaphore_enqueue(std::string_view key, int limit, std::chrono::seconds lease_ttl,
                               Token&& completion) {
    return enqueue(semaphore(key, limit), lease_ttl, std::forward<Token>(completion));
  }

  /// Waits up to `timeout` for what `async_enqueue` queued for. `errc::timeout`: not granted in
  /// time, and the place is given up. Errors: `not_enqueued`, `lease_expired`, `draining`.
  template <class Token>
  auto async_wait(std::string_view key, std::chrono::seconds timeout, Token&& completion) {
    return wait({.key = key}, timeout, std::forward<Token>(completion));
  }
  /// As `async_wait`, for `async_semaphore_enqueue`.
  template <class Token>
  auto async_semaphore_wait(std::string_view key, std::chrono::seconds timeout,
                            Token&& completion) {
    return wait(semaphore(key), timeout, std::forward<Token>(completion));
  }

  /// Gives back what `token` was granted. Errors: `not_held`.
  /// @param completion  void(std::error_code)
  template <class Token>
  auto async_release(std::string_view key, std::string_view token, Token&& completion) {
    return release({.key = key}, token, std::forward<Token>(completion));
  }
  /// As `async_release`, for a slot of a semaphore.
  template <class Token>
  auto async_semaphore_release(std::string_view key, std::string_view token, Token&& completion) {
    return release(semaphore(key), token, std::forward<Token>(completion));
  }

  /// Restarts the lease of `token`. Errors: `not_held`.
  /// @param completion  void(std::error_code, std::chrono::seconds), which is what is left of it
  template <class Token>
  auto async_renew(std::string_view key, std::string_view token, std::chrono::seconds lease_ttl,
                   Token&& completion) {
    return renew({.key = key}, token, lease_ttl, std::forward<Token>(completion));
  }
  /// As `async_renew`, for a slot of a semaphore.
  template <class Token>
  auto async_semaphore_renew(std::string_view key, std::string_view token,
                             std::chrono::seconds lease_ttl, Token&& completion) {
    return renew(semaphore(key), token, lease_ttl, std::forward<Token>(completion));
  }

  /// Asks for a sign of life.
  /// @param completion  void(std::error_code)
  template <class Token>
  auto async_ping(Token&& completion) {
    const auto read = [](std::string_view line, std::monostate&) { return detail::read_ok(line); };
    return ask<std::monostate>({}, read, detail::append_ping, std::forward<Token>(completion));
  }

  /// What the server holds, as JSON on one line; docs/protocol.md describes it.
  /// @param completion  void(std::error_code, std::string)
  template <class Token>
  auto async_stats(Token&& completion) {
    const auto read = [](std::string_view line, std::string& stats) {
      std::string_view json;
      const std::error_code error = detail::read_stats(line, json);
      stats = json;
      return error;
    };
    return ask<std::string>({.longest = detail::kLongestStats}, read, detail::append_stats,
                            completion);
  }

  /// Ends the connection, and an operation that is under way with `errc::canceled`. It takes effect
  /// before whatever is begun after it.
  void close() noexcept {
    if (session_ != nullptr) detail::Session::close(session_);
  }

 private:
  static detail::Target semaphore(std::string_view key, int limit) {
    // A limit of 0 would make it a lock; any other that is wrong is refused as well.
    return {.key = key, .limit = limit == 0 ? -1 : limit};
  }
  static detail::Target semaphore(std::string_view key) { return {.key = key, .limit = 1}; }

  static void check(const detail::Target& target) {
    detail::check_key(target.key);
    if (target.limit != 0) detail::check_limit(target.limit);
  }

  template <class Token>
  auto acquire(const detail::Target& target, std::chrono::seconds timeout,
               std::chrono::seconds lease_ttl, Token&& completion) {
    const auto append = [&](std::string& out) {
      check(target);
      detail::check_timeout(timeout);
      detail::check_lease(lease_ttl);
      detail::append_acquire(out, target, timeout, lease_ttl);
    };
    return ask<std::optional<Grant>>({.timeout = timeout}, detail::read_grant, append,
                                     std::forward<Token>(completion));
  }

  template <class Token>
  auto enqueue(const detail::Target& target, std::chrono::seconds lease_ttl, Token&& completion) {
    const auto append = [&](std::string& out) {
      check(target);
      detail::check_lease(lease_ttl);
      detail::append_enqueue(out, target, lease_ttl);
    };
    return ask<std::optional<Grant>>({}, detail::read_enqueued, append,
                                     std::forward<Token>(completion));
  }

  template <class Token>
  auto wait(const detail::Target& target, std::chrono::seconds timeout, Token&& completion) {
    const auto append = [&](std::string& out) {
      check(target);
      detail::check_timeout(timeout);
      detail::append_wait(out, target, timeout);
    };
    return ask<std::optional<Grant>>({.timeout = timeout}, detail::read_grant, append,
                                     std::forward<Token>(completion));
  }

  template <class Token>
  auto release(const detail::Target& target, std::string_view token, Token&& completion) {
    const auto append = [&](std::string& out) {
      check(target);
      detail::check_token(token);
      detail::append_release(out, target, token);
    };
    const auto read = [](std::string_view line, std::monostate&) {
      return detail::read_released(line);
    };
    return ask<std::monostate>({}, read, append, std::forward<Token>(completion));
  }

  template <class Token>
  auto renew(const detail::Target& target, std::string_view token, std::chrono::seconds lease_ttl,
             Token&& completion) {
    const auto append = [&](std::string& out) {
      check(target);
      detail::check_token(token);
      detail::check_lease(lease_ttl);
      detail::append_renew(out, target, token, lease_ttl);
    };
    return ask<std::chrono::seconds>({}, detail::read_remaining, append,
                                     std::forward<Token>(completion));
  }

  /// Begins to send `request`, whose text `append` makes, and to read what is answered.
  template <class Value, class Append, class Token>
  auto ask(detail::AsyncRequest request, detail::ReadAnswer<Value> read, const Append& append,
           Token&& completion) {
    try {
      append(request.text);
    } catch (const Error& error) {
      request.refused = error.code();
    }
    return initiate<Value>(read, std::move(request), std::forward<Token>(completion));
  }

  /// Begins what is `wanted`, for what the completion token makes of it.
  template <class Value, class Wanted, class Token>
  auto initiate(detail::ReadAnswer<Value> read, Wanted wanted, Token&& completion) {
    return asio::async_initiate<Token, typename detail::Answer<Value>::Signature>(
        [session = session_, read](auto handler, Wanted operation) {
          detail::begin(session, detail::Answer<Value>{.read = read}, std::move(handler),
                        std::move(operation));
        },
        completion, std::move(wanted));
  }

  std::shared_ptr<detail::Session> session_;
};

}  // namespace dflockd
