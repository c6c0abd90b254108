// What the lock table is asked to do, what it answers, and what that does to others.
//
// A `Command` is a value: it can be written to a log, replayed, shrunk by a test, sent to another
// machine. Names and lists in it are views: a command that is kept
// needs what they point to.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "locks/types.hpp"

namespace dflockd::locks {

// --- Commands: owners ---

/// Makes a new owner: `Answer::owner`. Takes no note of the time. O(1).
struct OpenOwner {};

/// Gives an owner a name, under which it owns its claims, those that it has already too: `kDone`,
/// or `kHasRef` the second time. Takes no note of the time. O(1) expected.
///
/// What an owner with a name leaves behind can be **orphaned**: kept for some time, for the next
/// owner with the name, as long as no other that is open has it. Key by key it gets back what it
/// asks for, as `Acquire`, `Enqueue` and `Wait` say; of several claims on one key those that are
/// held come first, then the oldest.
struct SetRef {
  OwnerId owner;
  std::string_view ref;
};

/// What becomes of what an owner leaves behind.
struct Legacy {
  /// Grants whose tokens have been delivered stay, until somebody releases them or their leases run
  /// out.
  bool keeps_grants = false;
  /// If the owner has a name: how long all that it leaves is orphaned, and no longer than a lease
  /// lasts. With `keeps_grants`, places only: grants last as long as their leases. 0: not at all.
  std::chrono::seconds orphan_ttl{0};
};

/// Ends an owner: cancels its wait and its phase-1 states, without an effect on itself, and
/// releases its grants, but for what `legacy` says. If one owner is left with its name, and its
/// blocked request is for a key of an orphaned claim, shared or not alike, it gets that then and
/// there. O(what the owner holds and waits for), times O(log `undelivered.size()`).
struct CloseOwner {
  OwnerId owner;
  /// A grant that falls due by `now`, in this command, has not been delivered.
  Legacy legacy{};
  /// With `keeps_grants` and no orphans: the fences in answers that were not delivered, one for
  /// each answer (those to `Enqueue` and `Wait` may name the same), in ascending order.
  std::span<const std::uint64_t> undelivered{};
};

// --- Commands: requests ---

/// What to acquire or enqueue for.
struct Request {
  Key key;
  /// How many may hold the key at once, at least 1. Always 1 for a lock.
  std::uint32_t limit = 1;
  /// How long a grant lasts unless it is renewed, at least 1 s.
  std::chrono::seconds lease{0};
  /// The random half of the token, should the request be granted, now or later.
  std::uint64_t salt = 0;
  /// Of a lock: together with any number of others who hold it shared.
  bool shared = false;
};

/// Asks for a slot of a key: `kGranted` if one is free and nobody waits. A lock has a free slot
/// while nobody holds it, and for a shared request while all who hold it do so shared. Otherwise a
/// zero `timeout` answers `kTimeout`; any other joins the queue's tail, `kQueued`, and an effect
/// says how the wait ended. Whatever leaves the queue's head lets in those behind it for whom there
/// is room then: all shared requests up to the next exclusive one. O(1) expected, and for each who
/// is let in.
///
/// An orphaned claim on the key is the owner's again. If it is held, the answer is its token with
/// its lease restarted, as long as the request says; if it waits, it goes on in its old place, or
/// gives that up if `timeout` is zero. If the request is shared and the claim is not, or the
/// reverse: `kModeMismatch`. So too for `Enqueue` and `Wait`.
struct Acquire {
  OwnerId owner;
  Request request;
  std::chrono::seconds timeout{0};
};

/// Phase 1: asks for a slot without blocking: `kGranted` or `kQueued`, to be followed by `Wait`. An
/// owner has at most one phase-1 state for a key; one that has outlived its grant is dropped,
/// whatever the answer. O(1) expected.
struct Enqueue {
  OwnerId owner;
  Request request;
};

/// Phase 2: collects what `Enqueue` began. A grant is answered with its token, its lease restarted
/// at the length that `Enqueue` named. A place in the queue blocks for up to `timeout`: `kQueued`,
/// then an effect; a zero `timeout` gives it up at once. Either way the phase-1 state is over. An
/// orphaned claim comes in the stead of no state, and of a place that is shared or not as it is.
/// O(1) expected.
struct Wait {
  OwnerId owner;
  Key key;
  std::chrono::seconds timeout{0};
};

/// Cancels the owner's blocked request, if it has one, without an effect. Comes before what is due
/// by `now`: a cancelled wait is not granted what becomes free then. O(1).
struct CancelWait {
  OwnerId owner;
};

/// Cancels all that the owner waits for in the same way: its blocked request and what is left of
/// its phase-1 states. A grant whose token no answer has named goes to the next. What can be
/// orphaned is, instead. O(what it has).
struct CancelWaits {
  OwnerId owner;
  Legacy legacy{};
};

/// The same of the owner's phase-1 state for one key: for a `Wait` that will not come. A grant
/// whose token an answer has named stays. O(1) expected.
struct GiveUpPlace {
  OwnerId owner;
  Key key;
};

/// Gives a grant back for any caller with its token, and the slot goes to the head of the queue:
/// `kDone` or `kNotHeld`. O(1) expected.
struct Release {
  Key key;
  Token token;
};

/// Restarts a grant's lease for any caller with its token, to end `lease` from now: `kDone` or
/// `kNotHeld`. An orphaned grant is the caller's from then on. O(1) expected, and O(log n) for the
/// deadline.
struct Renew {
  OwnerId owner;
  Key key;
  Token token;
  std::chrono::seconds lease{0};
};

// --- Commands: time, fences, shutdown ---

/// Ends the leases and waits that are over by `now`, and nothing else.
struct Advance {};

/// Lets the table grant fences up to, not including, `end`, and none below `first`: what was left
/// below is passed over. A fence once granted or passed over is never granted again. Takes no note
/// of the time.
struct ReserveFences {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

/// From now on `Acquire` and `Enqueue` are answered `kDraining`. So is everybody blocked now, and
/// every queue is empty. Grants stay, except phase-1 grants whose token no answer has named. `Wait`
/// is answered `kDraining` too: once for a place or grant that this command took, and always for a
/// phase-1 grant that stays. Cost: O(keys).
struct StartDraining {};

/// Drops keys that have been idle for `max_idle` or longer, the longest idle first, at most
/// `budget` of them: `Answer::dropped`. If that leaves some, every key that is made from then on
/// drops two more first, until none is left that is due by then: however fast keys come, collecting
/// them does not fall behind. Cost: O(what is dropped).
struct CollectIdle {
  Instant max_idle{0};
  std::size_t budget = 0;
};

/// Any change of the table.
using Command =
    std::variant<OpenOwner, SetRef, CloseOwner, Acquire, Enqueue, Wait, CancelWait, CancelWaits,
                 GiveUpPlace, Release, Renew, Advance, ReserveFences, StartDraining, CollectIdle>;

// --- Answers and effects ---

/// What became of a command.
enum class Outcome : std::uint8_t {
  kGranted,          ///< the caller holds the key; token and lease are set
  kQueued,           ///< the caller is in the queue
  kTimeout,          ///< not granted within the timeout; not in the queue any more
  kMaxLocks,         ///< a cap is reached: of claims, or of keys, none of them idle
  kMaxWaiters,       ///< the key's queue is at its cap
  kLimitMismatch,    ///< the semaphore exists with another limit
  kAlreadyEnqueued,  ///< this owner already has a phase-1 state for the key
  kNotEnqueued,      ///< `Wait` without a phase-1 state
  kLeaseExpired,     ///< the phase-1 grant's lease ran out before `Wait` came
  kDraining,         ///< the server is shutting down
  kNoFence,          ///< no reserved fence is left; nothing was granted
  kNotHeld,          ///< the token holds no slot of this key
  kModeMismatch,  ///< the owner's orphaned claim is shared and the request is not, or the reverse
  kHasRef,        ///< the owner has a name already
  kDone,          ///< anything else that has been done
};

/// The answer to a command. What its outcome does not call for is zero.
struct Answer {
  Outcome outcome = Outcome::kDone;
  bool repeated = false;          ///< of a grant: an answer has named its token before
  Token token{};                  ///< of a grant
  std::chrono::seconds lease{0};  ///< of a grant, or after `Renew`
  OwnerId owner{};                ///< of `OpenOwner`
  std::size_t dropped = 0;        ///< by `CollectIdle`: how many keys

  friend bool operator==(const Answer&, const Answer&) = default;
};

/// What a command did to somebody other than its caller.
struct Effect {
  OwnerId owner;
  Key key;  ///< the name is valid during the call only
  /// `kGranted`, `kTimeout`, `kDraining` or `kNoFence`: the answer to the owner's blocked `Acquire`
  /// or `Wait`, which is over. `kLeaseExpired`: a lease ran out, and the owner has lost the grant.
  Answer answer;

  friend bool operator==(const Effect&, const Effect&) = default;
};

/// Takes in the effects of commands, in order. Called from inside `LockTable::apply`: an
/// implementation takes note, and must not call the table back.
class EffectSink {
 public:
  virtual void take(const Effect& effect) noexcept = 0;

 protected:
  ~EffectSink() = default;
};

}  // namespace dflockd::locks
