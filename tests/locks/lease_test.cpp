// Leases, renewal, and release by token.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr seconds kLongest{9223372036};

TEST(LeaseTest, lease_holds_until_just_before_its_deadline) {
  TestTable t;
  const OwnerId owner = t.owner();
  t.now = 1s;
  const Token token = t.hold(owner, kJob, {.lease = 10s});
  EXPECT_EQ(t.table.next_deadline(), 11s);
  t.advance_to(11s - 1ns);
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_TRUE(t.table.has_claims(owner));
  EXPECT_TRUE(t.release(kJob, token));
}

TEST(LeaseTest, lease_is_over_at_its_deadline) {
  TestTable t;
  const OwnerId owner = t.owner();
  const Token token = t.hold(owner, kJob, {.lease = 10s});
  t.advance_to(10s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kJob)));
  EXPECT_FALSE(t.table.has_claims(owner));
  EXPECT_FALSE(t.release(kJob, token));
  EXPECT_FALSE(t.renew(kJob, token, 5s));
  EXPECT_EQ(t.table.next_deadline(), kNever);
}

TEST(LeaseTest, every_call_notices_that_a_lease_is_over) {
  for (int call = 0; call < 11; ++call) {
    TestTable t;
    const OwnerId owner = t.owner();
    const OwnerId caller = t.owner();
    const Token token = t.hold(owner, kJob, {.lease = 10s});
    t.now = 10s;
    switch (call) {
      case 0:
        EXPECT_EQ(t.acquire(caller, kJob, 0s).outcome, Outcome::kGranted);
        break;
      case 1:
        EXPECT_EQ(t.enqueue(caller, kJob).outcome, Outcome::kGranted);
        break;
      case 2:
        EXPECT_EQ(t.wait(caller, kJob, 0s).outcome, Outcome::kNotEnqueued);
        break;
      case 3:
        EXPECT_FALSE(t.release(kJob, token));
        break;
      case 4:
        EXPECT_FALSE(t.renew(kJob, token, 10s));
        break;
      case 5:
        t.apply(CancelWait{caller});
        break;
      case 6:
        t.close(caller);
        break;
      case 7:
        t.close_keeping_grants(caller);
        break;
      case 8:
        t.apply(StartDraining{});
        break;
      case 9:
        EXPECT_EQ(t.collect_idle(0s, 1), 1U);
        break;
      default:
        t.apply(Advance{});
    }
    EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kJob))) << "call " << call;
  }
}

TEST(LeaseTest, expired_lease_goes_to_next_waiter) {
  TestTable t;
  const OwnerId holder = t.owner();
  const OwnerId waiter = t.owner();
  t.hold(holder, kJob, {.lease = 10s});
  t.acquire(waiter, kJob, 60s, {.lease = 7s});
  t.advance_to(10s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(holder, kJob), Granted(waiter)));
  EXPECT_EQ(t.table.next_deadline(), 17s);
}

TEST(LeaseTest, many_leases_that_are_over_end_in_the_order_of_their_deadlines) {
  TestTable t;
  const OwnerId owner = t.owner();
  const std::vector<Key> keys{kJob, kOther, kThird, kPool};
  const std::vector<seconds> leases{4s, 2s, 3s, 1s};
  for (std::size_t i = 0; i < keys.size(); ++i) t.hold(owner, keys[i], {.lease = leases[i]});
  t.advance_to(100s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(owner, kPool), Expired(owner, kOther),
                                     Expired(owner, kThird), Expired(owner, kJob)));
}

TEST(LeaseTest, renewed_lease_runs_from_the_renewal) {
  TestTable t;
  const Token token = t.hold(kJob, {.lease = 10s});
  t.now = 9s;
  EXPECT_TRUE(t.renew(kJob, token, 30s));
  EXPECT_EQ(t.table.next_deadline(), 39s);
  t.advance_to(39s - 1ns);
  EXPECT_THAT(t.heard(), IsEmpty());
  t.advance_to(39s);
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(LeaseTest, renewal_may_shorten_a_lease) {
  TestTable t;
  const Token token = t.hold(kJob, {.lease = 100s});
  t.now = 1s;
  EXPECT_TRUE(t.renew(kJob, token, 2s));
  EXPECT_EQ(t.table.next_deadline(), 3s);
}

TEST(LeaseTest, renewal_just_before_the_deadline_is_in_time_and_at_the_deadline_is_not) {
  TestTable t;
  const Token token = t.hold(kJob, {.lease = 10s});
  t.now = 10s - 1ns;
  EXPECT_TRUE(t.renew(kJob, token, 10s));
  t.now = 20s - 1ns;
  EXPECT_FALSE(t.renew(kJob, token, 10s));
}

TEST(LeaseTest, longest_lease_never_ends) {
  TestTable t;
  t.now = 5s;
  const Token token = t.hold(kJob, {.lease = kLongest});
  EXPECT_EQ(t.table.next_deadline(), kNever);
  t.advance_to(kNever - 1ns);
  EXPECT_THAT(t.heard(), IsEmpty());
  EXPECT_TRUE(t.renew(kJob, token, kLongest));
  EXPECT_EQ(t.table.next_deadline(), kNever);
  EXPECT_TRUE(t.release(kJob, token));
}

TEST(LeaseTest, lease_that_never_ends_can_be_renewed_to_one_that_does) {
  TestTable t;
  t.now = 5s;
  const Token token = t.hold(kJob, {.lease = kLongest});
  EXPECT_TRUE(t.renew(kJob, token, 1s));
  EXPECT_EQ(t.table.next_deadline(), 6s);
}

TEST(LeaseTest, time_that_goes_back_stands_still) {
  TestTable t;
  t.advance_to(100s);
  t.now = 50s;
  const Token token = t.hold(kJob, {.lease = 10s});
  EXPECT_EQ(t.table.next_deadline(), 110s);
  t.now = 0s;
  EXPECT_TRUE(t.renew(kJob, token, 20s));
  EXPECT_EQ(t.table.next_deadline(), 120s);
  t.advance_to(99s);
  EXPECT_EQ(t.info(kJob)->lease_left, 20s);
  EXPECT_THAT(t.heard(), IsEmpty());
}

TEST(ReleaseTest, anyone_who_has_the_token_may_release_and_renew) {
  TestTable t;
  const OwnerId holder = t.owner();
  const Token token = t.hold(holder, kJob);
  // Neither call says who asks: the token is all there is.
  EXPECT_TRUE(t.renew(kJob, token, 20s));
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_FALSE(t.table.has_claims(holder));
}

TEST(ReleaseTest, second_release_is_refused) {
  TestTable t;
  const Token token = t.hold(kJob);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_FALSE(t.release(kJob, token));
  t.hold(kJob);
  EXPECT_FALSE(t.release(kJob, token));
  EXPECT_EQ(t.table.held(), 1U);
}

TEST(ReleaseTest, wrong_salt_fence_key_or_kind_is_refused) {
  for (const std::uint32_t limit : {1U, 2U}) {
    TestTable t;
    const Key pool_lock{Kind::kLock, kPool.name};
    const Key other_pool{Kind::kSemaphore, "other pool"};
    const Token token = t.hold(kPool, {.limit = limit});
    const Token other = t.hold(other_pool, {.limit = limit});
    t.hold(pool_lock);
    const std::vector<std::pair<Key, Token>> wrong{
        {kPool, {token.fence, token.salt ^ 1}},
        {kPool, {token.fence, token.salt ^ (std::uint64_t{1} << 63)}},
        {kPool, {token.fence + 100, token.salt}},
        {kPool, {token.fence ^ (std::uint64_t{1} << 63), token.salt}},
        {kPool, {other.fence, token.salt}},
        {kPool, {0, 0}},
        {kPool, other},
        {other_pool, token},
        {pool_lock, token},
        {{Kind::kSemaphore, "pools"}, token},
        {{Kind::kSemaphore, ""}, token},
    };
    for (const auto& [key, bad] : wrong) {
      EXPECT_FALSE(t.release(key, bad)) << key << ' ' << bad.fence << ' ' << bad.salt;
      EXPECT_FALSE(t.renew(key, bad, 1s)) << key << ' ' << bad.fence << ' ' << bad.salt;
    }
    EXPECT_EQ(t.table.held(), 3U);
    EXPECT_EQ(t.table.next_deadline(), 10s);
    EXPECT_TRUE(t.release(kPool, token));
  }
}

TEST(ReleaseTest, fences_of_a_key_increase_with_every_grant) {
  TestTable t;
  std::uint64_t latest = 0;
  for (int i = 0; i < 100; ++i) {
    const Token token = t.hold(i % 3 == 0 ? kOther : kJob);
    EXPECT_GT(token.fence, latest);
    latest = token.fence;
    EXPECT_TRUE(t.release(i % 3 == 0 ? kOther : kJob, token));
  }
}

TEST(ReleaseTest, slot_goes_to_the_head_of_the_queue_before_release_returns) {
  TestTable t;
  const Token token = t.hold(kJob);
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 60s);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(waiter)));
  EXPECT_GT(t.latest_granted.fence, token.fence);
  EXPECT_FALSE(t.release(kJob, token));
  EXPECT_TRUE(t.release(kJob, t.latest_granted));
}

}  // namespace

}  // namespace dflockd::locks
