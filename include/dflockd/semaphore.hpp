// A counting semaphore: up to a limit of programs hold it at a time, wherever they run.
//
//     dflockd::SemaphoreOptions options;
//     options.key = "encoders";
//     options.limit = 4;
//     dflockd::Semaphore slot(options);
//     if (slot.acquire()) encode();
//
// Thread-safety and `fork`: see contender.hpp.
#pragma once

#include <dflockd/api.hpp>
#include <dflockd/contender.hpp>
#include <dflockd/options.hpp>

namespace dflockd {

/// A slot of a named semaphore; see `Contender` for what it can do. One object holds at most one
/// slot. A limit other than the one that the key has at the server is `errc::limit_mismatch`.
class DFLOCKD_API Semaphore : public Contender {
 public:
  /// Checks `options`; does not connect. Throws `Error` (`errc::invalid_argument`).
  explicit Semaphore(const SemaphoreOptions& options);
  /// Releases and closes. Waits for `on_renew_error` if it is running on the other thread.
  ~Semaphore() = default;
  Semaphore(Semaphore&&) noexcept = default;
  Semaphore& operator=(Semaphore&&) noexcept = default;

  /// How many may hold it.
  [[nodiscard]] int limit() const noexcept { return limit_; }

 private:
  int limit_;
};

}  // namespace dflockd
