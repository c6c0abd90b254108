// How a call that waits on one thread is ended from another.
#pragma once

#include <atomic>

#include "base/descriptor.hpp"

namespace dflockd::client {

/// Belongs to one call at a time, made and destroyed on its thread. Costs no descriptor of its own:
/// the calls of a thread share one, since only one of them waits at a time.
class Cancellation {
 public:
  /// Throws `Failure` if the thread gets no descriptor.
  Cancellation();

  /// Ends the call's waits, the present one and those to come. From any thread, as long as the
  /// object lives.
  void raise() noexcept;
  [[nodiscard]] bool raised() const noexcept { return raised_.load(std::memory_order_acquire); }

  /// Becomes readable when it is raised, and now and then for no reason: then `forget` it.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  void forget() const noexcept;

 private:
  std::atomic<bool> raised_ = false;
  base::Descriptor own_;  ///< when the thread has none any more
  int descriptor_;
};

}  // namespace dflockd::client
