// A file descriptor that is closed with its owner. Move-only; not thread-safe.
#pragma once

#include <cerrno>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace dflockd::base {

class Descriptor {
 public:
  Descriptor() = default;
  /// Takes ownership of `value`; negative is none.
  explicit Descriptor(int value) : value_(value) {}
  /// The same for what a system call returned, which throws `std::system_error` if it has failed.
  Descriptor(int value, const char* what) : value_(value) {
    if (value < 0) throw std::system_error(errno, std::generic_category(), what);
  }
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      value_ = std::exchange(other.value_, -1);
    }
    return *this;
  }

  [[nodiscard]] int get() const noexcept { return value_; }
  [[nodiscard]] bool is_open() const noexcept { return value_ >= 0; }

  /// Gives up the ownership.
  [[nodiscard]] int release() noexcept { return std::exchange(value_, -1); }
  void close() noexcept {
    if (value_ >= 0) ::close(std::exchange(value_, -1));
  }

 private:
  int value_ = -1;
};

}  // namespace dflockd::base
