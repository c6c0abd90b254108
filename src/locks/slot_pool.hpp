// Storage for records of one type: stable addresses, no allocation in steady state, and a slot
// number for each record, by which all of them can be visited. Memory is kept for reuse, not given
// back. Not thread-safe.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace dflockd::locks {

/// A pool of default-constructed `T`, with a member `std::uint32_t slot` that belongs
/// to the pool. A record is not destroyed when it is given back, so that what it has allocated can
/// serve again; the user resets it.
template <class T>
class SlotPool {
 public:
  /// A record that nobody uses: one given back before, or a new one. O(1) amortised.
  [[nodiscard]] T& take() {
    if (!free_.empty()) {
      T& record = at(free_.back());
      free_.pop_back();
      return record;
    }
    if (size_ == blocks_.size() * kBlock) blocks_.push_back(std::make_unique<T[]>(kBlock));
    T& record = at(static_cast<std::uint32_t>(size_));
    record.slot = static_cast<std::uint32_t>(size_++);
    return record;
  }

  /// Gives a record back. O(1) amortised.
  void give_back(T& record) { free_.push_back(record.slot); }

  [[nodiscard]] T& at(std::uint32_t slot) const { return blocks_[slot / kBlock][slot % kBlock]; }

  /// One more than the largest slot number in use or used before.
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kBlock = 64;

  std::vector<std::unique_ptr<T[]>> blocks_;
  std::vector<std::uint32_t> free_;
  std::size_t size_ = 0;
};

}  // namespace dflockd::locks
