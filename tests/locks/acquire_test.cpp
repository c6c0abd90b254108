// Who gets a slot, and when: acquire, queues, timeouts, semaphores.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr seconds kLongest{9223372036};  // The most that the protocol lets a client ask for.

TEST(AcquireTest, free_key_is_granted_at_once_with_token_and_lease) {
  TestTable t;
  const Answer answer = t.acquire(t.owner(), kJob, 5s, {.lease = 33s});
  EXPECT_EQ(answer.outcome, Outcome::kGranted);
  EXPECT_EQ(answer.lease, 33s);
  EXPECT_EQ(answer.token.salt, t.salt);
  EXPECT_EQ(answer.token.fence, 1U);
  EXPECT_THAT(t.heard(), IsEmpty());
}

TEST(AcquireTest, zero_timeout_on_a_held_key_is_timeout_and_leaves_no_place) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId second = t.owner();
  EXPECT_EQ(t.acquire(second, kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_FALSE(t.table.has_claims(second));
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(AcquireTest, waiters_are_granted_in_the_order_in_which_they_came) {
  TestTable t;
  Token token = t.hold(kJob);
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  const OwnerId third = t.owner();
  for (const OwnerId owner : {second, third, first}) {
    EXPECT_EQ(t.acquire(owner, kJob, 60s).outcome, Outcome::kQueued);
  }
  for (const OwnerId owner : {second, third, first}) {
    EXPECT_TRUE(t.release(kJob, token));
    EXPECT_THAT(t.heard(), ElementsAre(Granted(owner)));
    token = t.latest_granted;
  }
}

TEST(AcquireTest, queued_grant_carries_the_waiters_own_salt_and_lease) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 60s, {.lease = 7s});
  const std::uint64_t salt = t.salt;
  t.now = 3s;
  EXPECT_TRUE(t.release(kJob, token));
  const std::vector<Effect> effects = t.heard();
  ASSERT_THAT(effects, ElementsAre(Granted(waiter)));
  EXPECT_EQ(effects[0].answer.token.salt, salt);
  EXPECT_EQ(effects[0].answer.lease, 7s);
  EXPECT_EQ(t.table.next_deadline(), 10s) << "the lease starts with the grant";
}

TEST(AcquireTest, wait_ends_with_timeout_exactly_at_its_deadline) {
  TestTable t;
  t.hold(kJob, {.lease = 60s});
  const OwnerId waiter = t.owner();
  t.now = 1s;
  t.acquire(waiter, kJob, 5s);
  t.advance_to(6s - 1ns);
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_TRUE(t.table.has_claims(waiter));
  t.advance_to(6s);
  EXPECT_THAT(t.heard(), ElementsAre(WaitOver(waiter, Outcome::kTimeout)));
  EXPECT_FALSE(t.table.has_claims(waiter));
}

TEST(AcquireTest, timed_out_waiter_leaves_the_queue_to_those_behind_it) {
  TestTable t;
  const Token token = t.hold(kJob, {.lease = 60s});
  const OwnerId hasty = t.owner();
  const OwnerId patient = t.owner();
  t.acquire(hasty, kJob, 5s);
  t.acquire(patient, kJob, 50s);
  t.advance_to(5s);
  EXPECT_THAT(t.heard(), ElementsAre(WaitOver(hasty, Outcome::kTimeout)));
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(patient)));
}

TEST(AcquireTest, longest_timeout_never_ends) {
  TestTable t;
  t.now = 100s;
  const Token token = t.hold(kJob, {.lease = kLongest});
  const OwnerId waiter = t.owner();
  EXPECT_EQ(t.acquire(waiter, kJob, kLongest).outcome, Outcome::kQueued);
  EXPECT_EQ(t.table.next_deadline(), kNever);
  t.advance_to(kNever - 1ns);
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(waiter)));
}

TEST(AcquireTest, holder_that_asks_again_queues_behind_itself) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token token = t.hold(owner, kJob);
  EXPECT_EQ(t.acquire(owner, kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.acquire(owner, kJob, 5s).outcome, Outcome::kQueued);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(owner)));
  EXPECT_NE(t.latest_granted.fence, token.fence);
}

TEST(AcquireTest, nobody_overtakes_a_waiter_whose_slot_has_just_come_free) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 5s);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_THAT(t.heard(), ElementsAre(Granted(waiter)));
}

TEST(AcquireTest, request_at_the_deadline_of_a_lease_comes_after_those_who_waited) {
  TestTable t;
  const OwnerId holder = t.owner();
  t.hold(holder, kJob, {.lease = 10s});
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 60s);
  t.now = 10s;
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(holder, kJob), Granted(waiter)));
}

TEST(AcquireTest, lock_and_semaphore_of_one_name_never_meet) {
  TestTable t;
  const Key semaphore{Kind::kSemaphore, kJob.name};
  const Token lock_token = t.hold(kJob);
  const Token semaphore_token = t.hold(semaphore);
  EXPECT_FALSE(t.release(semaphore, lock_token));
  EXPECT_FALSE(t.release(kJob, semaphore_token));
  EXPECT_TRUE(t.release(kJob, lock_token));
  EXPECT_TRUE(t.release(semaphore, semaphore_token));
}

TEST(AcquireTest, names_may_hold_any_bytes_and_are_copied) {
  TestTable t;
  std::string name("\0\xff\xfe\r", 4);
  name += std::string(252, 'k');
  const std::string original = name;
  const Token token = t.hold({Kind::kLock, name});
  name.assign(name.size(), 'x');
  EXPECT_FALSE(t.has({Kind::kLock, name}));
  EXPECT_TRUE(t.has({Kind::kLock, original}));
  EXPECT_FALSE(t.release({Kind::kLock, original.substr(0, 1)}, token));
  EXPECT_TRUE(t.release({Kind::kLock, original}, token));
}

TEST(AcquireTest, many_waits_that_are_over_end_in_the_order_of_their_deadlines) {
  TestTable t;
  t.hold(kJob, {.lease = 100s});
  t.hold(kOther, {.lease = 100s});
  std::vector<OwnerId> owners;
  for (const int timeout : {5, 3, 9, 1, 7}) {
    owners.push_back(t.owner());
    t.acquire(owners.back(), timeout % 2 == 0 ? kJob : kOther, seconds(timeout));
  }
  t.advance_to(50s);
  EXPECT_THAT(
      t.heard(),
      ElementsAre(WaitOver(owners[3], Outcome::kTimeout), WaitOver(owners[1], Outcome::kTimeout),
                  WaitOver(owners[0], Outcome::kTimeout), WaitOver(owners[4], Outcome::kTimeout),
                  WaitOver(owners[2], Outcome::kTimeout)));
}

TEST(AcquireTest, grant_that_was_due_before_the_timeout_wins_however_late_the_table_hears) {
  TestTable t;
  const OwnerId holder = t.owner();
  t.hold(holder, kJob, {.lease = 4s});
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 5s);
  t.advance_to(20s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(holder, kJob), Granted(waiter)));
}

TEST(AcquireTest, timeout_that_was_due_before_the_grant_wins_however_late_the_table_hears) {
  TestTable t;
  const OwnerId holder = t.owner();
  t.hold(holder, kJob, {.lease = 5s});
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 4s);
  t.advance_to(20s);
  EXPECT_THAT(t.heard(), ElementsAre(WaitOver(waiter, Outcome::kTimeout), Expired(holder, kJob)));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(AcquireTest, grant_and_timeout_due_at_the_same_instant_are_one_answer) {
  TestTable t;
  t.hold(kJob, {.lease = 5s});
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 5s);
  t.advance_to(5s);
  std::size_t answers = 0;
  bool granted = false;
  for (const Effect& effect : t.heard()) {
    if (effect.answer.outcome == Outcome::kLeaseExpired) continue;
    ++answers;
    granted = effect.answer.outcome == Outcome::kGranted;
  }
  EXPECT_EQ(answers, 1U);
  EXPECT_EQ(t.table.has_claims(waiter), granted);
  EXPECT_EQ(t.table.held(), granted ? 1U : 0U);
}

// --- Semaphores ---

TEST(SemaphoreTest, grants_up_to_its_limit_and_queues_the_rest) {
  TestTable t;
  const Terms terms{.limit = 3};
  for (int i = 0; i < 3; ++i) t.hold(kPool, terms);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 0s, terms).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 1s, terms).outcome, Outcome::kQueued);
  EXPECT_EQ(t.info(kPool)->holders, 3U);
  EXPECT_EQ(t.info(kPool)->waiters, 1U);
}

TEST(SemaphoreTest, free_slots_go_to_the_head_of_the_queue) {
  TestTable t;
  const Terms terms{.limit = 2};
  const Token first = t.hold(kPool, terms);
  const Token second = t.hold(kPool, terms);
  const OwnerId ahead = t.owner();
  const OwnerId behind = t.owner();
  t.acquire(ahead, kPool, 60s, terms);
  t.acquire(behind, kPool, 60s, terms);
  EXPECT_TRUE(t.release(kPool, second));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(ahead)));
  EXPECT_TRUE(t.release(kPool, first));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(behind)));
}

TEST(SemaphoreTest, leases_that_end_together_let_as_many_waiters_in) {
  TestTable t;
  const Terms terms{.lease = 5s, .limit = 2};
  t.hold(kPool, terms);
  t.hold(kPool, terms);
  std::vector<OwnerId> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.push_back(t.owner());
    t.acquire(waiters.back(), kPool, 60s, {.lease = 50s, .limit = 2});
  }
  t.advance_to(5s);
  EXPECT_TRUE(t.table.has_claims(waiters[2]));
  EXPECT_EQ(t.info(kPool)->holders, 2U);
  EXPECT_EQ(t.info(kPool)->waiters, 1U);
  EXPECT_EQ(t.info(kPool)->owner, waiters[0]);
}

TEST(SemaphoreTest, each_slot_is_released_by_its_own_token) {
  TestTable t;
  const Terms terms{.limit = 3};
  const OwnerId owner = t.owner();
  std::vector<Token> tokens;
  for (int i = 0; i < 3; ++i) tokens.push_back(t.hold(owner, kPool, terms));
  EXPECT_TRUE(t.release(kPool, tokens[1]));
  EXPECT_FALSE(t.release(kPool, tokens[1]));
  EXPECT_EQ(t.info(kPool)->holders, 2U);
  EXPECT_TRUE(t.renew(kPool, tokens[2], 99s));
  EXPECT_TRUE(t.release(kPool, tokens[0]));
  EXPECT_TRUE(t.release(kPool, tokens[2]));
}

TEST(SemaphoreTest, another_limit_is_refused_while_held) {
  TestTable t;
  t.hold(kPool, {.limit = 2});
  EXPECT_EQ(t.acquire(t.owner(), kPool, 0s, {.limit = 3}).outcome, Outcome::kLimitMismatch);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 5s, {.limit = 1}).outcome, Outcome::kLimitMismatch);
  EXPECT_EQ(t.enqueue(t.owner(), kPool, {.limit = 3}).outcome, Outcome::kLimitMismatch);
}

TEST(SemaphoreTest, another_limit_is_refused_while_queued_for) {
  TestTable t;
  t.hold(kPool, {.limit = 1});
  t.acquire(t.owner(), kPool, 5s, {.limit = 1});
  EXPECT_EQ(t.acquire(t.owner(), kPool, 0s, {.limit = 2}).outcome, Outcome::kLimitMismatch);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 5s, {.limit = 2}).outcome, Outcome::kLimitMismatch);
}

TEST(SemaphoreTest, another_limit_is_refused_while_idle_and_taken_once_collected) {
  TestTable t;
  const Token token = t.hold(kPool, {.limit = 2});
  EXPECT_TRUE(t.release(kPool, token));
  EXPECT_EQ(t.acquire(t.owner(), kPool, 0s, {.limit = 3}).outcome, Outcome::kLimitMismatch);
  EXPECT_EQ(t.collect_idle(0s, 1), 1U);
  EXPECT_EQ(t.acquire(t.owner(), kPool, 0s, {.limit = 3}).outcome, Outcome::kGranted);
}

TEST(SemaphoreTest, largest_limit_works) {
  TestTable t;
  const Terms terms{.limit = 1'048'576};
  const Token token = t.hold(kPool, terms);
  t.hold(kPool, terms);
  EXPECT_EQ(t.info(kPool)->limit, 1'048'576U);
  EXPECT_EQ(t.info(kPool)->holders, 2U);
  EXPECT_TRUE(t.release(kPool, token));
}

TEST(SemaphoreTest, largest_limit_can_be_filled) {
  TestTable t({.max_claims = 0}, 2'000'000);
  const Terms terms{.limit = 1'048'576};
  const OwnerId owner = t.owner();
  for (std::uint32_t i = 0; i < terms.limit; ++i) {
    ASSERT_EQ(t.acquire(owner, kPool, 0s, terms).outcome, Outcome::kGranted);
  }
  EXPECT_EQ(t.acquire(owner, kPool, 0s, terms).outcome, Outcome::kTimeout);
  t.close(owner);
  EXPECT_EQ(t.table.held(), 0U);
}

}  // namespace

}  // namespace dflockd::locks
