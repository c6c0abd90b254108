#include "cli/bench/line_buffer.hpp"

#include <algorithm>
#include <cassert>

namespace dflockd::bench {

std::span<char> LineBuffer::space() {
  if (begin_ > 0) {
    std::copy(bytes_.data() + begin_, bytes_.data() + end_, bytes_.data());
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span(bytes_).subspan(end_);
}

void LineBuffer::commit(std::size_t size) {
  assert(size <= bytes_.size() - end_);
  end_ += size;
}

std::optional<std::string_view> LineBuffer::next() {
  const std::string_view unread(bytes_.data() + begin_, end_ - begin_);
  const std::size_t size = unread.find('\n');
  if (size == std::string_view::npos) return std::nullopt;
  begin_ += size + 1;
  return unread.substr(0, size);
}

}  // namespace dflockd::bench
