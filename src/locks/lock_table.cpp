#include "locks/lock_table.hpp"

#include <algorithm>
#include <cassert>
#include <utility>
#include <variant>

namespace dflockd::locks {

namespace {

/// An odd constant whose bits are spread evenly (2^64 divided by the golden ratio).
constexpr std::uint64_t kHashSpread = 0x9E3779B97F4A7C15;

/// How many overdue idle keys a new key drops: more than one, so that they become fewer.
constexpr std::size_t kDroppedForEachNew = 2;

}  // namespace

LockTable::LockTable(const TableOptions& options, EffectSink& effects)
    : options_(options), effects_(effects) {}

Answer LockTable::apply(Instant now, const Command& command) {
  return std::visit([&](const auto& any) { return carry_out(now, any); }, command);
}

bool LockTable::has_claims(OwnerId id) const {
  return owner_of(id).active > 0;
}

Instant LockTable::next_deadline() const {
  return deadlines_.empty() ? kNever : deadlines_.front_deadline();
}

// --- Commands: owners ---

Answer LockTable::carry_out(Instant /*now*/, const OpenOwner& /*command*/) {
  Owner& owner = owner_pool_.take();
  assert(owner.claims.empty() && owner.blocked == nullptr && owner.active == 0);
  owner.open = true;
  owner.hash = hash_of(owner.slot);
  return {.owner = id_of(owner)};
}

Answer LockTable::carry_out(Instant /*now*/, const SetRef& command) {
  Owner& owner = owner_of(command.owner);
  if (owner.ref != nullptr) return {Outcome::kHasRef};
  Ref* ref = find_ref(command.ref);
  if (ref == nullptr) {
    ref = &ref_pool_.take();
    ref->name = command.ref;
    ref->hash = sip_hash(options_.hash_key, command.ref);
    refs_.insert(ref->hash, ref->slot);
  }
  ++ref->users;
  ref->open_owners.push_back(owner);
  owner.ref = ref;
  return {};
}

Answer LockTable::carry_out(Instant now, const CloseOwner& command) {
  const std::uint64_t undelivered =
      next_fence_;  // from here on: an owner that leaves hears nothing
  advance(now);
  Owner& owner = owner_of(command.owner);
  const bool orphans = owner.ref != nullptr && command.legacy.orphan_ttl.count() > 0;
  const auto stays = [&](const Claim& held) {
    if (!command.legacy.keeps_grants || held.token.fence >= undelivered) return false;
    return held.answers > std::ranges::equal_range(command.undelivered, held.token.fence).size();
  };
  if (orphans) orphan_waits(owner, command.legacy);
  cancel_claims(owner);
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& held = *std::exchange(claim, owner.claims.next(*claim));
    if (orphans) {
      orphan(held, command.legacy);
    } else if (stays(held)) {
      end_phase_one(held);
    } else {
      give_up_slot(held);
    }
  }
  if (owner.ref != nullptr) {
    owner.ref->open_owners.remove(owner);
    reunite(*owner.ref);
  }
  owner.open = false;
  recycle(owner);
  return {};
}

// --- Commands: requests ---

Answer LockTable::carry_out(Instant now, const Acquire& command) {
  advance(now);
  Owner& owner = owner_of(command.owner);
  assert(owner.blocked == nullptr);
  Claim* const orphan = find_orphan(owner, command.request.key);
  if (draining_ && orphan == nullptr) return {Outcome::kDraining};
  const IfBusy if_busy = command.timeout.count() == 0 ? IfBusy::kGiveUp : IfBusy::kQueue;
  Claim* claim = orphan;
  const Answer answer = orphan == nullptr ? admit(owner, command.request, if_busy, claim)
                                          : take_back(*orphan, owner, command.request);
  return answer.outcome == Outcome::kQueued ? block(*claim, command.timeout) : answer;
}

Answer LockTable::carry_out(Instant now, const Enqueue& command) {
  advance(now);
  Owner& owner = owner_of(command.owner);
  Claim* const orphan = find_orphan(owner, command.request.key);
  if (draining_ && orphan == nullptr) return {Outcome::kDraining};
  if (Claim* earlier = find_phase_one(owner, command.request.key); earlier != nullptr) {
    if (earlier->state != ClaimState::kEnded) return {Outcome::kAlreadyEnqueued};
    forget(*earlier);
  }
  Claim* claim = orphan;
  const Answer answer = orphan == nullptr ? admit(owner, command.request, IfBusy::kQueue, claim)
                                          : take_back(*orphan, owner, command.request);
  if (answer.outcome == Outcome::kGranted || answer.outcome == Outcome::kQueued) {
    claim->in_phase_one = true;
    phase_one_.insert(hash_of(owner, *claim->key), claim->slot);
  }
  return answer;
}

Answer LockTable::carry_out(Instant now, const Wait& command) {
  advance(now);
  Owner& owner = owner_of(command.owner);
  assert(owner.blocked == nullptr);
  Claim* claim = find_phase_one(owner, command.key);
  Claim* const orphan = find_orphan(owner, command.key);
  if (orphan != nullptr && claim == nullptr) {
    adopt(*orphan, owner);
    claim = orphan;
  } else if (orphan != nullptr && claim->state == ClaimState::kWaiting &&
             claim->shared == orphan->shared) {
    adopt(*orphan, owner);
    orphan->lease = claim->lease;
    leave_queue(*claim);
    claim = orphan;
  }
  if (claim == nullptr) return {Outcome::kNotEnqueued};

  if (claim->state == ClaimState::kEnded) {
    const Outcome why = claim->ended_with;
    forget(*claim);
    return {why};
  }
  if (draining_ && claim != orphan) return {Outcome::kDraining};
  end_phase_one(*claim);
  if (claim->state == ClaimState::kHeld) {
    deadlines_.set(*claim, later(now_, claim->lease));
    return answer_with(*claim);
  }
  return block(*claim, command.timeout);
}

Answer LockTable::carry_out(Instant now, const CancelWait& command) {
  Claim* const claim = owner_of(command.owner).blocked;
  KeyRecord* const key = claim == nullptr ? nullptr : claim->key;
  if (claim != nullptr) forget(*claim);
  advance(now);
  if (key != nullptr) serve_queue(*key);
  return {};
}

Answer LockTable::carry_out(Instant now, const CancelWaits& command) {
  Owner& owner = owner_of(command.owner);
  const bool orphans = owner.ref != nullptr && command.legacy.orphan_ttl.count() > 0;
  if (orphans) {
    now_ = std::max(now_, now);
    orphan_waits(owner, command.legacy);
  } else {
    leave_queues(owner);
  }
  advance(now);
  cancel_claims(owner);
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& held = *std::exchange(claim, owner.claims.next(*claim));
    if (held.answers > 0) continue;
    if (orphans) {
      orphan(held, command.legacy);
    } else {
      give_up_slot(held);
    }
  }
  return {};
}

Answer LockTable::carry_out(Instant now, const GiveUpPlace& command) {
  const Owner& owner = owner_of(command.owner);
  Claim* claim = find_phase_one(owner, command.key);
  if (claim != nullptr && claim->state == ClaimState::kWaiting) {
    KeyRecord& key = *claim->key;
    forget(*claim);
    advance(now);
    serve_queue(key);
    return {};
  }
  advance(now);
  claim = find_phase_one(owner, command.key);
  if (claim != nullptr && claim->state == ClaimState::kHeld && claim->answers == 0) {
    give_up_slot(*claim);
  }
  return {};
}

Answer LockTable::carry_out(Instant now, const Release& command) {
  advance(now);
  Claim* claim = find_holder(command.key, command.token);
  if (claim == nullptr) return {Outcome::kNotHeld};
  give_up_slot(*claim);
  return {};
}

Answer LockTable::carry_out(Instant now, const Renew& command) {
  advance(now);
  Claim* claim = find_holder(command.key, command.token);
  if (claim == nullptr) return {Outcome::kNotHeld};
  if (claim->orphaned) {
    adopt(*claim, owner_of(command.owner));
    claim->answers = 1;  // which the caller has
  }
  deadlines_.set(*claim, later(now_, command.lease));
  return {.lease = command.lease};
}

// --- Commands: time, fences, shutdown ---

Answer LockTable::carry_out(Instant now, const Advance& /*command*/) {
  advance(now);
  return {};
}

Answer LockTable::carry_out(Instant /*now*/, const ReserveFences& command) {
  next_fence_ = std::max(next_fence_, command.first);
  fence_end_ = std::max({fence_end_, command.end, next_fence_});
  return {};
}

Answer LockTable::carry_out(Instant now, const StartDraining& /*command*/) {
  advance(now);
  draining_ = true;
  for (std::uint32_t slot = 0; slot < key_pool_.size(); ++slot) {
    KeyRecord& key = key_pool_.at(slot);
    while (!key.waiters.empty()) end_wait(*key.waiters.front(), Outcome::kDraining);
    for (Claim* claim = key.holders.front(); claim != nullptr;) {
      Claim& held = *std::exchange(claim, key.holders.next(*claim));
      if (held.answers > 0) continue;
      if (held.orphaned) {
        forget(held);
      } else {
        keep_for_wait(held, Outcome::kDraining);
      }
      serve_queue(key);
    }
  }
  return {};
}

Answer LockTable::carry_out(Instant now, const CollectIdle& command) {
  advance(now);
  overdue_after_ = command.max_idle;
  return {.dropped = drop_idle(command.max_idle, command.budget)};
}

void LockTable::advance(Instant now) {
  now_ = std::max(now_, now);
  while (!deadlines_.empty() && deadlines_.front_deadline() <= now_) {
    Claim& due = deadlines_.front();
    if (due.state == ClaimState::kHeld) {
      expire(due);
    } else {
      KeyRecord& key = *due.key;
      end_wait(due, Outcome::kTimeout);
      serve_queue(key);
    }
  }
}

// --- Finding ---

std::uint64_t LockTable::hash_of(const Key& key) const {
  const std::uint64_t hash = sip_hash(options_.hash_key, key.name);
  return key.kind == Kind::kLock ? hash : hash ^ kHashSpread;
}

std::uint64_t LockTable::hash_of(std::uint64_t number) const {
  return sip_hash(options_.hash_key, number);
}

std::uint64_t LockTable::hash_of(const Owner& owner, const KeyRecord& key) {
  return owner.hash ^ key.hash;
}

Owner& LockTable::owner_of(OwnerId id) const {
  Owner& owner = owner_pool_.at(id.index);
  assert(owner.open && owner.generation == id.generation);
  return owner;
}

KeyRecord* LockTable::find_key(const Key& key) const {
  const std::uint32_t slot = keys_.find(hash_of(key), [&](std::uint32_t candidate) {
    const KeyRecord& record = key_pool_.at(candidate);
    return record.kind == key.kind && record.name == key.name;
  });
  return slot == SlotIndex::kNone ? nullptr : &key_pool_.at(slot);
}

Claim* LockTable::find_holder(const Key& name, const Token& token) const {
  const KeyRecord* key = find_key(name);
  if (key == nullptr) return nullptr;
  Claim* claim = nullptr;
  if (key->holder_count <= 1) {
    claim = key->holders.front();
  } else if (const std::uint32_t slot =
                 co_holders_.find(static_cast<std::uint32_t>(hash_of(token.fence)),
                                  [&](std::uint32_t candidate) {
                                    const Claim& holder = claim_pool_.at(candidate);
                                    return holder.token.fence == token.fence && holder.key == key;
                                  });
             slot != SlotIndex::kNone) {
    claim = &claim_pool_.at(slot);
  }
  return claim != nullptr && claim->token == token ? claim : nullptr;
}

Claim* LockTable::find_phase_one(const Owner& owner, const Key& name) const {
  const KeyRecord* key = find_key(name);
  if (key == nullptr) return nullptr;
  const std::uint32_t slot = phase_one_.find(hash_of(owner, *key), [&](std::uint32_t candidate) {
    const Claim& claim = claim_pool_.at(candidate);
    return claim.owner == &owner && claim.key == key;
  });
  return slot == SlotIndex::kNone ? nullptr : &claim_pool_.at(slot);
}

std::uint64_t LockTable::hash_of(const Ref& ref, const KeyRecord& key) {
  return ref.hash ^ key.hash;
}

Ref* LockTable::find_ref(std::string_view name) const {
  const std::uint32_t slot =
      refs_.find(sip_hash(options_.hash_key, name),
                 [&](std::uint32_t candidate) { return ref_pool_.at(candidate).name == name; });
  return slot == SlotIndex::kNone ? nullptr : &ref_pool_.at(slot);
}

Orphans* LockTable::find_orphans(const Ref& ref, const KeyRecord& key) const {
  const std::uint32_t slot = orphans_.find(hash_of(ref, key), [&](std::uint32_t candidate) {
    const Orphans& orphans = orphans_pool_.at(candidate);
    return orphans.ref == &ref && orphans.key == &key;
  });
  return slot == SlotIndex::kNone ? nullptr : &orphans_pool_.at(slot);
}

/// The claim that the owner may take back for a request for the key, or null.
Claim* LockTable::find_orphan(const Owner& owner, const Key& name) const {
  if (owner.ref == nullptr || owner.ref->only_owner() != &owner) return nullptr;
  const KeyRecord* key = find_key(name);
  const Orphans* orphans = key == nullptr ? nullptr : find_orphans(*owner.ref, *key);
  if (orphans == nullptr) return nullptr;
  return orphans->held.empty() ? orphans->waiting.front() : orphans->held.front();
}

// --- The way of a request ---

/// Grants a free slot, or queues if the caller wants to and may. Sets `claim` if there is one then.
Answer LockTable::admit(Owner& owner, const Request& request, IfBusy if_busy, Claim*& claim) {
  assert(request.limit >= 1 && request.lease.count() >= 1);
  KeyRecord* key = find_key(request.key);
  if (key != nullptr && key->limit != request.limit) return {Outcome::kLimitMismatch};

  if (key == nullptr || (key->waiters.empty() && key->has_room(request.shared))) {
    if (fences_left() == 0) return {Outcome::kNoFence};
    if (full_of_claims()) return {Outcome::kMaxLocks};
    if (key == nullptr) key = make_key(request);
    if (key == nullptr) return {Outcome::kMaxLocks};
    if (key->idle) stop_idling(*key);
    claim = &new_claim(owner, *key, request);
    grant(*claim);
    return answer_with(*claim);
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
Claim& LockTable::new_claim(Owner& owner, KeyRecord& key, const Request& request) {
  Claim& claim = claim_pool_.take();
  claim.key = &key;
  claim.owner = &owner;
  claim.token = {.fence = 0, .salt = request.salt};
  claim.lease = request.lease;
  claim.since = now_;
  claim.state = ClaimState::kWaiting;
  claim.shared = request.shared;
  claim.in_phase_one = false;
  claim.answers = 0;
  owner.claims.push_back(claim);
  ++owner.active;
  ++counts_.claims;
  return claim;
}

/// Makes a claim that is in no list of the key's a holder.
void LockTable::grant(Claim& claim) {
  KeyRecord& key = *claim.key;
  assert(fences_left() > 0 && key.has_room(claim.shared) && !key.idle);
  claim.token.fence = next_fence_++;
  ++grants_;
  claim.state = ClaimState::kHeld;
  claim.since = now_;
  deadlines_.set(claim, later(now_, claim.lease));
  key.holders.push_back(claim);
  ++key.holder_count;
  ++holders_of(key.kind);
  if (found_by_fence(claim)) {
    claim.fence_hash = static_cast<std::uint32_t>(hash_of(claim.token.fence));
    co_holders_.insert(claim.fence_hash, claim.slot);
  }
}

/// The answer that names the claim's token.
Answer LockTable::answer_with(Claim& claim) {
  const bool repeated = claim.answers++ > 0;
  return {.outcome = Outcome::kGranted,
          .repeated = repeated,
          .token = claim.token,
          .lease = claim.lease};
}

/// Has the owner wait for the claim, or give its place up if there is no time for that.
Answer LockTable::block(Claim& claim, std::chrono::seconds timeout) {
  if (timeout.count() == 0) {
    leave_queue(claim);
    return {Outcome::kTimeout};
  }
  claim.owner->blocked = &claim;
  deadlines_.set(claim, later(now_, timeout));
  return {Outcome::kQueued};
}

// --- The end of a claim ---

/// Ends what an owner waits for and its ended claims. Comes before its grants are given up, so that
/// their slots go to others only.
void LockTable::cancel_claims(Owner& owner) {
  leave_queues(owner);
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& ended = *std::exchange(claim, owner.claims.next(*claim));
    if (ended.state != ClaimState::kHeld) leave_queue(ended);
  }
}

/// Takes all that the owner waits for out of the queues, before those behind hear of any of it:
/// they might be its own.
void LockTable::leave_queues(Owner& owner) {
  for (Claim* claim = owner.claims.front(); claim != nullptr; claim = owner.claims.next(*claim)) {
    if (claim->state != ClaimState::kWaiting) continue;
    unlink(*claim);
    claim->state = ClaimState::kLeft;
  }
}

/// Ends a claim that is not held, and lets in who was behind it.
void LockTable::leave_queue(Claim& claim) {
  KeyRecord& key = *claim.key;
  forget(claim);
  serve_queue(key);
}

/// Ends a waiting claim without a grant.
void LockTable::end_wait(Claim& claim, Outcome why) {
  assert(claim.state == ClaimState::kWaiting);
  if (claim.orphaned) {
    forget(claim);
  } else if (claim.owner->blocked == &claim) {
    const KeyRecord& key = *claim.key;
    const OwnerId owner = id_of(*claim.owner);
    forget(claim);
    effects_.take({owner, {key.kind, key.name}, {why}});
  } else {
    keep_for_wait(claim, why);
  }
}

/// Ends a held claim, and passes its slot on.
void LockTable::give_up_slot(Claim& claim) {
  assert(claim.state == ClaimState::kHeld);
  KeyRecord& key = *claim.key;
  forget(claim);
  serve_queue(key);
}

/// Ends a held claim whose lease ran out, and passes its slot on.
void LockTable::expire(Claim& claim) {
  KeyRecord& key = *claim.key;
  const OwnerId owner = id_of(*claim.owner);
  const bool lease_ran_out = !claim.ttl_is_over;
  if (claim.in_phase_one) {
    keep_for_wait(claim, Outcome::kLeaseExpired);
  } else {
    forget(claim);
  }
  if (lease_ran_out) {
    effects_.take({owner, {key.kind, key.name}, {Outcome::kLeaseExpired}});
  }
  serve_queue(key);
}

/// Gives free slots of a key to the head of its queue.
void LockTable::serve_queue(KeyRecord& key) {
  while (!key.waiters.empty() && key.has_room(key.waiters.front()->shared)) {
    Claim& head = *key.waiters.front();
    if (fences_left() == 0) {
      end_wait(head, Outcome::kNoFence);
      continue;
    }
    const Instant end = head.orphaned ? deadlines_.deadline(head) : kNever;
    unlink(head);
    grant(head);
    if (head.orphaned) {
      keep_orphan(head, end);
    } else if (head.owner->blocked == &head) {
      head.owner->blocked = nullptr;
      effects_.take({id_of(*head.owner), {key.kind, key.name}, answer_with(head)});
    }
  }
  if (key.holder_count == 0 && !key.idle) start_idling(key);
}

/// Ends a phase-1 claim, and keeps it for `Wait` to be answered why.
void LockTable::keep_for_wait(Claim& claim, Outcome why) {
  unlink(claim);
  assert(claim.in_phase_one && !claim.key->idle);
  claim.state = ClaimState::kEnded;
  claim.ended_with = why;
  claim.key->ended.push_back(claim);
  --claim.owner->active;
}

void LockTable::end_phase_one(Claim& claim) {
  if (!claim.in_phase_one) return;
  claim.in_phase_one = false;
  phase_one_.erase(hash_of(*claim.owner, *claim.key), claim.slot);
}

/// Whether others may hold the key beside it.
bool LockTable::found_by_fence(const Claim& claim) {
  return claim.shared || claim.key->limit > 1;
}

/// Takes a claim out of its key and out of the deadlines.
void LockTable::unlink(Claim& claim) {
  KeyRecord& key = *claim.key;
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
      if (found_by_fence(claim)) co_holders_.erase(claim.fence_hash, claim.slot);
      break;
    case ClaimState::kEnded:
      if (key.idle) {
        // The idle list that the key belongs in depends on what is left here.
        stop_idling(key);
        key.ended.remove(claim);
        start_idling(key);
      } else {
        key.ended.remove(claim);
      }
      break;
    case ClaimState::kLeft:
      break;
  }
}

/// Ends a claim for good. A slot that it held is not passed on: see `give_up_slot`.
void LockTable::forget(Claim& claim) {
  Owner& owner = *claim.owner;
  unlink(claim);
  end_phase_one(claim);
  if (claim.state != ClaimState::kEnded) --owner.active;
  if (owner.blocked == &claim) owner.blocked = nullptr;
  if (claim.orphaned) {
    leave_orphans(claim);
  } else {
    owner.claims.remove(claim);
  }
  claim_pool_.give_back(claim);
  --counts_.claims;
  recycle(owner);
}

/// Frees the record of an owner that is closed and has nothing left.
void LockTable::recycle(Owner& owner) {
  if (owner.open || owner.active > 0 || !owner.claims.empty()) return;
  ++owner.generation;
  if (Ref* const ref = std::exchange(owner.ref, nullptr); ref != nullptr && --ref->users == 0) {
    refs_.erase(ref->hash, ref->slot);
    ref_pool_.give_back(*ref);
  }
  owner_pool_.give_back(owner);
}

// --- Orphans ---

/// Orphans all that the owner waits for. What is in the queues keeps its places.
void LockTable::orphan_waits(Owner& owner, const Legacy& legacy) {
  for (Claim* claim = owner.claims.front(); claim != nullptr;) {
    Claim& waiting = *std::exchange(claim, owner.claims.next(*claim));
    if (waiting.state == ClaimState::kWaiting) orphan(waiting, legacy);
  }
}

/// Takes a claim that waits or is held from its owner, and keeps it for the next of its name.
void LockTable::orphan(Claim& claim, const Legacy& legacy) {
  Owner& owner = *claim.owner;
  end_phase_one(claim);
  if (owner.blocked == &claim) owner.blocked = nullptr;
  owner.claims.remove(claim);
  Orphans* orphans = find_orphans(*owner.ref, *claim.key);
  if (orphans == nullptr) {
    orphans = &orphans_pool_.take();
    orphans->ref = owner.ref;
    orphans->key = claim.key;
    orphans_.insert(hash_of(*owner.ref, *claim.key), orphans->slot);
  }
  claim.orphaned = true;
  claim.keeps_lease = legacy.keeps_grants;
  const Instant end = later(now_, legacy.orphan_ttl);
  if (claim.state == ClaimState::kHeld) {
    orphans->held.push_back(claim);
    if (!claim.keeps_lease) end_by(claim, end);
  } else {
    orphans->waiting.push_back(claim);
    deadlines_.set(claim, end);
  }
}

/// An orphan has been granted what it waited for, until `end`.
void LockTable::keep_orphan(Claim& claim, Instant end) {
  Orphans& orphans = *find_orphans(*claim.owner->ref, *claim.key);
  orphans.waiting.remove(claim);
  orphans.held.push_back(claim);
  if (!claim.keeps_lease) end_by(claim, end);
}

/// Has a grant end at `end`, if its lease does not end it before.
void LockTable::end_by(Claim& held, Instant end) {
  if (end >= deadlines_.deadline(held)) return;
  held.ttl_is_over = true;
  deadlines_.set(held, end);
}

void LockTable::leave_orphans(Claim& claim) {
  Orphans& orphans = *find_orphans(*claim.owner->ref, *claim.key);
  (claim.state == ClaimState::kHeld ? orphans.held : orphans.waiting).remove(claim);
  claim.orphaned = claim.ttl_is_over = claim.keeps_lease = false;
  if (!orphans.held.empty() || !orphans.waiting.empty()) return;
  orphans_.erase(hash_of(*orphans.ref, *orphans.key), orphans.slot);
  orphans_pool_.give_back(orphans);
}

/// Gives an orphan to an owner. Its deadline is the caller's to set.
void LockTable::adopt(Claim& claim, Owner& owner) {
  Owner& before = *claim.owner;
  leave_orphans(claim);
  --before.active;
  claim.owner = &owner;
  claim.answers = std::min<std::uint8_t>(claim.answers, 1);
  owner.claims.push_back(claim);
  ++owner.active;
  recycle(before);
}

/// Gives an orphan to an owner of its name that asks for the key.
Answer LockTable::take_back(Claim& claim, Owner& owner, const Request& request) {
  if (claim.key->limit != request.limit) return {Outcome::kLimitMismatch};
  if (claim.shared != request.shared) return {Outcome::kModeMismatch};
  adopt(claim, owner);
  claim.lease = request.lease;
  if (claim.state == ClaimState::kWaiting) {
    deadlines_.remove(claim);
    return {Outcome::kQueued};
  }
  deadlines_.set(claim, later(now_, claim.lease));
  return answer_with(claim);
}

/// If one owner of the name is left and blocked by an orphan of its own, it waits no more, or in
/// the orphan's place.
void LockTable::reunite(const Ref& ref) {
  Owner* const owner = ref.only_owner();
  Claim* const waiting = owner == nullptr ? nullptr : owner->blocked;
  if (waiting == nullptr) return;
  KeyRecord& key = *waiting->key;
  Claim* const orphan = find_orphan(*owner, {key.kind, key.name});
  if (orphan == nullptr || orphan->shared != waiting->shared) return;
  const Instant until = deadlines_.deadline(*waiting);
  adopt(*orphan, *owner);
  orphan->lease = waiting->lease;
  forget(*waiting);
  if (orphan->state == ClaimState::kHeld) {
    deadlines_.set(*orphan, later(now_, orphan->lease));
    effects_.take({id_of(*owner), {key.kind, key.name}, answer_with(*orphan)});
  } else {
    deadlines_.set(*orphan, until);
    owner->blocked = orphan;
  }
  serve_queue(key);
}

// --- Keys ---

/// A key for the request, or null if the table is full.
KeyRecord* LockTable::make_key(const Request& request) {
  if (overdue_after_ != kNever) drop_idle(overdue_after_, kDroppedForEachNew);
  if (options_.max_locks > 0 && counts_.keys >= options_.max_locks) {
    KeyRecord* dropped = longest_idle();
    if (dropped == nullptr) return nullptr;
    drop_key(*dropped);
  }
  KeyRecord& key = key_pool_.take();
  key.name = request.key.name;
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

void LockTable::drop_key(KeyRecord& key) {
  assert(key.idle && key.holder_count == 0 && key.waiter_count == 0);
  while (!key.ended.empty()) forget(*key.ended.front());
  stop_idling(key);
  keys_.erase(key.hash, key.slot);
  key.name = std::string();  // frees a long one
  key.live = false;
  key_pool_.give_back(key);
  --counts_.keys;
}

void LockTable::start_idling(KeyRecord& key) {
  assert(!key.idle && key.holder_count == 0 && key.waiter_count == 0);
  key.idle = true;
  key.idle_since = now_;
  (key.ended.empty() ? idle_ : idle_with_ended_).push_back(key);
}

void LockTable::stop_idling(KeyRecord& key) {
  assert(key.idle);
  key.idle = false;
  (key.ended.empty() ? idle_ : idle_with_ended_).remove(key);
}

KeyRecord* LockTable::longest_idle() const {
  KeyRecord* const plain = idle_.front();
  KeyRecord* const with_ended = idle_with_ended_.front();
  if (plain == nullptr || with_ended == nullptr) return plain != nullptr ? plain : with_ended;
  return with_ended->idle_since < plain->idle_since ? with_ended : plain;
}

KeyInfo LockTable::describe(const KeyRecord& key) const {
  KeyInfo info{.key = {key.kind, key.name},
               .limit = key.limit,
               .holders = key.holder_count,
               .waiters = key.waiter_count};
  if (const Claim* oldest = key.holders.front(); oldest != nullptr) {
    info.owner = id_of(*oldest->owner);
    info.shared = oldest->shared;
    info.held = now_ - oldest->since;
    info.lease_left = deadlines_.deadline(*oldest) - now_;
  } else {
    info.idle = now_ - key.idle_since;
  }
  if (const Claim* first = key.waiters.front(); first != nullptr) info.waited = now_ - first->since;
  return info;
}

ClaimInfo LockTable::describe(const Claim& claim) const {
  const bool held = claim.state == ClaimState::kHeld;
  const bool ends = claim.heap_place != kNoPlace;
  return {.owner = id_of(*claim.owner),
          .held = held,
          .shared = claim.shared,
          .fence = held ? claim.token.fence : 0,
          .age = now_ - claim.since,
          .ends_in = ends ? deadlines_.deadline(claim) - now_ : kNever};
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

}  // namespace dflockd::locks
