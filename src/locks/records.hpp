// The lock table's records, as plain data. Only `LockTable` uses them.
//
//   Owner ──claims──► Claim ◄──holders, waiters, spent── Key
//
// A claim is one owner's request for one key, through its whole life: waiting, then held, then
// gone.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "locks/deadline_heap.hpp"
#include "locks/intrusive_list.hpp"
#include "locks/types.hpp"

namespace dflockd::locks {

struct Key;
struct Owner;

enum class ClaimState : std::uint8_t {
  kWaiting,  ///< in its key's queue
  kHeld,     ///< holds a slot, under a lease
  kSpent,    ///< a phase-1 claim that ended before `wait` came, which will be told why
};

struct Claim {
  Key* key = nullptr;
  Owner* owner = nullptr;
  Links<Claim> in_key;    ///< in one of the key's lists, by state
  Links<Claim> in_owner;  ///< in the owner's list
  Token token;            ///< the salt from the start, the fence once held
  std::chrono::seconds lease{0};
  Instant granted_at{0};  ///< when held
  std::uint32_t heap_place = kNoPlace;
  std::uint32_t slot = 0;
  std::uint32_t fence_hash = 0;  ///< half of it, when it holds a slot of a semaphore
  ClaimState state = ClaimState::kWaiting;
  bool in_phase_one = false;  ///< enqueued, and `wait` has not come yet
  /// How many answers have told the owner the token: two at most, to `enqueue` and to `wait`.
  std::uint8_t told = 0;
  Outcome spent_on = Outcome::kLeaseExpired;  ///< when spent: what `wait` will answer
};

struct Key {
  std::string name;
  std::uint64_t hash = 0;                        ///< of kind and name
  IntrusiveList<Claim, &Claim::in_key> holders;  ///< oldest grant first
  IntrusiveList<Claim, &Claim::in_key> waiters;  ///< first come first
  IntrusiveList<Claim, &Claim::in_key> spent;
  Links<Key> in_idle;     ///< in one of the table's idle lists, when idle
  Instant idle_since{0};  ///< when idle
  std::uint32_t limit = 1;
  std::uint32_t holder_count = 0;
  std::uint32_t waiter_count = 0;
  std::uint32_t slot = 0;
  Kind kind = Kind::kLock;
  bool live = false;  ///< false: the record is free
  bool idle = false;  ///< nobody holds or waits
};

struct Owner {
  IntrusiveList<Claim, &Claim::in_owner> claims;
  Claim* blocked = nullptr;  ///< the claim whose end the owner waits for
  std::uint64_t hash = 0;    ///< of its slot
  std::uint32_t active = 0;  ///< how many of the claims are waiting or held
  std::uint32_t generation = 0;
  std::uint32_t slot = 0;
  bool open = false;
};

}  // namespace dflockd::locks
