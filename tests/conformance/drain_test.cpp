// "After SIGTERM, requests that would acquire or wait are answered error_draining, those already
// waiting too; release, renew, ping, stat and stats go on working, on old connections and on new
// ones [...]. The server exits as soon as nothing is held; what has arrived by then is answered,
// for at most one second more, and no client that holds nothing can put that off. A new connection
// is closed once it has been answered, or after a second of silence."

#include <atomic>
#include <csignal>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

class Drain : public testing::TestWithParam<int> {
 protected:
  static void drain(Server& server) { test::drain(server, GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(After, Drain, testing::Values(SIGTERM, SIGINT),
                         [](const testing::TestParamInfo<int>& parameter) {
                           return parameter.param == SIGTERM ? "SIGTERM" : "SIGINT";
                         });

TEST_P(Drain, without_connections_exits_with_status_0) {
  Server server;
  server.signal(GetParam());
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, waits_until_nothing_is_held) {
  Server server;
  Client holder(server);
  Client slot_holder(server);
  const Grant grant = holder.hold(lock("job"));
  const Grant slot = slot_holder.hold(semaphore("pool", 2));
  drain(server);
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(slot_holder.ping(), "ok");
  EXPECT_TRUE(server.running());
  EXPECT_EQ(slot_holder.release(semaphore("pool", 2), slot.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, answers_those_already_waiting) {
  Server server;
  Client holder(server);
  Client acquiring(server);
  Client waiting(server);
  Client for_a_slot(server);
  const Grant grant = holder.hold(lock("job"));
  holder.hold(semaphore("pool", 1));
  acquiring.begin_acquire(lock("job"));
  await_waiters(holder, lock("job"), 1);
  EXPECT_EQ(waiting.enqueue(lock("job")), "queued");
  waiting.begin_wait(lock("job"));
  for_a_slot.begin_acquire(semaphore("pool", 1));
  await_waiters(holder, semaphore("pool", 1), 1);
  server.signal(GetParam());
  EXPECT_EQ(acquiring.read_line(), "error_draining");
  EXPECT_EQ(waiting.read_line(), "error_draining");
  EXPECT_EQ(for_a_slot.read_line(), "error_draining");
  EXPECT_EQ(waiters(holder, lock("job")), 0);
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  holder.close();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, refuses_to_acquire_and_to_wait) {
  Server server;
  Client holder(server);
  holder.hold(lock("job"));
  drain(server);
  for (const Key& key : {lock("job"), lock("free"), semaphore("free", 2)}) {
    EXPECT_EQ(holder.acquire(key, 0), "error_draining");
    EXPECT_EQ(holder.acquire(key, 60, 60), "error_draining");
    EXPECT_EQ(holder.enqueue(key), "error_draining");
    EXPECT_EQ(holder.wait(key, 60), "error_not_enqueued");
  }
  EXPECT_EQ(holder.ask("l", "job", "soon"), "error") << "what is malformed stays malformed";
  holder.close();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, refuses_once_to_wait_for_a_place_that_it_took) {
  Server server;
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  Client other(server);
  other.hold(lock("other"));
  EXPECT_EQ(other.enqueue(lock("job")), "queued");
  drain(server);
  EXPECT_EQ(other.wait(lock("job"), 60), "error_draining");
  EXPECT_EQ(other.wait(lock("job"), 60), "error_not_enqueued");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  other.close();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, refuses_to_wait_on_a_granted_state_whose_token_may_be_released) {
  Server server;
  Client holder(server);
  const Grant grant = acquired(holder.enqueue(lock("job")));
  drain(server);
  EXPECT_EQ(holder.wait(lock("job"), 0), "error_draining");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, goes_on_serving_release_renew_ping_and_stats) {
  Server server;
  Client holder(server);
  Client other(server);
  const Grant grant = holder.hold(lock("job"));
  const Grant slot = other.hold(semaphore("pool", 1));
  drain(server);
  EXPECT_EQ(holder.ping(), "ok");
  EXPECT_EQ(holder.renew(lock("job"), grant.token, 44), "ok 44");
  EXPECT_EQ(held(holder, semaphore("pool", 1)).at("holders"), 1);
  EXPECT_EQ(holder.release(semaphore("pool", 1), slot.token), "ok") << "for another connection";
  EXPECT_EQ(holder.release(lock("job"), std::string(32, '0')), "error");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, second_signal_exits_at_once) {
  Server server;
  Client holder(server);
  holder.hold(lock("job"));
  drain(server);
  EXPECT_EQ(holder.ping(), "ok");
  server.signal(GetParam());
  server.wait_for_exit(within(2s));
}

TEST_P(Drain, lets_a_holder_come_back_over_a_new_connection) {
  Server server({"--auto-release-on-disconnect=false"});
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  holder.close();
  drain(server);
  EXPECT_EQ(Client(server).renew(lock("job"), grant.token, 44), "ok 44");
  Client curious(server);
  EXPECT_EQ(curious.acquire(lock("free"), 0), "error_draining");
  EXPECT_EQ(curious.read_to_end(), "") << "closed once it has been answered";
  Client back(server);
  EXPECT_EQ(back.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, lets_a_holder_come_back_that_has_to_authenticate) {
  Server server({"--auth-token", "secret", "--auto-release-on-disconnect=false"});
  Client holder(server);
  EXPECT_EQ(holder.ask("auth", "_", "secret"), "ok");
  const Grant grant = holder.hold(lock("job"));
  holder.close();
  drain(server);
  Client back(server);
  EXPECT_EQ(back.ask("auth", "_", "secret"), "ok");
  EXPECT_EQ(back.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

// However slowly its first request comes.
TEST_P(Drain, lets_a_request_that_has_begun_arrive) {
  Server server({"--auto-release-on-disconnect=false"});
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  holder.close();
  drain(server);
  Client back(server);
  for (const std::string& part : {std::string("r\n"), std::string("job\n"), grant.token}) {
    back.send(part);
    std::this_thread::sleep_for(600ms);
  }
  back.send("\n");
  EXPECT_EQ(back.read_line(), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(Drain, closes_a_new_connection_after_a_second_of_silence) {
  Server server;
  Client holder(server);
  holder.hold(lock("job"));
  drain(server);
  Client silent(server);
  const auto start = Clock::now();
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_GE(Clock::now() - start, 950ms);
  EXPECT_LT(Clock::now() - start, within(3s));
  holder.close();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

// Clients that hold nothing and never stop asking.
TEST_P(Drain, is_not_put_off_by_those_who_hold_nothing) {
  Server server({"--shutdown-timeout", "0"});
  std::atomic<bool> over = false;
  std::vector<std::jthread> askers;
  for (int i = 0; i < 3; ++i) {
    askers.emplace_back([&server, &over] {
      std::string pings;
      for (int ping = 0; ping < 500; ++ping) pings += request_bytes("ping", "_", "_");
      while (!over) {
        try {
          Client client(server);
          while (!over) {
            client.send(pings);
            for (int ping = 0; ping < 500; ++ping) client.read_line();
          }
        } catch (const std::exception&) {  // it was closed
        }
      }
    });
  }
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  drain(server);
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  const auto released = Clock::now();
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_LT(Clock::now() - released, within(3s));
  over = true;
}

// --- Over each stream ---

class DrainOverStream : public OfEachStream {
 protected:
  /// The server has ended the connection, over TLS with a goodbye, and said this last.
  static void expect_end(Client& client, std::string_view last = "") {
    EXPECT_EQ(client.read_to_end(), last);
    auto* const tls = dynamic_cast<TlsClient*>(&client);
    EXPECT_TRUE(tls == nullptr || tls->heard_goodbye());
  }

  StreamServer server_{GetParam()};
  const std::unique_ptr<Client> client_ = server_.connect();
  const std::unique_ptr<Client> other_ = server_.connect();
};
FOR_EACH_STREAM(DrainOverStream);

TEST_P(DrainOverStream, closes_idle_connections_that_hold_nothing_and_exits) {
  const Grant grant = client_->hold(lock("job"));
  EXPECT_EQ(client_->release(lock("job"), grant.token), "ok");
  server_.signal(SIGTERM);
  expect_end(*client_);
  expect_end(*other_);
  EXPECT_EQ(server_.wait_for_exit(), 0);
}

TEST_P(DrainOverStream, answers_those_who_wait_and_lets_holders_finish) {
  const Grant grant = client_->hold(lock("job"));
  other_->begin_acquire(lock("job"));
  await_waiters(*client_, lock("job"), 1);
  server_.signal(SIGTERM);
  expect_end(*other_, "error_draining\n");
  EXPECT_EQ(client_->acquire(lock("other"), 0), "error_draining");
  EXPECT_EQ(client_->renew(lock("job"), grant.token, 44), "ok 44");
  EXPECT_EQ(client_->release(lock("job"), grant.token), "ok");
  expect_end(*client_);
  EXPECT_EQ(server_.wait_for_exit(), 0);
}

// The requests and the signal wait for the server when it wakes up: one, more than a reception
// takes (over TLS in one record), and a reply that takes more than one turn of the loop.
TEST_P(DrainOverStream, answers_all_that_has_arrived_already) {
  const std::string ping = request_bytes("ping", "_", "_");
  for (const std::size_t pings : {1U, 1'800U}) {
    for (int round = 0; round < 5; ++round) {
      StreamServer server(GetParam());
      const std::unique_ptr<Client> client = server.connect();
      EXPECT_EQ(client->ping(), "ok");
      server.signal(SIGSTOP);
      client->send(repeated(pings, ping));
      if (pings > 1) client->send(request_bytes("stats", "_", "_") + ping);
      server.signal(SIGTERM);
      server.signal(SIGCONT);
      for (std::size_t i = 0; i < pings; ++i) ASSERT_EQ(client->read_line(), "ok");
      if (pings > 1) {
        ASSERT_TRUE(client->read_line().starts_with("ok {"));
      }
      EXPECT_EQ(client->read_to_end(), pings > 1 ? "ok\n" : "");
      EXPECT_EQ(server.wait_for_exit(), 0);
    }
  }
}

TEST(Hangup, signal_leaves_the_server_and_its_locks_alone) {
  Server server;
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  server.signal(SIGHUP);
  EXPECT_TRUE(server.wait_for_log_line("reloaded changed=nothing").has_value());
  EXPECT_EQ(holder.renew(lock("job"), grant.token), "ok 33");
}

TEST(DrainEnd, comes_when_the_last_holder_disconnects) {
  Server server;
  Client holder(server);
  holder.hold(lock("job"));
  drain(server);
  holder.close();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainEnd, comes_when_the_last_lease_runs_out) {
  Server server({"--lease-sweep-interval", "3600"});
  Client holder(server);
  holder.hold(lock("job"), 1);
  drain(server);
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainEnd, comes_with_the_shutdown_timeout_though_locks_are_held) {
  Server server({"--shutdown-timeout", "1"});
  Client holder(server);
  holder.hold(lock("job"));
  const auto start = Clock::now();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_EQ(holder.read_to_end(), "");
}

// "0 waits for ever"
TEST(DrainEnd, does_not_come_at_once_with_a_shutdown_timeout_of_0) {
  Server server({"--shutdown-timeout", "0"});
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  drain(server);
  EXPECT_EQ(holder.renew(lock("job"), grant.token, 44), "ok 44");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainEnd, other_signal_than_the_first_counts_as_the_second) {
  Server server;
  Client holder(server);
  holder.hold(lock("job"));
  drain(server, SIGINT);
  server.signal(SIGTERM);
  server.wait_for_exit(within(2s));
}

TEST(DrainEnd, comes_after_replies_that_are_on_their_way) {
  Server server;
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  drain(server);
  holder.send(request_bytes("ping", "_", "_") + request_bytes("r", "job", grant.token));
  EXPECT_EQ(holder.read_to_end(), "ok\nok\n");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

}  // namespace

}  // namespace dflockd::test
