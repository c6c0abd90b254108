// The bytes that a connection has received and not looked at yet.
//
//   const auto size = read(socket, buffer.space());
//   buffer.commit(size);
//
// What takes them out is `LineBuffer` or `ReplyReader`. One a connection; its size never changes.
// Not thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace dflockd::bench {

class InputBuffer {
 public:
  explicit InputBuffer(std::size_t capacity) : bytes_(capacity) {}

  /// Where to write what arrives. Empty when what is to be taken out is longer than the whole
  /// buffer. What was taken out is no longer valid afterwards.
  [[nodiscard]] std::span<char> space();

  /// `size` bytes have been written to the start of `space()`.
  void commit(std::size_t size);

  /// What has arrived and was not taken out.
  [[nodiscard]] std::string_view unread() const { return {bytes_.data() + begin_, end_ - begin_}; }

 protected:
  /// The first `size` unread bytes are taken out.
  void consume(std::size_t size);

 private:
  std::vector<char> bytes_;
  std::size_t begin_ = 0;  ///< the first byte that has not been taken out
  std::size_t end_ = 0;    ///< one behind the last byte that has arrived
};

}  // namespace dflockd::bench
