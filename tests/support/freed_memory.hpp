// Watches what the program gives back to the heap.
#pragma once

#include <string_view>

namespace dflockd::base {

/// While it lives, memory that is freed is searched for `marker`. One at a time.
class FreedMemoryWatch {
 public:
  explicit FreedMemoryWatch(std::string_view marker);
  FreedMemoryWatch(const FreedMemoryWatch&) = delete;
  FreedMemoryWatch& operator=(const FreedMemoryWatch&) = delete;
  ~FreedMemoryWatch();

  /// Whether memory that held the marker was freed since the construction.
  [[nodiscard]] bool seen() const;
};

}  // namespace dflockd::base
