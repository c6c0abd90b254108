// Leases run out at their deadline, neither earlier nor at the next sweep.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/namespaces.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

/// No sweep within the length of a test: what happens in time is not the sweep's doing.
const std::vector<std::string> kRareSweeps{"--lease-sweep-interval", "3600"};

class Leases : public OfEachNamespace {
 protected:
  Server server_{kRareSweeps};
  Client holder_{server_};
  Client other_{server_};
};
FOR_EACH_NAMESPACE(Leases);

// "A lease runs out at its deadline, not at the next sweep: with a waiter queued, the waiter's
// grant is on the wire within 20 ms of the deadline."
TEST_P(Leases, expired_lease_goes_to_next_waiter_within_20_ms) {
  int round = 0;
  const Duration late = best_measured(within(20ms), [&] {
    const Key job = key("job-" + std::to_string(round++));
    const auto asked = Clock::now();
    holder_.hold(job, 1);
    const auto granted_by = Clock::now();
    other_.begin_acquire(job);
    other_.read_grant();
    const auto now = Clock::now();
    EXPECT_GE(now - asked, 1s) << "the lease was cut short";
    return now - (granted_by + 1s);
  });
  EXPECT_LE(late, within(20ms));
}

TEST_P(Leases, leases_run_out_in_the_order_of_their_deadlines) {
  Client last(server_);
  holder_.hold(key("longer"), 2);
  holder_.hold(key("shorter"), 1);
  last.begin_acquire(key("longer"));
  other_.begin_acquire(key("shorter"));
  const Grant first = other_.read_grant();
  EXPECT_GT(last.read_grant().fence(), first.fence());
}

TEST_P(Leases, expired_lease_frees_the_key_without_waiters_too) {
  const Grant grant = holder_.hold(key("job"), 1);
  std::this_thread::sleep_until(Clock::now() + 1s);
  EXPECT_EQ(holder_.release(key("job"), grant.token), "error");
  EXPECT_GT(other_.hold(key("job")).fence(), grant.fence());
}

// "Renewing a lease that has run out is error."
TEST_P(Leases, lease_that_ran_out_cannot_be_renewed) {
  const Grant grant = holder_.hold(key("job"), 1);
  std::this_thread::sleep_until(Clock::now() + 1s);
  EXPECT_EQ(holder_.renew(key("job"), grant.token, 60), "error");
  EXPECT_EQ(holder_.renew(key("job"), grant.token), "error");
  other_.hold(key("job"));
}

TEST_P(Leases, token_of_an_expired_grant_does_not_touch_the_next_holders) {
  const Grant expired = holder_.hold(key("job"), 1);
  const Grant next = granted(other_.acquire(key("job"), 60, 60));
  EXPECT_EQ(holder_.renew(key("job"), expired.token, 60), "error");
  EXPECT_EQ(holder_.release(key("job"), expired.token), "error");
  EXPECT_EQ(other_.renew(key("job"), next.token, 60), "ok 60");
}

TEST_P(Leases, renewed_lease_outlives_its_first_deadline) {
  const Grant grant = holder_.hold(key("job"), 1);
  ASSERT_EQ(holder_.renew(key("job"), grant.token, 60), "ok 60");
  std::this_thread::sleep_until(Clock::now() + 1s);
  EXPECT_EQ(other_.acquire(key("job"), 0), "timeout");
  EXPECT_EQ(holder_.release(key("job"), grant.token), "ok");
}

TEST_P(Leases, renewal_may_bring_the_deadline_forward) {
  const Grant grant = holder_.hold(key("job"), 3'600);
  other_.begin_acquire(key("job"));
  await_waiters(holder_, key("job"), 1);
  const auto renewed = Clock::now();
  ASSERT_EQ(holder_.renew(key("job"), grant.token, 1), "ok 1");
  other_.read_grant();
  EXPECT_GE(Clock::now() - renewed, 1s);
}

TEST_P(Leases, lease_of_a_waiter_starts_when_it_is_granted) {
  Client last(server_);
  const auto start = Clock::now();
  holder_.hold(key("job"), 1);
  other_.begin_acquire(key("job"), 60, 1);
  await_waiters(holder_, key("job"), 1);
  last.begin_acquire(key("job"));
  other_.read_grant();
  last.read_grant();
  EXPECT_GE(Clock::now() - start, 2s) << "two leases of a second each";
}

// "--max-lease-ttl: longer leases are cut to it; the answer says what was granted"
TEST_P(Leases, longer_ones_than_may_be_are_cut_and_the_answers_say_so) {
  const Server server({"--max-lease-ttl", "5"});
  Client client(server);
  Client other(server);
  const Grant grant = client.hold(key("job"), 60);
  EXPECT_EQ(grant.lease, 5);
  EXPECT_EQ(client.renew(key("job"), grant.token, 9'223'372'036), "ok 5");
  EXPECT_EQ(client.renew(key("job"), grant.token, 5), "ok 5");
  EXPECT_EQ(client.renew(key("job"), grant.token, 3), "ok 3");
  EXPECT_EQ(client.renew(key("job"), grant.token), "ok 5") << "the default, 33 s, is cut, too";
  EXPECT_EQ(other.enqueue(key("job"), 60), "queued");
  EXPECT_EQ(client.release(key("job"), grant.token), "ok");
  EXPECT_EQ(granted(other.wait(key("job"), 60)).lease, 5);
  EXPECT_EQ(acquired(client.enqueue(key("other"))).lease, 5);
  EXPECT_EQ(granted(client.wait(key("other"), 0)).lease, 5);
  EXPECT_EQ(granted(client.acquire(key("third"), 0, 4)).lease, 4);
}

TEST_P(Leases, that_was_cut_runs_out) {
  const Server server({"--max-lease-ttl", "1"});
  Client client(server);
  Client other(server);
  client.hold(key("job"), 3'600);
  other.begin_acquire(key("job"));
  other.read_grant(within(3s));
}

TEST_P(Leases, default_lease_runs_out_too) {
  const Server server({"--default-lease-ttl", "1"});
  Client holder(server);
  Client waiting(server);
  const Grant grant = granted(holder.acquire(key("job"), 0));
  ASSERT_EQ(grant.lease, 1);
  ASSERT_EQ(holder.renew(key("job"), grant.token), "ok 1");
  granted(waiting.acquire(key("job"), 60, 60));
  EXPECT_EQ(holder.renew(key("job"), grant.token), "error");
}

}  // namespace

}  // namespace dflockd::test
