// What a `Lock` and a `Semaphore` have in common: contending for a key, holding it, giving it back.
//
// Thread-safety: all functions may be called from any thread at any time, but for construction,
// moving and destruction. Threads that share an object take turns, as with a mutex. Fork: a child
// must not use what its parent made; there, `held` is false, `release` and the destructor send
// nothing. A connection ends when neither has it open any more, so children should `exec` (which
// closes it) or end before the parent.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <system_error>

#include <dflockd/api.hpp>
#include <dflockd/grant.hpp>
#include <dflockd/options.hpp>

namespace dflockd {

/// One contender for one key. It connects when it is first used, and keeps the connection until it
/// is closed or destroyed. From the grant to the release it is renewed in the background: one
/// thread does so for all of the process.
///
/// **What `held` means.** The lease is counted from before the request was sent that the server
/// granted or renewed it for, on a clock that goes on while the machine sleeps, less a thousandth
/// for clocks that drift. So `held` is false before the server releases the lock, whether the
/// network, the server or this process stalls. It is also false once the connection has ended,
/// since the server then takes the grant back; see `LockOptions::auto_release_on_disconnect`. What
/// a program does after it asked `held` can still come too late: let storage compare `fence`.
///
/// **Being in use.** A lock is in use from the call that acquires it until `release`, even if it is
/// lost in between. `acquire` by another thread waits for that; by the thread that lost it, it
/// starts again.
///
/// Every call that can fail has an overload with a `std::error_code`, which does not throw: it sets
/// the code, also to `errc::timeout` where the other returns false, or clears it. The others throw
/// `Error`. Calls that wait have overloads with a `std::stop_token`: when a stop is requested they
/// return at once with `errc::canceled`, and a grant that raced with it is given back. Waiting
/// takes as long as asked for, and `connect_timeout` and `response_timeout` come on top if a server
/// does not answer.
class DFLOCKD_API Contender {
 public:
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;

  /// Waits up to `LockOptions::acquire_timeout`. True: held. False: timed out. Errors: `max_locks`,
  /// `max_waiters`, `draining`, `lease_expired` (the answer came later than the lease lasted),
  /// `auth`, `connection`, `tls`, `protocol`, `canceled`.
  bool acquire();
  bool acquire(std::error_code& error) noexcept;
  bool acquire(std::stop_token stop);
  bool acquire(std::stop_token stop, std::error_code& error) noexcept;

  /// As `acquire`, without waiting.
  bool try_acquire();
  bool try_acquire(std::error_code& error) noexcept;
  bool try_acquire(std::stop_token stop);
  bool try_acquire(std::stop_token stop, std::error_code& error) noexcept;

  /// As `acquire`, with a timeout of its own: not negative, at most 9,223,372,036 s. The server
  /// counts whole seconds; other timeouts are cut off here, at the price of a new connection.
  bool acquire_for(std::chrono::milliseconds timeout);
  bool acquire_for(std::chrono::milliseconds timeout, std::error_code& error) noexcept;
  bool acquire_for(std::chrono::milliseconds timeout, std::stop_token stop);
  bool acquire_for(std::chrono::milliseconds timeout, std::stop_token stop,
                   std::error_code& error) noexcept;

  /// Takes the lock if it is free, else a place in its queue, and returns at once. `release` gives
  /// up the place. Errors: those of `acquire`, and `already_enqueued`.
  EnqueueStatus enqueue();
  EnqueueStatus enqueue(std::error_code& error) noexcept;
  EnqueueStatus enqueue(std::stop_token stop);
  EnqueueStatus enqueue(std::stop_token stop, std::error_code& error) noexcept;

  /// After `enqueue`: waits up to `timeout`. True: held. False: timed out, and the place is given
  /// up. Errors: those of `acquire`, `not_enqueued`, and `lease_expired` if the grant was not
  /// fetched in time.
  bool wait(std::chrono::milliseconds timeout);
  bool wait(std::chrono::milliseconds timeout, std::error_code& error) noexcept;
  bool wait(std::chrono::milliseconds timeout, std::stop_token stop);
  bool wait(std::chrono::milliseconds timeout, std::stop_token stop,
            std::error_code& error) noexcept;

  /// Gives the lock, or the place in the queue, back. Errors: `not_held` if there is none or if the
  /// lock was lost. Whatever is answered, it is no longer in use.
  void release();
  void release(std::error_code& error) noexcept;
  /// As `release`, but does not wait for the answer when a stop is requested: the connection is
  /// ended instead. Nothing changes if it is requested while another thread's call is under way.
  void release(std::stop_token stop);
  void release(std::stop_token stop, std::error_code& error) noexcept;

  /// Releases, ends the connection, and ends calls under way on other threads with `canceled`. The
  /// lock can be used again.
  void close() noexcept;

  /// Whether the lock is held for certain, now. See above.
  [[nodiscard]] bool held() const noexcept;
  /// How long it is held for certain if no renewal succeeds from now on; zero if it is not.
  [[nodiscard]] std::chrono::milliseconds remaining() const noexcept;
  /// The token of the grant, 32 hex characters, also after it was lost; empty if not in use.
  [[nodiscard]] std::string token() const;
  /// The fence of the grant, see `Grant::fence`; 0 if not in use.
  [[nodiscard]] std::uint64_t fence() const noexcept;
  /// The lease that the server granted; zero if not in use.
  [[nodiscard]] std::chrono::seconds lease_ttl() const noexcept;
  /// The key, and the server that was chosen for it.
  [[nodiscard]] const std::string& key() const noexcept;
  [[nodiscard]] const std::string& server() const noexcept;

  /// Blocks until the lock is lost: true. False: released, or not in use, or `stop` was requested.
  bool wait_lost(std::stop_token stop = {}) const;

 protected:
  /// `limit` is 0 for a lock.
  Contender(LockOptions options, int limit);
  ~Contender();
  Contender(Contender&& other) noexcept;
  Contender& operator=(Contender&& other) noexcept;

  /// As `acquire`, for as long as it takes.
  void acquire_without_timeout();

 private:
  class Impl;
  void end() noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace dflockd
