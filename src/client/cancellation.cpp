#include "client/cancellation.hpp"

#include <cerrno>
#include <cstdint>

#include <sys/eventfd.h>
#include <unistd.h>

#include "client/descriptor.hpp"
#include "client/failure.hpp"
#include "client/fork.hpp"

namespace dflockd::client {
namespace {

int thread_descriptor() {
  thread_local Descriptor descriptor;
  thread_local unsigned generation = 0;
  if (!descriptor.is_open() || generation != fork_generation()) {  // a parent's is not ours to read
    generation = fork_generation();
    descriptor = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!descriptor.is_open()) throw system_failure(errc::connection, errno);
  }
  return descriptor.get();
}

}  // namespace

Cancellation::Cancellation() : descriptor_(thread_descriptor()) {}

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
