// A lock table for unit tests, with a clock that the test moves and a listener that takes note.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "locks/lock_table.hpp"
#include "recorder.hpp"

namespace dflockd::locks {

using std::chrono::seconds;
using namespace std::chrono_literals;

inline constexpr Key kJob{Kind::kLock, "job"};
inline constexpr Key kOther{Kind::kLock, "other"};
inline constexpr Key kThird{Kind::kLock, "third"};
inline constexpr Key kPool{Kind::kSemaphore, "pool"};

/// What a test does not say about a request.
struct Terms {
  seconds lease{10};
  std::uint32_t limit = 1;
  bool shared = false;
};

struct TestTable {
  explicit TestTable(const TableOptions& options = {}, std::uint64_t fences = 1'000'000)
      : table(options, recorder) {
    apply(ReserveFences{1, 1 + fences});
  }
  ~TestTable() { EXPECT_TRUE(table.consistent()); }
  TestTable(const TestTable&) = delete;
  TestTable& operator=(const TestTable&) = delete;

  Answer apply(const Command& command) { return table.apply(now, command); }

  OwnerId owner() { return apply(OpenOwner{}).owner; }

  Answer acquire(OwnerId owner, const Key& key, seconds timeout, const Terms& terms = {}) {
    return apply(Acquire{owner, request(key, terms), timeout});
  }
  Answer enqueue(OwnerId owner, const Key& key, const Terms& terms = {}) {
    return apply(Enqueue{owner, request(key, terms)});
  }
  Answer wait(OwnerId owner, const Key& key, seconds timeout) {
    return apply(Wait{owner, key, timeout});
  }
  bool release(const Key& key, const Token& token) {
    return apply(Release{key, token}).outcome == Outcome::kDone;
  }
  bool renew(const Key& key, const Token& token, seconds lease) {
    return renew({}, key, token, lease);
  }
  bool renew(OwnerId owner, const Key& key, const Token& token, seconds lease) {
    return apply(Renew{owner, key, token, lease}).outcome == Outcome::kDone;
  }
  void close(OwnerId owner) { apply(CloseOwner{owner}); }
  void close_keeping_grants(OwnerId owner, const std::vector<std::uint64_t>& undelivered = {}) {
    apply(CloseOwner{owner, {.keeps_grants = true}, undelivered});
  }
  std::size_t collect_idle(Instant max_idle, std::size_t budget) {
    return apply(CollectIdle{max_idle, budget}).dropped;
  }
  /// Moves the clock to a time and brings the table up to it.
  void advance_to(Instant time) {
    now = time;
    apply(Advance{});
  }

  /// Acquires what must be free.
  Token hold(OwnerId owner, const Key& key, const Terms& terms = {}) {
    const Answer answer = acquire(owner, key, 0s, terms);
    EXPECT_EQ(answer.outcome, Outcome::kGranted);
    return answer.token;
  }
  Token hold(const Key& key, const Terms& terms = {}) { return hold(owner(), key, terms); }

  /// The effects since the last call.
  std::vector<Effect> heard() {
    std::vector<Effect> effects = recorder.effects();
    for (const Effect& effect : effects) {
      if (effect.answer.outcome == Outcome::kGranted) latest_granted = effect.answer.token;
    }
    return effects;
  }

  /// What is known of a key, its name left out, or nothing.
  [[nodiscard]] std::optional<KeyInfo> info(const Key& key) const {
    std::optional<KeyInfo> found;
    table.visit_keys(0, std::numeric_limits<std::uint32_t>::max(), [&](const KeyInfo& info) {
      if (info.key != key) return;
      found = info;
      found->key.name = {};
    });
    return found;
  }
  [[nodiscard]] bool has(const Key& key) const { return info(key).has_value(); }

  Request request(const Key& key, const Terms& terms) {
    return {key, terms.limit, terms.lease, ++salt, terms.shared};
  }

  Recorder recorder;
  LockTable table;
  Instant now{0};
  std::uint64_t salt = 0;  ///< of the latest request
  Token latest_granted;    ///< by an effect that `heard` returned
};

/// An effect that ends `owner`'s wait with `outcome`.
MATCHER_P2(WaitOver, owner, outcome, "") {
  return arg.owner == owner && arg.answer.outcome == outcome;
}

/// An effect that grants what `owner` waits for.
inline auto Granted(OwnerId owner) {
  return WaitOver(owner, Outcome::kGranted);
}

/// An effect of a lease of `owner` that ran out.
MATCHER_P2(Expired, owner, key, "") {
  return arg == Effect{owner, key, {Outcome::kLeaseExpired}};
}

}  // namespace dflockd::locks
