// What a connection has received, taken out a line at a time.
//
//   while (const auto line = buffer.next()) handle(*line);
//
// Not thread-safe.
#pragma once

#include <optional>
#include <string_view>

#include "bench/input_buffer.hpp"

namespace dflockd::bench {

class LineBuffer : public InputBuffer {
 public:
  using Reply = std::string_view;
  using InputBuffer::InputBuffer;

  /// The next complete line without its '\n', or nothing.
  [[nodiscard]] std::optional<std::string_view> next();
};

}  // namespace dflockd::bench
