// Caps on keys and waiters, idle keys and their collection.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Holds a key and gives it back at a time.
void use(TestTable& t, const Key& key, seconds until) {
  const Token token = t.hold(key, {.lease = 1'000s});
  t.now = until;
  EXPECT_TRUE(t.release(key, token));
}

TEST(MaxLocksTest, longest_idle_key_makes_room) {
  TestTable t({.max_locks = 3});
  use(t, kOther, 1s);
  use(t, kJob, 2s);
  use(t, kThird, 3s);
  t.hold(kPool);
  EXPECT_FALSE(t.has(kOther));
  EXPECT_TRUE(t.has(kJob));
  EXPECT_TRUE(t.has(kThird));
  t.hold({Kind::kLock, "one more"});
  EXPECT_FALSE(t.has(kJob));
  EXPECT_EQ(t.table.counts().keys, 3U);
}

TEST(MaxLocksTest, use_of_an_idle_key_makes_it_young_again) {
  TestTable t({.max_locks = 2});
  use(t, kJob, 1s);
  use(t, kOther, 2s);
  use(t, kJob, 3s);
  t.hold(kThird);
  EXPECT_TRUE(t.has(kJob));
  EXPECT_FALSE(t.has(kOther));
}

TEST(MaxLocksTest, key_with_a_lease_that_ran_out_goes_in_its_turn) {
  for (const bool spent_first : {true, false}) {
    TestTable t({.max_locks = 2});
    if (!spent_first) use(t, kOther, 1s);
    t.enqueue(t.owner(), kJob, {.lease = 5s});
    t.advance_to(t.now + 5s);
    if (spent_first) use(t, kOther, 10s);
    t.hold(kThird);
    EXPECT_EQ(t.has(kJob), !spent_first);
    EXPECT_EQ(t.has(kOther), spent_first);
  }
}

TEST(MaxLocksTest, refused_when_every_key_is_held) {
  TestTable t({.max_locks = 2});
  t.hold(kJob);
  const Token token = t.hold(kPool);
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kMaxLocks);
  EXPECT_EQ(t.acquire(t.owner(), kOther, 5s).outcome, Outcome::kMaxLocks);
  EXPECT_EQ(t.enqueue(t.owner(), kOther).outcome, Outcome::kMaxLocks);
  EXPECT_FALSE(t.has(kOther));
  EXPECT_EQ(t.table.counts().keys, 2U);
  EXPECT_TRUE(t.release(kPool, token));
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kGranted);
  EXPECT_FALSE(t.has(kPool));
}

TEST(MaxLocksTest, existing_keys_are_not_affected) {
  TestTable t({.max_locks = 1});
  const Token token = t.hold(kJob);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
  EXPECT_TRUE(t.release(kJob, token));
}

TEST(MaxLocksTest, locks_and_semaphores_count_together) {
  TestTable t({.max_locks = 1});
  t.hold(kPool, {.limit = 5});
  t.hold(kPool, {.limit = 5});
  EXPECT_EQ(t.acquire(t.owner(), {Kind::kLock, kPool.name}, 0s).outcome, Outcome::kMaxLocks);
}

TEST(MaxLocksTest, key_whose_lease_is_over_by_now_makes_room) {
  TestTable t({.max_locks = 1});
  t.hold(kJob, {.lease = 10s});
  t.now = 10s - 1ns;
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kMaxLocks);
  t.now = 10s;
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kGranted);
}

TEST(MaxLocksTest, zero_is_no_cap) {
  TestTable t({.max_locks = 0});
  for (int i = 0; i < 5'000; ++i) t.hold({Kind::kLock, std::to_string(i)});
  EXPECT_EQ(t.table.counts().keys, 5'000U);
}

TEST(MaxWaitersTest, queue_takes_no_more_than_its_cap) {
  TestTable t({.max_waiters = 2});
  const Token token = t.hold(kJob);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
  EXPECT_EQ(t.enqueue(t.owner(), kJob).outcome, Outcome::kQueued);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kMaxWaiters);
  EXPECT_EQ(t.enqueue(t.owner(), kJob).outcome, Outcome::kMaxWaiters);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued) << "one place came free";
}

TEST(MaxWaitersTest, zero_timeout_at_a_full_queue_is_timeout) {
  TestTable t({.max_waiters = 1});
  t.hold(kJob);
  t.acquire(t.owner(), kJob, 5s);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s).outcome, Outcome::kTimeout);
}

TEST(MaxWaitersTest, each_key_has_its_own_queue) {
  TestTable t({.max_waiters = 1});
  t.hold(kJob);
  t.hold(kOther);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
  EXPECT_EQ(t.acquire(t.owner(), kOther, 5s).outcome, Outcome::kQueued);
}

TEST(MaxWaitersTest, places_given_up_are_free_again) {
  TestTable t({.max_waiters = 1});
  t.hold(kJob, {.lease = 100s});
  const OwnerId owner = t.owner();
  t.acquire(owner, kJob, 5s);
  t.apply(CancelWait{owner});
  EXPECT_EQ(t.acquire(owner, kJob, 5s).outcome, Outcome::kQueued);
  t.now = 5s;
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
}

TEST(MaxWaitersTest, zero_is_no_cap) {
  TestTable t({.max_waiters = 0});
  t.hold(kJob);
  for (int i = 0; i < 5'000; ++i) {
    ASSERT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
  }
}

TEST(MaxClaimsTest, grants_waits_and_places_are_counted_together) {
  TestTable t({.max_claims = 4});
  t.hold(kJob);
  t.hold(kPool, {.limit = 2});
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
  EXPECT_EQ(t.enqueue(t.owner(), kJob).outcome, Outcome::kQueued);
  EXPECT_EQ(t.table.counts().claims, 4U);
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kMaxLocks) << "a new key";
  EXPECT_EQ(t.acquire(t.owner(), kPool, 0s, {.limit = 2}).outcome, Outcome::kMaxLocks) << "a slot";
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kMaxLocks) << "a place";
  EXPECT_EQ(t.enqueue(t.owner(), kJob).outcome, Outcome::kMaxLocks) << "a place";
  EXPECT_EQ(t.enqueue(t.owner(), kOther).outcome, Outcome::kMaxLocks) << "a new key";
  EXPECT_FALSE(t.has(kOther));
}

TEST(MaxClaimsTest, whatever_ends_a_claim_makes_room_for_one) {
  TestTable t({.max_claims = 2});
  const auto one_more = [&](const std::string& name) {
    const Key key{Kind::kLock, name};
    const OwnerId owner = t.owner();
    EXPECT_EQ(t.acquire(owner, key, 0s, {.lease = 1'000s}).outcome, Outcome::kGranted) << name;
    EXPECT_EQ(t.acquire(t.owner(), kThird, 0s).outcome, Outcome::kMaxLocks) << name;
    t.close(owner);
  };
  const Token token = t.hold(kJob, {.lease = 20s});
  one_more("beside it");
  EXPECT_TRUE(t.release(kJob, token));
  t.hold(kJob, {.lease = 20s});
  one_more("after a release");

  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
  t.advance_to(5s);
  one_more("after a timeout");
  const OwnerId waiting = t.owner();
  EXPECT_EQ(t.acquire(waiting, kJob, 5s).outcome, Outcome::kQueued);
  t.apply(CancelWait{waiting});
  one_more("after a wait that was called off");
  EXPECT_EQ(t.enqueue(waiting, kJob).outcome, Outcome::kQueued);
  t.apply(GiveUpPlace{waiting, kJob});
  one_more("after a place that was given up");
  t.advance_to(20s);
  EXPECT_EQ(t.table.counts().claims, 0U) << "after the end of a lease";
}

TEST(MaxClaimsTest, wait_goes_on_with_the_claim_that_enqueue_made) {
  TestTable t({.max_claims = 2});
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  const Token token = t.enqueue(first, kJob).token;
  EXPECT_EQ(t.enqueue(second, kJob).outcome, Outcome::kQueued);
  EXPECT_EQ(t.wait(first, kJob, 5s).outcome, Outcome::kGranted);
  EXPECT_EQ(t.wait(second, kJob, 5s).outcome, Outcome::kQueued);
  EXPECT_EQ(t.table.counts().claims, 2U);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), testing::ElementsAre(Granted(second)));
  EXPECT_EQ(t.table.counts().claims, 1U);
}

TEST(MaxClaimsTest, state_that_has_outlived_its_grant_counts_until_wait_is_answered) {
  TestTable t({.max_claims = 1});
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob, {.lease = 1s});
  t.advance_to(1s);
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kMaxLocks);
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kLeaseExpired);
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kGranted);
}

TEST(MaxClaimsTest, fresh_enqueue_takes_the_place_of_a_state_that_has_outlived_its_grant) {
  TestTable t({.max_claims = 1});
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob, {.lease = 1s});
  t.advance_to(1s);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kGranted);
}

TEST(MaxClaimsTest, other_refusals_come_first) {
  TestTable t({.max_waiters = 1, .max_claims = 2}, 1);
  const OwnerId waiting = t.owner();
  t.hold(kPool, {.limit = 1});
  EXPECT_EQ(t.enqueue(waiting, kPool).outcome, Outcome::kQueued);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s).outcome, Outcome::kNoFence);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 0s).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 5s).outcome, Outcome::kMaxWaiters);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 5s, {.limit = 2}).outcome, Outcome::kLimitMismatch);
  EXPECT_EQ(t.enqueue(waiting, kPool).outcome, Outcome::kAlreadyEnqueued);
  t.apply(StartDraining{});
  EXPECT_EQ(t.acquire(t.owner(), kPool, 5s).outcome, Outcome::kDraining);
}

TEST(MaxClaimsTest, refusal_drops_no_idle_key) {
  TestTable t({.max_locks = 2, .max_claims = 1});
  use(t, kOther, 1s);
  t.hold(kJob);
  EXPECT_EQ(t.acquire(t.owner(), kThird, 0s).outcome, Outcome::kMaxLocks);
  EXPECT_TRUE(t.has(kOther));
}

TEST(MaxClaimsTest, zero_is_no_cap) {
  TestTable t({.max_claims = 0}, 2'000'000);
  const OwnerId owner = t.owner();
  for (int i = 0; i < 1'000'001; ++i) {
    ASSERT_EQ(t.acquire(owner, kPool, 0s, {.limit = 1'048'576}).outcome, Outcome::kGranted);
  }
}

TEST(CollectIdleTest, drops_keys_at_the_bound_exactly) {
  TestTable t;
  use(t, kJob, 5s);
  t.now = 15s - 1ns;
  EXPECT_EQ(t.collect_idle(10s, 9), 0U);
  t.now = 15s;
  EXPECT_EQ(t.collect_idle(10s, 9), 1U);
  EXPECT_FALSE(t.has(kJob));
}

TEST(CollectIdleTest, drops_the_longest_idle_first_and_keeps_to_its_budget) {
  TestTable t;
  use(t, kThird, 1s);
  use(t, kJob, 2s);
  use(t, kOther, 3s);
  t.now = 100s;
  EXPECT_EQ(t.collect_idle(0s, 0), 0U);
  EXPECT_EQ(t.collect_idle(0s, 2), 2U);
  EXPECT_TRUE(t.has(kOther));
  EXPECT_EQ(t.table.counts().keys, 1U);
  EXPECT_EQ(t.collect_idle(0s, 2), 1U);
  EXPECT_EQ(t.collect_idle(0s, 2), 0U);
}

TEST(CollectIdleTest, leaves_held_keys_alone) {
  TestTable t;
  t.hold(kJob, {.lease = 1'000s});
  use(t, kOther, 1s);
  t.now = 500s;
  EXPECT_EQ(t.collect_idle(0s, 9), 1U);
  EXPECT_TRUE(t.has(kJob));
}

TEST(CollectIdleTest, stops_at_the_first_key_that_is_not_idle_long_enough) {
  TestTable t;
  use(t, kJob, 1s);
  use(t, kOther, 8s);
  t.now = 10s;
  EXPECT_EQ(t.collect_idle(5s, 9), 1U);
  EXPECT_TRUE(t.has(kOther));
}

TEST(CollectIdleTest, what_its_budget_leaves_is_dropped_by_new_keys_two_at_a_time) {
  TestTable t;
  for (int i = 0; i < 10; ++i) use(t, {Kind::kLock, std::to_string(i)}, seconds(i));
  t.now = 18s;
  EXPECT_EQ(t.collect_idle(10s, 2), 2U);  // 7 more are due
  for (const std::size_t left : {8U - 2U + 1U, 7U - 2U + 1U, 6U - 2U + 1U, 5U - 1U + 1U, 6U, 7U}) {
    t.hold({Kind::kSemaphore, std::to_string(left) + "." + std::to_string(++t.salt)});
    EXPECT_EQ(t.table.counts().keys, left);
  }
  EXPECT_TRUE(t.has({Kind::kLock, "9"}));
}

TEST(CollectIdleTest, keys_held_and_those_not_idle_for_long_enough_are_left_alone_by_new_keys) {
  TestTable t;
  t.hold(kJob, {.lease = 1'000s});
  use(t, kOther, 1s);
  use(t, kThird, 2s);
  t.now = 11s;
  EXPECT_EQ(t.collect_idle(10s, 0), 0U);
  t.hold({Kind::kLock, "new"});
  EXPECT_FALSE(t.has(kOther));
  EXPECT_TRUE(t.has(kThird) && t.has(kJob));
}

// Half a million keys a second that are used once, collected by ticks of 50 ms whose budget is a
// sixth of what comes.
TEST(CollectIdleTest, keeps_up_with_keys_that_are_used_once_however_fast_they_come) {
  constexpr std::size_t kATick = 25'000;
  constexpr std::size_t kBudget = 4'096;
  for (const Instant max_idle : {Instant(0), Instant(500ms)}) {
    TestTable t({.max_locks = 0}, 10'000'000);
    const OwnerId owner = t.owner();
    std::size_t number = 0;
    for (int tick = 0; tick < 40; ++tick) {
      for (std::size_t i = 0; i < kATick; ++i) {
        const std::string name = std::to_string(number++);
        const Key key{Kind::kLock, name};
        t.now = 50ms * tick + 50ms * i / kATick;
        ASSERT_TRUE(t.release(key, t.hold(owner, key)));
      }
      t.collect_idle(max_idle, kBudget);
      // What comes during the idle time and one tick, and what is being collected.
      ASSERT_LE(t.table.counts().keys, (max_idle / 50ms + 2) * kATick) << "tick " << tick;
    }
  }
}

TEST(CollectIdleTest, order_of_idle_keys_survives_states_that_are_cleared_late) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob, {.lease = 1s});
  t.advance_to(1s);
  use(t, kOther, 2s);
  t.now = 3s;
  t.close(owner);
  t.now = 4s;
  EXPECT_EQ(t.collect_idle(2s, 9), t.has(kJob) ? 1U : 2U);
  EXPECT_FALSE(t.has(kOther));
}

}  // namespace

}  // namespace dflockd::locks
