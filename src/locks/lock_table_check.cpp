// What the tests ask a lock table about its insides.
#include <algorithm>

#include "locks/lock_table.hpp"

namespace dflockd::locks {

namespace {

bool all_shared(const KeyRecord& key) {
  for (const Claim* held = key.holders.front(); held != nullptr; held = key.holders.next(*held)) {
    if (!held->shared) return false;
  }
  return key.kind == Kind::kLock;
}

}  // namespace

std::size_t LockTable::longest_search() const {
  return std::max(
      {keys_.longest_search(), co_holders_.longest_search(), phase_one_.longest_search()});
}

bool LockTable::consistent() const {
  TableCounts counted;
  std::size_t in_heap = 0;
  std::size_t co_holders = 0;
  std::size_t in_phase_one = 0;
  const auto count = [&](const auto& list, ClaimState state, const KeyRecord& key) {
    std::uint32_t length = 0;
    for (const Claim* claim = list.front(); claim != nullptr; claim = list.next(*claim)) {
      ++length;
      ++counted.claims;
      if (claim->state != state || claim->key != &key) return UINT32_MAX;
      if (claim->heap_place != kNoPlace) ++in_heap;
      if (claim->state == ClaimState::kHeld && found_by_fence(*claim)) ++co_holders;
      if (claim->in_phase_one) {
        ++in_phase_one;
        if (find_phase_one(*claim->owner, {key.kind, key.name}) != claim) return UINT32_MAX;
      }
    }
    return length;
  };
  for (std::uint32_t slot = 0; slot < key_pool_.size(); ++slot) {
    const KeyRecord& key = key_pool_.at(slot);
    if (!key.live) continue;
    ++counted.keys;
    const bool is_lock = key.kind == Kind::kLock;
    (is_lock ? counted.locks_held : counted.semaphore_holders) += key.holder_count;
    (is_lock ? counted.lock_waiters : counted.semaphore_waiters) += key.waiter_count;
    const std::uint32_t ended = count(key.ended, ClaimState::kEnded, key);
    if (find_key({key.kind, key.name}) != &key || ended == UINT32_MAX ||
        count(key.holders, ClaimState::kHeld, key) != key.holder_count ||
        count(key.waiters, ClaimState::kWaiting, key) != key.waiter_count ||
        (key.holder_count > key.limit && !all_shared(key)) ||
        (key.waiter_count > 0 && key.has_room(key.waiters.front()->shared)) ||
        key.idle != (key.holder_count == 0)) {
      return false;
    }
  }
  return counted.keys == counts_.keys && counted.keys == keys_.size() &&
         counted.claims == counts_.claims && counted.locks_held == counts_.locks_held &&
         counted.semaphore_holders == counts_.semaphore_holders &&
         counted.lock_waiters == counts_.lock_waiters &&
         counted.semaphore_waiters == counts_.semaphore_waiters &&
         co_holders == co_holders_.size() && in_phase_one == phase_one_.size() &&
         in_heap == deadlines_.size() && deadlines_.consistent();
}

}  // namespace dflockd::locks
