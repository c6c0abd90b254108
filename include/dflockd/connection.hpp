// One connection to one server, one method a command: for programs that want their own policy of
// renewing, retrying and sharding. `Lock` and `Semaphore` are built for everybody else.
//
// Thread-safety: one call at a time, from any thread; `close` may come from another thread while a
// call is under way. After `fork` the child may only destroy its copy, which sends nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>

#include <dflockd/api.hpp>
#include <dflockd/grant.hpp>
#include <dflockd/options.hpp>

namespace dflockd {

/// A connection that blocks. Every call sends a request and waits for its answer, at most
/// `ConnectionOptions::response_timeout` longer than the server is asked to wait.
///
/// What the server grants over a connection it takes back when that connection ends, unless it runs
/// with `--auto-release-on-disconnect=false`.
///
/// Each call has an overload that takes a `std::error_code`, which it sets or clears, and that does
/// not throw. The others throw `Error`. After `errc::connection`, `tls`, `auth`, `canceled` and
/// `protocol` the connection is closed, and every further call fails with `errc::connection`.
///
/// Keys, timeouts (0 to 9,223,372,036 s) and leases (0, the server's default, to 9,223,372,036 s)
/// are checked before anything is sent: `errc::invalid_argument`.
class DFLOCKD_API Connection {
 public:
  /// Connects, with TLS and the secret if `options` have them. Throws `Error`: `invalid_argument`,
  /// `connection`, `tls`, `auth`.
  explicit Connection(const ConnectionOptions& options);
  ~Connection();
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;

  /// Waits up to `timeout` for the lock; 0 tries once. Nothing, or `errc::timeout`: not granted in
  /// time, and no longer queued. Errors: `max_locks`, `max_waiters`, `draining`. A `stop` that is
  /// requested ends it with `canceled`: the connection is closed, and a grant that raced is given
  /// back.
  std::optional<Grant> acquire(std::string_view key, std::chrono::seconds timeout,
                               std::chrono::seconds lease_ttl = {}, std::stop_token stop = {});
  std::optional<Grant> acquire(std::string_view key, std::chrono::seconds timeout,
                               std::chrono::seconds lease_ttl, std::error_code& error,
                               std::stop_token stop = {}) noexcept;

  /// As `acquire`, for a slot of a semaphore of `limit` (1 to 1,048,576). Also `limit_mismatch`.
  std::optional<Grant> semaphore_acquire(std::string_view key, std::chrono::seconds timeout,
                                         int limit, std::chrono::seconds lease_ttl = {},
                                         std::stop_token stop = {});
  std::optional<Grant> semaphore_acquire(std::string_view key, std::chrono::seconds timeout,
                                         int limit, std::chrono::seconds lease_ttl,
                                         std::error_code& error,
                                         std::stop_token stop = {}) noexcept;

  /// Gives back what `token` was granted, over whichever connection. Errors: `not_held`.
  void release(std::string_view key, std::string_view token);
  void release(std::string_view key, std::string_view token, std::error_code& error) noexcept;
  void semaphore_release(std::string_view key, std::string_view token);
  void semaphore_release(std::string_view key, std::string_view token,
                         std::error_code& error) noexcept;

  /// Restarts the lease of `token`, with `lease_ttl` or the server's default, and returns how
  /// much of it is left: all of it. Errors: `not_held`, also if the lease has run out.
  std::chrono::seconds renew(std::string_view key, std::string_view token,
                             std::chrono::seconds lease_ttl = {});
  std::chrono::seconds renew(std::string_view key, std::string_view token,
                             std::chrono::seconds lease_ttl, std::error_code& error) noexcept;
  std::chrono::seconds semaphore_renew(std::string_view key, std::string_view token,
                                       std::chrono::seconds lease_ttl = {});
  std::chrono::seconds semaphore_renew(std::string_view key, std::string_view token,
                                       std::chrono::seconds lease_ttl,
                                       std::error_code& error) noexcept;

  /// Takes the lock if it is free, else a place in its queue, and returns at once: the grant, or
  /// nothing if queued. Errors: `already_enqueued`, `max_locks`, `max_waiters`, `draining`.
  std::optional<Grant> enqueue(std::string_view key, std::chrono::seconds lease_ttl = {});
  std::optional<Grant> enqueue(std::string_view key, std::chrono::seconds lease_ttl,
                               std::error_code& error) noexcept;
  std::optional<Grant> semaphore_enqueue(std::string_view key, int limit,
                                         std::chrono::seconds lease_ttl = {});
  std::optional<Grant> semaphore_enqueue(std::string_view key, int limit,
                                         std::chrono::seconds lease_ttl,
                                         std::error_code& error) noexcept;

  /// Waits up to `timeout` for what `enqueue` queued for; the lease begins when it returns.
  /// Nothing, or `errc::timeout`: not granted in time, and the place is given up. Errors:
  /// `not_enqueued`, `lease_expired` (granted, and not fetched while the lease lasted), `draining`;
  /// `stop` as for `acquire`.
  std::optional<Grant> wait(std::string_view key, std::chrono::seconds timeout,
                            std::stop_token stop = {});
  std::optional<Grant> wait(std::string_view key, std::chrono::seconds timeout,
                            std::error_code& error, std::stop_token stop = {}) noexcept;
  std::optional<Grant> semaphore_wait(std::string_view key, std::chrono::seconds timeout,
                                      std::stop_token stop = {});
  std::optional<Grant> semaphore_wait(std::string_view key, std::chrono::seconds timeout,
                                      std::error_code& error, std::stop_token stop = {}) noexcept;

  /// Asks for a sign of life.
  void ping();
  void ping(std::error_code& error) noexcept;

  /// What the server holds, as JSON on one line; docs/protocol.md describes it. Megabytes if there
  /// are many keys.
  std::string stats();
  std::string stats(std::error_code& error) noexcept;

  /// Ends the connection, and a call that is under way on another thread with `canceled`.
  void close() noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dflockd
