// The lock table: named locks and counting semaphores, granted in strict FIFO order under leases.
//
// A deterministic state machine, and a function: every change is a `Command`, applied at a time.
// It reads no clock, draws no random number, and knows no socket, thread or log: times and salts
// come in with the commands, and what happens to somebody other than the caller is an `Effect`. The
// same commands at the same times give the same answers, effects and state.
//
//   LockTable table({.max_locks = 1024}, effects);
//   table.apply(now, ReserveFences{first, end});
//   const OwnerId owner = table.apply(now, OpenOwner{}).owner;
//   const Key job{Kind::kLock, "job"};
//   const Answer answer = table.apply(now, Acquire{owner, {job, 1, 33s, salt}, 10s});
//   if (answer.outcome == Outcome::kGranted) table.apply(now, Release{job, answer.token});
//
// Every command but `OpenOwner`, `SetRef` and `ReserveFences` brings the table up to `now`: leases
// and waits that are over end, in the order of their deadlines, and, unless a command says
// otherwise, before the command itself is looked at. Time never goes back: a `now` before the
// latest one seen is taken as that one.
//
// An owner has at most one blocked request at a time, an `Acquire` or `Wait` that was answered
// `kQueued`, and may send neither of them meanwhile.
//
// Where several refusals apply, the first of these is the answer: `kDraining`, but not for who
// takes an orphan back, `kAlreadyEnqueued`, `kLimitMismatch`, `kModeMismatch`, then at a free slot
// `kNoFence`, `kMaxLocks`, and at a busy key `kTimeout`, `kMaxWaiters`, `kMaxLocks`. `Wait` makes
// no claim, but goes on with one that `Enqueue` made: no cap refuses it, and during a drain
// `kNotEnqueued` and the reason why its claim ended come first.
//
// Nothing fails for want of memory: `TableOptions` bounds what the table takes, and a process that
// is given none ends.
//
// Not thread-safe: one thread at a time. Names are copied: a command needs to live for the call
// only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/intrusive_list.hpp"
#include "locks/command.hpp"
#include "locks/deadline_heap.hpp"
#include "locks/records.hpp"
#include "locks/slot_index.hpp"
#include "locks/slot_pool.hpp"
#include "locks/types.hpp"

namespace dflockd::locks {

class LockTable {
 public:
  /// An empty table without fences. `effects` must outlive it.
  LockTable(const TableOptions& options, EffectSink& effects);
  LockTable(const LockTable&) = delete;
  LockTable& operator=(const LockTable&) = delete;

  /// Carries out a command: the only way to change the table. Costs what the command says, and what
  /// ends by `now`.
  Answer apply(Instant now, const Command& command);

  // --- Observation ---

  [[nodiscard]] const TableCounts& counts() const { return counts_; }

  /// True while the owner holds a grant or has a place in a queue, as of the latest time the table
  /// was brought up to. O(1).
  [[nodiscard]] bool has_claims(OwnerId id) const;
  /// How many they are. O(1).
  [[nodiscard]] OwnerClaims claims_of(OwnerId id) const;

  /// When a lease or a wait ends next, or `kNever`. O(1).
  [[nodiscard]] Instant next_deadline() const;

  /// The fence that the next grant will have, if it is reserved. O(1).
  [[nodiscard]] std::uint64_t next_fence() const { return next_fence_; }

  /// How many grants the reserved fences allow until `kNoFence`. O(1).
  [[nodiscard]] std::uint64_t fences_left() const { return fence_end_ - next_fence_; }

  /// How many grants there have been.
  [[nodiscard]] std::uint64_t grants() const { return grants_; }

  /// How many grants are held. O(1).
  [[nodiscard]] std::size_t held() const { return counts_.locks_held + counts_.semaphore_holders; }

  /// Visits all keys in slices, so that a large table does not have to be visited at once. Calls
  /// `visit(const KeyInfo&)` for the keys in the next `slots` slots from `cursor`, and returns the
  /// cursor to go on from, or nothing at the end. The first cursor is 0. Between slices the table
  /// may be used: a key that lives through all slices is visited once, one that comes or goes may
  /// be.
  template <class Visitor>
  std::optional<std::size_t> visit_keys(std::size_t cursor, std::size_t slots,
                                        Visitor&& visit) const;

  /// Describes a key, if there is such a key, after visiting its holders and then its waiters, the
  /// oldest first and at most `most` of each: `visit(const ClaimInfo&)`. O(what is visited).
  template <class Visitor>
  std::optional<KeyInfo> visit_claims(const Key& name, std::size_t most, Visitor&& visit) const;

  /// Checks every invariant, index and count. For tests. O(size of the table).
  [[nodiscard]] bool consistent() const;

  /// The most records that finding one may have to pass, in any index. For tests. O(size of the
  /// table).
  [[nodiscard]] std::size_t longest_search() const;

 private:
  enum class IfBusy : std::uint8_t { kGiveUp, kQueue };

  // The commands.
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

  // Finding. These neither bring the table up to date nor change it.
  [[nodiscard]] Owner& owner_of(OwnerId id) const;
  [[nodiscard]] static OwnerId id_of(const Owner& owner) { return {owner.slot, owner.generation}; }
  [[nodiscard]] std::uint64_t hash_of(const Key& key) const;
  [[nodiscard]] std::uint64_t hash_of(std::uint64_t number) const;
  /// Of an owner's phase-1 state for a key: of two secret numbers, which is as good as one of its
  /// own (simple tabulation: Patrascu and Thorup, "The power of simple tabulation hashing", 2012).
  [[nodiscard]] static std::uint64_t hash_of(const Owner& owner, const KeyRecord& key);
  [[nodiscard]] KeyRecord* find_key(const Key& key) const;
  [[nodiscard]] Claim* find_holder(const Key& name, const Token& token) const;
  [[nodiscard]] Claim* find_phase_one(const Owner& owner, const Key& name) const;
  [[nodiscard]] static std::uint64_t hash_of(const Ref& ref, const KeyRecord& key);
  [[nodiscard]] Ref* find_ref(std::string_view name) const;
  [[nodiscard]] Orphans* find_orphans(const Ref& ref, const KeyRecord& key) const;
  [[nodiscard]] Claim* find_orphan(const Owner& owner, const Key& name) const;
  [[nodiscard]] Claim* find_orphan(const Owner& owner, const KeyRecord& key) const;

  // The way of a request.
  Answer admit(Owner& owner, const Request& request, IfBusy if_busy, Claim*& claim);
  Claim& new_claim(Owner& owner, KeyRecord& key, const Request& request);
  void grant(Claim& claim);
  static Answer answer_with(Claim& claim);
  Answer block(Claim& claim, std::chrono::seconds timeout);

  // The end of a claim.
  void cancel_claims(Owner& owner);
  void end_wait(Claim& claim, Outcome why);
  void leave_queue(Claim& claim);
  void leave_queues(Owner& owner);
  void give_up_slot(Claim& claim);
  void expire(Claim& claim);
  void serve_queue(KeyRecord& key);
  void keep_for_wait(Claim& claim, Outcome why);
  void end_phase_one(Claim& claim);
  [[nodiscard]] static bool found_by_fence(const Claim& claim);
  void unlink(Claim& claim);
  void forget(Claim& claim);
  void recycle(Owner& owner);

  // Orphans.
  [[nodiscard]] static bool leaves_orphans(const Owner& owner, const Legacy& legacy);
  void orphan_waits(Owner& owner, const Legacy& legacy);
  void orphan(Claim& claim, const Legacy& legacy);
  void end_by(Claim& held, Instant end);
  static void insert(Orphans& orphans, Claim& claim);
  void keep_orphan(Claim& claim, Instant end);
  void leave_orphans(Claim& claim);
  void adopt(Claim& claim, Owner& owner);
  Answer take_back(Claim& claim, Owner& owner, const Request& request);
  [[nodiscard]] static bool is_better(const Claim& orphan, const Claim& place);
  void reunite(const Ref& ref);

  // Keys.
  KeyRecord* make_key(const Request& request);
  std::size_t drop_idle(Instant max_idle, std::size_t budget);
  void drop_key(KeyRecord& key);
  void start_idling(KeyRecord& key);
  void stop_idling(KeyRecord& key);
  [[nodiscard]] KeyRecord* longest_idle() const;
  [[nodiscard]] KeyInfo describe(const KeyRecord& key) const;
  [[nodiscard]] ClaimInfo describe(const Claim& claim) const;

  [[nodiscard]] bool orphans_are_consistent(std::size_t orphaned) const;
  [[nodiscard]] bool owners_are_consistent(std::size_t held) const;
  [[nodiscard]] bool full_of_claims() const;
  [[nodiscard]] std::size_t& holders_of(Kind kind);
  [[nodiscard]] std::size_t& waiters_of(Kind kind);

  const TableOptions options_;
  /// For numbers and names of owners: what is not a key must not hash as a key of the same bytes.
  const HashKey other_key_;
  EffectSink& effects_;
  Instant now_{0};
  std::uint64_t next_fence_ = 0;
  std::uint64_t fence_end_ = 0;
  bool draining_ = false;
  TableCounts counts_;
  std::uint64_t grants_ = 0;
  std::uint64_t claims_made_ = 0;

  SlotPool<KeyRecord> key_pool_;
  SlotPool<Claim> claim_pool_;
  SlotPool<Owner> owner_pool_;
  SlotPool<Ref> ref_pool_;
  SlotPool<Orphans> orphans_pool_;
  // Indexes, each under the secret hash: a client chooses the keys, and which fences, owners and
  // places to keep.
  SlotIndex keys_;
  /// Grants by fence, where a key may have several: of semaphores with a limit above 1, and shared.
  SlotIndex co_holders_;
  SlotIndex phase_one_;  ///< claims in phase 1, by owner and key
  SlotIndex refs_;
  SlotIndex orphans_;  ///< `Orphans`, by ref and key
  /// Ends of leases and of waits, together.
  DeadlineHeap<Claim> deadlines_;
  /// Keys without holders, longest idle first. Those with an ended phase-1 state, which `Wait` may
  /// still ask for, are kept apart: only the cap on keys drops them.
  base::IntrusiveList<KeyRecord, &KeyRecord::in_idle> idle_;
  base::IntrusiveList<KeyRecord, &KeyRecord::in_idle> idle_with_ended_;
  Instant overdue_after_ = kNever;  ///< while keys that have been idle for as long are left over
};

template <class Visitor>
std::optional<std::size_t> LockTable::visit_keys(std::size_t cursor, std::size_t slots,
                                                 Visitor&& visit) const {
  const std::size_t end = cursor + std::min(slots, key_pool_.size() - cursor);
  for (; cursor < end; ++cursor) {
    const KeyRecord& key = key_pool_.at(static_cast<std::uint32_t>(cursor));
    if (key.live) visit(describe(key));
  }
  if (cursor == key_pool_.size()) return std::nullopt;
  return cursor;
}

template <class Visitor>
std::optional<KeyInfo> LockTable::visit_claims(const Key& name, std::size_t most,
                                               Visitor&& visit) const {
  const KeyRecord* const key = find_key(name);
  if (key == nullptr) return std::nullopt;
  for (const auto* const list : {&key->holders, &key->waiters}) {
    std::size_t left = most;
    for (const Claim* claim = list->front(); claim != nullptr && left > 0; --left) {
      visit(describe(*claim));
      claim = list->next(*claim);
    }
  }
  return describe(*key);
}

}  // namespace dflockd::locks
