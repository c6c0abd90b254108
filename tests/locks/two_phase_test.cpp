// Enqueue and wait, in every state that the two can be in.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct TwoPhaseTest : ::testing::Test {
  TestTable t;
  OwnerId holder = t.owner();
  OwnerId owner = t.owner();

  // Puts `owner` in the queue of a held key.
  Token queue_behind_a_holder(const Terms& terms = {}) {
    const Token token = t.hold(holder, kJob, {.lease = 10s});
    EXPECT_EQ(t.enqueue(owner, kJob, terms).outcome, Outcome::kQueued);
    return token;
  }
};

TEST_F(TwoPhaseTest, enqueue_on_a_free_key_is_granted) {
  const Answer answer = t.enqueue(owner, kJob, {.lease = 20s});
  EXPECT_EQ(answer.outcome, Outcome::kGranted);
  EXPECT_EQ(answer.lease, 20s);
  EXPECT_EQ(answer.token.salt, t.salt);
  EXPECT_EQ(t.table.next_deadline(), 20s);
}

TEST_F(TwoPhaseTest, wait_on_a_granted_state_returns_the_same_token_and_restarts_the_lease) {
  const Answer first = t.enqueue(owner, kJob, {.lease = 20s});
  t.now = 15s;
  const Answer second = t.wait(owner, kJob, 5s);
  EXPECT_FALSE(first.repeated);
  EXPECT_TRUE(second.repeated);
  EXPECT_EQ(second.token, first.token);
  EXPECT_EQ(second.lease, first.lease);
  EXPECT_EQ(t.table.next_deadline(), 35s);
  EXPECT_EQ(t.info(kJob)->held, 15s) << "held counts from the grant";
}

TEST_F(TwoPhaseTest, wait_with_zero_timeout_on_a_granted_state_is_granted) {
  t.enqueue(owner, kJob);
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kGranted);
}

TEST_F(TwoPhaseTest, wait_restarts_the_lease_that_was_asked_for_not_the_renewed_one) {
  const Answer answer = t.enqueue(owner, kJob, {.lease = 20s});
  EXPECT_TRUE(t.renew(kJob, answer.token, 100s));
  t.now = 1s;
  EXPECT_EQ(t.wait(owner, kJob, 0s).lease, 20s);
  EXPECT_EQ(t.table.next_deadline(), 21s);
}

TEST_F(TwoPhaseTest, wait_ends_the_state) {
  t.enqueue(owner, kJob);
  t.wait(owner, kJob, 0s);
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kNotEnqueued);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kQueued) << "behind itself";
}

TEST_F(TwoPhaseTest, wait_without_a_state_is_not_enqueued) {
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
  t.hold(owner, kJob);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST_F(TwoPhaseTest, states_of_other_owners_keys_and_kinds_do_not_count) {
  t.enqueue(owner, kJob);
  EXPECT_EQ(t.wait(holder, kJob, 0s).outcome, Outcome::kNotEnqueued);
  EXPECT_EQ(t.wait(owner, kOther, 0s).outcome, Outcome::kNotEnqueued);
  EXPECT_EQ(t.wait(owner, {Kind::kSemaphore, kJob.name}, 0s).outcome, Outcome::kNotEnqueued);
  EXPECT_EQ(t.enqueue(owner, {Kind::kSemaphore, kJob.name}).outcome, Outcome::kGranted);
  EXPECT_EQ(t.enqueue(holder, kJob).outcome, Outcome::kQueued);
}

TEST_F(TwoPhaseTest, second_enqueue_is_refused_while_granted) {
  t.enqueue(owner, kJob);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kAlreadyEnqueued);
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
}

TEST_F(TwoPhaseTest, second_enqueue_is_refused_while_queued) {
  queue_behind_a_holder();
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kAlreadyEnqueued);
  EXPECT_EQ(t.info(kJob)->waiters, 1U);
}

TEST_F(TwoPhaseTest, second_enqueue_is_refused_while_granted_and_undelivered) {
  const Token token = queue_behind_a_holder();
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kAlreadyEnqueued);
}

TEST_F(TwoPhaseTest, queued_place_keeps_its_turn_and_is_granted_without_an_event) {
  const Token token = queue_behind_a_holder({.lease = 20s});
  const std::uint64_t salt = t.salt;
  const OwnerId behind = t.owner();
  t.acquire(behind, kJob, 60s);
  t.now = 2s;
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_EQ(t.info(kJob)->owner, owner);
  EXPECT_EQ(t.table.next_deadline(), 22s) << "the lease runs from the grant";
  t.now = 12s;
  const Answer answer = t.wait(owner, kJob, 0s);
  EXPECT_EQ(answer.outcome, Outcome::kGranted);
  EXPECT_EQ(answer.token.salt, salt);
  EXPECT_EQ(answer.lease, 20s);
  EXPECT_EQ(t.table.next_deadline(), 32s) << "and starts again with the wait";
}

TEST_F(TwoPhaseTest, wait_on_a_queued_state_blocks_and_the_lease_starts_with_the_grant) {
  const Token token = queue_behind_a_holder({.lease = 20s});
  t.now = 1s;
  EXPECT_EQ(t.wait(owner, kJob, 30s).outcome, Outcome::kQueued);
  t.now = 5s;
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(owner)));
  EXPECT_EQ(t.table.next_deadline(), 25s);
  EXPECT_TRUE(t.release(kJob, t.latest_granted));
}

TEST_F(TwoPhaseTest, queued_state_without_a_wait_never_times_out) {
  const Token token = queue_behind_a_holder();
  EXPECT_TRUE(t.renew(kJob, token, 1'000'000s));
  t.advance_to(500'000s);
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_TRUE(t.table.has_claims(owner));
}

TEST_F(TwoPhaseTest, wait_that_times_out_gives_up_the_place) {
  const Token token = queue_behind_a_holder();
  t.now = 1s;
  t.wait(owner, kJob, 3s);
  t.advance_to(4s - 1ns);
  EXPECT_THAT(t.heard(), IsEmpty());
  t.advance_to(4s);
  EXPECT_THAT(t.heard(), ElementsAre(WaitOver(owner, Outcome::kTimeout)));
  EXPECT_EQ(t.wait(owner, kJob, 3s).outcome, Outcome::kNotEnqueued);
  EXPECT_FALSE(t.table.has_claims(owner));
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST_F(TwoPhaseTest, wait_with_zero_timeout_gives_up_the_place_at_once) {
  queue_behind_a_holder();
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kNotEnqueued);
  EXPECT_FALSE(t.table.has_claims(owner));
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
  EXPECT_THAT(t.heard(), IsEmpty());
}

TEST_F(TwoPhaseTest, wait_for_a_place_leaves_room_for_another_phase_one) {
  queue_behind_a_holder();
  t.wait(owner, kJob, 5s);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kQueued);
  EXPECT_EQ(t.info(kJob)->waiters, 2U);
}

TEST_F(TwoPhaseTest, delivered_grant_whose_lease_ran_out_is_lease_expired_once) {
  t.enqueue(owner, kJob, {.lease = 10s});
  t.now = 10s;
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kLeaseExpired);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kJob)));
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST_F(TwoPhaseTest, undelivered_grant_whose_lease_ran_out_is_lease_expired_once) {
  const Token token = queue_behind_a_holder({.lease = 10s});
  EXPECT_TRUE(t.release(kJob, token));
  t.advance_to(10s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kJob)));
  EXPECT_FALSE(t.table.has_claims(owner));
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kLeaseExpired);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST_F(TwoPhaseTest, wait_just_before_the_lease_runs_out_is_in_time) {
  t.enqueue(owner, kJob, {.lease = 10s});
  t.now = 10s - 1ns;
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kGranted);
}

TEST_F(TwoPhaseTest, lease_that_ran_out_lets_the_next_in_and_is_still_reported) {
  t.enqueue(owner, kJob, {.lease = 10s});
  t.enqueue(holder, kJob);
  t.now = 10s;
  EXPECT_EQ(t.wait(holder, kJob, 0s).outcome, Outcome::kGranted);
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kLeaseExpired);
}

TEST_F(TwoPhaseTest, fresh_enqueue_replaces_a_state_whose_lease_ran_out) {
  t.enqueue(owner, kJob, {.lease = 10s});
  t.now = 10s;
  const Answer answer = t.enqueue(owner, kJob, {.lease = 10s});
  EXPECT_EQ(answer.outcome, Outcome::kGranted);
  EXPECT_EQ(t.wait(owner, kJob, 0s).token, answer.token);
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kNotEnqueued);
}

TEST_F(TwoPhaseTest, fresh_enqueue_may_queue_after_a_lease_that_ran_out) {
  t.enqueue(owner, kJob, {.lease = 10s});
  t.advance_to(10s);
  const Token token = t.hold(holder, kJob);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kQueued);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kQueued);
  t.heard();
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(owner)));
}

TEST_F(TwoPhaseTest, renewal_by_token_keeps_a_granted_state_alive) {
  const Token token = t.enqueue(owner, kJob, {.lease = 10s}).token;
  t.now = 9s;
  EXPECT_TRUE(t.renew(kJob, token, 10s));
  t.now = 18s;
  EXPECT_EQ(t.wait(owner, kJob, 0s).outcome, Outcome::kGranted);
}

TEST_F(TwoPhaseTest, release_by_token_clears_the_state) {
  const Token token = t.enqueue(owner, kJob).token;
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kNotEnqueued);
  EXPECT_EQ(t.enqueue(owner, kJob).outcome, Outcome::kGranted);
}

TEST_F(TwoPhaseTest, closing_the_owner_clears_a_granted_state) {
  t.enqueue(owner, kJob);
  t.enqueue(holder, kJob);
  t.close(owner);
  EXPECT_EQ(t.wait(holder, kJob, 0s).outcome, Outcome::kGranted);
}

TEST_F(TwoPhaseTest, closing_the_owner_clears_a_queued_state) {
  const Token token = queue_behind_a_holder();
  t.close(owner);
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST_F(TwoPhaseTest, closing_the_owner_clears_a_state_whose_lease_ran_out) {
  t.enqueue(owner, kJob, {.lease = 10s});
  t.advance_to(10s);
  t.close(owner);
  EXPECT_EQ(t.collect_idle(0s, 9), 1U);
  const OwnerId successor = t.owner();
  EXPECT_EQ(t.wait(successor, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST_F(TwoPhaseTest, key_with_a_lease_that_ran_out_is_kept_until_wait_is_answered) {
  t.enqueue(owner, kJob, {.lease = 10s});
  t.advance_to(100s);
  EXPECT_EQ(t.collect_idle(0s, 9), 0U);
  EXPECT_EQ(t.wait(owner, kJob, 5s).outcome, Outcome::kLeaseExpired);
  EXPECT_EQ(t.info(kJob)->idle, 0s) << "idle counts from the wait";
  t.now = 103s;
  EXPECT_EQ(t.collect_idle(4s, 9), 0U);
  EXPECT_EQ(t.collect_idle(3s, 9), 1U);
}

TEST_F(TwoPhaseTest, cap_on_keys_drops_a_key_with_a_lease_that_ran_out) {
  TestTable capped({.max_locks = 1});
  const OwnerId waiter = capped.owner();
  capped.enqueue(waiter, kJob, {.lease = 10s});
  capped.advance_to(10s);
  capped.hold(kOther);
  EXPECT_FALSE(capped.has(kJob));
  EXPECT_EQ(capped.wait(waiter, kJob, 5s).outcome, Outcome::kNotEnqueued);
}

TEST_F(TwoPhaseTest, semaphore_slots_go_through_two_phases_too) {
  const Terms terms{.lease = 10s, .limit = 2};
  EXPECT_EQ(t.enqueue(owner, kPool, terms).outcome, Outcome::kGranted);
  EXPECT_EQ(t.enqueue(owner, kPool, terms).outcome, Outcome::kAlreadyEnqueued);
  EXPECT_EQ(t.enqueue(holder, kPool, terms).outcome, Outcome::kGranted);
  const OwnerId third = t.owner();
  EXPECT_EQ(t.enqueue(third, kPool, terms).outcome, Outcome::kQueued);
  EXPECT_EQ(t.wait(third, kPool, 60s).outcome, Outcome::kQueued);
  const Answer answer = t.wait(owner, kPool, 0s);
  EXPECT_TRUE(t.release(kPool, answer.token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(third)));
}

}  // namespace

}  // namespace dflockd::locks
