// --max-locks, --max-waiters, --max-connections, and running out of descriptors.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/log.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

// --- "--max-locks bounds keys with state (locks and semaphores together)." ---

/// Leaves a key idle.
void touch(Client& client, const Key& key) {
  const Grant grant = client.hold(key);
  EXPECT_EQ(client.release(key, grant.token), "ok");
}

TEST(MaxLocks, counts_locks_and_semaphores_together) {
  const Server server({"--max-locks", "2"});
  Client client(server);
  client.hold(lock("a"));
  client.hold(semaphore("a", 3));
  for (const Key& key : {lock("b"), semaphore("b", 3)}) {
    EXPECT_EQ(client.acquire(key, 0), "error_max_locks");
    EXPECT_EQ(client.acquire(key, 60), "error_max_locks");
    EXPECT_EQ(client.enqueue(key), "error_max_locks");
  }
}

TEST(MaxLocks, leaves_existing_keys_usable) {
  const Server server({"--max-locks", "1"});
  Client client(server);
  const Key pool = semaphore("pool", 2);
  const Grant first = client.hold(pool);
  client.hold(pool);
  EXPECT_EQ(client.acquire(lock("other"), 0), "error_max_locks");
  EXPECT_EQ(client.enqueue(pool), "queued");
  EXPECT_EQ(client.renew(pool, first.token, 60), "ok 60");
  EXPECT_EQ(client.release(pool, first.token), "ok");
  granted(client.wait(pool, 0));
}

// "At the cap the key that has been idle longest is dropped to make room; only when every key is
// held or queued is the answer error_max_locks."
TEST(MaxLocks, drops_the_key_that_has_been_idle_longest) {
  const Server server({"--max-locks", "3"});
  Client client(server);
  touch(client, lock("a"));
  touch(client, semaphore("b", 2));
  touch(client, lock("c"));
  touch(client, lock("a"));  // which makes "b" the longest idle one
  client.hold(lock("d"));
  EXPECT_FALSE(is_idle(client, semaphore("b", 2)));
  EXPECT_TRUE(is_idle(client, lock("c")));
  EXPECT_TRUE(is_idle(client, lock("a")));
  client.hold(lock("e"));
  EXPECT_FALSE(is_idle(client, lock("c")));
  EXPECT_TRUE(is_idle(client, lock("a")));
  client.hold(semaphore("b", 5));
  EXPECT_FALSE(is_idle(client, lock("a")));
  EXPECT_EQ(client.acquire(lock("a"), 0), "error_max_locks");
}

TEST(MaxLocks, room_returns_with_a_release_or_a_disconnect) {
  const Server server({"--max-locks", "1"});
  Client client(server);
  Client leaving(server);
  const Grant grant = leaving.hold(lock("a"));
  EXPECT_EQ(client.acquire(lock("b"), 0), "error_max_locks");
  EXPECT_EQ(client.release(lock("a"), grant.token), "ok");
  leaving.hold(lock("b"));
  EXPECT_EQ(client.acquire(lock("c"), 0), "error_max_locks");
  leaving.close();
  EXPECT_TRUE(eventually([&] { return client.acquire(lock("c"), 0) != "error_max_locks"; }));
}

TEST(MaxLocks, requests_that_only_look_make_no_keys) {
  const Server server({"--max-locks", "1"});
  Client client(server);
  const std::string token(32, '0');
  for (const Key& key : {lock("other"), semaphore("other", 1)}) {
    EXPECT_EQ(client.release(key, token), "error");
    EXPECT_EQ(client.renew(key, token), "error");
    EXPECT_EQ(client.wait(key, 0), "error_not_enqueued");
  }
  client.hold(lock("job"));
}

// --- "--max-claims: grants, waits and phase-1 places in all; over it error_max_locks" ---

TEST(MaxClaims, counts_grants_waits_and_places_together) {
  const Server server({"--max-claims", "4"});
  Client client(server);
  Client waiting(server);
  Client queued(server);
  client.hold(lock("job"));
  client.hold(semaphore("pool", 9));
  waiting.begin_acquire(lock("job"));
  await_waiters(client, lock("job"), 1);
  EXPECT_EQ(queued.enqueue(lock("job")), "queued");
  for (const Key& key : {lock("job"), lock("new"), semaphore("pool", 9), semaphore("new", 9)}) {
    EXPECT_EQ(client.acquire(key, 60), "error_max_locks");
    EXPECT_EQ(client.enqueue(key), "error_max_locks");
  }
  EXPECT_EQ(client.acquire(lock("job"), 0), "timeout");
}

TEST(MaxClaims, leaves_what_there_is_usable) {
  const Server server({"--max-claims", "2"});
  Client holder(server);
  Client queued(server);
  const Grant grant = acquired(holder.enqueue(lock("job")));
  EXPECT_EQ(queued.enqueue(lock("job")), "queued");
  granted(holder.wait(lock("job"), 60));
  EXPECT_EQ(holder.renew(lock("job"), grant.token, 60), "ok 60");
  queued.begin_wait(lock("job"));
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  queued.read_grant();
  holder.hold(lock("other"));
  EXPECT_EQ(holder.acquire(lock("third"), 0), "error_max_locks");
}

TEST(MaxClaims, makes_room_as_clients_leave) {
  const Server server({"--max-claims", "1"});
  Client client(server);
  for (int i = 0; i < 3; ++i) {
    Client holder(server);
    holder.hold(lock("job"));
    EXPECT_EQ(client.acquire(lock("other"), 0), "error_max_locks");
    holder.close();
    ASSERT_TRUE(eventually([&] { return is_idle(client, lock("job")); }));
  }
}

TEST(MaxClaims, keys_that_are_used_once_take_none) {
  const Server server({"--max-claims", "1", "--max-locks", "0"});
  Client client(server);
  for (int i = 0; i < 100; ++i) touch(client, lock("job-" + std::to_string(i)));
}

// --- "--max-waiters bounds one key's queue." ---

TEST(MaxWaiters, refuses_those_beyond_it_in_either_way) {
  const Server server({"--max-waiters", "2"});
  std::vector<Client> clients = connect_many(server, 4);
  for (const Key& key : {lock("job"), semaphore("job", 1)}) {
    clients[0].hold(key);
    EXPECT_EQ(clients[1].enqueue(key), "queued");
    EXPECT_EQ(clients[2].enqueue(key), "queued");
    EXPECT_EQ(clients[3].enqueue(key), "error_max_waiters");
    EXPECT_EQ(clients[3].acquire(key, 60), "error_max_waiters");
  }
}

TEST(MaxWaiters, counts_blocked_requests_and_each_key_alone) {
  const Server server({"--max-waiters", "1"});
  std::vector<Client> clients = connect_many(server, 4);
  clients[0].hold(lock("job"));
  clients[0].hold(lock("other"));
  clients[1].begin_acquire(lock("job"));
  await_waiters(clients[0], lock("job"), 1);
  EXPECT_EQ(clients[2].acquire(lock("job"), 60), "error_max_waiters");
  EXPECT_EQ(clients[2].enqueue(lock("other")), "queued");
}

TEST(MaxWaiters, place_in_the_queue_returns_with_its_waiter) {
  const Server server({"--max-waiters", "1"});
  std::vector<Client> clients = connect_many(server, 3);
  const Grant grant = clients[0].hold(lock("job"));
  EXPECT_EQ(clients[1].enqueue(lock("job")), "queued");
  EXPECT_EQ(clients[1].wait(lock("job"), 0), "timeout");
  EXPECT_EQ(clients[1].enqueue(lock("job")), "queued");
  EXPECT_EQ(clients[2].enqueue(lock("job")), "error_max_waiters");
  EXPECT_EQ(clients[0].release(lock("job"), grant.token), "ok");
  EXPECT_EQ(clients[2].enqueue(lock("job")), "queued") << "the first waiter holds it now";
}

// --- "0 = no cap; over it: accepted and closed" ---

TEST(MaxConnections, connection_over_it_is_closed_and_the_others_are_not) {
  const Server server({"--max-connections", "2"});
  Client first(server);
  Client second(server);
  EXPECT_EQ(first.ping() + second.ping(), "okok");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Client(server).read_to_end(), "");
  EXPECT_EQ(first.ping() + second.ping(), "okok");
  EXPECT_EQ(stats(first).at("connections"), 2);
}

TEST(MaxConnections, those_refused_are_counted_in_the_log) {
  const Server server({"--max-connections", "1"});
  Client first(server);
  EXPECT_EQ(first.ping(), "ok");
  for (int i = 0; i < 25; ++i) EXPECT_EQ(Client(server).read_to_end(), "");
  constexpr const char* kLine =
      "warn connections_refused listener=tcp reason=max_connections limit=1 ";
  EXPECT_TRUE(eventually([&] { return told(server.log(), kLine) == 25; })) << server.log();
  EXPECT_LT(lines_with(server.log(), kLine).size(), 20U);
}

TEST(MaxConnections, capacity_returns_when_a_connection_leaves) {
  const Server server({"--max-connections", "2"});
  Client first(server);
  EXPECT_EQ(first.ping(), "ok");
  for (int i = 0; i < 20; ++i) {
    Client second(server);
    EXPECT_EQ(second.ping(), "ok");
    second.close();
    EXPECT_TRUE(eventually([&] { return stats(first).at("connections") == 1; }));
  }
}

// --- Out of descriptors ---

TEST(Descriptors, server_without_any_left_neither_spins_nor_fails_and_accepts_again) {
  // To check a virtual call UBSan opens a pipe, and takes failure for a bad object.
  if (kSanitized) GTEST_SKIP() << "the sanitizers need descriptors themselves";
  const Server server(Launch{.max_open_files = 40});
  Client first(server);
  first.hold(lock("job"));
  const auto start = Clock::now();
  std::vector<Client> many = connect_many(server, 100);  // most wait in the listener's backlog
  for (Client& client : many) client.request("ping", "_", "_");
  EXPECT_EQ(many.front().read_line(), "ok");
  EXPECT_TRUE(server.wait_for_log_line("warn cannot_accept listener=tcp")) << server.log();

  constexpr Duration kInterval = 1s;
  const auto cpu_time_before = server.cpu_time();
  std::this_thread::sleep_until(Clock::now() + kInterval);
  EXPECT_LT(server.cpu_time() - cpu_time_before, kInterval / 5) << "the server spins";
  EXPECT_FALSE(many.back().has_input()) << "there were descriptors left";
  EXPECT_EQ(first.acquire(lock("job"), 0), "timeout") << "those connected are served";
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(Clock::now() - start).count();
  EXPECT_LE(lines_with(server.log(), "cannot_accept").size(), static_cast<std::size_t>(seconds) + 1)
      << server.log();

  for (std::size_t i = 0; i < 80; ++i) many[i].close();
  const auto freed = Clock::now();
  EXPECT_EQ(many.back().read_line(), "ok") << "it was accepted when descriptors came free";
  EXPECT_EQ(Client(server).ping(), "ok");
  EXPECT_LT(Clock::now() - freed, within(1s));
}

}  // namespace

}  // namespace dflockd::test
