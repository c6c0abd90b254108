// The real table and the naive model side by side, driven by the same commands. Whatever can be
// seen of the two must agree after each of them.
//
//   Duel duel(setup);
//   for (const Draft& command : commands) duel.run_command(command);
//
// Not thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "locks/lock_table.hpp"
#include "naive_table.hpp"
#include "recorder.hpp"
#include "table_command.hpp"

namespace dflockd::locks {

/// What a table did is not what it should do. `what()` tells the calls that led there.
class Disagreement : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A command with everything filled in.
struct Call {
  Op op = Op::kAdvance;
  Instant now{0};
  OwnerId owner{};
  Key key{};
  Request request{};
  std::chrono::seconds timeout{0};
  Token token{};
  std::uint64_t first = 0;                   ///< a fence
  std::uint64_t end = 0;                     ///< a fence
  std::vector<std::uint64_t> undelivered{};  ///< fences
  std::size_t amount = 0;
};

/// Everything that can be seen of a table after a call.
struct Sight {
  Answer answer{};
  std::vector<Event> events;
  TableCounts counts;
  Instant next_deadline{0};
  std::uint64_t next_fence = 0;
  std::uint64_t fences_left = 0;
  std::vector<KeyView> keys;
  std::vector<bool> has_claims;  ///< of the open owners

  friend bool operator==(const Sight& left, const Sight& right) {
    return left.answer == right.answer && left.events == right.events &&
           same_counts(left.counts, right.counts) && left.next_deadline == right.next_deadline &&
           left.next_fence == right.next_fence && left.fences_left == right.fences_left &&
           left.keys == right.keys && left.has_claims == right.has_claims;
  }

  static bool same_counts(const TableCounts& left, const TableCounts& right) {
    return left.keys == right.keys && left.claims == right.claims &&
           left.locks_held == right.locks_held &&
           left.semaphore_holders == right.semaphore_holders &&
           left.lock_waiters == right.lock_waiters &&
           left.semaphore_waiters == right.semaphore_waiters;
  }
};

std::ostream& operator<<(std::ostream& out, const Call& call);
std::ostream& operator<<(std::ostream& out, const Sight& sight);

/// All keys, in the order of their slots.
std::vector<KeyView> keys_of(const LockTable& table);

/// Makes a call that does more than open an owner or visit a slice, and takes note of its answer.
void run(LockTable& table, const Call& call, Sight& sight);

/// Takes note of everything that can be seen of a table but its keys and its events.
void look(const LockTable& table, const std::vector<OwnerId>& owners, Sight& sight);

/// The real table, driven by commands, beside every state of the model that agrees with all that
/// has been seen of it. Whatever runs something throws `Disagreement`.
class Duel {
 public:
  /// With three owners.
  explicit Duel(const Setup& setup);

  /// Makes the call that the command means in this state, if it means any.
  void run_command(const Draft& command);
  void perform(Call call);

  [[nodiscard]] const std::vector<std::pair<Call, Sight>>& history() const { return history_; }
  [[nodiscard]] LockTable& table() { return *table_; }
  [[nodiscard]] const std::vector<OwnerId>& owners() const { return owners_; }
  [[nodiscard]] Instant now() const { return now_; }

 private:
  [[noreturn]] void fail(const std::string& what) const;

  // From a command to a call.
  [[nodiscard]] bool fill_in(const Draft& command, Call& call);
  [[nodiscard]] bool fill_in_token(const Draft& command, Call& call) const;
  [[nodiscard]] Instant time_of(Step step) const;
  void learn_tokens();
  [[nodiscard]] Key key_of_salt(std::uint64_t salt) const;

  OwnerId open_owner();

  // Slices.
  void visit_slice(std::size_t slots);
  void follow_visit();

  // Checks.
  void check_invariants();
  void check_models();

  Recorder recorder_;
  std::unique_ptr<LockTable> table_;
  std::vector<NaiveTable> models_;
  std::vector<OwnerId> owners_;  ///< open ones
  std::vector<OwnerId> all_owners_;
  std::size_t most_owners_ = 0;
  std::vector<std::pair<Key, Token>> tokens_;
  std::vector<std::pair<OwnerId, Key>> enqueued_;
  std::uint64_t next_salt_ = 1;
  std::uint64_t fence_before_ = 0;
  /// Late enough for the longest lease of all to end beyond the end of time.
  Instant now_ = std::chrono::seconds(1'000);
  std::vector<std::pair<Call, Sight>> history_;
  bool visiting_ = false;
  std::size_t cursor_ = 0;
  std::set<std::pair<Kind, std::string>> lasting_;
  std::map<std::pair<Kind, std::string>, int> seen_;
};

}  // namespace dflockd::locks
