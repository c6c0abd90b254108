// The bytes that a connection has received and not looked at yet, taken out a line at a time.
//
//   const auto size = read(socket, buffer.space());
//   buffer.commit(size);
//   while (const auto line = buffer.next()) handle(*line);
//
// One a connection; its size never changes. Not thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace dflockd::bench {

class LineBuffer {
 public:
  explicit LineBuffer(std::size_t capacity) : bytes_(capacity) {}

  /// Where to write what arrives. Empty when a line is longer than the whole buffer. Lines that
  /// were taken out are no longer valid afterwards.
  [[nodiscard]] std::span<char> space();

  /// `size` bytes have been written to the start of `space()`.
  void commit(std::size_t size);

  /// The next complete line without its '\n', or nothing.
  [[nodiscard]] std::optional<std::string_view> next();

 private:
  std::vector<char> bytes_;
  std::size_t begin_ = 0;  ///< the first byte that has not been taken out
  std::size_t end_ = 0;    ///< one behind the last byte that has arrived
};

}  // namespace dflockd::bench
