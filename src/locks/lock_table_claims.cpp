// What becomes of claims: how they are made, granted, ended, and kept for an owner that comes back.
#include <algorithm>
#include <cassert>
#include <utility>

#include "locks/lock_table.hpp"

namespace dflockd::locks {

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
  claim.order = ++claims_made_;
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
  ++claim.owner->held;
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
      --claim.owner->held;
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

bool LockTable::leaves_orphans(const Owner& owner, const Legacy& legacy) {
  return owner.ref != nullptr && legacy.orphan_ttl.count() > 0;
}

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
  insert(*orphans, claim);
  if (claim.state == ClaimState::kWaiting) {
    deadlines_.set(claim, end);
  } else if (!claim.keeps_lease) {
    end_by(claim, end);
  }
}

/// Puts an orphan where it belongs by its age: mostly last, or before all that a younger connection
/// of the name left. From the last one that was put there on, so that many in order cost O(1) each.
void LockTable::insert(Orphans& orphans, Claim& claim) {
  auto& list = claim.state == ClaimState::kHeld ? orphans.held : orphans.waiting;
  Claim* next = orphans.latest;
  if (next == nullptr || next->state != claim.state) next = list.front();
  while (next != nullptr && next->order < claim.order) next = list.next(*next);
  while (next != nullptr && list.previous(*next) != nullptr &&
         list.previous(*next)->order > claim.order) {
    next = list.previous(*next);
  }
  if (next == nullptr) {
    list.push_back(claim);
  } else {
    list.insert_before(*next, claim);
  }
  orphans.latest = &claim;
}

/// An orphan has been granted what it waited for, until `end`.
void LockTable::keep_orphan(Claim& claim, Instant end) {
  Orphans& orphans = *find_orphans(*claim.owner->ref, *claim.key);
  orphans.waiting.remove(claim);
  if (orphans.latest == &claim) orphans.latest = nullptr;
  insert(orphans, claim);
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
  if (orphans.latest == &claim) orphans.latest = nullptr;
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
  if (claim.state == ClaimState::kHeld) {
    --before.held;
    ++owner.held;
  }
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

/// Whether an owner that has this place gains by an orphan of its name.
bool LockTable::is_better(const Claim& orphan, const Claim& place) {
  return orphan.shared == place.shared &&
         (orphan.state == ClaimState::kHeld || orphan.order < place.order);
}

/// If one owner of the name is left and blocked by an orphan of its own, it waits no more, or in
/// the orphan's place.
void LockTable::reunite(const Ref& ref) {
  Owner* const owner = ref.only_owner();
  Claim* const waiting = owner == nullptr ? nullptr : owner->blocked;
  if (waiting == nullptr) return;
  KeyRecord& key = *waiting->key;
  Claim* const orphan = find_orphan(*owner, key);
  if (orphan == nullptr || !is_better(*orphan, *waiting)) return;
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

}  // namespace dflockd::locks
