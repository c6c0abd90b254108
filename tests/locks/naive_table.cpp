#include "naive_table.hpp"

#include <algorithm>
#include <cassert>

namespace dflockd::locks {

using std::chrono::seconds;

std::size_t Choices::pick(std::size_t options) {
  assert(options > 0);
  if (given_up_) return 0;
  if (at_ == choices_.size()) choices_.push_back({0, options});
  assert(choices_[at_].options == options);
  return choices_[at_++].taken;
}

bool Choices::next_way() {
  at_ = 0;
  given_up_ = false;
  while (!choices_.empty()) {
    if (++choices_.back().taken < choices_.back().options) return true;
    choices_.pop_back();
  }
  return false;
}

bool operator==(const NaiveTable& left, const NaiveTable& right) {
  return left.state() == right.state();
}

Answer NaiveTable::apply(Instant now, const Command& command, const Hints& hints) {
  hints_ = &hints;
  const auto go = [&](const auto& any) { return carry_out(now, any); };
  const Answer answer = std::visit(go, command);
  hints_ = nullptr;
  return answer;
}

// --- Time ---

Answer NaiveTable::carry_out(Instant now, const Advance& /*command*/) {
  advance(now);
  return {};
}

Instant NaiveTable::after(seconds delay) const {
  return delay > std::chrono::floor<seconds>(kNever - now_) ? kNever : now_ + delay;
}

std::vector<NaiveTable::Due> NaiveTable::due() const {
  const Instant earliest = next_deadline();
  std::vector<Due> found;
  if (earliest > now_) return found;
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    for (const bool held : {true, false}) {
      const std::vector<Claim>& claims = held ? keys_[key].holders : keys_[key].queue;
      for (std::size_t position = 0; position < claims.size(); ++position) {
        if (claims[position].deadline != earliest) continue;
        if (ends_unnoticed(keys_[key], held, position)) return {{key, held, position}};
        // Of one owner's grants it makes no difference which ends first, nor of orphaned ones.
        const bool has_twin = std::ranges::any_of(found, [&](const Due& other) {
          const Claim& one = claims[position];
          const Claim& twin = claims[other.position];
          return other.key == key && other.held && held && !one.in_phase_one &&
                 !twin.in_phase_one && twin.ttl_is_over == one.ttl_is_over &&
                 (twin.owner == one.owner || one.ttl_is_over);
        });
        if (!has_twin) found.push_back({key, held, position});
      }
    }
  }
  return found;
}

void NaiveTable::advance(Instant now) {
  now_ = std::max(now_, now);
  for (;;) {
    const std::vector<Due> candidates = due();
    if (candidates.empty()) return;
    const Due chosen = candidates[hints_->choices.pick(candidates.size())];
    KeyState& key = keys_[chosen.key];
    std::vector<Claim>& claims = chosen.held ? key.holders : key.queue;
    const Claim claim = claims[chosen.position];
    claims.erase(claims.begin() + static_cast<std::ptrdiff_t>(chosen.position));
    if (!chosen.held) {
      if (claim.orphan_of.empty()) end_wait(key, claim, Outcome::kTimeout);
      settle(key);
      continue;
    }
    if (!claim.ttl_is_over) note({claim.owner, key.key, {Outcome::kLeaseExpired}});
    if (claim.in_phase_one) keep_for_wait(key, claim, Outcome::kLeaseExpired);
    settle(key);
  }
}

Instant NaiveTable::next_deadline() const {
  Instant earliest = kNever;
  for (const KeyState& key : keys_) {
    for (const Claim& claim : key.holders) earliest = std::min(earliest, claim.deadline);
    for (const Claim& claim : key.queue) earliest = std::min(earliest, claim.deadline);
  }
  return earliest;
}

// --- Grants ---

Answer NaiveTable::granted_answer(const Claim& claim) {
  return {.outcome = Outcome::kGranted,
          .repeated = claim.answers > 1,
          .token = {claim.fence, claim.salt},
          .lease = claim.lease};
}

// Of a phase-1 state that is over, `Wait` asks no more than why.
void NaiveTable::keep_for_wait(KeyState& key, const Claim& claim, Outcome why) {
  key.ended.push_back({.owner = claim.owner, .in_phase_one = true, .ended_with = why});
}

void NaiveTable::end_wait(const KeyState& key, const Claim& claim, Outcome outcome) {
  const bool granted = outcome == Outcome::kGranted;
  note({claim.owner, key.key, granted ? granted_answer(claim) : Answer{outcome}});
}

void NaiveTable::note(const Effect& effect) {
  if (!hints_->possible(effects_, effect)) hints_->choices.give_up();
  effects_.push_back(effect);
}

void NaiveTable::grant(KeyState& key, Claim claim) {
  claim.fence = next_fence_++;
  if (hints_->may_hold && !hints_->may_hold(claim.fence, key.key)) hints_->choices.give_up();
  claim.since = now_;
  claim.deadline = after(claim.lease);
  key.idle_since.reset();
  key.holders.push_back(claim);
}

bool NaiveTable::KeyState::has_room(bool for_shared) const {
  const bool all_shared = std::ranges::all_of(holders, &Claim::shared);
  return holders.size() < limit || (for_shared && all_shared);
}

// Free slots go to the head of the queue, for as long as there are both. A key that nobody holds
// afterwards is idle.
void NaiveTable::settle(KeyState& key) {
  while (!key.queue.empty() && key.has_room(key.queue.front().shared)) {
    Claim head = key.queue.front();
    key.queue.erase(key.queue.begin());
    if (fences_left() > 0) {
      const bool orphaned = !head.orphan_of.empty();
      head.answers = head.in_phase_one || orphaned ? 0 : 1;
      grant(key, head);
      if (orphaned) {
        Claim& held = key.holders.back();
        if (!held.keeps_lease && head.deadline < held.deadline) {
          held.deadline = head.deadline;
          held.ttl_is_over = true;
        }
      }
      if (head.answers > 0) end_wait(key, key.holders.back(), Outcome::kGranted);
    } else if (head.in_phase_one) {
      keep_for_wait(key, head, Outcome::kNoFence);
    } else if (head.orphan_of.empty()) {
      end_wait(key, head, Outcome::kNoFence);
    }
  }
  if (key.holders.empty() && !key.idle_since) key.idle_since = now_;
}

// The order of the keys is open.
void NaiveTable::settle_all() {
  for (;;) {
    std::vector<KeyState*> found;
    for (KeyState& key : keys_) {
      if (!key.queue.empty() && key.has_room(key.queue.front().shared)) found.push_back(&key);
    }
    if (found.empty()) return;
    settle(*found[hints_->choices.pick(found.size())]);
  }
}

// Releases every grant that `wanted` wants, those that come up meanwhile too. The order of the keys
// is open.
template <class Predicate>
void NaiveTable::release_where(Predicate wanted) {
  for (;;) {
    std::vector<KeyState*> contended;
    KeyState* quiet = nullptr;
    for (KeyState& key : keys_) {
      if (std::none_of(key.holders.begin(), key.holders.end(), wanted)) continue;
      if (key.queue.empty() ||
          (key.holders.front().shared && key.holders.size() > 1 && !key.queue.front().shared)) {
        quiet = &key;
      } else {
        contended.push_back(&key);
      }
    }
    if (quiet == nullptr && contended.empty()) return;
    KeyState& key = quiet != nullptr ? *quiet : *contended[hints_->choices.pick(contended.size())];
    key.holders.erase(std::find_if(key.holders.begin(), key.holders.end(), wanted));
    settle(key);
  }
}

// --- Keys ---

NaiveTable::KeyState* NaiveTable::find(const Key& name) {
  for (KeyState& key : keys_) {
    if (key.key == name) return &key;
  }
  return nullptr;
}

NaiveTable::Claim* NaiveTable::find_holder(const Key& name, const Token& token) {
  KeyState* key = find(name);
  if (key == nullptr) return nullptr;
  for (Claim& claim : key->holders) {
    if (claim.fence == token.fence && claim.salt == token.salt) return &claim;
  }
  return nullptr;
}

// Makes room for one more key. Which of several keys that became idle at the same time goes is
// open.
bool NaiveTable::make_room() {
  if (options_.max_locks == 0 || keys_.size() < options_.max_locks) return true;
  Instant longest = kNever;
  for (const KeyState& key : keys_) {
    if (key.idle_since) longest = std::min(longest, *key.idle_since);
  }
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (keys_[i].idle_since == longest) candidates.push_back(i);
  }
  if (candidates.empty()) return false;
  const std::size_t chosen = candidates[hints_->choices.pick(candidates.size())];
  keys_.erase(keys_.begin() + static_cast<std::ptrdiff_t>(chosen));
  return true;
}

bool NaiveTable::full_of_claims() const {
  return options_.max_claims != 0 && counts().claims >= options_.max_claims;
}

Answer NaiveTable::carry_out(Instant now, const CollectIdle& command) {
  advance(now);
  overdue_after_ = command.max_idle;
  return {.dropped = drop_idle(command.max_idle, command.budget)};
}

std::size_t NaiveTable::drop_idle(Instant max_idle, std::size_t budget) {
  for (std::size_t dropped = 0;; ++dropped) {
    Instant longest = kNever;
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      const KeyState& key = keys_[i];
      if (!key.idle_since || !key.ended.empty() || now_ - *key.idle_since < max_idle) continue;
      if (*key.idle_since < longest) candidates.clear();
      longest = std::min(longest, *key.idle_since);
      if (*key.idle_since == longest) candidates.push_back(i);
    }
    if (candidates.empty()) overdue_after_.reset();
    if (candidates.empty() || dropped == budget) return dropped;
    // The order is open, but matters only if not all of them go.
    const bool all = candidates.size() <= budget - dropped;
    const std::size_t chosen = candidates[all ? 0 : hints_->choices.pick(candidates.size())];
    keys_.erase(keys_.begin() + static_cast<std::ptrdiff_t>(chosen));
  }
}

// A key counts as idle from now when an ended state is taken from it.
void NaiveTable::clear_ended(KeyState& key, OwnerId owner) {
  const auto of_owner = [&](const Claim& claim) { return claim.owner == owner; };
  if (std::erase_if(key.ended, of_owner) > 0 && key.idle_since) key.idle_since = now_;
}

// --- Requests ---

Answer NaiveTable::carry_out(Instant now, const Acquire& command) {
  advance(now);
  if (Claim* orphan = find_orphan(command.owner, command.request.key)) {
    return take_back(*orphan, command.owner, command.request, command.timeout);
  }
  if (draining_) return {Outcome::kDraining};
  return ask(command.owner, command.request, command.timeout);
}

Answer NaiveTable::carry_out(Instant now, const Enqueue& command) {
  const auto& [owner, request] = command;
  advance(now);
  Claim* const orphan = find_orphan(owner, request.key);
  if (draining_ && orphan == nullptr) return {Outcome::kDraining};
  if (KeyState* key = find(request.key)) {
    for (const auto* claims : {&key->holders, &key->queue}) {
      for (const Claim& claim : *claims) {
        if (claim.owner == command.owner && claim.in_phase_one) return {Outcome::kAlreadyEnqueued};
      }
    }
    clear_ended(*key, owner);
  }
  if (orphan != nullptr) return take_back(*orphan, owner, request, std::nullopt);
  return ask(owner, request, std::nullopt);
}

// `timeout` is nothing for phase 1.
Answer NaiveTable::ask(OwnerId owner, const Request& request, std::optional<seconds> timeout) {
  Claim claim{.owner = owner,
              .salt = request.salt,
              .lease = request.lease,
              .shared = request.shared,
              .in_phase_one = !timeout,
              .answers = 1,
              .order = ++order_};
  KeyState* key = find(request.key);
  if (key != nullptr && key->limit != request.limit) return {Outcome::kLimitMismatch};
  if (key == nullptr || (key->queue.empty() && key->has_room(request.shared))) {
    if (fences_left() == 0) return {Outcome::kNoFence};
    if (full_of_claims()) return {Outcome::kMaxLocks};
    if (key == nullptr) {
      if (overdue_after_) drop_idle(*overdue_after_, 2);
      if (!make_room()) return {Outcome::kMaxLocks};
      keys_.push_back({kept(request.key), request.limit, {}, {}, {}, std::nullopt});
      key = &keys_.back();
    }
    grant(*key, claim);
    const Claim& granted = key->holders.back();
    return granted_answer(granted);
  }
  if (timeout == seconds(0)) return {Outcome::kTimeout};
  if (options_.max_waiters != 0 && key->queue.size() >= options_.max_waiters) {
    return {Outcome::kMaxWaiters};
  }
  if (full_of_claims()) return {Outcome::kMaxLocks};
  claim.answers = 0;
  claim.since = now_;
  if (timeout) claim.deadline = after(*timeout);
  key->queue.push_back(claim);
  return {Outcome::kQueued};
}

Answer NaiveTable::carry_out(Instant now, const Wait& command) {
  const OwnerId owner = command.owner;
  const seconds timeout = command.timeout;
  advance(now);
  KeyState* key = find(command.key);
  if (key == nullptr) return {Outcome::kNotEnqueued};
  if (const std::optional<Answer> answer = wait_for_orphan(*key, command)) return *answer;
  const auto sought = [&](const Claim& claim) {
    return claim.owner == owner && claim.in_phase_one;
  };
  if (auto held = std::find_if(key->holders.begin(), key->holders.end(), sought);
      held != key->holders.end()) {
    if (draining_) return {Outcome::kDraining};
    held->in_phase_one = false;
    ++held->answers;
    held->deadline = after(held->lease);
    return granted_answer(*held);
  }
  if (auto queued = std::find_if(key->queue.begin(), key->queue.end(), sought);
      queued != key->queue.end()) {
    if (timeout == seconds(0)) {
      key->queue.erase(queued);
      settle(*key);
      return {Outcome::kTimeout};
    }
    queued->in_phase_one = false;
    queued->deadline = after(timeout);
    return {Outcome::kQueued};
  }
  if (auto ended = std::find_if(key->ended.begin(), key->ended.end(), sought);
      ended != key->ended.end()) {
    const Outcome why = ended->ended_with;
    clear_ended(*key, owner);
    return {why};
  }
  return {Outcome::kNotEnqueued};
}

Answer NaiveTable::carry_out(Instant now, const CancelWait& command) {
  for (KeyState& key : keys_) {
    std::erase_if(key.queue, [&](const Claim& claim) {
      return claim.owner == command.owner && !claim.in_phase_one && claim.orphan_of.empty();
    });
  }
  advance(now);
  settle_all();
  return {};
}

Answer NaiveTable::carry_out(Instant now, const CancelWaits& command) {
  const OwnerId owner = command.owner;
  const auto is_its = [&](const Claim& claim) {
    return claim.owner == owner && claim.orphan_of.empty();
  };
  const bool orphans = !name_of(owner).empty() && command.legacy.orphan_ttl > seconds(0);
  now_ = std::max(now_, now);
  if (orphans) orphan(owner, command.legacy, false, false);
  for (KeyState& key : keys_) std::erase_if(key.queue, is_its);
  advance(now);
  for (KeyState& key : keys_) clear_ended(key, owner);
  settle_all();
  if (orphans) orphan(owner, command.legacy, true, true);
  release_where([&](const Claim& claim) { return is_its(claim) && claim.answers == 0; });
  return {};
}

Answer NaiveTable::carry_out(Instant now, const GiveUpPlace& command) {
  const auto sought = [&](const Claim& claim) {
    return claim.owner == command.owner && claim.in_phase_one && claim.answers == 0;
  };
  if (KeyState* key = find(command.key)) std::erase_if(key->queue, sought);
  advance(now);
  settle_all();
  KeyState* key = find(command.key);
  if (key != nullptr && std::erase_if(key->holders, sought) > 0) settle(*key);
  return {};
}

Answer NaiveTable::carry_out(Instant now, const Release& command) {
  advance(now);
  if (find_holder(command.key, command.token) == nullptr) return {Outcome::kNotHeld};
  KeyState& key = *find(command.key);
  std::erase_if(key.holders,
                [&](const Claim& claim) { return claim.fence == command.token.fence; });
  settle(key);
  return {};
}

Answer NaiveTable::carry_out(Instant now, const Renew& command) {
  advance(now);
  Claim* claim = find_holder(command.key, command.token);
  if (claim == nullptr) return {Outcome::kNotHeld};
  if (!claim->orphan_of.empty()) {
    adopt(*claim, command.owner);
    claim->answers = 1;
  }
  claim->deadline = after(command.lease);
  return {.lease = command.lease};
}

// --- Owners, fences, draining ---

Answer NaiveTable::carry_out(Instant /*now*/, const OpenOwner& /*command*/) {
  owners_.push_back(hints_->opened);
  return {.owner = hints_->opened};
}

Answer NaiveTable::carry_out(Instant now, const CloseOwner& command) {
  const OwnerId owner = command.owner;
  const std::string name = name_of(owner);
  const bool orphans = !name.empty() && command.legacy.orphan_ttl > seconds(0);
  const std::uint64_t undelivered = next_fence_;
  const auto is_its = [&](const Claim& claim) {
    return claim.owner == owner && claim.orphan_of.empty();
  };
  const auto stays = [&](const Claim& claim) {
    return command.legacy.keeps_grants && claim.fence < undelivered &&
           claim.answers > std::ranges::count(command.undelivered, claim.fence);
  };
  advance(now);
  if (orphans) orphan(owner, command.legacy, false, false);
  for (KeyState& key : keys_) {
    std::erase_if(key.queue, is_its);
    clear_ended(key, owner);
  }
  settle_all();
  if (orphans) orphan(owner, command.legacy, true, false);
  release_where([&](const Claim& claim) { return is_its(claim) && !stays(claim); });
  for (KeyState& key : keys_) {
    for (Claim& claim : key.holders) {
      // Nobody can come to collect it any more.
      if (claim.owner == owner) claim.in_phase_one = false;
    }
  }
  std::erase(owners_, owner);
  std::erase_if(names_, [&](const auto& named) { return named.first == owner; });
  if (!name.empty()) reunite(name);
  return {};
}

Answer NaiveTable::carry_out(Instant /*now*/, const ReserveFences& command) {
  next_fence_ = std::max(next_fence_, command.first);
  fence_end_ = std::max({fence_end_, command.end, next_fence_});
  return {};
}

// The order of the keys is open.
Answer NaiveTable::carry_out(Instant now, const StartDraining& /*command*/) {
  advance(now);
  draining_ = true;
  for (KeyState& key : keys_) {
    std::erase_if(key.queue, [](const Claim& claim) { return !claim.orphan_of.empty(); });
  }
  const auto take = [](KeyState& key, std::vector<Claim>& claims) {
    std::erase_if(claims, [&](const Claim& claim) {
      const bool taken = claim.in_phase_one && claim.answers == 0;
      if (taken) keep_for_wait(key, claim, Outcome::kDraining);
      return taken;
    });
  };
  for (;;) {
    std::vector<KeyState*> contended;
    for (KeyState& key : keys_) {
      take(key, key.queue);
      if (!key.queue.empty()) contended.push_back(&key);
    }
    if (contended.empty()) break;
    KeyState& key = *contended[hints_->choices.pick(contended.size())];
    for (const Claim& claim : key.queue) end_wait(key, claim, Outcome::kDraining);
    key.queue.clear();
  }
  for (KeyState& key : keys_) {
    take(key, key.holders);
    settle(key);
  }
  return {};
}

// --- Observation ---

bool NaiveTable::blocked(OwnerId owner) const {
  for (const KeyState& key : keys_) {
    for (const Claim& claim : key.queue) {
      if (claim.owner == owner && !claim.in_phase_one && claim.orphan_of.empty()) return true;
    }
  }
  return false;
}

bool NaiveTable::has_claims(OwnerId owner) const {
  const std::vector<OwnerId> active = active_owners();
  return std::ranges::find(active, owner) != active.end();
}

bool NaiveTable::remembers(OwnerId owner) const {
  return std::find(owners_.begin(), owners_.end(), owner) != owners_.end() || has_claims(owner);
}

std::vector<Instant> NaiveTable::deadlines() const {
  std::vector<Instant> result;
  for (const KeyState& key : keys_) {
    for (const Claim& claim : key.holders) result.push_back(claim.deadline);
    for (const Claim& claim : key.queue) result.push_back(claim.deadline);
  }
  return result;
}

std::vector<OwnerId> NaiveTable::active_owners() const {
  std::vector<OwnerId> result;
  for (const KeyState& key : keys_) {
    for (const Claim& claim : key.holders) result.push_back(claim.owner);
    for (const Claim& claim : key.queue) result.push_back(claim.owner);
  }
  return result;
}

TableCounts NaiveTable::counts() const {
  TableCounts counts;
  counts.keys = keys_.size();
  for (const KeyState& key : keys_) {
    const bool lock = key.key.kind == Kind::kLock;
    (lock ? counts.locks_held : counts.semaphore_holders) += key.holders.size();
    (lock ? counts.lock_waiters : counts.semaphore_waiters) += key.queue.size();
    counts.claims += key.holders.size() + key.queue.size() + key.ended.size();
  }
  return counts;
}

std::vector<KeyInfo> NaiveTable::keys() const {
  std::vector<KeyInfo> infos;
  for (const KeyState& key : keys_) {
    KeyInfo info{.key = key.key,
                 .limit = key.limit,
                 .holders = static_cast<std::uint32_t>(key.holders.size()),
                 .waiters = static_cast<std::uint32_t>(key.queue.size())};
    if (key.holders.empty()) {
      info.idle = now_ - *key.idle_since;
    } else {
      const Claim& oldest = key.holders.front();
      info.owner = oldest.owner;
      info.shared = oldest.shared;
      info.held = now_ - oldest.since;
      info.lease_left = oldest.deadline - now_;
    }
    if (!key.queue.empty()) info.waited = now_ - key.queue.front().since;
    infos.push_back(info);
  }
  std::ranges::sort(infos, {},
                    [](const KeyInfo& info) { return std::pair(info.key.kind, info.key.name); });
  return infos;
}

}  // namespace dflockd::locks
