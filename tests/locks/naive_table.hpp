// A deliberately naive lock table: vectors, linear scans, no index, written from the contracts in
// `lock_table.hpp` and PROTOCOL.md alone. The property tests compare the real table with it.
//
// The contract leaves some orders open, such as which of two leases with the same deadline ends
// first. At each such point the model asks `Choices`, so that the tests can go through all of them
// and keep what agrees with the real table.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "locks/command.hpp"
#include "recorder.hpp"

namespace dflockd::locks {

/// Goes through all ways to take a number of choices, where each may depend on those before.
class Choices {
 public:
  /// The next choice: less than `options`, which is at least 1.
  std::size_t pick(std::size_t options);
  /// This way leads nowhere: what is still to be chosen on it makes no difference.
  void give_up() { given_up_ = true; }
  /// Moves on to the next way. False if there is none.
  [[nodiscard]] bool next_way();

 private:
  struct Choice {
    std::size_t taken;
    std::size_t options;
  };
  std::vector<Choice> choices_;
  std::size_t at_ = 0;
  bool given_up_ = false;
};

/// Carries out commands as `LockTable` does. Copyable: a copy goes its own way.
class NaiveTable {
 public:
  /// What is known of the real table's way through a command.
  struct Hints {
    Choices& choices;
    OwnerId opened{};  ///< what `OpenOwner` makes
    /// Whether an effect may come after those before it. Ways to one that may not are given up.
    std::function<bool(const std::vector<Effect>& before, const Effect& effect)> possible;
    /// The same for the key that gets a fence: grants to orphans have no effect.
    std::function<bool(std::uint64_t fence, const Key& key)> may_hold{};
  };

  explicit NaiveTable(const TableOptions& options) : options_(options) {}

  Answer apply(Instant now, const Command& command, const Hints& hints);

  /// The effects since the last call.
  std::vector<Effect> take_effects() { return std::exchange(effects_, {}); }

  [[nodiscard]] bool has_claims(OwnerId owner) const;
  [[nodiscard]] Instant next_deadline() const;
  [[nodiscard]] std::uint64_t next_fence() const { return next_fence_; }
  [[nodiscard]] std::uint64_t fences_left() const { return fence_end_ - next_fence_; }

  [[nodiscard]] TableCounts counts() const;
  /// When leases and waits end, in no order.
  [[nodiscard]] std::vector<Instant> deadlines() const;
  /// Who holds or waits, once for each claim.
  [[nodiscard]] std::vector<OwnerId> active_owners() const;
  /// In the order of kinds and names.
  [[nodiscard]] std::vector<KeyInfo> keys() const;
  [[nodiscard]] bool blocked(OwnerId owner) const;
  /// True while the owner's number cannot serve again.
  [[nodiscard]] bool remembers(OwnerId owner) const;

  /// True if no command could show a difference.
  friend bool operator==(const NaiveTable& left, const NaiveTable& right);

 private:
  struct Claim {
    OwnerId owner;
    std::uint64_t salt = 0;
    std::chrono::seconds lease{0};
    bool shared = false;
    bool in_phase_one = false;
    int answers = 0;            ///< how many have named the token
    Instant deadline = kNever;  ///< of the lease when held, of the wait when queued and blocked
    std::uint64_t fence = 0;
    Instant since{0};  ///< when it was queued or, if held, granted
    Outcome ended_with = Outcome::kLeaseExpired;
    std::string orphan_of{};   ///< the name whose orphan it is, if it is one
    bool ttl_is_over = false;  ///< of an orphan that is held: at its deadline
    bool keeps_lease = false;  ///< of an orphan
    std::uint64_t order = 0;   ///< in which claims were made

    friend bool operator==(const Claim&, const Claim&) = default;
  };
  struct KeyState {
    Key key;  ///< with a name that is `kept`
    std::uint32_t limit = 1;
    std::vector<Claim> holders;
    std::vector<Claim> queue;
    std::vector<Claim> ended;
    std::optional<Instant> idle_since;

    [[nodiscard]] bool has_room(bool for_shared) const;
    friend bool operator==(const KeyState&, const KeyState&) = default;
  };
  struct Due {
    std::size_t key;
    bool held;
    std::size_t position;
  };

  [[nodiscard]] auto state() const {
    return std::tie(now_, next_fence_, fence_end_, draining_, overdue_after_, owners_, names_,
                    keys_);
  }
  [[nodiscard]] KeyState* find(const Key& name);
  [[nodiscard]] Claim* find_holder(const Key& name, const Token& token);
  [[nodiscard]] std::vector<Due> due() const;
  [[nodiscard]] static bool ends_unnoticed(const KeyState& key, bool held, std::size_t position);
  [[nodiscard]] Instant after(std::chrono::seconds delay) const;

  Answer carry_out(Instant now, const OpenOwner& command);
  Answer carry_out(Instant now, const SetRef& command);
  Answer carry_out(Instant now, const CloseOwner& command);
  Answer carry_out(Instant now, const Acquire& command);
  Answer carry_out(Instant now, const Enqueue& command);
  Answer carry_out(Instant now, const Wait& command);
  Answer carry_out(Instant now, const CancelWait& command);
  Answer carry_out(Instant now, const CancelWaits& command);
  Answer carry_out(Instant now, const GiveUpPlace& command);
  Answer carry_out(Instant now, const Release& command);
  Answer carry_out(Instant now, const Renew& command);
  Answer carry_out(Instant now, const Advance& command);
  Answer carry_out(Instant now, const ReserveFences& command);
  Answer carry_out(Instant now, const StartDraining& command);
  Answer carry_out(Instant now, const CollectIdle& command);
  void advance(Instant now);

  Answer ask(OwnerId owner, const Request& request, std::optional<std::chrono::seconds> timeout);
  bool make_room();
  [[nodiscard]] bool full_of_claims() const;
  std::size_t drop_idle(Instant max_idle, std::size_t budget);
  void grant(KeyState& key, Claim claim);
  void settle(KeyState& key);
  void settle_all();
  [[nodiscard]] std::string name_of(OwnerId owner) const;
  [[nodiscard]] std::optional<OwnerId> only_owner(const std::string& name) const;
  [[nodiscard]] Claim* find_orphan(OwnerId owner, const Key& name);
  void orphan(OwnerId owner, const Legacy& legacy, bool held, bool unnamed_only);
  void adopt(Claim& claim, OwnerId owner);
  Answer take_back(Claim& claim, OwnerId owner, const Request& request,
                   std::optional<std::chrono::seconds> timeout);
  std::optional<Answer> wait_for_orphan(KeyState& key, const Wait& command);
  void reunite(const std::string& name);
  [[nodiscard]] bool is_held(const Key& name, const Claim& claim);
  [[nodiscard]] bool is_better(const Key& name, const Claim& orphan, const Claim& place);
  void leave_queue(const Key& name, const Claim& claim);
  template <class Predicate>
  void release_where(Predicate wanted);
  void clear_ended(KeyState& key, OwnerId owner);
  [[nodiscard]] static Answer granted_answer(const Claim& claim);
  static void keep_for_wait(KeyState& key, const Claim& claim, Outcome why);
  void end_wait(const KeyState& key, const Claim& claim, Outcome outcome);
  void note(const Effect& effect);

  TableOptions options_;
  const Hints* hints_ = nullptr;  ///< during a command
  std::vector<Effect> effects_;
  Instant now_{0};
  std::uint64_t next_fence_ = 0;
  std::uint64_t fence_end_ = 0;
  bool draining_ = false;
  std::optional<Instant> overdue_after_;  ///< while the latest collection has left some
  std::vector<OwnerId> owners_;
  std::vector<std::pair<OwnerId, std::string>> names_;  ///< of those owners that have one
  std::uint64_t order_ = 0;                             ///< the latest
  std::vector<KeyState> keys_;
};

/// The models that agree with what was seen, by any way that the contract leaves open. `go(model,
/// choices)` takes a model one step on, and returns whether it agrees then.
template <class Go>
std::vector<NaiveTable> agreeing(const std::vector<NaiveTable>& models, const Go& go) {
  std::vector<NaiveTable> result;
  for (const NaiveTable& before : models) {
    Choices choices;
    do {
      NaiveTable after = before;
      if (!go(after, choices)) continue;
      if (std::ranges::find(result, after) == result.end()) result.push_back(std::move(after));
    } while (choices.next_way());
  }
  return result;
}

}  // namespace dflockd::locks
