// Enqueue and wait: `e w` and `se sw`.

#include <string>

#include <gtest/gtest.h>

#include "support/namespaces.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

class TwoPhases : public OfEachNamespace {
 protected:
  Server server_;
  Client client_{server_};
  Client other_{server_};
};
FOR_EACH_NAMESPACE(TwoPhases);

// "e either grants (acquired) or queues (queued)".
TEST_P(TwoPhases, enqueue_for_a_free_key_is_acquired) {
  EXPECT_EQ(acquired(client_.enqueue(key("job"), 44)).lease, 44);
  EXPECT_EQ(other_.acquire(key("job"), 0), "timeout");
}

TEST_P(TwoPhases, enqueue_without_a_lease_uses_the_servers_default) {
  EXPECT_EQ(acquired(client_.enqueue(key("job"))).lease, 33);
}

TEST_P(TwoPhases, enqueue_for_a_held_key_is_queued_and_does_not_block) {
  other_.hold(key("job"));
  EXPECT_EQ(client_.enqueue(key("job")), "queued");
  EXPECT_EQ(client_.ping(), "ok");
  EXPECT_EQ(waiters(client_, key("job")), 1);
}

// "each connection may have one phase-1 state per key and namespace".
TEST_P(TwoPhases, second_enqueue_is_refused_whether_the_first_was_granted_or_queued) {
  acquired(client_.enqueue(key("granted")));
  EXPECT_EQ(client_.enqueue(key("granted")), "error_already_enqueued");
  other_.hold(key("queued"));
  EXPECT_EQ(client_.enqueue(key("queued")), "queued");
  EXPECT_EQ(client_.enqueue(key("queued")), "error_already_enqueued");
  EXPECT_EQ(waiters(client_, key("queued")), 1);
}

TEST_P(TwoPhases, other_keys_namespaces_and_connections_have_phases_of_their_own) {
  const Key job = key("job");
  acquired(client_.enqueue(job));
  acquired(client_.enqueue(key("other")));
  acquired(client_.enqueue(namesake(job)));
  EXPECT_EQ(other_.enqueue(job), "queued");
}

TEST_P(TwoPhases, wait_on_a_granted_state_returns_the_same_token) {
  const Grant grant = acquired(client_.enqueue(key("job"), 44));
  EXPECT_EQ(client_.wait(key("job"), 0), "ok " + grant.token + " 44");
}

// "w on a granted state resets the lease to its full length and returns the same token".
TEST_P(TwoPhases, wait_on_a_granted_state_restarts_the_lease_in_full) {
  const Grant grant = acquired(client_.enqueue(key("job"), 1));
  std::this_thread::sleep_until(Clock::now() + 200ms);  // part of the lease
  const auto waited = Clock::now();
  const std::string reply = client_.wait(key("job"), 0);
  ASSERT_EQ(reply, "ok " + grant.token + " 1");
  granted(other_.acquire(key("job"), 60));
  EXPECT_GE(Clock::now() - waited, 1s);
}

TEST_P(TwoPhases, wait_on_a_queued_state_blocks_until_the_slot_is_free) {
  const Grant first = other_.hold(key("job"));
  EXPECT_EQ(client_.enqueue(key("job"), 44), "queued");
  client_.begin_wait(key("job"));
  EXPECT_EQ(waiters(other_, key("job")), 1);
  EXPECT_FALSE(client_.has_input());
  EXPECT_EQ(other_.release(key("job"), first.token), "ok");
  const Grant second = client_.read_grant();
  EXPECT_EQ(second.lease, 44);
  EXPECT_GT(second.fence(), first.fence());
}

TEST_P(TwoPhases, wait_that_comes_after_the_slot_was_granted_collects_it) {
  const Grant first = other_.hold(key("job"));
  EXPECT_EQ(client_.enqueue(key("job"), 44), "queued");
  EXPECT_EQ(other_.release(key("job"), first.token), "ok");
  EXPECT_EQ(waiters(other_, key("job")), 0);
  EXPECT_EQ(other_.acquire(key("job"), 0), "timeout") << "the slot went to the head of the queue";
  const Grant second = granted(client_.wait(key("job"), 0));
  EXPECT_EQ(second.lease, 44);
  EXPECT_EQ(client_.renew(key("job"), second.token, 60), "ok 60");
}

// "the lease starts in full when w returns the grant."
TEST_P(TwoPhases, lease_of_a_queued_state_starts_when_wait_returns_it) {
  const auto start = Clock::now();
  other_.hold(key("job"), 1);
  EXPECT_EQ(client_.enqueue(key("job"), 1), "queued");
  client_.begin_wait(key("job"));
  client_.read_grant();
  granted(other_.acquire(key("job"), 60));
  EXPECT_GE(Clock::now() - start, 2s) << "two leases of a second each";
}

TEST_P(TwoPhases, wait_without_enqueue_is_an_error) {
  const Key job = key("job");
  EXPECT_EQ(client_.wait(job, 0), "error_not_enqueued");
  acquired(other_.enqueue(job));
  EXPECT_EQ(client_.wait(job, 60), "error_not_enqueued") << "another connection's state";
  EXPECT_EQ(other_.wait(namesake(job), 60), "error_not_enqueued") << "another namespace's state";
  EXPECT_EQ(other_.wait(key("other"), 60), "error_not_enqueued") << "another key's state";
}

TEST_P(TwoPhases, wait_on_a_lock_that_was_acquired_in_one_phase_is_an_error) {
  client_.hold(key("job"));
  EXPECT_EQ(client_.wait(key("job"), 60), "error_not_enqueued");
}

TEST_P(TwoPhases, wait_ends_the_phase_one_state) {
  acquired(client_.enqueue(key("job")));
  const Grant grant = granted(client_.wait(key("job"), 0));
  EXPECT_EQ(client_.wait(key("job"), 0), "error_not_enqueued");
  EXPECT_EQ(client_.enqueue(key("job")), "queued") << "behind itself";
  EXPECT_EQ(client_.release(key("job"), grant.token), "ok");
  granted(client_.wait(key("job"), 0));
}

// "w that times out gives up the place in the queue."
TEST_P(TwoPhases, wait_with_timeout_0_gives_up_the_place_at_once) {
  const Grant grant = other_.hold(key("job"));
  EXPECT_EQ(client_.enqueue(key("job")), "queued");
  EXPECT_EQ(client_.wait(key("job"), 0), "timeout");
  EXPECT_EQ(waiters(client_, key("job")), 0);
  EXPECT_EQ(client_.wait(key("job"), 0), "error_not_enqueued");
  EXPECT_EQ(other_.release(key("job"), grant.token), "ok");
  other_.hold(key("job"));
}

TEST_P(TwoPhases, wait_that_times_out_gives_up_the_place_to_those_behind) {
  Client last(server_);
  const Grant grant = other_.hold(key("job"));
  EXPECT_EQ(client_.enqueue(key("job")), "queued");
  EXPECT_EQ(last.enqueue(key("job")), "queued");
  const auto start = Clock::now();
  EXPECT_EQ(client_.wait(key("job"), 1), "timeout");
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_EQ(waiters(client_, key("job")), 1);
  EXPECT_EQ(client_.wait(key("job"), 0), "error_not_enqueued");
  EXPECT_EQ(other_.release(key("job"), grant.token), "ok");
  granted(last.wait(key("job"), 60));
}

// "If the slot was granted and its lease ran out before w came: error_lease_expired, once, and the
// state is gone."
TEST_P(TwoPhases, lease_that_ran_out_before_wait_is_told_once) {
  acquired(client_.enqueue(key("job"), 1));
  granted(other_.acquire(key("job"), 60));  // when it has run out
  EXPECT_EQ(client_.wait(key("job"), 60), "error_lease_expired");
  EXPECT_EQ(client_.wait(key("job"), 60), "error_not_enqueued");
}

TEST_P(TwoPhases, lease_that_ran_out_before_wait_is_told_even_if_nobody_took_the_key) {
  acquired(client_.enqueue(key("job"), 1));
  std::this_thread::sleep_until(Clock::now() + 1s);
  EXPECT_EQ(client_.wait(key("job"), 60), "error_lease_expired");
  EXPECT_EQ(client_.wait(key("job"), 60), "error_not_enqueued");
  acquired(client_.enqueue(key("job")));
}

TEST_P(TwoPhases, slot_granted_while_queued_runs_out_if_wait_does_not_come) {
  const Grant grant = other_.hold(key("job"));
  EXPECT_EQ(client_.enqueue(key("job"), 1), "queued");
  EXPECT_EQ(other_.release(key("job"), grant.token), "ok");
  granted(other_.acquire(key("job"), 60));
  EXPECT_EQ(client_.wait(key("job"), 60), "error_lease_expired");
  EXPECT_EQ(client_.wait(key("job"), 60), "error_not_enqueued");
}

TEST_P(TwoPhases, enqueue_after_the_lease_ran_out_begins_afresh) {
  const Grant expired = acquired(client_.enqueue(key("job"), 1));
  const Grant grant = granted(other_.acquire(key("job"), 60));
  EXPECT_EQ(client_.enqueue(key("job"), 44), "queued");
  EXPECT_EQ(other_.release(key("job"), grant.token), "ok");
  const Grant fresh = granted(client_.wait(key("job"), 60));
  EXPECT_EQ(fresh.lease, 44);
  EXPECT_GT(fresh.fence(), expired.fence());
}

// "Releasing the token, the lease running out, or the disconnect also clears the state."
TEST_P(TwoPhases, releasing_the_token_clears_the_state) {
  const Grant grant = acquired(client_.enqueue(key("job")));
  EXPECT_EQ(client_.release(key("job"), grant.token), "ok");
  EXPECT_EQ(client_.wait(key("job"), 60), "error_not_enqueued");
  const Grant again = acquired(client_.enqueue(key("job")));
  EXPECT_EQ(other_.release(key("job"), again.token), "ok") << "whoever releases it";
  EXPECT_EQ(client_.wait(key("job"), 60), "error_not_enqueued");
  acquired(client_.enqueue(key("job")));
}

TEST_P(TwoPhases, renewing_the_token_keeps_the_state) {
  const Grant grant = acquired(client_.enqueue(key("job"), 44));
  EXPECT_EQ(other_.renew(key("job"), grant.token, 100), "ok 100");
  EXPECT_EQ(granted(client_.wait(key("job"), 0)).token, grant.token);
}

TEST_P(TwoPhases, slot_granted_to_a_queued_state_passes_on_when_its_connection_ends) {
  Client last(server_);
  const Grant grant = other_.hold(key("job"));
  EXPECT_EQ(client_.enqueue(key("job")), "queued");
  last.begin_acquire(key("job"));
  await_waiters(other_, key("job"), 2);
  EXPECT_EQ(other_.release(key("job"), grant.token), "ok");
  await_waiters(other_, key("job"), 1);
  client_.close();
  last.read_grant();
}

}  // namespace

}  // namespace dflockd::test
