// Finds requests in the bytes that have arrived: three lines each, ended by '\n'.
//
//   Framer framer;
//   for (;;) {
//     const Frame frame = framer.next(unread);          // all bytes not consumed yet
//     if (frame.status != FrameStatus::kComplete) break;
//     handle(parse(frame.lines));
//     unread.remove_prefix(frame.size);
//   }
//
// One framer a connection; not thread-safe. It copies nothing, and remembers how far it has looked,
// so that a request that arrives a byte at a time is looked at once.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "protocol/request.hpp"

namespace dflockd::protocol {

/// The longest line in bytes before its '\n', and the longest argument line of `auth`.
inline constexpr std::size_t kMaxLine = 256;
inline constexpr std::size_t kMaxAuthLine = 65'536;

/// The most bytes that can be needed to see that a request is complete or that a line is too long.
inline constexpr std::size_t kMaxFrame = 2 * (kMaxLine + 1) + kMaxAuthLine + 1;

enum class FrameStatus {
  kIncomplete,  ///< more bytes are needed
  kComplete,    ///< `lines` and `size` are set
  kTooLong,     ///< a line is longer than allowed; the stream cannot be followed any further
};

struct Frame {
  FrameStatus status = FrameStatus::kIncomplete;
  Lines lines{};         ///< trailing '\r' characters dropped; they point into the bytes given
  std::size_t size = 0;  ///< how many bytes the request takes, line ends included
};

class Framer {
 public:
  /// Looks for a request at the start of `unread`. After `kIncomplete` it must be called with the
  /// same bytes and more behind them (they may have moved); after `kComplete` with what follows the
  /// request. Never looks at a byte twice.
  [[nodiscard]] Frame next(std::string_view unread);

 private:
  [[nodiscard]] std::size_t longest_line(std::string_view unread) const;
  [[nodiscard]] std::string_view line(std::string_view unread, std::size_t number) const;

  static constexpr std::size_t kLines = 3;

  std::array<std::size_t, kLines> ends_{};  ///< where the '\n' of each line found so far is
  std::size_t found_ = 0;                   ///< how many lines have been found
  std::size_t looked_at_ = 0;               ///< how many bytes hold no further '\n'
};

}  // namespace dflockd::protocol
