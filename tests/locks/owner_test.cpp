// Owners: opening, closing, what they leave behind, and taking back what they did not hear of.
#include <set>

#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(OwnerTest, indexes_are_dense_and_ids_differ) {
  TestTable t;
  std::set<std::uint32_t> indexes;
  for (int i = 0; i < 200; ++i) indexes.insert(t.owner().index);
  EXPECT_EQ(indexes.size(), 200U);
  EXPECT_EQ(*indexes.rbegin(), 199U);
}

TEST(OwnerTest, index_serves_again_with_another_generation) {
  TestTable t;
  const OwnerId first = t.owner();
  t.close(first);
  const OwnerId second = t.owner();
  EXPECT_EQ(second.index, first.index);
  EXPECT_NE(second.generation, first.generation);
}

TEST(OwnerTest, has_claims_while_it_holds_or_waits) {
  TestTable t;
  const OwnerId owner = t.owner();
  EXPECT_FALSE(t.table.has_claims(owner));
  const Token token = t.hold(owner, kJob);
  EXPECT_TRUE(t.table.has_claims(owner));
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_FALSE(t.table.has_claims(owner));
  t.hold(kJob);
  t.enqueue(owner, kJob);
  EXPECT_TRUE(t.table.has_claims(owner));
  t.wait(owner, kJob, 5s);
  EXPECT_TRUE(t.table.has_claims(owner));
  t.advance_to(5s);
  EXPECT_FALSE(t.table.has_claims(owner));
}

TEST(CloseOwnerTest, releases_what_it_holds_to_the_next_waiters) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.hold(owner, kJob);
  t.hold(owner, kOther);
  const OwnerId job_waiter = t.owner();
  const OwnerId other_waiter = t.owner();
  t.acquire(job_waiter, kJob, 60s);
  t.acquire(other_waiter, kOther, 60s);
  t.close(owner);
  EXPECT_THAT(t.heard(), UnorderedElementsAre(Granted(job_waiter), Granted(other_waiter)));
}

TEST(CloseOwnerTest, cancels_its_wait_without_an_event) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.acquire(owner, kJob, 60s);
  t.acquire(behind, kJob, 60s);
  t.close(owner);
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
}

TEST(CloseOwnerTest, owner_that_waits_behind_itself_is_gone_altogether) {
  for (const bool release_grants : {true, false}) {
    TestTable t;
    const OwnerId owner = t.owner();
    const Token token = t.hold(owner, kJob);
    t.enqueue(owner, kJob);
    const OwnerId behind = t.owner();
    t.acquire(owner, kJob, 60s);
    t.acquire(behind, kJob, 60s);
    if (release_grants) {
      t.close(owner);
    } else {
      t.close_keeping_grants(owner);
      EXPECT_THAT(t.heard(), IsEmpty());
      EXPECT_TRUE(t.release(kJob, token));
    }
    EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
    EXPECT_EQ(t.latest_granted.fence, token.fence + 1) << "no fence went to the closed owner";
    EXPECT_EQ(t.info(kJob)->waiters, 0U);
  }
}

TEST(CloseOwnerTest, leaves_nothing_behind) {
  TestTable t;
  const OwnerId owner = t.owner();
  const OwnerId holder = t.owner();
  t.hold(holder, kThird);
  t.hold(owner, kJob);
  t.enqueue(owner, kOther);
  t.enqueue(owner, kThird);
  t.acquire(owner, kThird, 60s);
  t.close(owner);
  EXPECT_EQ(t.table.held(), 1U);
  EXPECT_EQ(t.table.counts().lock_waiters, 0U);
  t.close(holder);
  EXPECT_EQ(t.table.next_deadline(), kNever);
  EXPECT_EQ(t.collect_idle(0s, 9), 3U);
}

TEST(CloseOwnerTest, keeping_grants_leaves_them_to_token_and_lease) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token job = t.hold(owner, kJob, {.lease = 10s});
  t.hold(owner, kOther, {.lease = 20s});
  t.close_keeping_grants(owner);
  EXPECT_EQ(t.table.held(), 2U);
  EXPECT_TRUE(t.renew(kJob, job, 15s));
  EXPECT_TRUE(t.release(kJob, job));
  t.advance_to(20s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kOther)));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(CloseOwnerTest, index_is_not_reused_while_kept_grants_last) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.hold(owner, kJob, {.lease = 10s});
  const Token other = t.hold(owner, kOther, {.lease = 30s});
  t.close_keeping_grants(owner);
  EXPECT_NE(t.owner().index, owner.index);
  t.advance_to(10s);
  EXPECT_NE(t.owner().index, owner.index);
  EXPECT_TRUE(t.release(kOther, other));
  const OwnerId successor = t.owner();
  EXPECT_EQ(successor.index, owner.index);
  EXPECT_NE(successor.generation, owner.generation);
  EXPECT_FALSE(t.table.has_claims(successor));
}

TEST(CloseOwnerTest, keeping_grants_still_releases_one_that_no_answer_has_named) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.enqueue(owner, kJob);
  t.acquire(behind, kJob, 60s);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.info(kJob)->owner, owner);
  t.close_keeping_grants(owner);
  EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
}

TEST(CloseOwnerTest, keeping_grants_passes_on_what_the_owner_was_granted_as_it_left) {
  TestTable t;
  t.hold(kJob, {.lease = 10s});
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.acquire(owner, kJob, 60s);
  t.acquire(behind, kJob, 60s);
  t.now = 10s;  // the holder's lease ends in the call that closes the first waiter
  t.close_keeping_grants(owner);
  EXPECT_EQ(t.info(kJob)->owner, behind);
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
}

TEST(CloseOwnerTest, keeping_grants_keeps_a_phase_one_grant_that_was_delivered) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token token = t.enqueue(owner, kJob).token;
  t.close_keeping_grants(owner);
  EXPECT_EQ(t.table.held(), 1U);
  EXPECT_TRUE(t.release(kJob, token));
}

TEST(CloseOwnerTest, kept_phase_one_grant_ends_with_its_lease_and_leaves_nothing) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob, {.lease = 10s});
  t.close_keeping_grants(owner);
  t.advance_to(10s);
  EXPECT_EQ(t.owner().index, owner.index);
  EXPECT_EQ(t.collect_idle(0s, 9), 1U);
}

TEST(CloseOwnerTest, grant_that_waits_for_nobody_stays_with_the_next_waiter_when_both_leave) {
  TestTable t;
  const OwnerId owner = t.owner();
  const OwnerId second = t.owner();
  const OwnerId third = t.owner();
  t.hold(owner, kJob);
  t.acquire(second, kJob, 60s);
  t.acquire(third, kJob, 60s);
  t.close(owner);
  t.close(second);
  EXPECT_THAT(t.heard(), ElementsAre(Granted(second), Granted(third)));
}

TEST(CloseOwnerTest, thousand_waiters_may_leave_at_once) {
  TestTable t;
  const Token token = t.hold(kJob);
  std::vector<OwnerId> waiters;
  for (int i = 0; i < 1001; ++i) {
    waiters.push_back(t.owner());
    t.acquire(waiters.back(), kJob, 60s);
  }
  for (std::size_t i = 0; i < 1000; ++i) t.close(waiters[i]);
  EXPECT_EQ(t.info(kJob)->waiters, 1U);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(waiters.back())));
}

TEST(CancelWaitTest, leaves_the_queue_without_an_event) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.acquire(owner, kJob, 5s);
  t.acquire(behind, kJob, 60s);
  t.apply(CancelWait{owner});
  EXPECT_FALSE(t.table.has_claims(owner));
  t.advance_to(5s);
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
}

TEST(CancelWaitTest, owner_may_ask_again_and_stands_at_the_end) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.acquire(owner, kJob, 60s);
  t.acquire(behind, kJob, 60s);
  t.apply(CancelWait{owner});
  EXPECT_EQ(t.acquire(owner, kJob, 60s).outcome, Outcome::kQueued);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
}

TEST(CancelWaitTest, does_nothing_to_an_owner_that_is_not_blocked) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.hold(owner, kJob);
  t.enqueue(owner, kJob);
  t.apply(CancelWait{owner});
  EXPECT_EQ(t.info(kJob)->holders, 1U);
  EXPECT_EQ(t.info(kJob)->waiters, 1U);
}

TEST(CancelWaitTest, ends_a_phase_two_wait_together_with_its_place) {
  TestTable t;
  t.hold(kJob);
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob);
  t.wait(owner, kJob, 5s);
  t.apply(CancelWait{owner});
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST(CancelWaitTest, leaves_a_slot_that_becomes_free_at_that_moment_to_the_next) {
  TestTable t;
  const OwnerId holder = t.owner();
  t.hold(holder, kJob, {.lease = 5s});
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.acquire(owner, kJob, 60s);
  t.acquire(behind, kJob, 60s);
  t.now = 5s;
  t.apply(CancelWait{owner});
  EXPECT_THAT(t.heard(), ElementsAre(Expired(holder, kJob), Granted(behind)));
  EXPECT_FALSE(t.table.has_claims(owner));
}

TEST(CancelWaitTest, does_not_cancel_a_grant_that_was_made_before) {
  TestTable t;
  t.hold(kJob, {.lease = 5s});
  const OwnerId owner = t.owner();
  t.acquire(owner, kJob, 60s);
  t.advance_to(5s);
  t.apply(CancelWait{owner});
  EXPECT_EQ(t.info(kJob)->owner, owner);
}

TEST(CancelWaitsTest, ends_places_of_phase_one_and_passes_on_what_no_answer_has_named) {
  TestTable t;
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  const Token known = t.hold(owner, kJob);
  const Token other = t.hold(kOther);
  t.hold(kThird);
  t.enqueue(owner, kOther);
  t.acquire(behind, kOther, 60s);
  t.enqueue(owner, kThird);
  EXPECT_TRUE(t.release(kOther, other));
  t.apply(CancelWaits{owner});
  EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
  EXPECT_EQ(t.info(kThird)->waiters, 0U);
  EXPECT_TRUE(t.release(kJob, known));
  EXPECT_FALSE(t.table.has_claims(owner));
}

TEST(CancelWaitsTest, leaves_a_slot_that_becomes_free_at_that_moment_to_the_next) {
  TestTable t;
  const OwnerId holder = t.owner();
  t.hold(holder, kJob, {.lease = 5s});
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.enqueue(owner, kJob);
  t.acquire(behind, kJob, 60s);
  t.now = 5s;
  t.apply(CancelWaits{owner});
  EXPECT_THAT(t.heard(), ElementsAre(Expired(holder, kJob), Granted(behind)));
}

TEST(GiveUpPlaceTest, ends_a_place_of_phase_one_for_that_key_only) {
  TestTable t;
  t.hold(kJob);
  t.hold(kOther);
  const OwnerId owner = t.owner();
  t.enqueue(owner, kJob);
  t.enqueue(owner, kOther);
  t.apply(GiveUpPlace{owner, kJob});
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
  EXPECT_EQ(t.info(kOther)->waiters, 1U);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST(GiveUpPlaceTest, passes_on_a_grant_that_no_answer_has_named) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId owner = t.owner();
  const OwnerId behind = t.owner();
  t.enqueue(owner, kJob);
  t.acquire(behind, kJob, 60s);
  EXPECT_TRUE(t.release(kJob, token));
  t.apply(GiveUpPlace{owner, kJob});
  EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
}

TEST(GiveUpPlaceTest, keeps_a_grant_that_the_answer_to_enqueue_named) {
  TestTable t;
  const OwnerId owner = t.owner();
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kGranted);
  t.apply(GiveUpPlace{owner, kJob});
  t.apply(GiveUpPlace{owner, kOther});
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kGranted);
}

TEST(CloseOwnerTest, keeps_the_grants_that_were_delivered_and_no_others) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token heard = t.hold(owner, kJob);
  const Token unheard = t.hold(owner, kOther);
  const Token heard_later = t.hold(owner, kThird);
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kOther, 60s);
  t.close_keeping_grants(owner, {unheard.fence});
  EXPECT_THAT(t.heard(), ElementsAre(Granted(waiter)));
  EXPECT_EQ(t.table.held(), 3U);
  EXPECT_TRUE(t.release(kJob, heard));
  EXPECT_TRUE(t.release(kThird, heard_later));
}

// Its fence is as old as the grant: it is the answer to `wait` that did not arrive.
TEST(CloseOwnerTest, releases_a_phase_one_grant_whose_answer_to_wait_was_not_delivered) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token first = t.hold(kJob);
  t.enqueue(owner, kJob);
  t.release(kJob, first);
  const Token heard = t.hold(owner, kOther);
  const Answer collected = t.wait(owner, kJob, 60s);
  ASSERT_EQ(collected.outcome, Outcome::kGranted);
  ASSERT_LT(collected.token.fence, heard.fence);
  t.close_keeping_grants(owner, {collected.token.fence});
  EXPECT_EQ(t.table.held(), 1U);
  EXPECT_TRUE(t.release(kOther, heard));
}

// It knows the token from the answer to `enqueue`, and lives on that lease.
TEST(CloseOwnerTest, keeps_a_phase_one_grant_of_which_one_of_two_answers_was_delivered) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token token = t.enqueue(owner, kJob).token;
  t.wait(owner, kJob, 60s);
  t.close_keeping_grants(owner, {token.fence});
  EXPECT_TRUE(t.release(kJob, token));
}

TEST(CloseOwnerTest, releases_a_phase_one_grant_of_which_no_answer_was_delivered) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token token = t.enqueue(owner, kJob).token;
  t.wait(owner, kJob, 60s);
  t.close_keeping_grants(owner, {token.fence, token.fence});
  EXPECT_FALSE(t.release(kJob, token));
}

TEST(CloseOwnerTest, undelivered_fences_of_others_do_not_matter) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token token = t.hold(owner, kJob);
  const Token of_another = t.hold(kOther);
  t.close_keeping_grants(owner, {0, of_another.fence, 1000});
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_TRUE(t.release(kOther, of_another));
}

TEST(CloseOwnerTest, releases_every_grant_when_the_fences_run_out_and_it_waits_behind_itself) {
  TestTable t({}, 2);
  const OwnerId owner = t.owner();
  const Token first = t.hold(owner, kJob);
  t.enqueue(owner, kJob);
  const Token second = t.hold(owner, kOther);
  t.wait(owner, kJob, 60s);
  t.close_keeping_grants(owner, {first.fence, second.fence});
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_EQ(t.table.held(), 0U);
}

}  // namespace

}  // namespace dflockd::locks
