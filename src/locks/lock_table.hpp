// The lock table: named locks and counting semaphores, granted in strict FIFO order under leases.
//
// A deterministic state machine. It reads no clock, draws no random number, and knows no socket,
// thread or log: time and salt come in with each call, and what happens to somebody other than the
// caller goes out through `Events`. The same calls with the same times give the same state.
//
//   LockTable table({.max_locks = 1024}, events);
//   table.reserve_fences(first, end);
//   const OwnerId owner = table.open_owner();
//   const KeyName job{Kind::kLock, "job"};
//   const Answer answer = table.acquire(now, owner, {.key = job, .lease = 33s, .salt = salt}, 10s);
//   if (answer.outcome == Outcome::kGranted) assert(table.release(now, job, answer.token));
//
// Every call that takes `now` first brings the table up to that time: leases and waits that are
// over end, in the order of their deadlines, before the call itself is looked at. Time never goes
// back: a `now` before the latest one seen is taken as that one.
//
// An owner has at most one blocked request at a time, an `acquire` or `wait` that answered
// `kQueued`, and may call neither of them meanwhile.
//
// Where several refusals apply, the first of these is the answer: `kDraining`, `kAlreadyEnqueued`,
// `kLimitMismatch`, then at a free slot `kNoFence`, `kMaxLocks`, and at a busy key `kTimeout`,
// `kMaxWaiters`, `kMaxLocks`. `wait` makes no claim, but goes on with one that `enqueue` made: no
// cap refuses it.
//
// Where memory is short, `open_owner`, `acquire` and `enqueue` throw std::bad_alloc, and change
// nothing but the time. Nothing else allocates, so that whoever has been let in can be granted what
// they wait for, and whatever is held can be given back.
//
// Not thread-safe: one thread at a time. Names are copied: arguments need to live for the call
// only.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "locks/deadline_heap.hpp"
#include "locks/intrusive_list.hpp"
#include "locks/records.hpp"
#include "locks/slot_index.hpp"
#include "locks/slot_pool.hpp"
#include "locks/types.hpp"

namespace dflockd::locks {

class LockTable {
 public:
  /// An empty table without fences. `events` must outlive it.
  LockTable(const TableOptions& options, Events& events);
  LockTable(const LockTable&) = delete;
  LockTable& operator=(const LockTable&) = delete;

  // --- Owners ---

  /// Makes a new owner. O(1).
  [[nodiscard]] OwnerId open_owner();

  /// Ends an owner: its wait and its phase-1 states are cancelled, without an event to it, and its
  /// grants are released. O(what the owner holds and waits for).
  void close_owner(Instant now, OwnerId id);

  /// Ends an owner, but leaves the grants that it knows of, until somebody releases them by token
  /// or their leases run out. It knows of a grant if an answer that told its token has reached it:
  /// `untold` are the fences of those that have not, one for each, in ascending order. (The answers
  /// to `enqueue` and to `wait` may tell the same token.) What its wait is granted by `now`, in
  /// this call, it does not know of. O(what the owner holds and waits for), times
  /// O(log `untold.size()`).
  void close_owner_keeping_grants(Instant now, OwnerId id, std::span<const std::uint64_t> untold);

  /// True while the owner holds a grant or has a place in a queue, as of the latest time the table
  /// was brought up to. O(1).
  [[nodiscard]] bool has_claims(OwnerId id) const;

  // --- Requests ---

  /// Asks for a slot of a key. Granted at once if one is free (then nobody waits). Otherwise a zero
  /// `timeout` answers `kTimeout`; any other joins the queue's tail and answers `kQueued`, and
  /// `Events::wait_over` tells how it ended. O(1) expected.
  Answer acquire(Instant now, OwnerId id, const Request& request, std::chrono::seconds timeout);

  /// Phase 1: asks for a slot without blocking: `kGranted` or `kQueued`, to be followed by `wait`.
  /// An owner has at most one phase-1 state for a key; one that has outlived its grant is dropped,
  /// whatever the answer. O(1) expected.
  Answer enqueue(Instant now, OwnerId id, const Request& request);

  /// Phase 2: collects what `enqueue` began. A grant is answered with its token, its lease
  /// restarted at the length that `enqueue` named. A place in the queue blocks for up to `timeout`:
  /// `kQueued`, then `Events::wait_over`; a zero `timeout` gives it up at once. Either way the
  /// phase-1 state is over. O(1) expected.
  Answer wait(Instant now, OwnerId id, const KeyName& name, std::chrono::seconds timeout);

  /// Cancels the owner's blocked request, if it has one, without an event: whoever waits no more is
  /// not granted what becomes free by `now`. O(1).
  void cancel_wait(Instant now, OwnerId id);

  /// Cancels all that the owner waits for in the same way: its blocked request and what is left of
  /// its phase-1 states. A grant of which it was not told goes to the next. O(what it has).
  void cancel_waits(Instant now, OwnerId id);

  /// The same of the owner's phase-1 state for one key: for a `wait` that will not come. What the
  /// owner was told that it holds it goes on holding. O(1) expected.
  void give_up_place(Instant now, OwnerId id, const KeyName& name);

  /// Gives a grant back, whoever asks, and the slot goes to the head of the queue. False if the
  /// token holds no slot of this key. O(1) expected.
  [[nodiscard]] bool release(Instant now, const KeyName& key, const Token& token);

  /// Restarts a grant's lease, whoever asks: it now ends `lease` from now. False if the token holds
  /// no slot of this key. O(1) expected, and O(log n) for the deadline.
  [[nodiscard]] bool renew(Instant now, const KeyName& key, const Token& token,
                           std::chrono::seconds lease);

  // --- Time, fences, shutdown ---

  /// Brings the table up to `now`: ends the leases and waits that are over.
  void advance(Instant now);

  /// When `advance` next has something to do, or `kNever`. O(1).
  [[nodiscard]] Instant next_deadline() const;

  /// Lets the table grant fences up to, not including, `end`, and none below `first`: what was left
  /// below is passed over. A fence once granted or passed over is never granted again.
  void reserve_fences(std::uint64_t first, std::uint64_t end);

  /// The fence that the next grant will have, if it is reserved. O(1).
  [[nodiscard]] std::uint64_t next_fence() const { return next_fence_; }

  /// How many grants the reserved fences allow until `kNoFence`. O(1).
  [[nodiscard]] std::uint64_t fences_left() const { return fence_end_ - next_fence_; }

  /// From now on acquire, enqueue and wait are answered `kDraining`. So is everybody waiting now,
  /// and every queue is empty. Grants stay, except phase-1 grants whose owner was never told the
  /// token. Cost: O(keys).
  void start_draining(Instant now);

  /// Drops keys that have been idle for `max_idle` or longer, the longest idle first, at most
  /// `budget` of them. Returns how many. If that leaves some, every key that is made from then on
  /// drops two more first, until none is left that is due by then: however fast keys come,
  /// collecting them does not fall behind. Cost: O(what is dropped).
  std::size_t collect_idle(Instant now, Instant max_idle, std::size_t budget);

  // --- Observation ---

  [[nodiscard]] const TableCounts& counts() const { return counts_; }
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

  /// Checks every invariant, index and count. For tests. O(size of the table).
  [[nodiscard]] bool consistent() const;

  /// The most records that finding one may have to pass, in any index. For tests. O(size of the
  /// table).
  [[nodiscard]] std::size_t longest_search() const;

 private:
  enum class IfBusy : std::uint8_t { kGiveUp, kQueue };

  // Finding. These neither bring the table up to date nor change it.
  [[nodiscard]] Owner& owner_of(OwnerId id) const;
  [[nodiscard]] static OwnerId id_of(const Owner& owner) { return {owner.slot, owner.generation}; }
  [[nodiscard]] std::uint64_t hash_of(const KeyName& name) const;
  [[nodiscard]] std::uint64_t hash_of(std::uint64_t number) const;
  /// Of an owner's phase-1 state for a key: of two secret numbers, which is as good as one of its
  /// own (simple tabulation: Patrascu and Thorup, "The power of simple tabulation hashing", 2012).
  [[nodiscard]] static std::uint64_t hash_of(const Owner& owner, const Key& key);
  [[nodiscard]] Key* find_key(const KeyName& name) const;
  [[nodiscard]] Claim* find_holder(const KeyName& name, const Token& token) const;
  [[nodiscard]] Claim* find_phase_one(const Owner& owner, const Key& key) const;

  // The way of a request.
  void reserve_claim();
  Answer admit(Owner& owner, const Request& request, IfBusy if_busy, Claim*& claim);
  Claim& new_claim(Owner& owner, Key& key, const Request& request);
  void grant(Claim& claim);
  static Answer tell(Claim& claim);
  void block(Claim& claim, std::chrono::seconds timeout);

  // The end of a claim.
  void cancel_claims(Owner& owner);
  void end_owner(Owner& owner);
  void end_wait(Claim& claim, Outcome why);
  void give_up_slot(Claim& claim);
  void expire(Claim& claim);
  void serve_queue(Key& key);
  void spend(Claim& claim, Outcome why);
  void end_phase_one(Claim& claim);
  void unlink(Claim& claim);
  void forget(Claim& claim);
  void recycle(Owner& owner);

  // Keys.
  Key* make_key(const Request& request);
  std::size_t drop_idle(Instant max_idle, std::size_t budget);
  void drop_key(Key& key);
  void start_idling(Key& key);
  void stop_idling(Key& key);
  [[nodiscard]] Key* longest_idle() const;
  [[nodiscard]] KeyInfo describe(const Key& key) const;

  [[nodiscard]] bool full_of_claims() const;
  [[nodiscard]] std::size_t& holders_of(Kind kind);
  [[nodiscard]] std::size_t& waiters_of(Kind kind);

  const TableOptions options_;
  Events& events_;
  Instant now_{0};
  std::uint64_t next_fence_ = 0;
  std::uint64_t fence_end_ = 0;
  bool draining_ = false;
  TableCounts counts_;
  std::uint64_t grants_ = 0;

  SlotPool<Key> key_pool_;
  SlotPool<Claim> claim_pool_;
  SlotPool<Owner> owner_pool_;
  // Indexes, each under the secret hash: a client chooses the keys, and which fences, owners and
  // places to keep.
  SlotIndex keys_;
  /// Holders of semaphores with a limit above 1 by fence; any other key has one holder at most.
  SlotIndex semaphore_holders_;
  SlotIndex phase_one_;  ///< claims in phase 1, by owner and key
  /// Ends of leases and of waits, together.
  DeadlineHeap<Claim> deadlines_;
  /// Keys without holders, longest idle first. Those with a spent phase-1 state, which somebody may
  /// still ask for, are kept apart: only the cap on keys drops them.
  IntrusiveList<Key, &Key::in_idle> idle_;
  IntrusiveList<Key, &Key::in_idle> idle_with_spent_;
  Instant overdue_after_ = kNever;  ///< while keys that have been idle for as long are left over
};

template <class Visitor>
std::optional<std::size_t> LockTable::visit_keys(std::size_t cursor, std::size_t slots,
                                                 Visitor&& visit) const {
  const std::size_t end = cursor + std::min(slots, key_pool_.size() - cursor);
  for (; cursor < end; ++cursor) {
    const Key& key = key_pool_.at(static_cast<std::uint32_t>(cursor));
    if (key.live) visit(describe(key));
  }
  if (cursor == key_pool_.size()) return std::nullopt;
  return cursor;
}

}  // namespace dflockd::locks
