// SIGHUP while a connection is in each of the states that there are: whether the reload works or
// fails, the connection goes on as if nothing had happened.

#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/http_client.hpp"
#include "support/log.hpp"
#include "support/stats.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

enum class Outcome { kReloaded, kFailed };

class ReloadInAnyState : public testing::TestWithParam<Outcome> {
 protected:
  ReloadInAnyState() : server_(launch(), Http::kOn) {}

  Launch launch() {
    write_file(token_, "secret\n");
    return {.flags = {"--auth-token-file", token_, "--write-timeout", "60"}};
  }

  /// With another secret, or without any, which is refused. One line tells what came of it.
  void reload() {
    const bool works = GetParam() == Outcome::kReloaded;
    write_file(token_, works ? "another\n" : "");
    const std::string line = test::reload(server_);
    EXPECT_EQ(line.starts_with(works ? "reloaded changed=auth_token" : "reload_failed error="),
              true)
        << line;
    if (!works) {
      EXPECT_NE(line.find(token_), std::string::npos) << line;
    }
    EXPECT_EQ(lines_with(server_.log(), " reload").size(), 1U) << server_.log();
  }

  /// Connects anew and authenticates with what the server wants before the reload.
  Client connect(std::optional<int> receive_buffer = {}) {
    Client client(server_, receive_buffer);
    EXPECT_EQ(client.ask("auth", "_", "secret"), "ok");
    return client;
  }
  HttpClient connect_http() {
    HttpClient client(server_);
    client.authorize("secret");
    return client;
  }
  /// What new connections must say after the reload.
  [[nodiscard]] static std::string secret_now() {
    return GetParam() == Outcome::kReloaded ? "another" : "secret";
  }

  TemporaryDirectory directory_;
  const std::string token_ = directory_.file("token");
  Server server_;
  Client holder_ = connect();
};

INSTANTIATE_TEST_SUITE_P(That, ReloadInAnyState,
                         testing::Values(Outcome::kReloaded, Outcome::kFailed),
                         [](const testing::TestParamInfo<Outcome>& parameter) {
                           return parameter.param == Outcome::kReloaded ? "works" : "fails";
                         });

TEST_P(ReloadInAnyState, idle_and_holding) {
  Client idle = connect();
  const Grant grant = holder_.hold(lock("job"));
  reload();
  EXPECT_EQ(idle.ping(), "ok");
  EXPECT_EQ(holder_.renew(lock("job"), grant.token, 44), "ok 44");
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
}

TEST_P(ReloadInAnyState, in_the_middle_of_a_request) {
  Client client = connect();
  client.send("l\njob\n0");
  EXPECT_EQ(holder_.ping(), "ok");
  reload();
  client.send(" 60\n");
  granted(client.read_line());
}

TEST_P(ReloadInAnyState, blocked) {
  Client client = connect();
  const Grant grant = holder_.hold(lock("job"));
  client.begin_acquire(lock("job"));
  client.request("ping", "_", "_");
  await_waiters(holder_, lock("job"), 1);
  reload();
  EXPECT_EQ(waiters(holder_, lock("job")), 1);
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
  client.read_grant();
  EXPECT_EQ(client.read_line(), "ok") << "the request behind it";
}

TEST_P(ReloadInAnyState, between_the_two_phases) {
  Client client = connect();
  const Grant grant = holder_.hold(lock("held"));
  EXPECT_EQ(client.enqueue(lock("held")), "queued");
  const Grant own = acquired(client.enqueue(lock("free")));
  reload();
  EXPECT_EQ(granted(client.wait(lock("free"), 0)).token, own.token);
  EXPECT_EQ(holder_.release(lock("held"), grant.token), "ok");
  granted(client.wait(lock("held"), 60));
}

TEST_P(ReloadInAnyState, not_authenticated_yet) {
  Client silent(server_);
  Client half_way(server_);
  half_way.send("auth\n_\n");
  EXPECT_EQ(holder_.ping(), "ok");
  reload();
  EXPECT_EQ(silent.ask("auth", "_", secret_now()), "ok");
  half_way.send(secret_now() + "\n");
  EXPECT_EQ(half_way.read_line(), "ok");
}

TEST_P(ReloadInAnyState, being_denied) {
  Client denied(server_);
  HttpClient unauthorized(server_);
  unauthorized.send(unauthorized.request_bytes("GET", "/v1/stats"));
  EXPECT_EQ(denied.ask("auth", "_", "guess"), "error_auth");
  reload();
  EXPECT_EQ(denied.read_to_end(), "");
  EXPECT_EQ(unauthorized.read_response().status, 401);
}

TEST_P(ReloadInAnyState, stuck_with_replies_that_are_not_read) {
  for (int i = 0; i < 1'000; ++i) {
    holder_.begin_acquire(lock(std::string(200, 'k') + std::to_string(i)), 0, 3'600);
  }
  for (int i = 0; i < 1'000; ++i) holder_.read_grant();
  Client deaf = connect(4'096);
  constexpr int kReports = 40;
  std::string requests;
  for (int i = 0; i < kReports; ++i) requests += request_bytes("stats", "_", "_");
  deaf.send(requests);
  EXPECT_EQ(holder_.ping(), "ok");
  reload();
  EXPECT_EQ(holder_.ping(), "ok");
  for (int i = 0; i < kReports; ++i) EXPECT_TRUE(deaf.read_line().ends_with("]}"));
}

TEST_P(ReloadInAnyState, over_http) {
  HttpClient idle = connect_http();
  HttpClient polling = connect_http();
  HttpClient half_way = connect_http();
  const std::string session = idle.open_session();
  const Grant grant = holder_.hold(lock("job"));
  polling.begin_acquire(session, lock("job"));
  await_waiters(holder_, lock("job"), 1);
  const std::string request = half_way.request_bytes("POST", "/v1/sessions", "{}");
  const std::size_t half = request.find("Host");
  half_way.send(request.substr(0, half));
  EXPECT_EQ(holder_.ping(), "ok");
  reload();
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
  const Grant next = grant_in(polling.read_response());
  // Every request brings its secret, and that is the one of the moment at which its head is whole.
  half_way.send(request.substr(half));
  EXPECT_EQ(half_way.read_response().status, GetParam() == Outcome::kReloaded ? 401 : 200);
  idle.authorize(secret_now());
  EXPECT_EQ(idle.release(session, lock("job"), next.token).summary(), "204");
}

/// A handshake that the reload comes in the middle of: the server has the first half of the
/// client's first message.
TEST(ReloadInTheMiddleOfAHandshake, that_fails_or_works_lets_the_handshake_go_on) {
  TlsServer server;
  const std::string hello = client_hello(server.trusting());
  for (const bool works : {true, false}) {
    Client half_way(server);
    half_way.send(hello.substr(0, 50));
    if (works) {
      static_cast<void>(server.directory.write("server", server.authority.issue({})));
    } else {
      static_cast<void>(server.directory.write("server.crt", "garbage\n"));
    }
    EXPECT_EQ(reload(server).starts_with(works ? "reloaded" : "reload_failed"), true);
    half_way.send(hello.substr(50));
    constexpr char kHandshake = 22;
    EXPECT_EQ(half_way.read_bytes(1)[0], kHandshake) << "no ServerHello";
    EXPECT_EQ(failure_of(server, server.trusting()), "");
  }
}

}  // namespace

}  // namespace dflockd::test
