// Draining: who gets an answer, what stays, what still works.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(DrainTest, every_waiter_gets_an_answer_and_every_queue_is_empty) {
  TestTable t;
  t.hold(kJob);
  t.hold(kPool, {.limit = 1});
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  const OwnerId third = t.owner();
  const OwnerId silent = t.owner();
  t.acquire(first, kJob, 60s);
  t.enqueue(second, kJob);
  t.wait(second, kJob, 60s);
  t.acquire(third, kPool, 60s);
  t.enqueue(silent, kJob);
  t.apply(StartDraining{});
  EXPECT_THAT(t.heard(), UnorderedElementsAre(WaitOver(first, Outcome::kDraining),
                                              WaitOver(second, Outcome::kDraining),
                                              WaitOver(third, Outcome::kDraining)));
  EXPECT_EQ(t.table.counts().lock_waiters, 0U);
  EXPECT_EQ(t.table.counts().semaphore_waiters, 0U);
  EXPECT_FALSE(t.table.has_claims(silent));
  EXPECT_EQ(t.table.held(), 2U);
}

TEST(DrainTest, requests_are_refused) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.enqueue(owner, kOther);
  t.apply(StartDraining{});
  EXPECT_EQ(t.acquire(owner, kJob, 0s).outcome, Outcome::kDraining);
  EXPECT_EQ(t.acquire(owner, kJob, 5s).outcome, Outcome::kDraining);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kDraining);
  EXPECT_EQ(t.enqueue(owner, kOther).outcome, Outcome::kDraining);
  EXPECT_EQ(t.wait(owner, kOther, 5s).outcome, Outcome::kDraining) << "a grant that stays";
  EXPECT_EQ(t.wait(owner, kOther, 0s).outcome, Outcome::kDraining) << "and goes on to stay";
  EXPECT_FALSE(t.has(kJob));
}

TEST(DrainTest, wait_without_a_state_is_not_enqueued) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.hold(owner, kJob);
  t.apply(StartDraining{});
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
  EXPECT_EQ(t.wait(owner, kOther, 0s).outcome, Outcome::kNotEnqueued);
}

TEST(DrainTest, wait_for_a_place_that_the_drain_took_is_answered_so_once) {
  TestTable t;
  const Token held = t.hold(kJob);
  const OwnerId granted = t.owner();
  const OwnerId queued = t.owner();
  t.enqueue(granted, kJob);
  t.enqueue(queued, kJob);
  EXPECT_TRUE(t.release(kJob, held)) << "a grant that no answer has named";
  t.apply(StartDraining{});
  EXPECT_EQ(t.table.held(), 0U);
  for (const OwnerId owner : {granted, queued}) {
    EXPECT_FALSE(t.table.has_claims(owner));
    EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kDraining);
    EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
  }
  EXPECT_EQ(t.table.counts().claims, 0U);
  EXPECT_TRUE(t.table.consistent());
}

TEST(DrainTest, places_that_the_drain_took_go_with_their_owners) {
  TestTable t;
  t.hold(kJob);
  const OwnerId queued = t.owner();
  t.enqueue(queued, kJob);
  t.apply(StartDraining{});
  EXPECT_EQ(t.table.counts().claims, 2U);
  t.close(queued);
  EXPECT_EQ(t.table.counts().claims, 1U);
}

TEST(DrainTest, wait_says_that_its_lease_ran_out) {
  TestTable t;
  const OwnerId before = t.owner();
  const OwnerId later = t.owner();
  t.enqueue(before, kJob, {.lease = 5s});
  t.enqueue(later, kOther, {.lease = 10s});
  t.advance_to(5s);
  t.apply(StartDraining{});
  t.advance_to(10s);
  EXPECT_EQ(t.wait(before, kJob, 5s).outcome, Outcome::kLeaseExpired);
  EXPECT_EQ(t.wait(later, kOther, 5s).outcome, Outcome::kLeaseExpired);
}

TEST(DrainTest, delivered_grants_stay_and_may_be_renewed_and_released) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token held = t.hold(owner, kJob);
  const Token enqueued = t.enqueue(owner, kOther).token;
  t.apply(StartDraining{});
  EXPECT_EQ(t.table.held(), 2U);
  EXPECT_TRUE(t.renew(kJob, held, 20s));
  EXPECT_TRUE(t.renew(kOther, enqueued, 20s));
  EXPECT_TRUE(t.release(kJob, held));
  EXPECT_TRUE(t.release(kOther, enqueued));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(DrainTest, grants_that_no_answer_has_named_are_released) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.table.held(), 1U);
  t.apply(StartDraining{});
  EXPECT_EQ(t.table.held(), 0U);
  EXPECT_EQ(t.table.next_deadline(), kNever);
  EXPECT_THAT(t.heard(), IsEmpty());
}

TEST(DrainTest, grant_released_by_the_drain_goes_to_nobody) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId undelivered = t.owner();
  const OwnerId behind = t.owner();
  t.enqueue(undelivered, kJob);
  t.acquire(behind, kJob, 60s);
  EXPECT_TRUE(t.release(kJob, token));
  t.apply(StartDraining{});
  EXPECT_THAT(t.heard(), ElementsAre(WaitOver(behind, Outcome::kDraining)));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(DrainTest, leases_still_run_out) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.hold(owner, kJob, {.lease = 10s});
  t.apply(StartDraining{});
  EXPECT_EQ(t.table.next_deadline(), 10s);
  t.advance_to(10s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kJob)));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(DrainTest, what_is_over_ends_before_the_drain) {
  TestTable t;
  const OwnerId holder = t.owner();
  const OwnerId waiter = t.owner();
  t.hold(holder, kJob, {.lease = 10s});
  t.acquire(waiter, kJob, 60s);
  t.now = 10s;
  t.apply(StartDraining{});
  EXPECT_THAT(t.heard(), ElementsAre(Expired(holder, kJob), Granted(waiter)));
  EXPECT_EQ(t.table.held(), 1U);
}

TEST(DrainTest, owners_may_still_come_and_go) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.hold(owner, kJob);
  t.apply(StartDraining{});
  t.close(owner);
  EXPECT_EQ(t.table.held(), 0U);
  EXPECT_EQ(t.owner().index, owner.index);
}

TEST(DrainTest, draining_twice_is_draining_once) {
  TestTable t;
  t.hold(kJob);
  t.apply(StartDraining{});
  t.apply(StartDraining{});
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_EQ(t.table.held(), 1U);
}

}  // namespace

}  // namespace dflockd::locks
