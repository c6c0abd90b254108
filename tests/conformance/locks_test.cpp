// Acquire, release and renew: what `l r n` and `sl sr sn` have in common.

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/namespaces.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

class Locks : public OfEachNamespace {
 protected:
  Server server_;
  Client client_{server_};
  Client other_{server_};
};
FOR_EACH_NAMESPACE(Locks);

// "A free key with no waiters is granted at once."
TEST_P(Locks, free_key_is_granted_at_once) {
  EXPECT_EQ(granted(client_.acquire(key("job"), 60, 44)).lease, 44);
}

TEST_P(Locks, lease_is_the_servers_default_unless_given) {
  EXPECT_EQ(granted(client_.acquire(key("job"), 0)).lease, 33);
  const Server server({"--default-lease-ttl", "77"});
  Client client(server);
  EXPECT_EQ(granted(client.acquire(key("job"), 0)).lease, 77);
}

// "timeout 0 tries once and never blocks."
TEST_P(Locks, held_key_with_timeout_0_is_a_timeout_at_once) {
  client_.hold(key("job"));
  EXPECT_EQ(other_.acquire(key("job"), 0), "timeout");
  EXPECT_EQ(waiters(client_, key("job")), 0);
}

TEST_P(Locks, wait_for_a_held_key_ends_after_its_timeout) {
  client_.hold(key("job"));
  const auto start = Clock::now();
  EXPECT_EQ(other_.acquire(key("job"), 1), "timeout");
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_LT(Clock::now() - start, 3s);
  EXPECT_EQ(waiters(client_, key("job")), 0);
}

TEST_P(Locks, release_grants_the_next_waiter) {
  const Grant grant = client_.hold(key("job"));
  other_.begin_acquire(key("job"), 60, 44);
  await_waiters(client_, key("job"), 1);
  EXPECT_EQ(client_.release(key("job"), grant.token), "ok");
  const Grant next = other_.read_grant();
  EXPECT_EQ(next.lease, 44);
  EXPECT_GT(next.fence(), grant.fence());
}

TEST_P(Locks, released_key_without_waiters_is_free) {
  const Grant grant = client_.hold(key("job"));
  EXPECT_EQ(client_.release(key("job"), grant.token), "ok");
  other_.hold(key("job"));
}

// "There is no re-entrancy: a holder that asks again queues behind itself."
TEST_P(Locks, holder_that_asks_again_queues_behind_itself) {
  const Grant grant = client_.hold(key("job"));
  EXPECT_EQ(client_.acquire(key("job"), 0), "timeout");
  client_.begin_acquire(key("job"));
  await_waiters(other_, key("job"), 1);
  EXPECT_FALSE(client_.has_input());
  EXPECT_EQ(other_.release(key("job"), grant.token), "ok");
  EXPECT_NE(client_.read_grant().token, grant.token);
}

// "Otherwise the request joins the tail of that key's queue, and slots go to the head ... Nobody
// overtakes."
TEST_P(Locks, waiters_are_granted_in_the_order_in_which_they_came) {
  std::string token = client_.hold(key("job")).token;
  std::vector<Client> queue = connect_many(server_, 50);
  for (std::size_t i = 0; i < queue.size(); ++i) {
    queue[i].begin_acquire(key("job"));
    await_waiters(client_, key("job"), static_cast<std::int64_t>(i + 1));
  }
  for (std::size_t i = 0; i < queue.size(); ++i) {
    EXPECT_EQ(client_.acquire(key("job"), 0), "timeout") << "overtook the queue";
    EXPECT_EQ(client_.release(key("job"), token), "ok");
    token = queue[i].read_grant().token;
    EXPECT_EQ(waiters(client_, key("job")), static_cast<std::int64_t>(queue.size() - i - 1));
  }
}

TEST_P(Locks, waiters_of_both_kinds_share_one_queue) {
  Client third(server_);
  const Grant first = client_.hold(key("job"));
  other_.begin_acquire(key("job"));
  await_waiters(client_, key("job"), 1);
  EXPECT_EQ(third.enqueue(key("job")), "queued");
  EXPECT_EQ(client_.enqueue(key("job")), "queued");
  EXPECT_EQ(client_.release(key("job"), first.token), "ok");
  const Grant second = other_.read_grant();
  EXPECT_EQ(other_.release(key("job"), second.token), "ok");
  const Grant third_grant = granted(third.wait(key("job"), 60));
  EXPECT_EQ(client_.wait(key("job"), 0), "timeout");
  EXPECT_EQ(third.release(key("job"), third_grant.token), "ok");
}

TEST_P(Locks, timed_out_waiter_leaves_the_queue_to_those_behind_it) {
  Client last(server_);
  const Grant grant = client_.hold(key("job"));
  other_.begin_acquire(key("job"), 1);
  await_waiters(client_, key("job"), 1);
  last.begin_acquire(key("job"));
  await_waiters(client_, key("job"), 2);
  EXPECT_EQ(other_.read_line(), "timeout");
  EXPECT_EQ(waiters(client_, key("job")), 1);
  EXPECT_EQ(client_.release(key("job"), grant.token), "ok");
  last.read_grant();
  EXPECT_FALSE(other_.has_input());
}

// "Tokens, not connections, own grants: any connection that presents the right token for the right
// key may release or renew."
TEST_P(Locks, any_connection_with_the_token_may_renew_and_release) {
  const Grant grant = client_.hold(key("job"));
  EXPECT_EQ(other_.renew(key("job"), grant.token, 44), "ok 44");
  EXPECT_EQ(other_.release(key("job"), grant.token), "ok");
  other_.hold(key("job"));
}

TEST_P(Locks, wrong_token_neither_renews_nor_releases) {
  const Grant grant = client_.hold(key("job"));
  for (std::size_t position = 0; position < grant.token.size(); ++position) {
    std::string token = grant.token;
    token[position] = token[position] == '0' ? '1' : '0';
    ASSERT_EQ(client_.release(key("job"), token), "error") << "character " << position;
    ASSERT_EQ(client_.renew(key("job"), token), "error") << "character " << position;
  }
  EXPECT_EQ(client_.renew(key("job"), grant.token, 60), "ok 60") << "the grant is untouched";
}

TEST_P(Locks, token_is_of_no_use_for_another_key) {
  const Grant grant = client_.hold(key("job"));
  const Grant other_grant = client_.hold(key("other"));
  EXPECT_EQ(client_.release(key("other"), grant.token), "error");
  EXPECT_EQ(client_.renew(key("other"), grant.token), "error");
  EXPECT_EQ(client_.release(key("unknown"), grant.token), "error");
  EXPECT_EQ(client_.renew(key("unknown"), grant.token), "error");
  EXPECT_EQ(client_.release(key("job"), grant.token), "ok");
  EXPECT_EQ(client_.release(key("other"), other_grant.token), "ok");
}

TEST_P(Locks, token_is_of_no_use_in_the_other_namespace) {
  const Key job = key("job");
  const Grant grant = client_.hold(job);
  EXPECT_EQ(client_.release(namesake(job), grant.token), "error");
  EXPECT_EQ(client_.renew(namesake(job), grant.token), "error");
  client_.hold(namesake(job));
  EXPECT_EQ(client_.release(namesake(job), grant.token), "error");
  EXPECT_EQ(client_.renew(namesake(job), grant.token), "error");
  EXPECT_EQ(client_.release(job, grant.token), "ok");
}

TEST_P(Locks, released_token_is_of_no_use_any_more) {
  const Grant first = client_.hold(key("job"));
  EXPECT_EQ(client_.release(key("job"), first.token), "ok");
  EXPECT_EQ(client_.release(key("job"), first.token), "error");
  EXPECT_EQ(client_.renew(key("job"), first.token), "error");
  const Grant second = client_.hold(key("job"));
  EXPECT_EQ(client_.release(key("job"), first.token), "error");
  EXPECT_EQ(client_.release(key("job"), second.token), "ok");
}

TEST_P(Locks, renew_answers_with_what_remains_of_the_lease) {
  const Grant grant = client_.hold(key("job"), 60);
  EXPECT_EQ(client_.renew(key("job"), grant.token, 100), "ok 100");
  EXPECT_EQ(client_.renew(key("job"), grant.token, 10), "ok 10") << "a lease may become shorter";
}

// "n without a lease uses the server's default."
TEST_P(Locks, renew_without_a_lease_uses_the_servers_default) {
  const Grant grant = client_.hold(key("job"), 60);
  EXPECT_EQ(client_.renew(key("job"), grant.token), "ok 33");
}

// "Locks and semaphores are separate namespaces: l job and sl job never meet."
TEST_P(Locks, keys_of_the_same_name_in_both_namespaces_never_meet) {
  const Key job = key("job");
  const Grant grant = client_.hold(job);
  const Grant namesakes = other_.hold(namesake(job));
  EXPECT_NE(grant.token, namesakes.token);
  EXPECT_EQ(client_.release(job, grant.token), "ok");
  EXPECT_EQ(client_.acquire(namesake(job), 0), "timeout");
}

// "Every grant carries a token of 32 lowercase hex characters: the first 16 are a 64-bit big-endian
// fence, the last 16 are 64 random bits". `granted` checks the characters.
TEST_P(Locks, fence_strictly_increases_with_every_grant_of_the_server) {
  std::uint64_t last_fence = 0;
  std::set<std::string> salts;
  for (int round = 0; round < 100; ++round) {
    Client& client = round % 2 == 0 ? client_ : other_;
    const Key base = key("job-" + std::to_string(round % 7));
    const Key job = round % 3 == 0 ? namesake(base) : base;
    const Grant grant = client.hold(job);
    EXPECT_GT(grant.fence(), last_fence);
    EXPECT_TRUE(salts.insert(grant.token.substr(16)).second) << "a salt came twice";
    last_fence = grant.fence();
    EXPECT_EQ(client.release(job, grant.token), "ok");
  }
}

TEST_P(Locks, tokens_compare_as_text_in_the_order_of_the_grants) {
  const Grant first = client_.hold(key("job"));
  EXPECT_EQ(client_.release(key("job"), first.token), "ok");
  EXPECT_GT(client_.hold(key("job")).token, first.token);
}

}  // namespace

}  // namespace dflockd::test
