// What semaphores have beyond locks: more than one slot, and a limit to agree on.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

class Semaphores : public testing::Test {
 protected:
  Server server_;
  Client client_{server_};
  Client other_{server_};
};

TEST_F(Semaphores, as_many_hold_it_as_its_limit_says) {
  const Key pool = semaphore("pool", 3);
  client_.hold(pool);
  client_.hold(pool);
  other_.hold(pool);
  EXPECT_EQ(client_.acquire(pool, 0), "timeout");
  EXPECT_EQ(other_.acquire(pool, 0), "timeout");
  EXPECT_EQ(held(client_, pool).at("holders"), 3);
}

TEST_F(Semaphores, each_slot_has_a_token_of_its_own) {
  const Key pool = semaphore("pool", 3);
  const Grant first = client_.hold(pool);
  const Grant second = client_.hold(pool);
  const Grant third = client_.hold(pool);
  EXPECT_GT(second.fence(), first.fence());
  EXPECT_GT(third.fence(), second.fence());
  EXPECT_EQ(other_.release(pool, second.token), "ok");
  EXPECT_EQ(other_.release(pool, second.token), "error");
  EXPECT_EQ(held(client_, pool).at("holders"), 2);
  EXPECT_EQ(client_.renew(pool, first.token, 44), "ok 44");
  EXPECT_EQ(client_.renew(pool, third.token, 44), "ok 44");
}

TEST_F(Semaphores, released_slots_go_to_waiters_in_order) {
  const Key pool = semaphore("pool", 2);
  const Grant first = client_.hold(pool);
  const Grant second = client_.hold(pool);
  std::vector<Client> queue = connect_many(server_, 3);
  for (std::size_t i = 0; i < queue.size(); ++i) {
    queue[i].begin_acquire(pool);
    await_waiters(client_, pool, static_cast<std::int64_t>(i + 1));
  }
  EXPECT_EQ(client_.release(pool, second.token), "ok");
  const Grant third = queue[0].read_grant();
  EXPECT_EQ(client_.release(pool, first.token), "ok");
  queue[1].read_grant();
  EXPECT_EQ(waiters(client_, pool), 1);
  EXPECT_EQ(client_.release(pool, third.token), "ok");
  queue[2].read_grant();
}

TEST_F(Semaphores, expired_slot_goes_to_next_waiter) {
  const Key pool = semaphore("pool", 2);
  const Grant lasting = client_.hold(pool, 60);
  const Grant expiring = client_.hold(pool, 1);
  granted(other_.acquire(pool, 60));
  EXPECT_EQ(client_.renew(pool, expiring.token), "error");
  EXPECT_EQ(client_.renew(pool, lasting.token, 60), "ok 60");
}

TEST_F(Semaphores, slots_of_two_phases_and_of_one_count_alike) {
  const Key pool = semaphore("pool", 2);
  acquired(client_.enqueue(pool));
  other_.hold(pool);
  EXPECT_EQ(other_.enqueue(pool), "queued");
  EXPECT_EQ(other_.wait(pool, 0), "timeout");
  EXPECT_EQ(granted(client_.wait(pool, 0)).lease, 33);
}

// "a different limit on a key that still exists (held, queued or idle and not yet collected) is
// error_limit_mismatch."
void expect_mismatch(Client& client, const Key& other_limit) {
  EXPECT_EQ(client.acquire(other_limit, 0), "error_limit_mismatch");
  EXPECT_EQ(client.acquire(other_limit, 60, 60), "error_limit_mismatch");
  EXPECT_EQ(client.enqueue(other_limit), "error_limit_mismatch");
}

TEST_F(Semaphores, other_limit_is_refused_while_the_key_is_held) {
  client_.hold(semaphore("pool", 3));
  expect_mismatch(other_, semaphore("pool", 2));
  expect_mismatch(client_, semaphore("pool", 4));
  other_.hold(semaphore("pool", 3));
}

TEST_F(Semaphores, other_limit_is_refused_while_requests_are_queued) {
  client_.hold(semaphore("pool", 1));
  EXPECT_EQ(client_.enqueue(semaphore("pool", 1)), "queued");
  expect_mismatch(other_, semaphore("pool", 2));
  EXPECT_EQ(waiters(other_, semaphore("pool", 1)), 1);
}

TEST_F(Semaphores, other_limit_is_refused_while_the_key_is_idle) {
  const Grant grant = client_.hold(semaphore("pool", 3));
  EXPECT_EQ(client_.release(semaphore("pool", 3), grant.token), "ok");
  EXPECT_TRUE(is_idle(other_, semaphore("pool", 3)));
  expect_mismatch(other_, semaphore("pool", 2));
  other_.hold(semaphore("pool", 3));
}

TEST_F(Semaphores, limits_of_keys_are_independent) {
  client_.hold(semaphore("one", 1));
  client_.hold(semaphore("two", 2));
  client_.hold(semaphore("largest", 1'048'576));
  client_.hold(lock("one"));
}

// "0 = collect at the next pass"
TEST(IdleKeys, collected_key_accepts_another_limit) {
  const Server server({"--gc-interval", "1", "--gc-max-idle", "0"});
  Client client(server);
  const Key old_limit = semaphore("pool", 3);
  const Key new_limit = semaphore("pool", 5);
  const Grant grant = client.hold(old_limit);
  EXPECT_EQ(client.acquire(new_limit, 0), "error_limit_mismatch");
  EXPECT_EQ(client.release(old_limit, grant.token), "ok");
  EXPECT_TRUE(eventually([&] { return !is_idle(client, old_limit); }));
  client.hold(new_limit);
}

TEST(IdleKeys, held_and_queued_keys_are_not_collected) {
  const Server server({"--gc-interval", "1", "--gc-max-idle", "0"});
  Client client(server);
  const Grant grant = client.hold(semaphore("held", 1));
  EXPECT_EQ(client.enqueue(semaphore("held", 1)), "queued");
  // An idle key that is collected tells that a pass has been made.
  const Grant collected = client.hold(lock("idle"));
  EXPECT_EQ(client.release(lock("idle"), collected.token), "ok");
  EXPECT_TRUE(eventually([&] { return !is_idle(client, lock("idle")); }));
  EXPECT_EQ(client.renew(semaphore("held", 1), grant.token, 60), "ok 60");
  EXPECT_EQ(waiters(client, semaphore("held", 1)), 1);
}

TEST(IdleKeys, key_is_kept_until_it_has_been_idle_long_enough) {
  const Server server({"--gc-interval", "1", "--gc-max-idle", "1"});
  Client client(server);
  const Grant grant = client.hold(lock("job"));
  const auto released = Clock::now();
  EXPECT_EQ(client.release(lock("job"), grant.token), "ok");
  EXPECT_TRUE(eventually([&] { return !is_idle(client, lock("job")); }));
  EXPECT_GE(Clock::now() - released, 1s);
}

}  // namespace

}  // namespace dflockd::test
