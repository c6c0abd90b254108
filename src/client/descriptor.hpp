// A file descriptor that is closed when it is not needed any more.
#pragma once

#include <utility>

#include <unistd.h>

namespace dflockd::client {

class Descriptor {
 public:
  Descriptor() = default;
  /// Takes ownership of `value`; negative is none.
  explicit Descriptor(int value) : value_(value) {}
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

 private:
  void close() const noexcept {
    if (value_ >= 0) ::close(value_);
  }

  int value_ = -1;
};

}  // namespace dflockd::client
