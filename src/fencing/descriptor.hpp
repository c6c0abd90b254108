// A file descriptor that is closed when its owner goes. Move-only; not thread-safe.
#pragma once

#include <utility>

#include <unistd.h>

namespace dflockd::fencing {

class Descriptor {
 public:
  /// Takes over `fd`, or holds nothing if it is negative.
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  /// What close(2) could report is of no interest: whatever has to last was synced before.
  ~Descriptor() {
    if (valid()) ::close(fd_);
  }

  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace dflockd::fencing
