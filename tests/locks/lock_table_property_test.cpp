// Random sequences of commands, with simulated time that often hits a deadline exactly, against the
// naive model and against invariants that need no model.
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "naive_table.hpp"
#include "recorder.hpp"
#include "table_command.hpp"

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

constexpr std::size_t kMostOwners = 6;

// Late enough for the longest lease of all to end beyond the end of time.
constexpr Instant kStart = seconds(1'000);

// More than RapidCheck's hundred, unless the environment says otherwise.
[[maybe_unused]] const int kEnvironmentSet = setenv("RC_PARAMS", "max_success=1500", 0);

// A command with everything filled in.
struct Call {
  Op op = Op::kAdvance;
  Instant now{0};
  OwnerId owner{};
  KeyName key{};
  Request request{};
  seconds timeout{0};
  Token token{};
  std::uint64_t first = 0;              // A fence.
  std::uint64_t end = 0;                // A fence.
  std::vector<std::uint64_t> untold{};  // Fences.
  std::size_t amount = 0;
};

// Everything that can be seen of a table after a call.
struct Sight {
  Answer answer{};
  std::size_t number = 0;  // What the call returned, if not an answer.
  std::vector<Event> events;
  TableCounts counts;
  Instant next_deadline{0};
  std::uint64_t next_fence = 0;
  std::uint64_t fences_left = 0;
  std::vector<KeyView> keys;
  std::vector<bool> has_claims;  // Of the open owners.

  friend bool operator==(const Sight& left, const Sight& right) {
    return same_answer(left.answer, right.answer) && left.number == right.number &&
           left.events == right.events && same_counts(left.counts, right.counts) &&
           left.next_deadline == right.next_deadline && left.next_fence == right.next_fence &&
           left.fences_left == right.fences_left && left.keys == right.keys &&
           left.has_claims == right.has_claims;
  }

  static bool same_counts(const TableCounts& left, const TableCounts& right) {
    return left.keys == right.keys && left.locks_held == right.locks_held &&
           left.semaphore_holders == right.semaphore_holders &&
           left.lock_waiters == right.lock_waiters &&
           left.semaphore_waiters == right.semaphore_waiters;
  }
};

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
    case Op::kCancelWait:
    case Op::kOpenOwner:
    case Op::kCloseOwner:
      return out << ", " << call.owner;
    case Op::kCloseOwnerKeepingGrants:
      out << ", " << call.owner << ", untold";
      for (const std::uint64_t fence : call.untold) out << ' ' << fence;
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
  out << "    answer " << sight.answer << ", number " << sight.number;
  for (const Event& event : sight.events) out << "\n    " << event;
  const TableCounts& counts = sight.counts;
  out << "\n    keys " << counts.keys << ", held " << counts.locks_held << " + "
      << counts.semaphore_holders << ", waiters " << counts.lock_waiters << " + "
      << counts.semaphore_waiters << ", next deadline " << sight.next_deadline.count()
      << ", next fence " << sight.next_fence << ", left " << sight.fences_left << ", claims ";
  for (const bool claims : sight.has_claims) out << claims;
  for (const KeyView& key : sight.keys) {
    out << "\n    " << KeyName{key.kind, key.name} << ": limit " << key.limit << ", holders "
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
  if (end) RC_FAIL("one slice for all slots did not reach the end");
  return views;
}

// Runs what both tables can do. Only opening an owner and visiting a slice are not here.
template <class Table>
void run(Table& table, const Call& call, Sight& sight) {
  switch (call.op) {
    case Op::kAdvance:
      return table.advance(call.now);
    case Op::kAcquire:
      sight.answer = table.acquire(call.now, call.owner, call.request, call.timeout);
      return;
    case Op::kEnqueue:
      sight.answer = table.enqueue(call.now, call.owner, call.request);
      return;
    case Op::kWait:
      sight.answer = table.wait(call.now, call.owner, call.key, call.timeout);
      return;
    case Op::kCancelWait:
      return table.cancel_wait(call.now, call.owner);
    case Op::kRelease:
    case Op::kReleaseWithWrongToken:
      sight.number = table.release(call.now, call.key, call.token);
      return;
    case Op::kRenew:
    case Op::kRenewWithWrongToken:
      sight.number = table.renew(call.now, call.key, call.token, call.request.lease);
      return;
    case Op::kCloseOwner:
      return table.close_owner(call.now, call.owner);
    case Op::kCloseOwnerKeepingGrants:
      return table.close_owner_keeping_grants(call.now, call.owner, call.untold);
    case Op::kReserveFences:
      return table.reserve_fences(call.first, call.end);
    case Op::kCollectIdle:
      sight.number = table.collect_idle(call.now, call.timeout, call.amount);
      return;
    case Op::kStartDraining:
      return table.start_draining(call.now);
    case Op::kOpenOwner:
    case Op::kVisitSlice:
      return;
  }
}

template <class Table>
void look(Table& table, const std::vector<OwnerId>& owners, Sight& sight) {
  sight.counts = table.counts();
  sight.next_deadline = table.next_deadline();
  sight.next_fence = table.next_fence();
  sight.fences_left = table.fences_left();
  for (const OwnerId& owner : owners) sight.has_claims.push_back(table.has_claims(owner));
}

// The real table, driven by commands, beside every state of the model that agrees with all that has
// been seen of it.
class Duel {
 public:
  explicit Duel(const Setup& setup)
      : table_(std::make_unique<LockTable>(setup.options, recorder_)),
        models_{NaiveTable(setup.options)} {
    perform({.op = Op::kReserveFences, .first = 1, .end = 1 + setup.fences});
    for (int i = 0; i < 3; ++i) perform({.op = Op::kOpenOwner});
  }

  void run_command(const Command& command) {
    Call call;
    if (!fill_in(command, call)) return;
    perform(call);
  }

  [[nodiscard]] const std::vector<std::pair<Call, Sight>>& history() const { return history_; }
  [[nodiscard]] LockTable& table() { return *table_; }
  [[nodiscard]] const std::vector<OwnerId>& owners() const { return owners_; }
  [[nodiscard]] Instant now() const { return now_; }

  void perform(Call call) {
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
    look(*table_, owners_, sight);
    sight.events = recorder_.take();
    sight.keys = keys_of(*table_);
    sort_by_name(sight.keys);
    history_.emplace_back(call, sight);
    follow_visit();
    check_invariants();
    check_models();
    learn_tokens();
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    std::ostringstream message;
    message << what << "\n\nThe calls:\n";
    for (const auto& [call, sight] : history_) {
      message << "  " << call << "\n    -> " << sight.answer << ", " << sight.number;
      for (const Event& event : sight.events) message << ' ' << event;
      message << '\n';
    }
    message << "\nThe table:\n" << history_.back().second << '\n';
    RC_FAIL(message.str());
    std::abort();
  }

  // --- From a command to a call ---

  bool fill_in(const Command& command, Call& call) {
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
    if (call.op == Op::kWait && command.pick < enqueued_.size()) {
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
      // Every other one of the latest.
      const std::uint64_t next = table_->next_fence();
      const std::uint64_t first = next - std::min<std::uint64_t>(next, command.pick);
      for (std::uint64_t fence = first; fence < next; fence += 2) call.untold.push_back(fence);
    }
    if (call.op == Op::kReserveFences) {
      // In turn: what follows, a gap, a range that begins in the past.
      const std::uint64_t end = table_->next_fence() + table_->fences_left();
      call.first = command.owner == 4 ? end + 10 : (command.owner == 5 ? end / 2 : end);
      call.end = call.first + 3 * command.pick;
    }
    return true;
  }

  Instant time_of(Step step) const {
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

  bool fill_in_token(const Command& command, Call& call) {
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
  void learn_tokens() {
    const auto& [call, sight] = history_.back();
    if (call.op == Op::kRelease) {
      const auto used = std::find_if(tokens_.begin(), tokens_.end(), [&](const auto& known) {
        return constant_time_equal(known.second, call.token);
      });
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

  KeyName key_of_salt(std::uint64_t salt) const {
    for (const auto& [call, sight] : history_) {
      const bool asks = call.op == Op::kAcquire || call.op == Op::kEnqueue;
      if (asks && call.request.salt == salt) return call.request.key;
    }
    fail("granted with a salt that nobody brought");
  }

  // --- Owners ---

  OwnerId open_owner() {
    std::size_t remembered = 0;
    const OwnerId owner = table_->open_owner();
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

  void visit_slice(std::size_t slots) {
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

  void follow_visit() {
    std::set<std::pair<Kind, std::string>> present;
    for (const KeyView& key : history_.back().second.keys) present.emplace(key.kind, key.name);
    std::erase_if(lasting_, [&](const auto& key) { return !present.contains(key); });
  }

  // --- Checks ---

  void check_invariants() {
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
  void check_models() {
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
        run(after, call, seen);
        look(after, owners_, seen);
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

  Recorder recorder_;
  std::unique_ptr<LockTable> table_;
  std::vector<NaiveTable> models_;
  std::vector<OwnerId> owners_;
  std::vector<OwnerId> all_owners_;
  std::size_t most_owners_ = 0;
  std::vector<std::pair<KeyName, Token>> tokens_;
  std::vector<std::pair<OwnerId, KeyName>> enqueued_;
  std::uint64_t next_salt_ = 1;
  std::uint64_t fence_before_ = 0;
  Instant now_ = kStart;
  std::vector<std::pair<Call, Sight>> history_;
  bool visiting_ = false;
  std::size_t cursor_ = 0;
  std::set<std::pair<Kind, std::string>> lasting_;
  std::map<std::pair<Kind, std::string>, int> seen_;
};

}  // namespace

RC_GTEST_PROP(LockTableProperty, table_does_what_the_naive_model_does, ()) {
  const Setup setup = *any_setup();
  const std::vector<Command> commands = *any_commands();
  Duel duel(setup);
  for (const Command& command : commands) duel.run_command(command);
}

RC_GTEST_PROP(LockTableProperty, closing_every_owner_leaves_nothing, ()) {
  const Setup setup = *any_setup();
  const std::vector<Command> commands = *any_commands();
  Duel duel(setup);
  for (const Command& command : commands) {
    if (command.op != Op::kCloseOwnerKeepingGrants) duel.run_command(command);
  }
  while (!duel.owners().empty()) {
    duel.perform({.op = Op::kCloseOwner, .now = duel.now(), .owner = duel.owners().front()});
  }
  LockTable& table = duel.table();
  RC_ASSERT(table.held() == 0U);
  RC_ASSERT(table.counts().lock_waiters + table.counts().semaphore_waiters == 0U);
  RC_ASSERT(table.next_deadline() == kNever);
  const std::size_t keys = table.counts().keys;
  RC_ASSERT(table.collect_idle(duel.now(), Instant(0), keys) == keys);
  RC_ASSERT(keys_of(table).empty());
}

RC_GTEST_PROP(LockTableProperty, time_alone_ends_everything_that_does_not_last_for_ever, ()) {
  const Setup setup = *any_setup();
  std::vector<Command> commands = *any_commands();
  Duel duel(setup);
  for (Command& command : commands) {
    command.lease = std::min(command.lease, seconds(5));
    command.timeout = std::min(command.timeout, seconds(5));
    duel.run_command(command);
  }
  while (duel.table().next_deadline() != kNever) {
    duel.perform({.op = Op::kAdvance, .now = duel.table().next_deadline()});
  }
  RC_ASSERT(duel.table().held() == 0U);
  RC_ASSERT(duel.table().counts().lock_waiters + duel.table().counts().semaphore_waiters == 0U);
}

RC_GTEST_PROP(LockTableProperty, same_calls_give_the_same_table, ()) {
  const Setup setup = *any_setup();
  const std::vector<Command> commands = *any_commands();
  Duel duel(setup);
  for (const Command& command : commands) duel.run_command(command);

  Recorder recorder;
  LockTable again(setup.options, recorder);
  std::vector<OwnerId> owners;
  for (const auto& [call, before] : duel.history()) {
    Sight sight;
    if (call.op == Op::kOpenOwner) {
      owners.push_back(again.open_owner());
      if (owners.back() != call.owner) RC_FAIL("the same calls gave other owners");
    }
    run(again, call, sight);
    if (call.op == Op::kCloseOwner || call.op == Op::kCloseOwnerKeepingGrants) {
      std::erase(owners, call.owner);
    }
    look(again, owners, sight);
    sight.events = recorder.take();
    sight.keys = keys_of(again);
    sort_by_name(sight.keys);
    if (!(sight == before)) RC_FAIL("the same calls gave another table");
  }
  // In the order of the slots.
  if (keys_of(again) != keys_of(duel.table())) RC_FAIL("the same calls gave other slots");
}

// Needs no model: those who are granted are granted in the order in which they came, and nobody who
// waited to the end is left out.
RC_GTEST_PROP(LockTableProperty, waiters_are_granted_in_the_order_in_which_they_came, ()) {
  using namespace std::chrono_literals;
  const auto limit = *rc::gen::inRange<std::uint32_t>(1, 4);
  const auto leavers = *rc::gen::container<std::vector<bool>>(rc::gen::arbitrary<bool>());
  Recorder recorder;
  LockTable table({}, recorder);
  table.reserve_fences(1, 1'000'000);
  const KeyName pool{Kind::kSemaphore, "pool"};

  std::vector<Token> held;
  for (std::uint32_t i = 0; i < limit; ++i) {
    const Answer answer = table.acquire(0s, table.open_owner(), {pool, limit, 100s, i}, 0s);
    RC_ASSERT(answer.outcome == Outcome::kGranted);
    held.push_back(answer.token);
  }
  std::vector<OwnerId> waiters;
  for (std::size_t i = 0; i < leavers.size(); ++i) {
    waiters.push_back(table.open_owner());
    const Answer answer = table.acquire(0s, waiters[i], {pool, limit, 100s, limit + i}, 100s);
    RC_ASSERT(answer.outcome == Outcome::kQueued);
  }
  std::vector<OwnerId> expected;
  for (std::size_t i = 0; i < leavers.size(); ++i) {
    if (!leavers[i]) {
      expected.push_back(waiters[i]);
    } else if (i % 2 == 0) {
      table.cancel_wait(1s, waiters[i]);
    } else {
      table.close_owner(1s, waiters[i]);
    }
  }
  std::vector<OwnerId> granted;
  for (std::size_t i = 0; i < held.size(); ++i) {
    RC_ASSERT(table.release(2s, pool, held[i]));
    for (const Event& event : recorder.take()) {
      RC_ASSERT(event.outcome == Outcome::kGranted);
      granted.push_back(event.owner);
      held.push_back({event.fence, event.salt});
    }
  }
  RC_ASSERT(granted == expected);
  RC_ASSERT(table.held() == 0U);
  RC_ASSERT(table.consistent());
}

}  // namespace dflockd::locks
