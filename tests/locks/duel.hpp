// The real table and the naive model side by side, driven by the same commands. Whatever can be
// seen of the two must agree after each of them.
//
//   Duel duel(setup);
//   for (const Move& move : moves) duel.make(move);
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <iosfwd>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "locks/lock_table.hpp"
#include "moves.hpp"
#include "naive_table.hpp"
#include "recorder.hpp"

namespace dflockd::locks {

/// What a table did is not what it should do. `what()` lists the commands that led there.
class Disagreement : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A command and when it came.
struct Call {
  Instant now{0};
  Command command;
};

/// Everything that can be seen of a table after a command.
struct Sight {
  Answer answer;
  std::vector<Effect> effects;
  TableCounts counts;
  Instant next_deadline{0};
  std::uint64_t next_fence = 0;
  std::uint64_t fences_left = 0;
  std::vector<KeyInfo> keys;
  std::vector<bool> has_claims;  ///< of the open owners

  friend bool operator==(const Sight&, const Sight&) = default;
};

std::ostream& operator<<(std::ostream& out, const Sight& sight);

/// All keys, in the order of their slots.
std::vector<KeyInfo> keys_of(const LockTable& table);

/// Makes a call, and looks: `owners` are those open before it, and then those open after it.
Sight run(LockTable& table, Recorder& recorder, const Call& call, std::vector<OwnerId>& owners);

/// The real table, driven by commands, beside every state of the model that agrees with all that
/// has been seen of it. What runs something throws `Disagreement`.
class Duel {
 public:
  /// With three owners.
  explicit Duel(const Setup& setup);

  /// Makes the call that the move means in this state, if it means any.
  void make(const Move& move);
  void perform(Instant now, const Command& command);

  /// Closes every owner, after which nothing is held, waited for or due and every key can be
  /// collected. Not after an owner has left grants behind.
  void close_all_owners();
  /// Lets everything end by itself. Leases and timeouts must be short.
  void let_time_pass();

  [[nodiscard]] const std::vector<std::pair<Call, Sight>>& history() const { return history_; }
  [[nodiscard]] const LockTable& table() const { return table_; }

 private:
  [[noreturn]] void fail(const std::string& what) const;

  // From a move to a command.
  template <class Any>
  [[nodiscard]] bool fill_in(Any& command, const Move& move);
  [[nodiscard]] bool fill_in_token(Key& key, Token& token, const Move& move) const;
  void fill_in_range(ReserveFences& command, std::uint32_t twist) const;
  [[nodiscard]] Instant time_of(Step step) const;
  void learn_tokens();

  // Checks.
  void check_new_owner(OwnerId owner);
  void check_invariants();
  void check_models();
  void check_nothing_is_held() const;
  void visit_slice(std::size_t slots);

  Recorder recorder_;
  LockTable table_;
  std::vector<NaiveTable> models_;
  std::vector<OwnerId> owners_;  ///< open ones
  std::vector<OwnerId> all_owners_;
  std::size_t most_owners_ = 0;
  std::vector<std::pair<Key, Token>> tokens_;
  std::vector<std::pair<OwnerId, Key>> enqueued_;
  std::uint64_t next_salt_ = 1;
  std::uint64_t fence_before_ = 0;
  bool names_used_ = false;
  /// Late enough for the longest lease of all to end beyond the end of time.
  Instant now_ = std::chrono::seconds(1'000);
  std::vector<std::pair<Call, Sight>> history_;
  std::deque<std::vector<std::uint64_t>> lists_;  ///< that commands in the history point to
  std::size_t cursor_ = 0;
  /// How often the current visit has seen the keys that were there when it began and still are.
  std::map<std::pair<Kind, std::string_view>, int> visited_;
};

}  // namespace dflockd::locks
