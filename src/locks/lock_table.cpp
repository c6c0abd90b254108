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
    : options_(options),
      other_key_{.low = options.hash_key.low ^ kHashSpread, .high = options.hash_key.high},
      effects_(effects) {}

Answer LockTable::apply(Instant now, const Command& command) {
  return std::visit([&](const auto& any) { return carry_out(now, any); }, command);
}

bool LockTable::has_claims(OwnerId id) const {
  return owner_of(id).active > 0;
}

OwnerClaims LockTable::claims_of(OwnerId id) const {
  const Owner& owner = owner_of(id);
  return {.held = owner.held, .waiting = owner.active - owner.held};
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
    ref->hash = sip_hash(other_key_, command.ref);
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
  const bool orphans = leaves_orphans(owner, command.legacy);
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
             is_better(*orphan, *claim)) {
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
  const bool orphans = leaves_orphans(owner, command.legacy);
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
      if (held.answers > 0 || held.orphaned) continue;
      keep_for_wait(held, Outcome::kDraining);
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
  return sip_hash(other_key_, number);
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
  const std::uint32_t slot = refs_.find(sip_hash(other_key_, name), [&](std::uint32_t candidate) {
    return ref_pool_.at(candidate).name == name;
  });
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
  if (owner.ref == nullptr) return nullptr;
  const KeyRecord* key = find_key(name);
  return key == nullptr ? nullptr : find_orphan(owner, *key);
}

Claim* LockTable::find_orphan(const Owner& owner, const KeyRecord& key) const {
  if (owner.ref == nullptr || owner.ref->only_owner() != &owner) return nullptr;
  const Orphans* orphans = find_orphans(*owner.ref, key);
  if (orphans == nullptr) return nullptr;
  return orphans->held.empty() ? orphans->waiting.front() : orphans->held.front();
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
