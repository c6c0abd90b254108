#include "duel.hpp"

#include <algorithm>
#include <limits>
#include <ostream>
#include <sstream>
#include <tuple>
#include <type_traits>

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

constexpr std::size_t kMostOwners = 6;

template <class Table>
void look_at(const Table& table, const std::vector<OwnerId>& owners, Sight& sight) {
  sight.counts = table.counts();
  sight.next_deadline = table.next_deadline();
  sight.next_fence = table.next_fence();
  sight.fences_left = table.fences_left();
  for (const OwnerId& owner : owners) sight.has_claims.push_back(table.has_claims(owner));
}

/// The key that a command is about, if it is about one.
std::optional<Key> key_of(const Command& command) {
  const auto find = [](const auto& any) -> std::optional<Key> {
    if constexpr (requires { any.key; }) return any.key;
    if constexpr (requires { any.request; }) return any.request.key;
    return std::nullopt;
  };
  return std::visit(find, command);
}

std::pair<Kind, std::string_view> sortable(const Key& key) {
  return {key.kind, key.name};
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Sight& sight) {
  out << "    answer " << sight.answer;
  for (const Effect& effect : sight.effects) out << "\n    " << effect;
  out << "\n    " << sight.counts << ", next deadline " << sight.next_deadline.count()
      << ", next fence " << sight.next_fence << ", left " << sight.fences_left << ", claims ";
  for (const bool claims : sight.has_claims) out << claims;
  for (const KeyInfo& key : sight.keys) out << "\n    " << key;
  return out;
}

std::vector<KeyInfo> keys_of(const LockTable& table) {
  std::vector<KeyInfo> keys;
  const auto end =
      table.visit_keys(0, std::numeric_limits<std::uint32_t>::max(), [&](const KeyInfo& info) {
        keys.push_back(info);
        keys.back().key = kept(info.key);
      });
  if (end) throw Disagreement("one slice for all slots did not reach the end");
  return keys;
}

Sight run(LockTable& table, Recorder& recorder, const Call& call, std::vector<OwnerId>& owners) {
  Sight sight;
  sight.answer = table.apply(call.now, call.command);
  if (std::holds_alternative<OpenOwner>(call.command)) owners.push_back(sight.answer.owner);
  if (const auto* const close = std::get_if<CloseOwner>(&call.command)) {
    std::erase(owners, close->owner);
  }
  look_at(table, owners, sight);
  sight.effects = recorder.effects();
  sight.keys = keys_of(table);
  std::ranges::sort(sight.keys, {}, [](const KeyInfo& info) { return sortable(info.key); });
  return sight;
}

Duel::Duel(const Setup& setup)
    : table_(setup.options, recorder_), models_{NaiveTable(setup.options)} {
  perform(now_, ReserveFences{1, 1 + setup.fences});
  for (int i = 0; i < 3; ++i) perform(now_, OpenOwner{});
}

void Duel::make(const Move& move) {
  Command command = move.command;
  if (std::visit([&](auto& any) { return fill_in(any, move); }, command)) {
    perform(time_of(move.step), command);
  }
}

void Duel::perform(Instant now, const Command& command) {
  const Call call{now, command};
  history_.emplace_back(call, run(table_, recorder_, call, owners_));
  now_ = std::max(now_, now);
  if (const auto* const close = std::get_if<CloseOwner>(&command)) {
    std::erase_if(enqueued_, [&](const auto& place) { return place.first == close->owner; });
  }
  if (std::holds_alternative<OpenOwner>(command)) check_new_owner(owners_.back());
  check_invariants();
  check_models();
  learn_tokens();
  visit_slice(history_.size() % 4);
}

void Duel::close_all_owners() {
  while (!owners_.empty()) perform(now_, CloseOwner{owners_.front()});
  check_nothing_is_held();
  if (table_.next_deadline() != kNever) fail("something is due though everybody has left");
  const std::size_t keys = table_.counts().keys;
  if (table_.apply(now_, CollectIdle{Instant(0), keys}).dropped != keys ||
      !keys_of(table_).empty()) {
    fail("a key stays though everybody has left");
  }
}

void Duel::let_time_pass() {
  while (table_.next_deadline() != kNever) perform(table_.next_deadline(), Advance{});
  check_nothing_is_held();
}

void Duel::fail(const std::string& what) const {
  std::ostringstream message;
  message << what << "\n\nThe commands:\n";
  for (const auto& [call, sight] : history_) {
    message << "  at " << call.now.count() << " ns: " << call.command << "\n    -> "
            << sight.answer;
    for (const Effect& effect : sight.effects) message << ' ' << effect;
    message << '\n';
  }
  message << "\nThe table:\n" << history_.back().second << '\n';
  throw Disagreement(message.str());
}

// --- From a move to a command ---

/// False if the move means nothing now.
template <class Any>
bool Duel::fill_in(Any& command, const Move& move) {
  if constexpr (requires { command.owner; }) {
    if (owners_.empty()) return false;
    command.owner = owners_[command.owner.index % owners_.size()];
  }
  if constexpr (std::is_same_v<Any, Wait> || std::is_same_v<Any, GiveUpPlace>) {
    if (move.pick < enqueued_.size()) {
      std::tie(command.owner, command.key) = enqueued_[enqueued_.size() - 1 - move.pick];
    }
  }
  if constexpr (requires { command.timeout; }) {
    // An owner that is blocked makes no request that could block.
    if (models_.front().blocked(command.owner)) return false;
  }
  if constexpr (requires { command.request; }) command.request.salt = next_salt_++;
  if constexpr (requires { command.token; }) {
    return fill_in_token(command.key, command.token, move);
  }
  if constexpr (std::is_same_v<Any, CloseOwner>) {
    // Every other one of the latest, and every fourth twice.
    const std::uint64_t next = table_.next_fence();
    std::vector<std::uint64_t>& list = lists_.emplace_back();
    for (std::uint64_t fence = next - std::min<std::uint64_t>(next, move.pick); fence < next;
         fence += 2) {
      list.insert(list.end(), fence % 4 < 2 ? 2 : 1, fence);
    }
    if (command.legacy.keeps_grants) command.undelivered = list;
  }
  if constexpr (std::is_same_v<Any, ReserveFences>) fill_in_range(command, move.twist);
  if constexpr (std::is_same_v<Any, OpenOwner>) return owners_.size() < kMostOwners;
  return true;
}

bool Duel::fill_in_token(Key& key, Token& token, const Move& move) const {
  if (tokens_.empty()) return false;
  std::tie(key, token) = tokens_[tokens_.size() - 1 - move.pick % tokens_.size()];
  switch (move.twist) {
    case 0:
      break;
    case 1:
      token.salt ^= std::uint64_t{1} << (move.pick * 10);
      break;
    case 2:
      token.fence ^= std::uint64_t{1} << (move.pick * 10);
      break;
    case 3:
      key.name = key.name == "a" ? "b" : "a";
      break;
    default:
      key.kind = key.kind == Kind::kLock ? Kind::kSemaphore : Kind::kLock;
  }
  return true;
}

/// What follows, a gap, or a range that begins in the past.
void Duel::fill_in_range(ReserveFences& command, std::uint32_t twist) const {
  const std::uint64_t end = table_.next_fence() + table_.fences_left();
  command.first = twist == 0 ? end : (twist % 2 == 0 ? end + 10 : end / 2);
  command.end += command.first;
}

Instant Duel::time_of(Step step) const {
  using namespace std::chrono_literals;
  const Instant deadline = table_.next_deadline();
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

/// Tokens are known once an answer has named them. Those that were given back are not forgotten,
/// but count as the oldest.
void Duel::learn_tokens() {
  const auto& [call, sight] = history_.back();
  if (const auto* const release = std::get_if<Release>(&call.command)) {
    const auto used = std::ranges::find(tokens_, release->token, &std::pair<Key, Token>::second);
    if (used != tokens_.end()) std::rotate(tokens_.begin(), used, used + 1);
  }
  if (const auto* const enqueue = std::get_if<Enqueue>(&call.command)) {
    enqueued_.emplace_back(enqueue->owner, enqueue->request.key);
  }
  if (sight.answer.outcome == Outcome::kGranted) {
    tokens_.emplace_back(*key_of(call.command), sight.answer.token);
  }
  for (const Effect& effect : sight.effects) {
    if (effect.answer.outcome == Outcome::kGranted) {
      tokens_.emplace_back(effect.key, effect.answer.token);
    }
  }
}

// --- Checks ---

void Duel::check_new_owner(OwnerId owner) {
  std::size_t remembered = 0;
  for (const OwnerId& earlier : all_owners_) {
    if (earlier == owner) fail("an owner's id was given twice");
    if (!models_.front().remembers(earlier)) continue;
    ++remembered;
    if (earlier.index == owner.index) fail("an owner's index was given twice at the same time");
  }
  most_owners_ = std::max(most_owners_, remembered + 1);
  if (owner.index >= most_owners_) fail("owners' indexes are not dense");
  all_owners_.push_back(owner);
}

void Duel::check_invariants() {
  const auto& [call, sight] = history_.back();
  names_used_ = names_used_ || std::holds_alternative<SetRef>(call.command);
  if (!table_.consistent()) fail("the table is not consistent");
  for (const KeyInfo& key : sight.keys) {
    if (key.holders > key.limit && !key.shared) fail("more holders than the limit");
    if (key.waiters > 0 && key.holders < key.limit) fail("a free slot and a waiter");
  }
  const auto check_fence = [&](const Answer& answer) {
    // What an owner takes back was granted before.
    if (answer.outcome != Outcome::kGranted || names_used_) return;
    const std::uint64_t fence = answer.token.fence;
    if (fence < fence_before_ || fence >= sight.next_fence) fail("a fence out of order");
    fence_before_ = fence + 1;
  };
  for (const Effect& effect : sight.effects) check_fence(effect.answer);
  if (!std::holds_alternative<Wait>(call.command)) check_fence(sight.answer);
  if (sight.next_fence < fence_before_) fail("the next fence went back");
  fence_before_ = sight.next_fence;
}

/// Keeps the models that agree with what was seen.
void Duel::check_models() {
  const auto& [call, sight] = history_.back();
  std::optional<Sight> expected;
  const auto possible = [&](const std::vector<Effect>& before, const Effect& effect) {
    return before.size() < sight.effects.size() && sight.effects[before.size()] == effect;
  };
  std::vector<NaiveTable> models = agreeing(models_, [&](NaiveTable& model, Choices& choices) {
    Sight seen;
    seen.answer = model.apply(call.now, call.command, {choices, sight.answer.owner, possible});
    look_at(model, owners_, seen);
    seen.effects = model.take_effects();
    seen.keys = model.keys();
    const bool agrees = seen == sight;
    if (!expected) expected = std::move(seen);
    return agrees;
  });
  if (models.empty()) {
    std::ostringstream message;
    message << "the table and the model disagree. The model, or one of several:\n" << *expected;
    fail(message.str());
  }
  models_ = std::move(models);
}

void Duel::check_nothing_is_held() const {
  const TableCounts& counts = table_.counts();
  if (table_.held() + counts.lock_waiters + counts.semaphore_waiters != 0) {
    fail("somebody holds or waits at the end");
  }
}

/// Goes on visiting keys in slices: one that was there all the while must be visited once.
void Duel::visit_slice(std::size_t slots) {
  const std::vector<KeyInfo>& present = history_.back().second.keys;
  if (cursor_ == 0) {
    visited_.clear();
    for (const KeyInfo& info : present) visited_.emplace(sortable(info.key), 0);
  }
  std::erase_if(visited_, [&](const auto& visited) {
    return std::ranges::none_of(
        present, [&](const KeyInfo& info) { return sortable(info.key) == visited.first; });
  });
  const auto next = table_.visit_keys(cursor_, slots, [&](const KeyInfo& info) {
    const auto visited = visited_.find(sortable(info.key));
    if (visited != visited_.end()) ++visited->second;
  });
  cursor_ = next.value_or(0);
  if (next) return;
  for (const auto& [key, times] : visited_) {
    if (times != 1) fail("a key that lasted was not visited once: " + std::string(key.second));
  }
}

}  // namespace dflockd::locks
