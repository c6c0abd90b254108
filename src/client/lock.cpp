#include <utility>

#include <dflockd/lock.hpp>

#include "protocol/request.hpp"

namespace dflockd {

Lock::Lock(LockOptions options) : Contender(std::move(options), 0) {}

void Lock::lock() {
  acquire_without_timeout();
}

void Lock::unlock() noexcept {
  std::error_code ignored;
  release(ignored);
}

std::chrono::milliseconds Lock::in_range(std::chrono::duration<double> timeout) {
  if (timeout <= timeout.zero()) return std::chrono::milliseconds(0);
  if (timeout >= protocol::kMaxSeconds) return protocol::kMaxSeconds;
  return std::chrono::ceil<std::chrono::milliseconds>(timeout);
}

}  // namespace dflockd
