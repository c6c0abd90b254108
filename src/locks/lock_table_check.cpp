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
  return std::max({keys_.longest_search(), co_holders_.longest_search(),
                   phase_one_.longest_search(), refs_.longest_search(), orphans_.longest_search()});
}

bool LockTable::orphans_are_consistent(std::size_t orphaned) const {
  std::size_t found = 0;
  std::size_t users = 0;
  bool right = true;
  const auto look = [&](const auto& list, ClaimState state, const Orphans& orphans) {
    for (const Claim* claim = list.front(); claim != nullptr; claim = list.next(*claim)) {
      ++found;
      right = right && claim->orphaned && claim->state == state && !claim->in_phase_one &&
              claim->heap_place != kNoPlace && claim->key == orphans.key &&
              claim->owner->ref == orphans.ref && claim->owner->blocked != claim;
    }
  };
  orphans_.visit([&](std::uint32_t slot) {
    const Orphans& orphans = orphans_pool_.at(slot);
    right = right && find_orphans(*orphans.ref, *orphans.key) == &orphans &&
            (!orphans.held.empty() || !orphans.waiting.empty());
    look(orphans.held, ClaimState::kHeld, orphans);
    look(orphans.waiting, ClaimState::kWaiting, orphans);
  });
  refs_.visit([&](std::uint32_t slot) {
    const Ref& ref = ref_pool_.at(slot);
    users += ref.users;
    right = right && ref.users > 0 && find_ref(ref.name) == &ref;
    for (const Owner* open = ref.open_owners.front(); open != nullptr;
         open = ref.open_owners.next(*open)) {
      right = right && open->open && open->ref == &ref;
    }
  });
  for (std::uint32_t slot = 0; slot < owner_pool_.size(); ++slot) {
    const Owner& owner = owner_pool_.at(slot);
    if (owner.ref == nullptr) continue;
    --users;
    right = right && (owner.open || owner.active > 0);
  }
  return right && users == 0 && found == orphaned;
}

/// Whether every owner counts what it holds, which is `held` in all.
bool LockTable::owners_are_consistent(std::size_t held) const {
  std::size_t counted = 0;
  for (std::uint32_t slot = 0; slot < owner_pool_.size(); ++slot) {
    const Owner& owner = owner_pool_.at(slot);
    std::uint32_t own = 0;
    for (const Claim* claim = owner.claims.front(); claim != nullptr;
         claim = owner.claims.next(*claim)) {
      if (claim->state == ClaimState::kHeld) ++own;
    }
    if (own > owner.held || owner.held > owner.active) return false;
    counted += owner.held;
  }
  return counted == held;
}

bool LockTable::consistent() const {
  TableCounts counted;
  std::size_t in_heap = 0;
  std::size_t co_holders = 0;
  std::size_t orphaned = 0;
  std::size_t in_phase_one = 0;
  const auto count = [&](const auto& list, ClaimState state, const KeyRecord& key) {
    std::uint32_t length = 0;
    for (const Claim* claim = list.front(); claim != nullptr; claim = list.next(*claim)) {
      ++length;
      ++counted.claims;
      if (claim->state != state || claim->key != &key) return UINT32_MAX;
      if (claim->heap_place != kNoPlace) ++in_heap;
      if (claim->orphaned) ++orphaned;
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
         owners_are_consistent(held()) && in_heap == deadlines_.size() && deadlines_.consistent() &&
         orphans_are_consistent(orphaned);
}

}  // namespace dflockd::locks
