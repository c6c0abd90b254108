#include "bench/line_buffer.hpp"

namespace dflockd::bench {

std::optional<std::string_view> LineBuffer::next() {
  const std::string_view line = unread().substr(0, unread().find('\n'));
  if (line.size() == unread().size()) return std::nullopt;
  consume(line.size() + 1);
  return line;
}

}  // namespace dflockd::bench
