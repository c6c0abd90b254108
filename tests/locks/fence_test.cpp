// Fences: what the table may grant, what happens when they run out, and that none comes back.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FenceTest, table_without_fences_grants_nothing_and_keeps_no_key) {
  TestTable t({}, 0);
  const OwnerId owner = t.owner();
  EXPECT_EQ(t.acquire(owner, kJob, 0s).outcome, Outcome::kNoFence);
  EXPECT_EQ(t.acquire(owner, kJob, 5s).outcome, Outcome::kNoFence);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kNoFence);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
  EXPECT_EQ(t.table.counts().keys, 0U);
  EXPECT_FALSE(t.table.has_claims(owner));
}

TEST(FenceTest, refusal_for_want_of_a_fence_drops_no_other_key) {
  TestTable t({.max_locks = 1}, 1);
  EXPECT_TRUE(t.release(kJob, t.hold(kJob)));
  EXPECT_EQ(t.acquire(t.owner(), kOther, 0s).outcome, Outcome::kNoFence);
  EXPECT_TRUE(t.has(kJob));
}

TEST(FenceTest, idle_key_stays_idle_when_there_is_no_fence) {
  TestTable t({}, 1);
  EXPECT_TRUE(t.release(kJob, t.hold(kJob)));
  t.now = 5s;
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kNoFence);
  EXPECT_EQ(t.info(kJob)->holders, 0U);
  EXPECT_EQ(t.info(kJob)->idle, 5s);
}

TEST(FenceTest, free_semaphore_slot_without_a_fence_is_not_granted) {
  TestTable t({}, 1);
  t.hold(kPool, {.limit = 2});
  EXPECT_EQ(t.acquire(t.owner(), kPool, 5s, {.limit = 2}).outcome, Outcome::kNoFence);
  EXPECT_EQ(t.info(kPool)->waiters, 0U);
}

TEST(FenceTest, last_reserved_fence_is_granted_and_not_the_one_after) {
  TestTable t({}, 2);
  EXPECT_EQ(t.table.fences_left(), 2U);
  t.hold(kJob);
  EXPECT_EQ(t.hold(kOther).fence, 2U);
  EXPECT_EQ(t.table.fences_left(), 0U);
  EXPECT_EQ(t.acquire(t.owner(), kThird, 0s).outcome, Outcome::kNoFence);
}

TEST(FenceTest, queueing_and_renewing_need_no_fence) {
  TestTable t({}, 1);
  const Token token = t.hold(kJob);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 5s).outcome, Outcome::kQueued);
  EXPECT_TRUE(t.renew(kJob, token, 10s));
}

TEST(FenceTest, release_without_fences_tells_every_waiter) {
  TestTable t({}, 1);
  const Token token = t.hold(kJob);
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  t.acquire(first, kJob, 60s);
  t.acquire(second, kJob, 60s);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(),
              ElementsAre(WaitOver(first, Outcome::kNoFence), WaitOver(second, Outcome::kNoFence)));
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
  EXPECT_EQ(t.table.next_deadline(), kNever);
}

TEST(FenceTest, lease_that_ends_without_fences_tells_every_waiter) {
  TestTable t({}, 1);
  const OwnerId holder = t.owner();
  t.hold(holder, kJob, {.lease = 5s});
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 60s);
  t.advance_to(5s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(holder, kJob), WaitOver(waiter, Outcome::kNoFence)));
}

TEST(FenceTest, place_from_phase_one_is_refused_at_wait_once) {
  TestTable t({}, 1);
  const Token token = t.hold(kJob);
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_FALSE(t.table.has_claims(owner));
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNoFence);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST(FenceTest, waiters_share_what_is_left_in_their_order) {
  TestTable t({}, 2);
  const Token token = t.hold(kJob);
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  t.acquire(first, kJob, 60s);
  t.acquire(second, kJob, 60s);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(first)));
  EXPECT_TRUE(t.release(kJob, t.latest_granted));
  EXPECT_THAT(t.heard(), ElementsAre(WaitOver(second, Outcome::kNoFence)));
}

TEST(FenceTest, table_works_again_once_fences_are_reserved) {
  TestTable t({}, 1);
  const OwnerId owner = t.owner();
  EXPECT_TRUE(t.release(kJob, t.hold(kJob)));
  EXPECT_EQ(t.acquire(owner, kJob, 5s).outcome, Outcome::kNoFence);
  t.apply(ReserveFences{2, 4});
  const Token token = t.hold(owner, kJob);
  EXPECT_EQ(token.fence, 2U);
  EXPECT_EQ(t.table.fences_left(), 1U);
}

TEST(FenceTest, range_that_begins_at_the_next_fence_continues) {
  TestTable t({}, 5);
  EXPECT_EQ(t.hold(kJob).fence, 1U);
  t.apply(ReserveFences{t.table.next_fence(), 11});
  EXPECT_EQ(t.table.fences_left(), 9U);
  EXPECT_EQ(t.hold(kOther).fence, 2U);
}

TEST(FenceTest, range_that_follows_a_used_one_continues) {
  TestTable t({}, 1);
  EXPECT_EQ(t.hold(kJob).fence, 1U);
  t.apply(ReserveFences{2, 4});
  EXPECT_EQ(t.hold(kOther).fence, 2U);
}

TEST(FenceTest, range_after_a_gap_skips_what_lies_before_it) {
  TestTable t({}, 5);
  t.apply(ReserveFences{100, 102});
  EXPECT_EQ(t.table.next_fence(), 100U);
  EXPECT_EQ(t.table.fences_left(), 2U);
  EXPECT_EQ(t.hold(kJob).fence, 100U);
}

TEST(FenceTest, reserving_never_lowers_a_fence) {
  TestTable t({}, 0);
  t.apply(ReserveFences{100, 110});
  EXPECT_EQ(t.hold(kJob).fence, 100U);
  t.apply(ReserveFences{1, 50});
  EXPECT_EQ(t.table.next_fence(), 101U);
  EXPECT_EQ(t.table.fences_left(), 9U);
  t.apply(ReserveFences{50, 105});
  EXPECT_EQ(t.hold(kOther).fence, 101U);
  t.apply(ReserveFences{0, 0});
  EXPECT_EQ(t.hold(kThird).fence, 102U);
}

TEST(FenceTest, fences_are_granted_in_turn_whatever_the_key) {
  TestTable t;
  std::uint64_t expected = 1;
  for (const Key& key : {kJob, kOther, kThird, kPool}) {
    EXPECT_EQ(t.table.next_fence(), expected);
    EXPECT_EQ(t.hold(key).fence, expected++);
  }
}

}  // namespace

}  // namespace dflockd::locks
