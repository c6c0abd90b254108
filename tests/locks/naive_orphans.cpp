// The part of the naive model that keeps what an owner with a name leaves behind.
#include <algorithm>

#include "naive_table.hpp"

namespace dflockd::locks {

using std::chrono::seconds;

std::string NaiveTable::name_of(OwnerId owner) const {
  for (const auto& [named, name] : names_) {
    if (named == owner) return name;
  }
  return {};
}

std::optional<OwnerId> NaiveTable::only_owner(const std::string& name) const {
  std::vector<OwnerId> found;
  for (const auto& [owner, its_name] : names_) {
    if (its_name == name) found.push_back(owner);
  }
  return found.size() == 1 ? std::optional(found.front()) : std::nullopt;
}

Answer NaiveTable::carry_out(Instant /*now*/, const SetRef& command) {
  if (!name_of(command.owner).empty()) return {Outcome::kHasRef};
  names_.emplace_back(command.owner, command.ref);
  return {};
}

// Whether a claim that is due is an orphan whose end makes no difference to what else is due.
bool NaiveTable::ends_unnoticed(const KeyState& key, bool held, std::size_t position) {
  const Claim& claim = (held ? key.holders : key.queue)[position];
  const auto is_due = [&](const Claim& other) { return other.deadline == claim.deadline; };
  if (held) {
    const bool lets_nobody_in = claim.shared && !std::ranges::all_of(key.holders, is_due);
    return claim.ttl_is_over && (key.queue.empty() || lets_nobody_in);
  }
  if (claim.orphan_of.empty() || std::ranges::any_of(key.holders, is_due)) return false;
  return !is_due(key.queue.front()) ||
         (position + 1 == key.queue.size() && std::ranges::count_if(key.queue, is_due) == 1);
}

// The one that is held first, then the oldest.
NaiveTable::Claim* NaiveTable::find_orphan(OwnerId owner, const Key& name) {
  const std::string ref = name_of(owner);
  KeyState* key = find(name);
  if (ref.empty() || key == nullptr || only_owner(ref) != owner) return nullptr;
  for (std::vector<Claim>* claims : {&key->holders, &key->queue}) {
    Claim* first = nullptr;
    for (Claim& claim : *claims) {
      if (claim.orphan_of != ref) continue;
      if (first == nullptr || claim.order < first->order) first = &claim;
    }
    if (first != nullptr) return first;
  }
  return nullptr;
}

// Orphans what the owner holds or waits for, what it has had longest first.
void NaiveTable::orphan(OwnerId owner, const Legacy& legacy, bool held, bool unnamed_only) {
  std::vector<Claim*> its;
  for (KeyState& key : keys_) {
    for (Claim& claim : held ? key.holders : key.queue) {
      if (claim.owner != owner || !claim.orphan_of.empty()) continue;
      if (!unnamed_only || claim.answers == 0) its.push_back(&claim);
    }
  }
  std::ranges::sort(its, {}, &Claim::order);
  for (Claim* claim : its) {
    claim->orphan_of = name_of(owner);
    claim->in_phase_one = false;
    claim->keeps_lease = legacy.keeps_grants;
    const Instant end = after(legacy.orphan_ttl);
    if (!held) claim->deadline = end;
    if (held && !claim->keeps_lease && end < claim->deadline) {
      claim->deadline = end;
      claim->ttl_is_over = true;
    }
  }
}

void NaiveTable::adopt(Claim& claim, OwnerId owner) {
  claim.owner = owner;
  claim.orphan_of.clear();
  claim.ttl_is_over = claim.keeps_lease = false;
  claim.answers = std::min(claim.answers, 1);
}

bool NaiveTable::is_held(const Key& name, const Claim& claim) {
  const std::vector<Claim>& holders = find(name)->holders;
  return std::ranges::find(holders, claim) != holders.end();
}

// Whether whoever has this place gains by the orphan.
bool NaiveTable::is_better(const Key& name, const Claim& orphan, const Claim& place) {
  return orphan.shared == place.shared && (is_held(name, orphan) || orphan.order < place.order);
}

void NaiveTable::leave_queue(const Key& name, const Claim& claim) {
  KeyState& key = *find(name);
  std::erase(key.queue, Claim(claim));
  settle(key);
}

Answer NaiveTable::take_back(Claim& claim, OwnerId owner, const Request& request,
                             std::optional<seconds> timeout) {
  if (find(request.key)->limit != request.limit) return {Outcome::kLimitMismatch};
  if (claim.shared != request.shared) return {Outcome::kModeMismatch};
  adopt(claim, owner);
  claim.in_phase_one = !timeout;
  claim.lease = request.lease;
  if (is_held(request.key, claim)) {
    claim.deadline = after(claim.lease);
    ++claim.answers;
    return granted_answer(claim);
  }
  if (timeout == seconds(0)) {
    leave_queue(request.key, claim);
    return {Outcome::kTimeout};
  }
  claim.deadline = timeout ? after(*timeout) : kNever;
  return {Outcome::kQueued};
}

// What `Wait` does if there is an orphan for it.
std::optional<Answer> NaiveTable::wait_for_orphan(KeyState& key, const Wait& command) {
  Claim* orphan = find_orphan(command.owner, command.key);
  if (orphan == nullptr) return std::nullopt;
  const auto is_its = [&](const Claim& claim) {
    return claim.owner == command.owner && claim.in_phase_one;
  };
  for (const auto* claims : {&key.holders, &key.ended}) {
    if (std::ranges::any_of(*claims, is_its)) return std::nullopt;
  }
  const auto place = std::ranges::find_if(key.queue, is_its);
  if (place != key.queue.end() && !is_better(command.key, *orphan, *place)) return std::nullopt;
  const std::uint64_t order = orphan->order;
  adopt(*orphan, command.owner);
  if (place != key.queue.end()) {
    orphan->lease = place->lease;
    leave_queue(command.key, *place);
  }
  // The claim may have moved.
  for (std::vector<Claim>* claims : {&key.holders, &key.queue}) {
    for (Claim& claim : *claims) {
      if (claim.order != order) continue;
      if (claims == &key.holders) {
        claim.deadline = after(claim.lease);
        ++claim.answers;
        return granted_answer(claim);
      }
      if (command.timeout == seconds(0)) {
        leave_queue(command.key, claim);
        return Answer{Outcome::kTimeout};
      }
      claim.deadline = after(command.timeout);
      return Answer{Outcome::kQueued};
    }
  }
  return std::nullopt;
}

void NaiveTable::reunite(const std::string& name) {
  const std::optional<OwnerId> owner = only_owner(name);
  if (!owner) return;
  for (KeyState& key : keys_) {
    Claim* orphan = find_orphan(*owner, key.key);
    const auto waiting = std::ranges::find_if(key.queue, [&](const Claim& claim) {
      return claim.owner == *owner && !claim.in_phase_one && claim.orphan_of.empty();
    });
    if (orphan == nullptr || waiting == key.queue.end()) continue;
    if (!is_better(key.key, *orphan, *waiting)) continue;
    const Claim request = *waiting;
    adopt(*orphan, *owner);
    orphan->lease = request.lease;
    if (is_held(key.key, *orphan)) {
      orphan->deadline = after(request.lease);
      ++orphan->answers;
      end_wait(key, *orphan, Outcome::kGranted);
    } else {
      orphan->deadline = request.deadline;
    }
    leave_queue(key.key, request);
    return;
  }
}

}  // namespace dflockd::locks
