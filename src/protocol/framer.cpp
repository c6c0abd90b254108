#include "protocol/framer.hpp"

namespace dflockd::protocol {

Frame Framer::next(std::string_view unread) {
  while (found_ < kLines) {
    const std::size_t start = found_ == 0 ? 0 : ends_[found_ - 1] + 1;
    const std::size_t end = unread.find('\n', looked_at_);
    const std::size_t length = (end == std::string_view::npos ? unread.size() : end) - start;
    if (length > kMaxLine && length > longest_line(unread)) return {FrameStatus::kTooLong};
    if (end == std::string_view::npos) {
      looked_at_ = unread.size();
      return {};
    }
    ends_[found_++] = end;
    looked_at_ = end + 1;
  }
  const Frame frame{.status = FrameStatus::kComplete,
                    .lines = {line(unread, 0), line(unread, 1), line(unread, 2)},
                    .size = looked_at_};
  found_ = 0;
  looked_at_ = 0;
  return frame;
}

std::size_t Framer::longest_line(std::string_view unread) const {
  return found_ == kLines - 1 && line(unread, 0) == "auth" ? kMaxAuthLine : kMaxLine;
}

std::string_view Framer::line(std::string_view unread, std::size_t number) const {
  const std::size_t start = number == 0 ? 0 : ends_[number - 1] + 1;
  std::size_t end = ends_[number];
  while (end > start && unread[end - 1] == '\r') --end;
  return unread.substr(start, end - start);
}

}  // namespace dflockd::protocol
