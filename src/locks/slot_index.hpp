// Finds records by a hash of what they are known by: a hash table with open addressing, made for a
// table of locks.
//
// An entry is 8 bytes, part of the hash and the number of the record, so that a few hundred
// thousand records are found with one cache miss here, and growing never touches a record: doubling
// at a million entries takes 15 ms where a node-based table would hold everybody up for a tenth of
// a second. The index does not own the records. Not thread-safe.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace dflockd::locks {

class SlotIndex {
 public:
  SlotIndex() : entries_(kSmallest) {}

  [[nodiscard]] std::size_t size() const { return size_; }

  /// The number of the record with this hash for which `is_it(slot)` is true, or `kNone`.
  template <class Predicate>
  [[nodiscard]] std::uint32_t find(std::uint64_t hash, Predicate&& is_it) const {
    const std::uint32_t mark = mark_of(hash);
    for (std::size_t at = home(mark);; at = next(at)) {
      const Entry& entry = entries_[at];
      if (entry.slot == kNone || (entry.mark == mark && is_it(entry.slot))) return entry.slot;
    }
  }

  /// Calls `visit(slot)` for every record. For tests. O(n).
  template <class Visitor>
  void visit(Visitor&& visit) const {
    for (const Entry& entry : entries_) {
      if (entry.slot != kNone) visit(entry.slot);
    }
  }

  /// Adds a record that is not in the index. Amortised O(1).
  void insert(std::uint64_t hash, std::uint32_t slot) {
    if (2 * (size_ + 1) > entries_.size()) grow();
    place({mark_of(hash), slot});
    ++size_;
  }

  /// Removes a record of the index.
  void erase(std::uint64_t hash, std::uint32_t slot) {
    std::size_t hole = home(mark_of(hash));
    while (entries_[hole].slot != slot) {
      assert(entries_[hole].slot != kNone);
      hole = next(hole);
    }
    // Entries behind the hole move up, unless that would put one before its home.
    for (std::size_t at = next(hole); entries_[at].slot != kNone; at = next(at)) {
      const std::size_t from_home = (at - home(entries_[at].mark)) & mask();
      const std::size_t from_hole = (at - hole) & mask();
      if (from_home < from_hole) continue;
      entries_[hole] = entries_[at];
      hole = at;
    }
    entries_[hole] = {};
    --size_;
  }

  /// The most entries that a look-up may have to pass. For tests. O(size).
  [[nodiscard]] std::size_t longest_search() const {
    std::size_t longest = 0;
    std::size_t run = 0;
    for (std::size_t at = 0; at < 2 * entries_.size(); ++at) {  // twice, for one around the end
      run = entries_[at & mask()].slot == kNone ? 0 : run + 1;
      longest = std::max(longest, run);
    }
    return longest;
  }

  /// The answer of `find` when there is no such record.
  static constexpr std::uint32_t kNone = UINT32_MAX;

 private:
  static constexpr std::size_t kSmallest = 64;  ///< a power of two, as every size is

  struct Entry {
    std::uint32_t mark = 0;
    std::uint32_t slot = kNone;
  };

  /// The part of the hash that is kept: the upper half, mixed with all of it.
  static std::uint32_t mark_of(std::uint64_t hash) {
    return static_cast<std::uint32_t>((hash * 0x9E3779B97F4A7C15) >> 32U);
  }
  [[nodiscard]] std::size_t mask() const { return entries_.size() - 1; }
  [[nodiscard]] std::size_t home(std::uint32_t mark) const { return mark & mask(); }
  [[nodiscard]] std::size_t next(std::size_t at) const { return (at + 1) & mask(); }

  void place(const Entry& entry) {
    std::size_t at = home(entry.mark);
    while (entries_[at].slot != kNone) at = next(at);
    entries_[at] = entry;
  }

  void grow() {
    std::vector<Entry> old(2 * entries_.size());
    old.swap(entries_);
    for (const Entry& entry : old) {
      if (entry.slot != kNone) place(entry);
    }
  }

  std::vector<Entry> entries_;  ///< at most half of them used
  std::size_t size_ = 0;
};

}  // namespace dflockd::locks
