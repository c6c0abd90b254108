// `stable-ref`: an owner that comes back finds what it had. `name`, `barrier`.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/namespaces.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

/// A client under a ref.
class Worker : public Client {
 public:
  explicit Worker(const Server& server, const std::string& ref = "worker") : Client(server) {
    if (ask("stable-ref", ref, "_") != "ok") throw std::runtime_error("no stable ref");
  }
};

class StableRefs : public OfEachNamespace {
 protected:
  /// Until the server has noticed that somebody left.
  void await_connections(int count) {
    EXPECT_TRUE(eventually([&] { return stats(observer_).at("connections") == count; }));
  }

  Server server_{{"--orphan-ttl", "30"}};
  Client observer_{server_};
};
FOR_EACH_NAMESPACE(StableRefs);

TEST_P(StableRefs, grant_is_handed_back_with_its_token_and_a_new_lease) {
  Worker worker(server_);
  const Grant grant = worker.hold(key("job"), 44);
  worker.close();
  await_connections(1);
  EXPECT_EQ(observer_.acquire(key("job"), 0), "timeout") << "nobody else gets it";
  Worker again(server_);
  const Grant back = granted(again.acquire(key("job"), 0, 55));
  EXPECT_EQ(back.token, grant.token);
  EXPECT_EQ(back.lease, 55);
  EXPECT_EQ(again.release(key("job"), back.token), "ok");
}

TEST_P(StableRefs, claims_made_before_the_ref_was_said_are_under_it) {
  Client client(server_);
  const Grant grant = client.hold(key("job"));
  EXPECT_EQ(client.ask("stable-ref", "worker", ""), "ok");
  client.reset();
  await_connections(1);
  Worker again(server_);
  EXPECT_EQ(granted(again.acquire(key("job"), 0)).token, grant.token);
}

TEST_P(StableRefs, both_phases_hand_back_what_is_held) {
  Worker first(server_);
  const Grant grant = first.hold(key("job"), 44);
  first.close();
  await_connections(1);
  Worker second(server_);
  EXPECT_EQ(acquired(second.enqueue(key("job"), 55)).token, grant.token);
  second.close();
  await_connections(1);
  Worker third(server_);
  const Grant back = granted(third.wait(key("job"), 0));
  EXPECT_EQ(back.token, grant.token);
  EXPECT_EQ(back.lease, 55);
}

TEST_P(StableRefs, place_in_the_queue_is_kept_whatever_asks_for_it) {
  const Grant grant = observer_.hold(key("job"));
  Worker worker(server_);
  EXPECT_EQ(worker.enqueue(key("job")), "queued");
  Client behind(server_);
  behind.begin_acquire(key("job"));
  await_waiters(observer_, key("job"), 2);
  worker.close();
  await_connections(2);
  EXPECT_EQ(waiters(observer_, key("job")), 2);
  Worker again(server_);
  again.begin_acquire(key("job"));
  EXPECT_EQ(waiters(observer_, key("job")), 2);
  EXPECT_EQ(observer_.release(key("job"), grant.token), "ok");
  again.read_grant();
  EXPECT_FALSE(behind.has_input());
}

TEST_P(StableRefs, blocked_request_keeps_its_place_when_its_connection_breaks) {
  const Grant grant = observer_.hold(key("job"));
  Worker worker(server_);
  worker.begin_acquire(key("job"));
  await_waiters(observer_, key("job"), 1);
  worker.reset();
  await_connections(1);
  EXPECT_EQ(waiters(observer_, key("job")), 1);
  EXPECT_EQ(observer_.release(key("job"), grant.token), "ok");
  Worker again(server_);
  EXPECT_GT(granted(again.acquire(key("job"), 0)).fence(), grant.fence());
}

TEST_P(StableRefs, timeout_0_gives_the_place_up) {
  observer_.hold(key("job"));
  Worker worker(server_);
  EXPECT_EQ(worker.enqueue(key("job")), "queued");
  worker.close();
  await_connections(1);
  Worker again(server_);
  EXPECT_EQ(again.acquire(key("job"), 0), "timeout");
  EXPECT_EQ(waiters(observer_, key("job")), 0);
}

TEST_P(StableRefs, living_owner_is_never_displaced) {
  Worker worker(server_);
  const Grant grant = worker.hold(key("job"));
  Worker second(server_);
  EXPECT_EQ(second.acquire(key("job"), 0), "timeout");
  EXPECT_EQ(worker.renew(key("job"), grant.token, 44), "ok 44");
}

TEST_P(StableRefs, who_waits_already_gets_the_claim_when_the_first_one_ends) {
  Worker worker(server_);
  const Grant grant = worker.hold(key("job"));
  Worker second(server_);
  second.begin_acquire(key("job"), 60, 55);
  await_waiters(observer_, key("job"), 1);
  worker.close();
  const Grant back = second.read_grant();
  EXPECT_EQ(back.token, grant.token);
  EXPECT_EQ(back.lease, 55);
  EXPECT_EQ(waiters(observer_, key("job")), 0);
}

TEST_P(StableRefs, orphan_is_given_back_and_renewed_by_whoever_has_its_token) {
  Worker worker(server_);
  const Grant grant = worker.hold(key("job"));
  worker.close();
  await_connections(1);
  Client other(server_);
  EXPECT_EQ(other.renew(key("job"), grant.token, 44), "ok 44");
  other.close();
  EXPECT_TRUE(eventually([&] { return is_idle(observer_, key("job")); })) << "it was the renewer's";
}

TEST_P(StableRefs, ttl_ends_what_nobody_comes_back_for) {
  const Server server({"--orphan-ttl", "1"});
  Client waiter(server);
  Worker worker(server);
  worker.hold(key("job"), 3600);
  waiter.begin_acquire(key("job"));
  await_waiters(worker, key("job"), 1);
  const auto start = Clock::now();
  worker.close();
  waiter.read_grant();
  EXPECT_GE(Clock::now() - start, 900ms);
}

TEST_P(StableRefs, without_a_ttl_claims_end_as_with_any_disconnect) {
  const Server server;
  Client observer(server);
  Worker worker(server);
  worker.hold(key("job"));
  worker.close();
  EXPECT_TRUE(eventually([&] { return is_idle(observer, key("job")); }));
}

TEST_P(StableRefs, without_auto_release_a_grant_has_its_lease_and_a_place_the_ttl) {
  const Server server({"--orphan-ttl", "1", "--no-auto-release-on-disconnect"});
  Client observer(server);
  Worker worker(server);
  const Grant grant = worker.hold(key("job"), 3600);
  EXPECT_EQ(worker.enqueue(key("job")), "queued");
  await_waiters(observer, key("job"), 1);
  worker.close();
  await_waiters(observer, key("job"), 0);
  EXPECT_FALSE(is_idle(observer, key("job")));
  Worker again(server);
  EXPECT_EQ(granted(again.acquire(key("job"), 0)).token, grant.token);
}

TEST_P(StableRefs, drain_hands_back_and_acquires_nothing) {
  Worker worker(server_);
  const Grant grant = worker.hold(key("job"));
  worker.close();
  await_connections(1);
  Worker again(server_);
  drain(server_);
  EXPECT_EQ(granted(again.acquire(key("job"), 0)).token, grant.token);
  EXPECT_EQ(again.acquire(key("other"), 0), "error_draining");
  EXPECT_EQ(again.acquire(key("job"), 0), "error_draining");
  EXPECT_EQ(again.release(key("job"), grant.token), "ok");
  EXPECT_EQ(server_.wait_for_exit(), 0);
}

// --- Refs, names and barriers, whatever the kind of key ---

class Owners : public testing::Test {
 protected:
  Server server_{{"--orphan-ttl", "30"}};
  Client client_{server_};
};

TEST_F(Owners, bad_ref_is_an_error_and_a_second_one_too) {
  for (const std::string& ref :
       {std::string(), std::string(65, 'r'), std::string("a\tb"), std::string("\xc3\xa9")}) {
    EXPECT_EQ(client_.ask("stable-ref", ref, "_"), "error") << ref;
  }
  EXPECT_EQ(client_.ask("stable-ref", "a b~", "whatever it is"), "ok");
  EXPECT_EQ(client_.ask("stable-ref", "a b~", "_"), "error");
  EXPECT_EQ(client_.ask("stable-ref", "other", "_"), "error");
  EXPECT_EQ(client_.ping(), "ok");
}

TEST_F(Owners, shared_and_exclusive_claims_are_not_taken_for_one_another) {
  Worker worker(server_);
  const Grant shared = worker.hold(shared_lock("read"));
  const Grant exclusive = worker.hold(lock("write"));
  worker.close();
  EXPECT_TRUE(eventually([&] { return stats(client_).at("connections") == 1; }));
  Worker again(server_);
  EXPECT_EQ(again.acquire(lock("read"), 60), "error");
  EXPECT_EQ(again.enqueue(shared_lock("write")), "error");
  EXPECT_EQ(granted(again.acquire(shared_lock("read"), 60)).token, shared.token);
  EXPECT_EQ(granted(again.acquire(lock("write"), 60)).token, exclusive.token);
}

TEST_F(Owners, name_is_shown_as_it_is_now) {
  client_.hold(lock("job"));
  EXPECT_EQ(held(client_, lock("job")).at("name"), "");
  EXPECT_EQ(client_.ask("name", "nightly \"job\" \xc3\xa9", "_"), "ok");
  EXPECT_EQ(held(client_, lock("job")).at("name"), "nightly \"job\" \xc3\xa9");
  EXPECT_EQ(client_.ask("name", "deploy", ""), "ok");
  EXPECT_EQ(held(client_, lock("job")).at("name"), "deploy");
  for (const std::string& name :
       {std::string(), std::string(129, 'n'), std::string("\x1b[2J"), std::string("\xff")}) {
    EXPECT_EQ(client_.ask("name", name, "_"), "error");
  }
  EXPECT_EQ(held(client_, lock("job")).at("name"), "deploy");
}

TEST_F(Owners, barrier_is_answered_in_order) {
  client_.send(request_bytes("l", "job", "0 44") + request_bytes("barrier", "", "") +
               request_bytes("barrier", "any thing", "at all") + request_bytes("ping", "", ""));
  granted(client_.read_line());
  EXPECT_EQ(client_.read_line(), "ok");
  EXPECT_EQ(client_.read_line(), "ok");
  EXPECT_EQ(client_.read_line(), "ok");
}

TEST_F(Owners, secret_comes_before_ref_name_and_barrier) {
  const Server server({"--auth-token", "secret"});
  for (const char* command : {"stable-ref", "name", "barrier", "stat", "rl", "re"}) {
    Client stranger(server);
    EXPECT_EQ(stranger.ask(command, "x", "0"), "error_auth") << command;
    EXPECT_EQ(stranger.read_to_end(), "");
  }
}

// The client for Go of generation 2, with its `Cluster` type against one server: it names itself on
// every connection, keeps two, renews over the one that never holds anything, puts a barrier behind
// what must be safe, and follows `error_not_leader`, which one server never says.
TEST_F(Owners, go_client_of_generation_2_is_served_byte_for_byte) {
  Client work(server_);
  Client renewals(server_);
  for (Client* connection : {&work, &renewals}) {
    connection->send("stable-ref\ngo-7f3a\n_\n");
    EXPECT_EQ(connection->read_line(), "ok");
  }
  work.send("l\njob\n10 30\n");
  const Grant grant = work.read_grant();
  work.send("barrier\n_\n_\n");
  EXPECT_EQ(work.read_line(), "ok");
  renewals.send("n\njob\n" + grant.token + " 30\n");
  EXPECT_EQ(renewals.read_line(), "ok 30");
  work.reset();  // and it dials again, while the other connection of its name lives
  EXPECT_TRUE(eventually([&] { return stats(client_).at("connections") == 2; }));
  renewals.send("n\njob\n" + grant.token + " 30\n");
  EXPECT_EQ(renewals.read_line(), "ok 30");
  Client again(server_);
  again.send("stable-ref\ngo-7f3a\n_\nr\njob\n" + grant.token + "\nbarrier\n_\n_\n");
  EXPECT_EQ(again.read_line(), "ok");
  EXPECT_EQ(again.read_line(), "ok");
  EXPECT_EQ(again.read_line(), "ok");
}

}  // namespace

}  // namespace dflockd::test
