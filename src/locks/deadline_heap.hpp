// A min-heap of deadlines whose elements know their place in it, so that moving or removing one is
// O(log n) without a search. Four children a node: a parent and its children's deadlines share
// cache lines, which is what a heap of a million leases spends its time on. Not thread-safe.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace dflockd::locks {

/// The place of an element that is in no heap.
inline constexpr std::uint32_t kNoPlace = UINT32_MAX;

/// A heap of `T`, which has a member `std::uint32_t heap_place`, initially `kNoPlace`, that
/// belongs to the heap. The heap does not own its elements.
template <class T>
class DeadlineHeap {
 public:
  using Instant = std::chrono::nanoseconds;

  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  /// The element with the earliest deadline. The heap must not be empty. O(1).
  [[nodiscard]] T& front() const { return *entries_.front().element; }
  /// The earliest deadline. The heap must not be empty. O(1).
  [[nodiscard]] Instant front_deadline() const { return entries_.front().deadline; }
  /// The deadline of an element of this heap. O(1).
  [[nodiscard]] Instant deadline(const T& element) const {
    return entries_[element.heap_place].deadline;
  }

  /// Sets an element's deadline, adding the element if it is in no heap. O(log n).
  void set(T& element, Instant deadline) {
    std::uint32_t place = element.heap_place;
    if (place == kNoPlace) {
      place = static_cast<std::uint32_t>(entries_.size());
      entries_.push_back({});
    }
    settle(place, {deadline, &element});
  }

  /// Removes an element if it is in the heap. O(log n).
  void remove(T& element) {
    const std::uint32_t place = std::exchange(element.heap_place, kNoPlace);
    if (place == kNoPlace) return;
    assert(entries_[place].element == &element);
    const Entry last = entries_.back();
    entries_.pop_back();
    if (last.element != &element) settle(place, last);
  }

  /// Checks the heap's order and every element's place. O(n), for tests.
  [[nodiscard]] bool consistent() const {
    for (std::size_t place = 0; place < entries_.size(); ++place) {
      if (entries_[place].element->heap_place != place) return false;
      if (place > 0 && entries_[(place - 1) / kArity].deadline > entries_[place].deadline) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::uint32_t kArity = 4;

  struct Entry {
    Instant deadline{0};
    T* element = nullptr;
  };

  void put(std::uint32_t place, const Entry& entry) {
    entries_[place] = entry;
    entry.element->heap_place = place;
  }

  /// Puts `entry` where it belongs, given that the hole in the heap is at `place`.
  void settle(std::uint32_t place, const Entry& entry) {
    while (place > 0) {
      const std::uint32_t parent = (place - 1) / kArity;
      if (entries_[parent].deadline <= entry.deadline) break;
      put(place, entries_[parent]);
      place = parent;
    }
    for (;;) {
      const std::uint32_t child = earliest_child(place);
      if (child == kNoPlace || entries_[child].deadline >= entry.deadline) break;
      put(place, entries_[child]);
      place = child;
    }
    put(place, entry);
  }

  [[nodiscard]] std::uint32_t earliest_child(std::uint32_t place) const {
    const std::size_t first = std::size_t{place} * kArity + 1;
    if (first >= entries_.size()) return kNoPlace;
    const std::size_t end = std::min(first + kArity, entries_.size());
    std::size_t earliest = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (entries_[child].deadline < entries_[earliest].deadline) earliest = child;
    }
    return static_cast<std::uint32_t>(earliest);
  }

  std::vector<Entry> entries_;
};

}  // namespace dflockd::locks
