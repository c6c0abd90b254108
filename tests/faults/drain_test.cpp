// SIGTERM while a connection is in each of the states that there are. None keeps the server from
// its end, and nobody loses an answer to what has been carried out.

#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

TEST(DrainInAnyState, half_a_request_of_one_who_holds_nothing_is_cut_off) {
  Server server;
  Client client(server);
  client.send("ping\n_\n");
  EXPECT_EQ(Client(server).ping(), "ok");
  const auto start = Clock::now();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_LT(Clock::now() - start, within(2s));
  EXPECT_EQ(client.read_to_end(), "");
}

TEST(DrainInAnyState, half_a_request_may_be_finished_while_something_is_held) {
  Server server;
  Client holder(server);
  Client other(server);
  const Grant grant = holder.hold(lock("job"));
  other.send("r\njob\n" + grant.token.substr(0, 10));
  EXPECT_EQ(holder.ping(), "ok");
  drain(server);
  other.send(grant.token.substr(10) + "\n");
  EXPECT_EQ(other.read_line(), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainInAnyState, place_in_the_queue_from_phase_one_is_given_up) {
  Server server;
  Client holder(server);
  Client queued(server);
  const Grant grant = holder.hold(lock("job"));
  EXPECT_EQ(queued.enqueue(lock("job")), "queued");
  drain(server);
  EXPECT_EQ(waiters(holder, lock("job")), 0);
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainInAnyState, slot_that_came_to_phase_one_and_was_not_told_is_given_up) {
  Server server;
  Client holder(server);
  Client queued(server);
  const Grant grant = holder.hold(lock("job"));
  EXPECT_EQ(queued.enqueue(lock("job")), "queued");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainInAnyState, handshakes_are_not_waited_for) {
  TlsServer server;
  Client silent(server);
  Client half_way(server);
  half_way.send(client_hello(server.trusting()).substr(0, 50));
  EXPECT_EQ(failure_of(server, server.trusting()), "");
  const auto start = Clock::now();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_LT(Clock::now() - start, within(2s));
}

TEST(DrainInAnyState, handshakes_end_though_something_is_held) {
  TlsServer server;
  TlsClient holder(server, server.trusting());
  const Grant grant = holder.hold(lock("job"));
  Client half_way(server);
  half_way.send(client_hello(server.trusting()).substr(0, 50));
  EXPECT_TRUE(eventually([&] { return stats(holder).at("connections") == 2; }));
  drain(server);
  EXPECT_EQ(half_way.read_to_end(), "");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_EQ(server.log().find("tls_handshake_failed"), std::string::npos)
      << "it was the server that gave up: " << server.log();
}

TEST(DrainInAnyState, those_who_have_not_authenticated_are_closed) {
  Server server({"--auth-token", "secret"});
  Client silent(server);
  Client half_way(server);
  Client holder(server);
  half_way.send("auth\n_\nsec");
  EXPECT_EQ(holder.ask("auth", "_", "secret"), "ok");
  const Grant grant = holder.hold(lock("job"));
  drain(server);
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainInAnyState, those_being_denied_hear_of_it) {
  Server server({"--auth-token", "secret"}, Http::kOn);
  Client denied(server);
  HttpClient unauthorized(server);
  EXPECT_EQ(denied.ask("auth", "_", "guess"), "error_auth");
  unauthorized.send(unauthorized.request_bytes("GET", "/v1/stats"));
  EXPECT_EQ(unauthorized.read_response().status, 401);
  unauthorized.send(unauthorized.request_bytes("GET", "/v1/stats"));
  HttpClient settled(server);
  EXPECT_EQ(settled.get("/health").status, 200);
  server.signal(SIGTERM);
  EXPECT_EQ(unauthorized.read_response().status, 401);
  EXPECT_EQ(denied.read_to_end(), "");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

/// A client that has asked for more than it reads.
class DrainBehindUnreadReplies : public testing::Test {
 protected:
  static constexpr int kReports = 40;

  explicit DrainBehindUnreadReplies(const std::string& write_timeout = "60")
      : server_({"--write-timeout", write_timeout}) {
    std::vector<Grant> grants;
    for (int i = 0; i < kKeys; ++i) holder_.begin_acquire(key(i), 0, 3'600);
    for (int i = 0; i < kKeys; ++i) grants.push_back(holder_.read_grant());
    std::string requests;
    for (int i = 0; i < kReports; ++i) requests += request_bytes("stats", "_", "_");
    deaf_.send(requests);
    EXPECT_TRUE(eventually([&] { return deaf_.has_input(); }));
    for (int i = 0; i < kKeys; ++i) holder_.request("r", key(i).name, grants[std::size_t(i)].token);
    for (int i = 0; i < kKeys; ++i) EXPECT_EQ(holder_.read_line(), "ok");
  }

  static constexpr int kKeys = 1'000;
  static Key key(int number) { return lock(std::string(200, 'k') + std::to_string(number)); }

  Server server_;
  Client holder_{server_};
  Client deaf_{server_, 4'096};
};

class DrainBehindUnreadRepliesForASecond : public DrainBehindUnreadReplies {
 protected:
  DrainBehindUnreadRepliesForASecond() : DrainBehindUnreadReplies("1") {}
};

TEST_F(DrainBehindUnreadReplies, waits_until_they_are_read) {
  drain(server_);
  EXPECT_EQ(holder_.read_to_end(), "");
  for (int i = 0; i < kReports; ++i) ASSERT_TRUE(deaf_.read_line().ends_with("]}"));
  EXPECT_EQ(deaf_.read_to_end(), "");
  EXPECT_EQ(server_.wait_for_exit(), 0);
}

TEST_F(DrainBehindUnreadReplies, is_cut_short_by_a_second_signal) {
  drain(server_);
  EXPECT_EQ(holder_.read_to_end(), "");
  server_.signal(SIGTERM);
  EXPECT_EQ(server_.wait_for_exit(within(2s)), 128 + SIGTERM);
}

TEST_F(DrainBehindUnreadRepliesForASecond, ends_with_the_write_timeout) {
  server_.signal(SIGTERM);
  EXPECT_EQ(server_.wait_for_exit(within(5s)), 0);
}

TEST(DrainInAnyState, http_connection_without_a_request_is_not_waited_for) {
  Server server(Http::kOn);
  HttpClient silent(server);
  HttpClient half_way(server);
  half_way.send("POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{");
  EXPECT_EQ(HttpClient(server).get("/health").status, 200);
  const auto start = Clock::now();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_LT(Clock::now() - start, within(2s));
}

TEST(DrainInAnyState, half_an_http_request_may_be_finished_while_something_is_held) {
  Server server(Http::kOn);
  HttpClient client(server);
  HttpClient half_way(server);
  const std::string session = client.open_session();
  const Grant grant = client.hold(session, lock("job"));
  const std::string release = half_way.request_bytes(
      "POST", path_of(lock("job"), "release"), R"({"token":")" + grant.token + "\"}", session);
  half_way.send(release.substr(0, release.size() - 5));
  EXPECT_EQ(HttpClient(server).get("/health").status, 200);
  drain(server);
  half_way.send(release.substr(release.size() - 5));
  EXPECT_EQ(half_way.read_response().summary(), "204");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(DrainInAnyState, requests_behind_a_blocked_one_of_their_session_are_answered) {
  Server server(Http::kOn);
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  HttpClient client(server);
  HttpClient blocked(server);
  HttpClient behind(server);
  const std::string session = client.open_session();
  blocked.begin_acquire(session, lock("job"));
  await_waiters(holder, lock("job"), 1);
  behind.begin_acquire(session, lock("free"));
  EXPECT_EQ(client.get("/health").status, 200);
  drain(server);
  EXPECT_EQ(blocked.read_response().summary(), "503 draining");
  EXPECT_EQ(behind.read_response().summary(), "503 draining");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

// Which of the two the server hears of first is the system's choice.
TEST(DrainInAnyState, reload_at_the_same_moment_does_no_harm) {
  for (int round = 0; round < 5; ++round) {
    TlsServer server;
    TlsClient holder(server, server.trusting());
    const Grant grant = holder.hold(lock("job"));
    server.signal(SIGSTOP);
    server.signal(SIGHUP);
    server.signal(SIGTERM);
    server.signal(SIGCONT);
    EXPECT_TRUE(server.wait_for_log_line("draining"));
    EXPECT_TRUE(server.wait_for_log_line("reloaded changed=nothing"));
    EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
    EXPECT_EQ(server.wait_for_exit(), 0);
  }
}

}  // namespace

}  // namespace dflockd::test
