// A pool of salts: 64-bit values from the operating system's CSPRNG, drawn many at a time.
//
//   SaltPool salts;                            // throws if the system has no randomness to give
//   const std::uint64_t salt = salts.next();   // one system call in 512
//
// Not thread-safe: one thread at a time. Not for use on both sides of a fork(2), where parent and
// child would hand out the same values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <sys/random.h>
#include <sys/types.h>

namespace dflockd::fencing {

class SaltPool {
 public:
  /// Where random bytes come from, with the contract of getrandom(2).
  using Source = ssize_t (*)(void* bytes, std::size_t size, unsigned int flags);

  /// How many salts are drawn at a time.
  static constexpr std::size_t kSalts = 512;

  /// Draws the first salts, waiting for the system's entropy pool early in its boot. Throws
  /// std::system_error if `source` fails.
  explicit SaltPool(Source source = ::getrandom);
  /// Wipes what has not been handed out.
  ~SaltPool();
  SaltPool(const SaltPool&) = delete;
  SaltPool& operator=(const SaltPool&) = delete;

  /// A salt that was not handed out before, wiped from the pool. Throws std::system_error if the
  /// pool is empty and cannot be filled, and then hands out nothing; getrandom(2) does not fail
  /// once it has succeeded. O(1), with a system call every `kSalts` salts.
  [[nodiscard]] std::uint64_t next() {
    if (left_ == 0) [[unlikely]] {
      refill();
    }
    --left_;
    return std::exchange(salts_[left_], 0);
  }

 private:
  void refill();

  Source source_;
  std::array<std::uint64_t, kSalts> salts_{};
  std::size_t left_ = 0;  ///< the salts at and after this position have been handed out
};

}  // namespace dflockd::fencing
