#include "duel.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <ostream>
#include <sstream>
#include <tuple>

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

constexpr std::size_t kMostOwners = 6;

/// The command that a call is. Only opening an owner and visiting a slice are not here.
Command command_of(const Call& call) {
  switch (call.op) {
    case Op::kAcquire:
      return Acquire{call.owner, call.request, call.timeout};
    case Op::kEnqueue:
      return Enqueue{call.owner, call.request};
    case Op::kWait:
      return Wait{call.owner, call.key, call.timeout};
    case Op::kCancelWait:
      return CancelWait{call.owner};
    case Op::kCancelWaits:
      return CancelWaits{call.owner};
    case Op::kGiveUpPlace:
      return GiveUpPlace{call.owner, call.key};
    case Op::kRelease:
    case Op::kReleaseWithWrongToken:
      return Release{call.key, call.token};
    case Op::kRenew:
    case Op::kRenewWithWrongToken:
      return Renew{call.key, call.token, call.request.lease};
    case Op::kCloseOwner:
      return CloseOwner{call.owner};
    case Op::kCloseOwnerKeepingGrants:
      return CloseOwner{call.owner, true, call.undelivered};
    case Op::kReserveFences:
      return ReserveFences{call.first, call.end};
    case Op::kCollectIdle:
      return CollectIdle{call.timeout, call.amount};
    case Op::kStartDraining:
      return StartDraining{};
    case Op::kAdvance:
    case Op::kOpenOwner:
    case Op::kVisitSlice:
      break;
  }
  return Advance{};
}

bool is_command(Op op) {
  return op != Op::kOpenOwner && op != Op::kVisitSlice;
}

template <class Table>
void look_at(Table& table, const std::vector<OwnerId>& owners, Sight& sight) {
  sight.counts = table.counts();
  sight.next_deadline = table.next_deadline();
  sight.next_fence = table.next_fence();
  sight.fences_left = table.fences_left();
  for (const OwnerId& owner : owners) sight.has_claims.push_back(table.has_claims(owner));
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Call& call) {
  out << "at " << call.now.count() << " ns: " << name_of(call.op);
  switch (call.op) {
    case Op::kAcquire:
    case Op::kEnqueue:
      out << ", " << call.owner << ", " << call.request.key << ", limit " << call.request.limit
          << ", lease " << call.request.lease.count() << " s, salt " << call.request.salt;
      if (call.op == Op::kAcquire) out << ", timeout " << call.timeout.count() << " s";
      return out;
    case Op::kWait:
      return out << ", " << call.owner << ", " << call.key << ", timeout " << call.timeout.count()
                 << " s";
    case Op::kRelease:
    case Op::kReleaseWithWrongToken:
    case Op::kRenew:
    case Op::kRenewWithWrongToken:
      out << ", " << call.key << ", fence " << call.token.fence << ", salt " << call.token.salt;
      if (call.op == Op::kRenew) out << ", lease " << call.request.lease.count() << " s";
      return out;
    case Op::kGiveUpPlace:
      return out << ", " << call.owner << ", " << call.key;
    case Op::kCancelWait:
    case Op::kCancelWaits:
    case Op::kOpenOwner:
    case Op::kCloseOwner:
      return out << ", " << call.owner;
    case Op::kCloseOwnerKeepingGrants:
      out << ", " << call.owner << ", undelivered";
      for (const std::uint64_t fence : call.undelivered) out << ' ' << fence;
      return out;
    case Op::kReserveFences:
      return out << ", " << call.first << " to " << call.end;
    case Op::kCollectIdle:
      return out << ", idle for " << call.timeout.count() << " s, at most " << call.amount;
    case Op::kVisitSlice:
      return out << ", of " << call.amount;
    case Op::kAdvance:
    case Op::kStartDraining:
      return out;
  }
  return out;
}

std::ostream& operator<<(std::ostream& out, const Sight& sight) {
  out << "    answer " << sight.answer;
  for (const Event& event : sight.events) out << "\n    " << event;
  const TableCounts& counts = sight.counts;
  out << "\n    keys " << counts.keys << ", claims " << counts.claims << ", held "
      << counts.locks_held << " + " << counts.semaphore_holders << ", waiters "
      << counts.lock_waiters << " + " << counts.semaphore_waiters << ", next deadline "
      << sight.next_deadline.count() << ", next fence " << sight.next_fence << ", left "
      << sight.fences_left << ", claims ";
  for (const bool claims : sight.has_claims) out << claims;
  for (const KeyView& key : sight.keys) {
    out << "\n    " << Key{key.kind, key.name} << ": limit " << key.limit << ", holders "
        << key.holders << ", waiters " << key.waiters << ", " << key.owner << ", held "
        << key.held.count() << ", lease left " << key.lease_left.count() << ", idle "
        << key.idle.count();
  }
  return out;
}

std::vector<KeyView> keys_of(const LockTable& table) {
  std::vector<KeyView> views;
  const auto end = table.visit_keys(0, std::numeric_limits<std::uint32_t>::max(),
                                    [&](const KeyInfo& info) { views.push_back(view_of(info)); });
  if (end) throw Disagreement("one slice for all slots did not reach the end");
  return views;
}

void run(LockTable& table, const Call& call, Sight& sight) {
  if (is_command(call.op)) sight.answer = table.apply(call.now, command_of(call));
}

void look(const LockTable& table, const std::vector<OwnerId>& owners, Sight& sight) {
  look_at(table, owners, sight);
}

Duel::Duel(const Setup& setup)
    : table_(std::make_unique<LockTable>(setup.options, recorder_)),
      models_{NaiveTable(setup.options)} {
  perform({.op = Op::kReserveFences, .first = 1, .end = 1 + setup.fences});
  for (int i = 0; i < 3; ++i) perform({.op = Op::kOpenOwner});
}

void Duel::run_command(const Draft& command) {
  Call call;
  if (!fill_in(command, call)) return;
  perform(call);
}

void Duel::perform(Call call) {
  Sight sight;
  if (call.op == Op::kOpenOwner) {
    call.owner = open_owner();
  } else if (call.op == Op::kVisitSlice) {
    visit_slice(call.amount);
  } else {
    run(*table_, call, sight);
  }
  now_ = std::max(now_, call.now);
  if (call.op == Op::kCloseOwner || call.op == Op::kCloseOwnerKeepingGrants) {
    std::erase(owners_, call.owner);
    std::erase_if(enqueued_, [&](const auto& enqueued) { return enqueued.first == call.owner; });
  }
  look_at(*table_, owners_, sight);
  sight.events = recorder_.events();
  sight.keys = keys_of(*table_);
  sort_by_name(sight.keys);
  history_.emplace_back(call, sight);
  follow_visit();
  check_invariants();
  check_models();
  learn_tokens();
}

void Duel::fail(const std::string& what) const {
  std::ostringstream message;
  message << what << "\n\nThe calls:\n";
  for (const auto& [call, sight] : history_) {
    message << "  " << call << "\n    -> " << sight.answer;
    for (const Event& event : sight.events) message << ' ' << event;
    message << '\n';
  }
  message << "\nThe table:\n" << history_.back().second << '\n';
  throw Disagreement(message.str());
}

// --- From a command to a call ---

bool Duel::fill_in(const Draft& command, Call& call) {
  call.op = command.op;
  call.now = time_of(command.step);
  if (call.op == Op::kOpenOwner) return owners_.size() < kMostOwners;
  const bool by_token = call.op == Op::kRelease || call.op == Op::kRenew ||
                        call.op == Op::kReleaseWithWrongToken ||
                        call.op == Op::kRenewWithWrongToken;
  if (by_token) return fill_in_token(command, call);
  if (owners_.empty()) return false;
  call.owner = owners_[command.owner % owners_.size()];
  call.key = kKeys[command.key];
  if ((call.op == Op::kWait || call.op == Op::kGiveUpPlace) && command.pick < enqueued_.size()) {
    std::tie(call.owner, call.key) = enqueued_[enqueued_.size() - 1 - command.pick];
  }
  std::uint32_t limit = usual_limit(command.key);
  if (command.other_limit && call.key.kind == Kind::kSemaphore) limit = 4;
  call.request = {call.key, limit, command.lease, next_salt_++};
  call.timeout = command.timeout;
  // Who is blocked already makes no request that could block.
  const bool may_block = call.op == Op::kAcquire || call.op == Op::kWait;
  if (may_block && models_.front().blocked(call.owner)) return false;
  call.amount = command.pick;
  if (call.op == Op::kCollectIdle) call.timeout = seconds(command.owner);
  if (call.op == Op::kCloseOwnerKeepingGrants) {
    // Every other one of the latest, and every fourth twice.
    const std::uint64_t next = table_->next_fence();
    const std::uint64_t first = next - std::min<std::uint64_t>(next, command.pick);
    for (std::uint64_t fence = first; fence < next; fence += 2) {
      call.undelivered.insert(call.undelivered.end(), fence % 4 < 2 ? 2 : 1, fence);
    }
  }
  if (call.op == Op::kReserveFences) {
    // In turn: what follows, a gap, a range that begins in the past.
    const std::uint64_t end = table_->next_fence() + table_->fences_left();
    call.first = command.owner == 4 ? end + 10 : (command.owner == 5 ? end / 2 : end);
    call.end = call.first + 3 * command.pick;
  }
  return true;
}

Instant Duel::time_of(Step step) const {
  using namespace std::chrono_literals;
  const Instant deadline = table_->next_deadline();
  switch (step) {
    case Step::kSameTime:
      return now_;
    case Step::kOneNanosecond:
      return now_ + 1ns;
    case Step::kThirdOfASecond:
      return now_ + 333ms;
    case Step::kOneSecond:
      return now_ + 1s;
    case Step::kTwoSeconds:
      return now_ + 2s;
    case Step::kToNextDeadline:
      return deadline == kNever ? now_ : deadline;
    case Step::kJustBeforeNextDeadline:
      return deadline == kNever ? now_ : deadline - 1ns;
    case Step::kOneMinute:
      return now_ + 60s;
    case Step::kBackwards:
      return now_ - std::min<Instant>(now_, 1s);
  }
  return now_;
}

bool Duel::fill_in_token(const Draft& command, Call& call) const {
  if (tokens_.empty()) return false;
  const auto& [key, token] = tokens_[tokens_.size() - 1 - command.pick % tokens_.size()];
  call.key = key;
  call.token = token;
  call.request.lease = command.lease;
  if (call.op == Op::kRelease || call.op == Op::kRenew) return true;
  switch (command.key) {
    case 0:
      call.token.salt ^= std::uint64_t{1} << (command.owner * 10);
      break;
    case 1:
      call.token.fence ^= std::uint64_t{1} << (command.owner * 10);
      break;
    case 2:
      call.key.name = key.name == "a" ? "b" : "a";
      break;
    default:
      call.key.kind = key.kind == Kind::kLock ? Kind::kSemaphore : Kind::kLock;
  }
  return true;
}

// Tokens are known once they have been told. Those that were given back are not forgotten, but
// count as the oldest.
void Duel::learn_tokens() {
  const auto& [call, sight] = history_.back();
  if (call.op == Op::kRelease) {
    const auto used = std::find_if(tokens_.begin(), tokens_.end(),
                                   [&](const auto& known) { return known.second == call.token; });
    std::rotate(tokens_.begin(), used, used + 1);
  }
  if (call.op == Op::kEnqueue) enqueued_.emplace_back(call.owner, call.key);
  if (sight.answer.outcome == Outcome::kGranted) {
    tokens_.emplace_back(call.op == Op::kWait ? call.key : call.request.key, sight.answer.token);
  }
  for (const Event& event : sight.events) {
    if (event.outcome != Outcome::kGranted || event.what != Event::What::kWaitOver) continue;
    tokens_.emplace_back(key_of_salt(event.salt), Token{event.fence, event.salt});
  }
}

Key Duel::key_of_salt(std::uint64_t salt) const {
  for (const auto& [call, sight] : history_) {
    const bool asks = call.op == Op::kAcquire || call.op == Op::kEnqueue;
    if (asks && call.request.salt == salt) return call.request.key;
  }
  fail("granted with a salt that nobody brought");
}

// --- Owners ---

OwnerId Duel::open_owner() {
  std::size_t remembered = 0;
  const OwnerId owner = table_->apply(now_, OpenOwner{}).owner;
  for (const OwnerId& earlier : all_owners_) {
    if (earlier == owner) fail("an owner's id was given twice");
    if (!models_.front().remembers(earlier)) continue;
    ++remembered;
    if (earlier.index == owner.index) fail("an owner's index was given twice at the same time");
  }
  most_owners_ = std::max(most_owners_, remembered + 1);
  if (owner.index >= most_owners_) fail("owners' indexes are not dense");
  all_owners_.push_back(owner);
  owners_.push_back(owner);
  for (NaiveTable& model : models_) model.opened(owner);
  return owner;
}

// --- Slices ---

void Duel::visit_slice(std::size_t slots) {
  if (!visiting_) {
    visiting_ = true;
    cursor_ = 0;
    seen_.clear();
    lasting_.clear();
    for (const KeyView& key : keys_of(*table_)) lasting_.emplace(key.kind, key.name);
  }
  const auto next = table_->visit_keys(cursor_, slots, [&](const KeyInfo& info) {
    ++seen_[{info.key.kind, std::string(info.key.name)}];
  });
  visiting_ = next.has_value();
  cursor_ = next.value_or(0);
  if (visiting_) return;
  for (const auto& key : lasting_) {
    if (seen_[key] != 1) fail("a key that lasted was not visited exactly once: " + key.second);
  }
}

void Duel::follow_visit() {
  std::set<std::pair<Kind, std::string>> present;
  for (const KeyView& key : history_.back().second.keys) present.emplace(key.kind, key.name);
  std::erase_if(lasting_, [&](const auto& key) { return !present.contains(key); });
}

// --- Checks ---

void Duel::check_invariants() {
  const auto& [call, sight] = history_.back();
  if (!table_->consistent()) fail("the table is not consistent");
  for (const KeyView& key : sight.keys) {
    if (key.holders > key.limit) fail("more holders than the limit");
    if (key.waiters > 0 && key.holders < key.limit) fail("a free slot and a waiter");
  }
  const auto fresh = [&](std::uint64_t fence) {
    if (fence < fence_before_ || fence >= sight.next_fence) fail("a fence out of order");
    fence_before_ = fence + 1;
  };
  for (const Event& event : sight.events) {
    const bool grant = event.what == Event::What::kWaitOver && event.outcome == Outcome::kGranted;
    if (grant) fresh(event.fence);
  }
  const bool grant = call.op != Op::kWait && sight.answer.outcome == Outcome::kGranted;
  if (grant) fresh(sight.answer.token.fence);
  if (sight.next_fence < fence_before_) fail("the next fence went back");
  fence_before_ = sight.next_fence;
}

// Keeps the models that agree with what was seen, by any way that the contract leaves open.
void Duel::check_models() {
  const auto& [call, sight] = history_.back();
  std::vector<NaiveTable> agreeing;
  std::optional<Sight> expected;
  for (const NaiveTable& before : models_) {
    Choices choices;
    do {
      NaiveTable after = before;
      after.choose_with(choices);
      after.listen_to(sight.events);
      Sight seen;
      if (is_command(call.op)) seen.answer = after.apply(call.now, command_of(call));
      look_at(after, owners_, seen);
      seen.events = after.take_events();
      seen.keys = after.keys();
      const bool agrees = seen == sight;
      if (!expected) expected = std::move(seen);
      if (!agrees || std::find(agreeing.begin(), agreeing.end(), after) != agreeing.end()) {
        continue;
      }
      agreeing.push_back(std::move(after));
    } while (choices.next_way());
  }
  if (agreeing.empty()) {
    std::ostringstream message;
    message << "the table and the model disagree. The model, or one of several:\n" << *expected;
    fail(message.str());
  }
  models_ = std::move(agreeing);
}

}  // namespace dflockd::locks
