// The bytes that a connection has received and not consumed yet. Starts small, grows under
// pipelined load, and gives large memory back. There may be a secret in them: no copy of what is
// not consumed yet stays behind. Not thread-safe.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include <string.h>

namespace dflockd::net {

class InputBuffer {
 public:
  /// A buffer that holds at most `limit` unread bytes.
  explicit InputBuffer(std::size_t limit) : limit_(limit) {}
  InputBuffer(const InputBuffer&) = delete;
  InputBuffer& operator=(const InputBuffer&) = delete;
  ~InputBuffer() { wipe(end_ - begin_); }

  /// What has been received and not consumed. Valid until `space` is called.
  [[nodiscard]] std::string_view unread() const { return {data_.get() + begin_, end_ - begin_}; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] bool full() const { return end_ - begin_ == limit_; }
  /// Whether the last reception left no room, so that more may have arrived than there is here.
  [[nodiscard]] bool filled() const { return filled_; }

  /// Drops the first `size` unread bytes.
  void consume(std::size_t size) {
    assert(size <= end_ - begin_);
    begin_ += size;
    if (begin_ != end_) return;
    begin_ = end_ = 0;
    if (capacity_ > kKept) {
      data_.reset();
      capacity_ = 0;
    }
  }

  /// Drops the first `size` unread bytes, and leaves nothing of them in memory.
  void wipe(std::size_t size) {
    assert(size <= end_ - begin_);
    if (size > 0) ::explicit_bzero(data_.get() + begin_, size);
    consume(size);
  }

  /// Gives the memory back if nothing is unread, for a time without receptions.
  void release() {
    if (!empty()) return;
    data_.reset();
    capacity_ = 0;
  }

  /// Room to receive into, never empty. The buffer must not be full.
  [[nodiscard]] std::span<char> space() {
    assert(!full());
    if (begin_ > 0) {
      std::memmove(data_.get(), data_.get() + begin_, end_ - begin_);
      const std::size_t moved_to = end_ - begin_;
      ::explicit_bzero(data_.get() + moved_to, end_ - moved_to);
      end_ = moved_to;
      begin_ = 0;
    }
    if (end_ == capacity_ || (filled_ && capacity_ < kKept)) grow();
    return {data_.get() + end_, capacity_ - end_};
  }

  /// Takes note of `size` bytes received into `space`.
  void received(std::size_t size) {
    assert(size <= capacity_ - end_);
    end_ += size;
    filled_ = end_ == capacity_;
  }

 private:
  static constexpr std::size_t kInitial = 256;
  static constexpr std::size_t kKept = 16UL * 1024;  ///< the most that an empty buffer keeps

  void grow() {
    const std::size_t capacity = std::min(std::max(kInitial, 2 * capacity_), limit_);
    auto data = std::make_unique_for_overwrite<char[]>(capacity);
    if (end_ > 0) {
      std::memcpy(data.get(), data_.get(), end_);
      ::explicit_bzero(data_.get(), end_);
    }
    data_ = std::move(data);
    capacity_ = capacity;
    filled_ = false;
  }

  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  const std::size_t limit_;
  bool filled_ = false;
};

}  // namespace dflockd::net
