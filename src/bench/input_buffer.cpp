#include "bench/input_buffer.hpp"

#include <algorithm>
#include <cassert>

namespace dflockd::bench {

std::span<char> InputBuffer::space() {
  if (begin_ > 0) {
    std::copy(bytes_.data() + begin_, bytes_.data() + end_, bytes_.data());
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span(bytes_).subspan(end_);
}

void InputBuffer::commit(std::size_t size) {
  assert(size <= bytes_.size() - end_);
  end_ += size;
}

void InputBuffer::consume(std::size_t size) {
  assert(size <= end_ - begin_);
  begin_ += size;
}

}  // namespace dflockd::bench
