// A lock that one program at a time holds, wherever it runs.
//
//     dflockd::LockOptions options;
//     options.key = "etl-job";
//     dflockd::Lock lock(options);
//     const std::lock_guard<dflockd::Lock> guard(lock);
//
// Thread-safety and `fork`: see contender.hpp.
#pragma once

#include <chrono>

#include <dflockd/api.hpp>
#include <dflockd/contender.hpp>
#include <dflockd/options.hpp>

namespace dflockd {

/// A named lock; see `Contender` for what it can do. It also is the standard's TimedLockable, for
/// `std::lock_guard`, `std::unique_lock` and `std::scoped_lock`. There is no re-entrancy: who locks
/// what it holds waits for itself.
class DFLOCKD_API Lock : public Contender {
 public:
  /// Checks `options`; does not connect. Throws `Error` (`errc::invalid_argument`).
  explicit Lock(LockOptions options);
  /// Releases and closes. Waits for `on_renew_error` if it is running on the other thread.
  ~Lock() = default;
  Lock(Lock&&) noexcept = default;
  Lock& operator=(Lock&&) noexcept = default;

  /// Waits as long as it takes. Throws `Error` as `acquire` does.
  void lock();
  /// As `try_acquire`.
  bool try_lock() { return try_acquire(); }
  /// As `acquire_for`; a negative timeout is as zero.
  template <class Rep, class Period>
  bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
    return acquire_for(in_range(timeout));
  }
  /// As `acquire_for`, until `deadline` by its clock.
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& deadline) {
    return acquire_for(in_range(deadline - Clock::now()));
  }
  /// As `release`, but reports nothing: what cannot be released ends with its lease.
  void unlock() noexcept;

 private:
  static std::chrono::milliseconds in_range(std::chrono::duration<double> timeout);
};

}  // namespace dflockd
