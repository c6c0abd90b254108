// The lock table's records, as plain data. Only `LockTable` uses them.
//
//   Owner ──claims──► Claim ◄──holders, waiters, ended── KeyRecord
//
// Claims that have outlived their owner's connection are linked to `Orphans` instead, by the name
// of their owner and their key.
//
// A claim is one owner's request for one key, through its whole life: waiting, then held, then
// gone.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/intrusive_list.hpp"
#include "locks/command.hpp"
#include "locks/deadline_heap.hpp"
#include "locks/types.hpp"

namespace dflockd::locks {

struct KeyRecord;
struct Owner;
struct Ref;

enum class ClaimState : std::uint8_t {
  kWaiting,  ///< in its key's queue
  kHeld,     ///< holds a slot, under a lease
  kEnded,    ///< a phase-1 claim that ended before `Wait` came, which will answer why
  kLeft,     ///< gone from its key's queue, which those behind have yet to hear of
};

struct Claim {
  KeyRecord* key = nullptr;
  Owner* owner = nullptr;
  base::Links<Claim> in_key;    ///< in one of the key's lists, by state
  base::Links<Claim> in_owner;  ///< in the owner's list, or in one of its orphans
  Token token;                  ///< the salt from the start, the fence once held
  std::chrono::seconds lease{0};
  std::uint64_t order = 0;  ///< in which claims were made
  Instant since{0};         ///< when it joined the queue or, when held, was granted
  std::uint32_t heap_place = kNoPlace;
  std::uint32_t slot = 0;
  std::uint32_t fence_hash = 0;  ///< half of it, when it is found by its fence
  ClaimState state = ClaimState::kWaiting;
  bool shared : 1 = false;        ///< of a lock
  bool in_phase_one : 1 = false;  ///< enqueued, and `Wait` has not come yet
  bool orphaned : 1 = false;
  bool ttl_is_over : 1 = false;  ///< when orphaned: at its deadline, whatever its lease
  bool keeps_lease : 1 = false;  ///< when orphaned: once held, it lasts as long as its lease
  std::uint8_t answers = 0;      ///< how many have named the token: to `Enqueue` and to `Wait`
  Outcome ended_with = Outcome::kLeaseExpired;  ///< when ended: what `Wait` will answer
};

struct KeyRecord {
  std::string name;
  std::uint64_t hash = 0;                              ///< of kind and name
  base::IntrusiveList<Claim, &Claim::in_key> holders;  ///< oldest grant first
  base::IntrusiveList<Claim, &Claim::in_key> waiters;  ///< first come first
  base::IntrusiveList<Claim, &Claim::in_key> ended;
  base::Links<KeyRecord> in_idle;  ///< in one of the table's idle lists, when idle
  Instant idle_since{0};           ///< when idle
  std::uint32_t limit = 1;
  std::uint32_t holder_count = 0;
  std::uint32_t waiter_count = 0;
  std::uint32_t slot = 0;
  Kind kind = Kind::kLock;
  bool live = false;  ///< false: the record is free
  bool idle = false;  ///< nobody holds or waits

  /// Whether one more may hold it now, as far as those matter who do.
  [[nodiscard]] bool has_room(bool for_shared) const {
    return holder_count < limit || (for_shared && holders.front()->shared);
  }
};

struct Owner {
  base::IntrusiveList<Claim, &Claim::in_owner> claims;  ///< without orphans
  Ref* ref = nullptr;                                   ///< its name, if it has one
  base::Links<Owner> in_ref;
  Claim* blocked = nullptr;  ///< the claim whose end the owner waits for
  std::uint64_t hash = 0;    ///< of its slot
  std::uint32_t active = 0;  ///< how many claims are waiting or held, orphans too
  std::uint32_t held = 0;    ///< how many of them are held
  std::uint32_t generation = 0;
  std::uint32_t slot = 0;
  bool open = false;
};

/// A name of owners.
struct Ref {
  std::string name;
  std::uint64_t hash = 0;
  base::IntrusiveList<Owner, &Owner::in_ref> open_owners;
  std::uint32_t users = 0;  ///< owners with the name, open or not
  std::uint32_t slot = 0;

  /// The only open owner, or null if there are none or several.
  [[nodiscard]] Owner* only_owner() const {
    Owner* const first = open_owners.front();
    return first != nullptr && open_owners.next(*first) == nullptr ? first : nullptr;
  }
};

/// The orphaned claims of one name on one key, at least one.
struct Orphans {
  Ref* ref = nullptr;
  KeyRecord* key = nullptr;
  base::IntrusiveList<Claim, &Claim::in_owner> held;  ///< the oldest first
  base::IntrusiveList<Claim, &Claim::in_owner>
      waiting;              ///< the oldest, which is the first in the queue, first
  Claim* latest = nullptr;  ///< of either, the one that was put there last, if it is still there
  std::uint32_t slot = 0;
};

}  // namespace dflockd::locks
