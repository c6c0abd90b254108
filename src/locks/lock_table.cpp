#include "locks/lock_table.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace dflockd::locks {

namespace {

/// An odd constant whose bits are spread evenly (2^64 divided by the golden ratio).
constexpr std::uint64_t kHashSpread = 0x9E3779B97F4A7C15;

/// How many overdue idle keys a new key drops: more than one, so that they become fewer.
constexpr std::size_t kDroppedForEachNew = 2;

}  // namespace

LockTable::LockTable(const TableOptions& options, Events& events)
    : options_(options), events_(events) {}

std::uint64_t LockTable::hash_of(const KeyName& name) const {
  const std::uint64_t hash = sip_hash(options_.hash_key, name.name);
  return name.kind == Kind::kLock ? hash : hash ^ kHashSpread;
}

std::uint64_t LockTable::hash_of(std::uint64_t number) const {
  return sip_hash(options_.hash_key, number);
}

std::uint64_t LockTable::hash_of(const Owner& owner, const Key& key) {
  return owner.hash ^ key.hash;
}

// --- Owners ---

OwnerId LockTable::open_owner() {
  Owner& owner = owner_pool_.take();
  assert(owner.claims.empty() && owner.blocked == nullptr && owner.active == 0);
  owner.open = true;
  owner.hash = hash_of(owner.slot);
  return id_of(owner);
}

void LockTable::close_owner(Instant now, OwnerId id) {
  advance(now);
  Owner& owner = owner_of(id);
  cancel_claims(owner);
  while (!owner.claims.empty()) give_up_slot(*owner.claims.front());
  end_owner(owner);
}

void LockTable::close_owner_keeping_grants(Instant now, OwnerId id,
                                           std::span<const std::uint64_t> untold) {
  const std::uint64_t unheard = next_fence_;  // from here on: who leaves hears of no grant any more
  advance(now);
  Owner& owner = owner_of(id);
  cancel_claims(owner);
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& held = *std::exchange(claim, owner.claims.next(*claim));
    const auto lost = std::ranges::equal_range(untold, held.token.fence).size();
    if (held.told > lost && held.token.fence < unheard) {
      end_phase_one(held);
    } else {
      give_up_slot(held);
    }
  }
  end_owner(owner);
}

bool LockTable::has_claims(OwnerId id) const {
  return owner_of(id).active > 0;
}

// --- Requests ---

Answer LockTable::acquire(Instant now, OwnerId id, const Request& request,
                          std::chrono::seconds timeout) {
  advance(now);
  if (draining_) return {Outcome::kDraining};
  Owner& owner = owner_of(id);
  assert(owner.blocked == nullptr);
  reserve_claim();
  const IfBusy if_busy = timeout.count() == 0 ? IfBusy::kGiveUp : IfBusy::kQueue;
  Claim* claim = nullptr;
  const Answer answer = admit(owner, request, if_busy, claim);
  if (answer.outcome == Outcome::kQueued) block(*claim, timeout);
  return answer;
}

Answer LockTable::enqueue(Instant now, OwnerId id, const Request& request) {
  advance(now);
  if (draining_) return {Outcome::kDraining};
  Owner& owner = owner_of(id);
  reserve_claim();
  phase_one_.reserve(phase_one_.size() + 1);
  if (const Key* key = find_key(request.key); key != nullptr) {
    if (Claim* earlier = find_phase_one(owner, *key); earlier != nullptr) {
      if (earlier->state != ClaimState::kSpent) return {Outcome::kAlreadyEnqueued};
      forget(*earlier);
    }
  }
  Claim* claim = nullptr;
  const Answer answer = admit(owner, request, IfBusy::kQueue, claim);
  if (claim != nullptr) {
    claim->in_phase_one = true;
    phase_one_.insert(hash_of(owner, *claim->key), claim->slot);
  }
  return answer;
}

Answer LockTable::wait(Instant now, OwnerId id, const KeyName& name, std::chrono::seconds timeout) {
  advance(now);
  if (draining_) return {Outcome::kDraining};
  const Owner& owner = owner_of(id);
  assert(owner.blocked == nullptr);
  const Key* key = find_key(name);
  Claim* claim = key == nullptr ? nullptr : find_phase_one(owner, *key);
  if (claim == nullptr) return {Outcome::kNotEnqueued};

  if (claim->state == ClaimState::kSpent) {
    const Outcome why = claim->spent_on;
    forget(*claim);
    return {why};
  }
  end_phase_one(*claim);
  if (claim->state == ClaimState::kHeld) {
    deadlines_.set(*claim, later(now_, claim->lease));
    return tell(*claim);
  }
  if (timeout.count() == 0) {
    forget(*claim);
    return {Outcome::kTimeout};
  }
  block(*claim, timeout);
  return {Outcome::kQueued};
}

void LockTable::cancel_wait(Instant now, OwnerId id) {
  if (Claim* claim = owner_of(id).blocked; claim != nullptr) forget(*claim);
  advance(now);
}

void LockTable::cancel_waits(Instant now, OwnerId id) {
  Owner& owner = owner_of(id);
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& waiting = *std::exchange(claim, owner.claims.next(*claim));
    if (waiting.state == ClaimState::kWaiting) forget(waiting);
  }
  advance(now);
  cancel_claims(owner);
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& held = *std::exchange(claim, owner.claims.next(*claim));
    if (held.told == 0) give_up_slot(held);
  }
}

void LockTable::give_up_place(Instant now, OwnerId id, const KeyName& name) {
  const Owner& owner = owner_of(id);
  const auto find = [&] {
    const Key* key = find_key(name);
    return key == nullptr ? nullptr : find_phase_one(owner, *key);
  };
  if (Claim* claim = find(); claim != nullptr && claim->state == ClaimState::kWaiting) {
    forget(*claim);
  }
  advance(now);
  Claim* claim = find();
  if (claim != nullptr && claim->state == ClaimState::kHeld && claim->told == 0) {
    give_up_slot(*claim);
  }
}

bool LockTable::release(Instant now, const KeyName& key, const Token& token) {
  advance(now);
  Claim* claim = find_holder(key, token);
  if (claim == nullptr) return false;
  give_up_slot(*claim);
  return true;
}

bool LockTable::renew(Instant now, const KeyName& key, const Token& token,
                      std::chrono::seconds lease) {
  advance(now);
  Claim* claim = find_holder(key, token);
  if (claim == nullptr) return false;
  deadlines_.set(*claim, later(now_, lease));
  return true;
}

// --- Time, fences, shutdown ---

void LockTable::advance(Instant now) {
  now_ = std::max(now_, now);
  while (!deadlines_.empty() && deadlines_.front_deadline() <= now_) {
    Claim& due = deadlines_.front();
    if (due.state == ClaimState::kHeld) {
      expire(due);
    } else {
      end_wait(due, Outcome::kTimeout);
    }
  }
}

Instant LockTable::next_deadline() const {
  return deadlines_.empty() ? kNever : deadlines_.front_deadline();
}

void LockTable::reserve_fences(std::uint64_t first, std::uint64_t end) {
  next_fence_ = std::max(next_fence_, first);
  fence_end_ = std::max({fence_end_, end, next_fence_});
}

void LockTable::start_draining(Instant now) {
  advance(now);
  draining_ = true;
  for (std::uint32_t slot = 0; slot < key_pool_.size(); ++slot) {
    const Key& key = key_pool_.at(slot);
    while (!key.waiters.empty()) end_wait(*key.waiters.front(), Outcome::kDraining);
    for (Claim* claim = key.holders.front(); claim != nullptr;) {
      Claim& held = *std::exchange(claim, key.holders.next(*claim));
      if (held.told == 0) give_up_slot(held);
    }
  }
}

std::size_t LockTable::collect_idle(Instant now, Instant max_idle, std::size_t budget) {
  advance(now);
  overdue_after_ = max_idle;
  return drop_idle(max_idle, budget);
}

// --- Finding ---

Owner& LockTable::owner_of(OwnerId id) const {
  Owner& owner = owner_pool_.at(id.index);
  assert(owner.open && owner.generation == id.generation);
  return owner;
}

Key* LockTable::find_key(const KeyName& name) const {
  const std::uint32_t slot = keys_.find(hash_of(name), [&](std::uint32_t candidate) {
    const Key& key = key_pool_.at(candidate);
    return key.kind == name.kind && key.name == name.name;
  });
  return slot == SlotIndex::kNone ? nullptr : &key_pool_.at(slot);
}

Claim* LockTable::find_holder(const KeyName& name, const Token& token) const {
  const Key* key = find_key(name);
  if (key == nullptr) return nullptr;
  Claim* claim = nullptr;
  if (key->holder_count <= 1) {
    claim = key->holders.front();
  } else if (const std::uint32_t slot = semaphore_holders_.find(
                 static_cast<std::uint32_t>(hash_of(token.fence)),
                 [&](std::uint32_t candidate) {
                   const Claim& holder = claim_pool_.at(candidate);
                   return holder.token.fence == token.fence && holder.key == key;
                 });
             slot != SlotIndex::kNone) {
    claim = &claim_pool_.at(slot);
  }
  return claim != nullptr && constant_time_equal(claim->token, token) ? claim : nullptr;
}

Claim* LockTable::find_phase_one(const Owner& owner, const Key& key) const {
  const std::uint32_t slot = phase_one_.find(hash_of(owner, key), [&](std::uint32_t candidate) {
    const Claim& claim = claim_pool_.at(candidate);
    return claim.owner == &owner && claim.key == &key;
  });
  return slot == SlotIndex::kNone ? nullptr : &claim_pool_.at(slot);
}

// --- The way of a request ---

/// Makes sure that one more claim can be made, granted and ended without allocating.
void LockTable::reserve_claim() {
  claim_pool_.reserve_one();
  deadlines_.reserve(claim_pool_.size() + 1);
  const std::size_t of_semaphores = counts_.semaphore_holders + counts_.semaphore_waiters;
  semaphore_holders_.reserve(of_semaphores + 1);
}

/// Grants a free slot, or queues if the caller wants to and may. Sets `claim` if there is one then.
Answer LockTable::admit(Owner& owner, const Request& request, IfBusy if_busy, Claim*& claim) {
  assert(request.limit >= 1 && request.lease.count() >= 1);
  Key* key = find_key(request.key);
  if (key != nullptr && key->limit != request.limit) return {Outcome::kLimitMismatch};

  if (key == nullptr || key->holder_count < key->limit) {
    assert(key == nullptr || key->waiters.empty());
    if (fences_left() == 0) return {Outcome::kNoFence};
    if (full_of_claims()) return {Outcome::kMaxLocks};
    if (key == nullptr) key = make_key(request);
    if (key == nullptr) return {Outcome::kMaxLocks};
    if (key->idle) stop_idling(*key);
    claim = &new_claim(owner, *key, request);
    grant(*claim);
    return tell(*claim);
  }

  if (if_busy == IfBusy::kGiveUp) return {Outcome::kTimeout};
  if (options_.max_waiters > 0 && key->waiter_count >= options_.max_waiters) {
    return {Outcome::kMaxWaiters};
  }
  if (full_of_claims()) return {Outcome::kMaxLocks};
  claim = &new_claim(owner, *key, request);
  key->waiters.push_back(*claim);
  ++key->waiter_count;
  ++waiters_of(key->kind);
  return {Outcome::kQueued};
}

/// A claim of the owner's on the key, which the caller puts into one of the key's lists.
Claim& LockTable::new_claim(Owner& owner, Key& key, const Request& request) {
  Claim& claim = claim_pool_.take();
  claim.key = &key;
  claim.owner = &owner;
  claim.token = {.fence = 0, .salt = request.salt};
  claim.lease = request.lease;
  claim.state = ClaimState::kWaiting;
  claim.in_phase_one = false;
  claim.told = 0;
  owner.claims.push_back(claim);
  ++owner.active;
  ++counts_.claims;
  return claim;
}

/// Makes a claim that is in no list of the key's a holder.
void LockTable::grant(Claim& claim) {
  Key& key = *claim.key;
  assert(fences_left() > 0 && key.holder_count < key.limit && !key.idle);
  claim.token.fence = next_fence_++;
  ++grants_;
  claim.state = ClaimState::kHeld;
  claim.granted_at = now_;
  deadlines_.set(claim, later(now_, claim.lease));
  key.holders.push_back(claim);
  ++key.holder_count;
  ++holders_of(key.kind);
  if (key.limit > 1) {
    claim.fence_hash = static_cast<std::uint32_t>(hash_of(claim.token.fence));
    semaphore_holders_.insert(claim.fence_hash, claim.slot);
  }
}

Answer LockTable::tell(Claim& claim) {
  const bool told_before = claim.told++ > 0;
  return {.outcome = Outcome::kGranted,
          .token = claim.token,
          .lease = claim.lease,
          .told_before = told_before};
}

void LockTable::block(Claim& claim, std::chrono::seconds timeout) {
  claim.owner->blocked = &claim;
  deadlines_.set(claim, later(now_, timeout));
}

// --- The end of a claim ---

/// Ends what an owner waits for and its spent claims. To come before its grants are given up, so
/// that their slots go to others only.
void LockTable::cancel_claims(Owner& owner) {
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& ended = *std::exchange(claim, owner.claims.next(*claim));
    if (ended.state != ClaimState::kHeld) forget(ended);
  }
}

void LockTable::end_owner(Owner& owner) {
  owner.open = false;
  recycle(owner);
}

/// Ends a waiting claim without a grant.
void LockTable::end_wait(Claim& claim, Outcome why) {
  assert(claim.state == ClaimState::kWaiting);
  if (claim.owner->blocked == &claim) {
    const OwnerId owner = id_of(*claim.owner);
    forget(claim);
    events_.wait_over(owner, {why});
  } else if (why == Outcome::kDraining) {
    forget(claim);  // `wait` will be told so without it
  } else {
    unlink(claim);
    spend(claim, why);
  }
}

/// Ends a held claim, and passes its slot on.
void LockTable::give_up_slot(Claim& claim) {
  assert(claim.state == ClaimState::kHeld);
  Key& key = *claim.key;
  forget(claim);
  serve_queue(key);
}

/// Ends a held claim whose lease ran out, and passes its slot on.
void LockTable::expire(Claim& claim) {
  Key& key = *claim.key;
  const OwnerId owner = id_of(*claim.owner);
  if (claim.in_phase_one) {
    unlink(claim);
    spend(claim, Outcome::kLeaseExpired);
  } else {
    forget(claim);
  }
  events_.lease_expired(owner, {key.kind, key.name});
  serve_queue(key);
}

/// Gives free slots of a key to the head of its queue.
void LockTable::serve_queue(Key& key) {
  while (key.holder_count < key.limit && !key.waiters.empty()) {
    Claim& head = *key.waiters.front();
    if (fences_left() == 0) {
      end_wait(head, Outcome::kNoFence);
      continue;
    }
    unlink(head);
    grant(head);
    if (head.owner->blocked == &head) {
      head.owner->blocked = nullptr;
      events_.wait_over(id_of(*head.owner), tell(head));
    }
  }
  if (key.holder_count == 0) start_idling(key);
}

/// Keeps a phase-1 claim, which holds and waits no more, for `wait` to be told why.
void LockTable::spend(Claim& claim, Outcome why) {
  assert(claim.in_phase_one && !claim.key->idle);
  claim.state = ClaimState::kSpent;
  claim.spent_on = why;
  claim.key->spent.push_back(claim);
  --claim.owner->active;
}

void LockTable::end_phase_one(Claim& claim) {
  if (!std::exchange(claim.in_phase_one, false)) return;
  phase_one_.erase(hash_of(*claim.owner, *claim.key), claim.slot);
}

/// Takes a claim out of its key and out of the deadlines.
void LockTable::unlink(Claim& claim) {
  Key& key = *claim.key;
  deadlines_.remove(claim);
  switch (claim.state) {
    case ClaimState::kWaiting:
      key.waiters.remove(claim);
      --key.waiter_count;
      --waiters_of(key.kind);
      break;
    case ClaimState::kHeld:
      key.holders.remove(claim);
      --key.holder_count;
      --holders_of(key.kind);
      if (key.limit > 1) semaphore_holders_.erase(claim.fence_hash, claim.slot);
      break;
    case ClaimState::kSpent:
      if (key.idle) {
        // The idle list that the key belongs in depends on what is left here.
        stop_idling(key);
        key.spent.remove(claim);
        start_idling(key);
      } else {
        key.spent.remove(claim);
      }
      break;
  }
}

/// Ends a claim for good. A slot that it held is not passed on: see `give_up_slot`.
void LockTable::forget(Claim& claim) {
  Owner& owner = *claim.owner;
  unlink(claim);
  end_phase_one(claim);
  if (claim.state != ClaimState::kSpent) --owner.active;
  if (owner.blocked == &claim) owner.blocked = nullptr;
  owner.claims.remove(claim);
  claim_pool_.give_back(claim);
  --counts_.claims;
  recycle(owner);
}

/// Frees the record of an owner that is closed and has nothing left.
void LockTable::recycle(Owner& owner) {
  if (owner.open || !owner.claims.empty()) return;
  ++owner.generation;
  owner_pool_.give_back(owner);
}

// --- Keys ---

/// A key for the request, or null if the table is full.
Key* LockTable::make_key(const Request& request) {
  std::string name(request.key.name);
  key_pool_.reserve_one();
  keys_.reserve(keys_.size() + 1);
  if (overdue_after_ != kNever) drop_idle(overdue_after_, kDroppedForEachNew);
  if (options_.max_locks > 0 && counts_.keys >= options_.max_locks) {
    Key* dropped = longest_idle();
    if (dropped == nullptr) return nullptr;
    drop_key(*dropped);
  }
  Key& key = key_pool_.take();
  key.name = std::move(name);
  key.kind = request.key.kind;
  key.hash = hash_of(request.key);
  key.limit = request.limit;
  key.live = true;
  keys_.insert(key.hash, key.slot);
  ++counts_.keys;
  return &key;
}

/// Drops at most `budget` keys that have been idle for that long. Takes note if none is left.
std::size_t LockTable::drop_idle(Instant max_idle, std::size_t budget) {
  const auto due = [&] { return !idle_.empty() && now_ - idle_.front()->idle_since >= max_idle; };
  std::size_t dropped = 0;
  for (; dropped < budget && due(); ++dropped) drop_key(*idle_.front());
  if (!due()) overdue_after_ = kNever;
  return dropped;
}

void LockTable::drop_key(Key& key) {
  assert(key.idle && key.holder_count == 0 && key.waiter_count == 0);
  while (!key.spent.empty()) forget(*key.spent.front());
  stop_idling(key);
  keys_.erase(key.hash, key.slot);
  key.name = std::string();  // frees a long one
  key.live = false;
  key_pool_.give_back(key);
  --counts_.keys;
}

void LockTable::start_idling(Key& key) {
  assert(!key.idle && key.holder_count == 0 && key.waiter_count == 0);
  key.idle = true;
  key.idle_since = now_;
  (key.spent.empty() ? idle_ : idle_with_spent_).push_back(key);
}

void LockTable::stop_idling(Key& key) {
  assert(key.idle);
  key.idle = false;
  (key.spent.empty() ? idle_ : idle_with_spent_).remove(key);
}

Key* LockTable::longest_idle() const {
  Key* const plain = idle_.front();
  Key* const with_spent = idle_with_spent_.front();
  if (plain == nullptr || with_spent == nullptr) return plain != nullptr ? plain : with_spent;
  return with_spent->idle_since < plain->idle_since ? with_spent : plain;
}

KeyInfo LockTable::describe(const Key& key) const {
  KeyInfo info{.key = {key.kind, key.name},
               .limit = key.limit,
               .holders = key.holder_count,
               .waiters = key.waiter_count};
  if (const Claim* oldest = key.holders.front(); oldest != nullptr) {
    info.owner = id_of(*oldest->owner);
    info.held = now_ - oldest->granted_at;
    info.lease_left = deadlines_.deadline(*oldest) - now_;
  } else {
    info.idle = now_ - key.idle_since;
  }
  return info;
}

bool LockTable::full_of_claims() const {
  return options_.max_claims > 0 && counts_.claims >= options_.max_claims;
}

std::size_t& LockTable::holders_of(Kind kind) {
  return kind == Kind::kLock ? counts_.locks_held : counts_.semaphore_holders;
}

std::size_t& LockTable::waiters_of(Kind kind) {
  return kind == Kind::kLock ? counts_.lock_waiters : counts_.semaphore_waiters;
}

// --- Checking ---

std::size_t LockTable::longest_search() const {
  return std::max(
      {keys_.longest_search(), semaphore_holders_.longest_search(), phase_one_.longest_search()});
}

bool LockTable::consistent() const {
  TableCounts counted;
  std::size_t in_heap = 0;
  std::size_t in_semaphores = 0;
  std::size_t in_phase_one = 0;
  const auto count = [&](const auto& list, ClaimState state, const Key& key) {
    std::uint32_t length = 0;
    for (const Claim* claim = list.front(); claim != nullptr; claim = list.next(*claim)) {
      ++length;
      ++counted.claims;
      if (claim->state != state || claim->key != &key) return UINT32_MAX;
      if (claim->heap_place != kNoPlace) ++in_heap;
      if (claim->in_phase_one) {
        ++in_phase_one;
        if (find_phase_one(*claim->owner, key) != claim) return UINT32_MAX;
      }
    }
    return length;
  };
  for (std::uint32_t slot = 0; slot < key_pool_.size(); ++slot) {
    const Key& key = key_pool_.at(slot);
    if (!key.live) continue;
    ++counted.keys;
    const bool is_lock = key.kind == Kind::kLock;
    (is_lock ? counted.locks_held : counted.semaphore_holders) += key.holder_count;
    (is_lock ? counted.lock_waiters : counted.semaphore_waiters) += key.waiter_count;
    if (key.limit > 1) in_semaphores += key.holder_count;
    const std::uint32_t spent = count(key.spent, ClaimState::kSpent, key);
    if (find_key({key.kind, key.name}) != &key || spent == UINT32_MAX ||
        count(key.holders, ClaimState::kHeld, key) != key.holder_count ||
        count(key.waiters, ClaimState::kWaiting, key) != key.waiter_count ||
        key.holder_count > key.limit || (key.holder_count < key.limit && key.waiter_count > 0) ||
        key.idle != (key.holder_count == 0)) {
      return false;
    }
  }
  return counted.keys == counts_.keys && counted.keys == keys_.size() &&
         counted.claims == counts_.claims && counted.locks_held == counts_.locks_held &&
         counted.semaphore_holders == counts_.semaphore_holders &&
         counted.lock_waiters == counts_.lock_waiters &&
         counted.semaphore_waiters == counts_.semaphore_waiters &&
         in_semaphores == semaphore_holders_.size() && in_phase_one == phase_one_.size() &&
         in_heap == deadlines_.size() && deadlines_.consistent();
}

}  // namespace dflockd::locks
