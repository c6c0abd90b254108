// Claims under a name that outlive their owner, and who gets them back.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Legacy kKept{.orphan_ttl = 5s};
constexpr Legacy kKeptWithGrants{.keeps_grants = true, .orphan_ttl = 5s};
constexpr Terms kShared{.shared = true};

struct OrphanTest : testing::Test {
  OrphanTest() : t({.max_locks = 0}) {}

  /// A new owner with this name.
  OwnerId named(std::string_view ref = "worker") {
    const OwnerId owner = t.owner();
    EXPECT_EQ(t.apply(SetRef{owner, ref}).outcome, Outcome::kDone);
    return owner;
  }
  void orphan(OwnerId owner, const Legacy& legacy = kKept) { t.apply(CloseOwner{owner, legacy}); }

  TestTable t;
};

}  // namespace

// --- Who has a name ---

TEST_F(OrphanTest, an_owner_has_one_name_for_good) {
  const OwnerId owner = named();
  EXPECT_EQ(t.apply(SetRef{owner, "worker"}).outcome, Outcome::kHasRef);
  EXPECT_EQ(t.apply(SetRef{owner, "other"}).outcome, Outcome::kHasRef);
}

TEST_F(OrphanTest, without_a_name_or_a_ttl_claims_end_with_their_owner) {
  for (const bool has_name : {false, true}) {
    const OwnerId owner = has_name ? named() : t.owner();
    t.hold(owner, kJob);
    orphan(owner, has_name ? Legacy{} : kKept);
    EXPECT_EQ(t.info(kJob)->holders, 0U);
  }
}

TEST_F(OrphanTest, another_name_gets_nothing) {
  const OwnerId owner = named();
  t.hold(owner, kJob);
  orphan(owner);
  EXPECT_EQ(t.acquire(named("other"), kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s).outcome, Outcome::kTimeout);
}

TEST_F(OrphanTest, living_owner_is_never_displaced) {
  const OwnerId owner = named();
  t.hold(owner, kJob);
  const OwnerId second = named();
  EXPECT_EQ(t.acquire(second, kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.acquire(second, kJob, 60s).outcome, Outcome::kQueued);
  EXPECT_THAT(t.heard(), IsEmpty());
}

TEST_F(OrphanTest, two_that_claim_one_name_at_once_get_nothing_until_one_is_left) {
  const OwnerId owner = named();
  const Token token = t.hold(owner, kJob);
  orphan(owner);
  const OwnerId first = named();
  const OwnerId second = named();
  EXPECT_EQ(t.acquire(first, kJob, 0s).outcome, Outcome::kTimeout);
  EXPECT_EQ(t.acquire(second, kJob, 0s).outcome, Outcome::kTimeout);
  t.close(first);
  EXPECT_EQ(t.acquire(second, kJob, 0s).token, token);
}

// --- What is held ---

TEST_F(OrphanTest, grant_is_taken_back_with_its_token_and_its_lease_restarted_as_asked) {
  const OwnerId owner = named();
  const Token token = t.hold(owner, kJob, {.lease = 10s});
  t.now = 1s;
  orphan(owner);
  t.now = 4s;
  const OwnerId again = named();
  const Answer answer = t.acquire(again, kJob, 0s, {.lease = 30s});
  EXPECT_EQ(answer.outcome, Outcome::kGranted);
  EXPECT_EQ(answer.token, token);
  EXPECT_EQ(answer.lease, 30s);
  EXPECT_EQ(t.table.next_deadline(), 34s);
  EXPECT_TRUE(t.table.has_claims(again));
  EXPECT_EQ(t.acquire(again, kJob, 0s).outcome, Outcome::kTimeout) << "once";
  EXPECT_TRUE(t.release(kJob, token));
}

TEST_F(OrphanTest, what_was_claimed_before_the_name_was_given_is_under_it_too) {
  const OwnerId owner = t.owner();
  const Token token = t.hold(owner, kJob);
  t.apply(SetRef{owner, "worker"});
  orphan(owner);
  EXPECT_EQ(t.acquire(named(), kJob, 0s).token, token);
}

TEST_F(OrphanTest, both_phases_take_a_grant_back) {
  const OwnerId owner = named();
  const Token token = t.hold(owner, kJob, {.lease = 20s});
  orphan(owner);
  const OwnerId second = named();
  EXPECT_EQ(t.enqueue(second, kJob, {.lease = 7s}).token, token);
  EXPECT_EQ(t.enqueue(second, kJob).outcome, Outcome::kAlreadyEnqueued);
  EXPECT_EQ(t.table.claims_of(second), (OwnerClaims{.held = 1, .waiting = 0}));
  orphan(second);
  t.now = 2s;
  const Answer waited = t.wait(named(), kJob, 0s);
  EXPECT_EQ(waited.token, token);
  EXPECT_TRUE(waited.repeated);
  EXPECT_EQ(waited.lease, 7s) << "as before";
  EXPECT_EQ(t.table.next_deadline(), 9s);
}

TEST_F(OrphanTest, shared_and_exclusive_are_not_taken_for_one_another) {
  const OwnerId owner = named();
  const Token token = t.hold(owner, kJob, kShared);
  orphan(owner);
  const OwnerId again = named();
  EXPECT_EQ(t.acquire(again, kJob, 5s).outcome, Outcome::kModeMismatch);
  EXPECT_EQ(t.enqueue(again, kJob).outcome, Outcome::kModeMismatch);
  EXPECT_EQ(t.acquire(again, kJob, 5s, kShared).token, token);
}

TEST_F(OrphanTest, semaphores_are_the_same_and_another_limit_is_still_a_mismatch) {
  const OwnerId owner = named();
  const Token first = t.hold(owner, kPool, {.limit = 2});
  const Token second = t.hold(owner, kPool, {.limit = 2});
  orphan(owner);
  const OwnerId again = named();
  EXPECT_EQ(t.acquire(again, kPool, 0s, {.limit = 3}).outcome, Outcome::kLimitMismatch);
  EXPECT_EQ(t.acquire(again, kPool, 0s, {.limit = 2}).token, first) << "the oldest first";
  EXPECT_EQ(t.acquire(again, kPool, 0s, {.limit = 2}).token, second);
}

TEST_F(OrphanTest, ends_with_the_ttl_without_a_lease_that_ran_out) {
  const OwnerId owner = named();
  t.hold(owner, kJob, {.lease = 60s});
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 60s);
  t.now = 1s;
  orphan(owner);
  t.advance_to(6s - 1ns);
  EXPECT_THAT(t.heard(), IsEmpty());
  t.advance_to(6s);
  EXPECT_THAT(t.heard(), ElementsAre(Granted(waiter)));
}

TEST_F(OrphanTest, ends_with_its_lease_if_that_is_sooner) {
  const OwnerId owner = named();
  t.hold(owner, kJob, {.lease = 3s});
  orphan(owner);
  t.advance_to(3s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kJob)));
  EXPECT_EQ(t.acquire(named(), kJob, 0s).token.fence, 2U) << "a new grant";
}

TEST_F(OrphanTest, is_gone_for_who_comes_as_the_ttl_ends) {
  const OwnerId owner = named();
  const Token token = t.hold(owner, kJob, {.lease = 60s});
  orphan(owner);
  t.now = 5s;
  EXPECT_NE(t.acquire(named(), kJob, 0s).token, token);
}

TEST_F(OrphanTest, can_be_released_and_renewed_by_anybody_with_its_token) {
  for (const bool renews : {false, true}) {
    const OwnerId owner = named();
    const Token token = t.hold(owner, kJob, {.lease = 60s});
    orphan(owner);
    if (!renews) {
      EXPECT_TRUE(t.release(kJob, token));
      EXPECT_EQ(t.table.held(), 0U);
      continue;
    }
    const OwnerId stranger = t.owner();
    EXPECT_TRUE(t.renew(stranger, kJob, token, 30s));
    EXPECT_TRUE(t.table.has_claims(stranger)) << "whoever renews it owns it";
    EXPECT_EQ(t.table.next_deadline(), t.now + 30s) << "and ends the ttl";
    EXPECT_EQ(t.acquire(named(), kJob, 0s).outcome, Outcome::kTimeout);
    t.close(stranger);
    EXPECT_EQ(t.table.held(), 0U);
  }
}

TEST_F(OrphanTest, where_grants_outlive_owners_it_has_its_lease_alone) {
  const OwnerId owner = named();
  const Token token = t.hold(owner, kJob, {.lease = 60s});
  orphan(owner, kKeptWithGrants);
  t.advance_to(59s);
  EXPECT_EQ(t.acquire(named(), kJob, 0s).token, token);
}

// --- What waits ---

TEST_F(OrphanTest, place_in_the_queue_is_kept_and_taken_back) {
  const Token token = t.hold(kJob, {.lease = 60s});
  const OwnerId owner = named();
  t.acquire(owner, kJob, 60s);
  const OwnerId behind = t.owner();
  t.acquire(behind, kJob, 60s);
  orphan(owner);
  const OwnerId again = named();
  EXPECT_EQ(t.acquire(again, kJob, 30s, {.lease = 4s}).outcome, Outcome::kQueued);
  EXPECT_EQ(t.info(kJob)->waiters, 2U);
  EXPECT_TRUE(t.release(kJob, token));
  const std::vector<Effect> effects = t.heard();
  ASSERT_THAT(effects, ElementsAre(Granted(again)));
  EXPECT_EQ(effects[0].answer.lease, 4s);
}

TEST_F(OrphanTest, place_is_given_up_by_who_comes_back_without_time_to_wait) {
  t.hold(kJob, {.lease = 60s});
  for (const bool waits : {false, true}) {
    const OwnerId owner = named();
    t.acquire(owner, kJob, 60s);
    orphan(owner);
    const OwnerId again = named();
    const Answer answer = waits ? t.wait(again, kJob, 0s) : t.acquire(again, kJob, 0s);
    EXPECT_EQ(answer.outcome, Outcome::kTimeout);
    EXPECT_EQ(t.info(kJob)->waiters, 0U);
    t.close(again);
  }
}

TEST_F(OrphanTest, place_of_phase_one_goes_on_in_either_phase) {
  const Token token = t.hold(kJob, {.lease = 60s});
  const OwnerId owner = named();
  t.enqueue(owner, kJob);
  orphan(owner);
  const OwnerId second = named();
  EXPECT_EQ(t.enqueue(second, kJob).outcome, Outcome::kQueued);
  EXPECT_EQ(t.enqueue(second, kJob).outcome, Outcome::kAlreadyEnqueued);
  EXPECT_EQ(t.info(kJob)->waiters, 1U);
  t.advance_to(10s);
  EXPECT_EQ(t.info(kJob)->waiters, 1U) << "its ttl does not run any more";
  orphan(second);
  const OwnerId third = named();
  EXPECT_EQ(t.wait(third, kJob, 60s).outcome, Outcome::kQueued);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(third)));
}

TEST_F(OrphanTest, place_ends_with_the_ttl_silently_and_lets_those_behind_in) {
  t.hold(kJob, {.lease = 60s, .shared = true});
  const OwnerId owner = named();
  t.acquire(owner, kJob, 60s);
  const OwnerId reader = t.owner();
  t.acquire(reader, kJob, 60s, kShared);
  orphan(owner);
  t.advance_to(5s);
  EXPECT_THAT(t.heard(), ElementsAre(Granted(reader)));
  EXPECT_EQ(t.wait(named(), kJob, 0s).outcome, Outcome::kNotEnqueued);
}

TEST_F(OrphanTest, place_that_is_granted_while_its_owner_is_away_is_kept_for_the_rest_of_the_ttl) {
  for (const Legacy& legacy : {kKept, kKeptWithGrants}) {
    const Token token = t.hold(kJob, {.lease = 60s});
    const OwnerId owner = named();
    t.acquire(owner, kJob, 60s, {.lease = 30s});
    orphan(owner, legacy);
    t.now += 2s;
    EXPECT_TRUE(t.release(kJob, token));
    EXPECT_THAT(t.heard(), IsEmpty()) << "nobody is there to hear of it";
    EXPECT_EQ(t.table.next_deadline(), t.now + (legacy.keeps_grants ? 30s : 3s));
    const OwnerId again = named();
    const Answer answer = t.acquire(again, kJob, 0s);
    EXPECT_EQ(answer.outcome, Outcome::kGranted);
    EXPECT_FALSE(answer.repeated);
    EXPECT_TRUE(t.release(kJob, answer.token));
    t.close(again);
  }
}

TEST_F(OrphanTest, what_is_held_comes_before_what_waits) {
  const Token other = t.hold(kPool, {.lease = 60s, .limit = 2});
  const OwnerId owner = named();
  const Token held = t.hold(owner, kPool, {.lease = 60s, .limit = 2});
  t.acquire(owner, kPool, 60s, {.limit = 2});
  orphan(owner);
  const OwnerId again = named();
  EXPECT_EQ(t.acquire(again, kPool, 60s, {.limit = 2}).token, held);
  EXPECT_EQ(t.acquire(again, kPool, 60s, {.limit = 2}).outcome, Outcome::kQueued);
  EXPECT_EQ(t.info(kPool)->waiters, 1U);
  EXPECT_TRUE(t.release(kPool, other));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(again)));
}

// --- The one who waits already when the other's end is found ---

TEST_F(OrphanTest, waiter_gets_the_grant_of_its_name_when_the_first_one_ends) {
  const OwnerId first = named();
  const Token token = t.hold(first, kJob, {.lease = 60s});
  const OwnerId between = t.owner();
  t.acquire(between, kJob, 60s);
  const OwnerId second = named();
  t.acquire(second, kJob, 60s, {.lease = 20s});
  t.now = 1s;
  orphan(first);
  const std::vector<Effect> effects = t.heard();
  ASSERT_THAT(effects, ElementsAre(Granted(second)));
  EXPECT_EQ(effects[0].answer.token, token);
  EXPECT_EQ(effects[0].answer.lease, 20s);
  EXPECT_EQ(t.table.next_deadline(), 21s);
  EXPECT_EQ(t.info(kJob)->waiters, 1U) << "the place behind is gone";
}

TEST_F(OrphanTest, waiter_gets_the_better_place_of_its_name_when_the_first_one_ends) {
  const Token token = t.hold(kJob, {.lease = 60s});
  const OwnerId first = named();
  t.acquire(first, kJob, 60s);
  const OwnerId between = t.owner();
  t.acquire(between, kJob, 60s);
  const OwnerId second = named();
  t.acquire(second, kJob, 3s);
  orphan(first);
  EXPECT_EQ(t.info(kJob)->waiters, 2U);
  EXPECT_EQ(t.table.next_deadline(), 3s) << "its own timeout stays";
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(second)));
}

TEST_F(OrphanTest, waiter_of_the_other_mode_goes_on_waiting) {
  const OwnerId first = named();
  t.hold(first, kJob, {.lease = 60s});
  const OwnerId second = named();
  t.acquire(second, kJob, 60s, kShared);
  orphan(first);
  EXPECT_THAT(t.heard(), IsEmpty());
  t.advance_to(5s);
  EXPECT_THAT(t.heard(), Contains(Granted(second)));
}

TEST_F(OrphanTest, phase_two_for_a_place_of_its_own_takes_the_grant_of_its_name) {
  const OwnerId first = named();
  const Token token = t.hold(first, kJob, {.lease = 60s});
  const OwnerId second = named();
  EXPECT_EQ(t.enqueue(second, kJob, {.lease = 8s}).outcome, Outcome::kQueued);
  orphan(first);
  const Answer answer = t.wait(second, kJob, 60s);
  EXPECT_EQ(answer.token, token);
  EXPECT_EQ(answer.lease, 8s);
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
}

// --- The rest ---

TEST_F(OrphanTest, drain_hands_back_what_is_held_and_acquires_nothing) {
  const OwnerId owner = named();
  const Token token = t.hold(owner, kJob, {.lease = 60s});
  t.hold(kOther, {.lease = 60s});
  t.acquire(owner, kOther, 60s);
  orphan(owner);
  t.apply(StartDraining{});
  EXPECT_THAT(t.heard(), IsEmpty());
  const OwnerId again = named();
  EXPECT_EQ(t.acquire(again, kOther, 60s).outcome, Outcome::kDraining);
  EXPECT_EQ(t.acquire(again, kThird, 60s).outcome, Outcome::kDraining);
  EXPECT_EQ(t.acquire(again, kJob, 60s).token, token);
  EXPECT_EQ(t.acquire(again, kJob, 60s).outcome, Outcome::kDraining);
}

TEST_F(OrphanTest, grant_made_while_its_owner_was_away_is_handed_back_in_a_drain_too) {
  const Token token = t.hold(kJob, {.lease = 60s});
  const OwnerId owner = named();
  t.acquire(owner, kJob, 60s);
  orphan(owner);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.table.held(), 1U);
  t.apply(StartDraining{});
  EXPECT_EQ(t.acquire(named(), kJob, 0s).outcome, Outcome::kGranted);
}

TEST_F(OrphanTest, of_several_places_the_first_in_the_queue_comes_back_first) {
  const Token token = t.hold(kJob, {.lease = 60s});
  const OwnerId older = named();
  t.acquire(older, kJob, 60s);
  const OwnerId between = t.owner();
  t.acquire(between, kJob, 60s);
  const OwnerId younger = named();
  t.acquire(younger, kJob, 60s);
  orphan(younger);
  orphan(older);
  const OwnerId again = named();
  EXPECT_EQ(t.acquire(again, kJob, 60s).outcome, Outcome::kQueued);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(again)));
}

TEST_F(OrphanTest, nobody_loses_a_better_place_for_an_orphan) {
  for (const bool phases : {false, true}) {
    const Key key = phases ? kJob : kOther;
    const Token token = t.hold(key, {.lease = 60s});
    const OwnerId first = named();
    phases ? t.enqueue(first, key) : t.acquire(first, key, 60s);
    const OwnerId between = t.owner();
    t.acquire(between, key, 60s);
    const OwnerId second = named();
    t.acquire(second, key, 60s);
    orphan(second);
    if (phases) {
      EXPECT_EQ(t.wait(first, key, 60s).outcome, Outcome::kQueued);
    }
    EXPECT_TRUE(t.release(key, token));
    EXPECT_THAT(t.heard(), ElementsAre(Granted(first)));
    t.close(first);
    t.close(between);
    t.heard();
  }
}

TEST_F(OrphanTest, orphans_of_many_connections_are_kept_in_the_order_of_their_age) {
  constexpr std::uint32_t kMany = 1'000;
  std::vector<OwnerId> owners;
  std::vector<Token> tokens;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    owners.push_back(named());
    tokens.push_back(t.hold(owners.back(), kPool, {.lease = 60s, .limit = kMany}));
  }
  for (std::uint32_t i = 0; i < kMany; ++i) orphan(owners[i * 7 % kMany]);
  const OwnerId again = named();
  for (const Token& token : tokens) {
    ASSERT_EQ(t.acquire(again, kPool, 0s, {.limit = kMany}).token, token);
  }
}

TEST_F(OrphanTest, names_spelled_like_the_keys_do_not_collide) {
  for (int i = 0; i < 5'000; ++i) {
    const std::string name = "resource " + std::to_string(i);
    for (const Kind kind : {Kind::kLock, Kind::kSemaphore}) {
      const OwnerId owner = named(name);
      t.hold(owner, {kind, name}, {.lease = 60s});
      orphan(owner);
    }
  }
  EXPECT_LT(t.table.longest_search(), 200U);
}

TEST_F(OrphanTest, waits_that_are_called_off_keep_their_places_under_a_name) {
  const Token token = t.hold(kJob, {.lease = 60s});
  const OwnerId owner = named();
  const Token mine = t.hold(owner, kOther);
  t.acquire(owner, kJob, 60s);
  t.apply(CancelWaits{owner, kKeptWithGrants});
  EXPECT_TRUE(t.table.has_claims(owner));
  t.apply(CloseOwner{owner, kKeptWithGrants});
  EXPECT_TRUE(t.release(kJob, token));
  const OwnerId again = named();
  EXPECT_EQ(t.acquire(again, kJob, 0s).outcome, Outcome::kGranted);
  EXPECT_EQ(t.acquire(again, kOther, 0s).token, mine);
}

TEST_F(OrphanTest, names_are_forgotten_with_their_last_claim) {
  for (int i = 0; i < 1000; ++i) {
    const OwnerId owner = named("worker " + std::to_string(i));
    t.hold(owner, kJob, {.lease = 60s});
    orphan(owner);
    t.advance_to(t.now + 5s);
    EXPECT_EQ(t.table.held(), 0U);
  }
  EXPECT_TRUE(t.table.consistent());
}

TEST_F(OrphanTest, ten_thousand_claims_of_one_name_on_one_key_come_back_in_order) {
  constexpr std::uint32_t kMany = 10'000;
  const OwnerId owner = named();
  std::vector<Token> tokens;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    tokens.push_back(t.hold(owner, kPool, {.lease = 60s, .limit = kMany}));
  }
  orphan(owner);
  const OwnerId again = named();
  for (const Token& token : tokens) {
    ASSERT_EQ(t.acquire(again, kPool, 0s, {.limit = kMany}).token, token);
  }
}

}  // namespace dflockd::locks
