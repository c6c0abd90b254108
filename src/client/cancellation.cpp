#include "client/cancellation.hpp"

#include <cerrno>
#include <cstdint>

#include <sys/eventfd.h>
#include <unistd.h>

#include "client/failure.hpp"
#include "client/process.hpp"

namespace dflockd::client {
namespace {

base::Descriptor make_descriptor() {
  base::Descriptor descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!descriptor.is_open()) throw system_failure(errc::connection, errno);
  return descriptor;
}

/// What a thread keeps for its calls. `over` says that it is destroyed already, which static
/// objects outlive.
thread_local bool over = false;
struct Kept {
  ~Kept() { over = true; }
  base::Descriptor descriptor;
  unsigned generation = 0;
};

/// The thread's descriptor, or -1 if it is about to end.
int thread_descriptor() {
  if (over) return -1;
  thread_local Kept kept;
  if (!kept.descriptor.is_open() || kept.generation != fork_generation()) {
    kept.descriptor = make_descriptor();  // a parent's is not ours to read
    kept.generation = fork_generation();
  }
  return kept.descriptor.get();
}

}  // namespace

Cancellation::Cancellation() : descriptor_(thread_descriptor()) {
  if (descriptor_ >= 0) return;
  own_ = make_descriptor();
  descriptor_ = own_.get();
}

void Cancellation::raise() noexcept {
  raised_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  // It fails only when the count is at its end, and then the descriptor is readable already.
  [[maybe_unused]] const ssize_t written = ::write(descriptor_, &one, sizeof one);
}

void Cancellation::forget() const noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = ::read(descriptor_, &count, sizeof count);
}

}  // namespace dflockd::client
