// "HTTP has no connection to hang ownership on, so a session does that job."

#include <csignal>
#include <cstddef>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

using testing::MatchesRegex;

/// Waits until the server has read what was sent before on connections that it knows: it has one
/// loop, and takes what is ready in turn.
void settle(Client& observer) {
  for (int i = 0; i < 2; ++i) EXPECT_EQ(observer.ping(), "ok");
}

/// A client whose connection the server knows.
HttpClient known_client(const Server& server) {
  HttpClient client(server);
  EXPECT_EQ(client.get("/health").summary(), "200 ok");
  return client;
}

/// What each route of a session's requests answers.
std::vector<std::string> answers(HttpClient& client, const std::string& session) {
  std::vector<std::string> summaries;
  const std::string token(32, '0');
  for (const Key& key : {lock("job"), semaphore("pool", 1)}) {
    summaries.push_back(client.acquire(session, key, 0).summary());
    summaries.push_back(client.release(session, key, token).summary());
    summaries.push_back(client.renew(session, key, token).summary());
    summaries.push_back(client.enqueue(session, key).summary());
    summaries.push_back(client.wait(session, key, 0).summary());
  }
  return summaries;
}

TEST(HttpSessions, are_opened_pinged_and_deleted) {
  const Server server({"--http-session-idle-timeout", "7"}, Http::kOn);
  HttpClient client(server);
  const HttpResponse opened = client.post("/v1/sessions");
  EXPECT_EQ(opened.status, 200);
  EXPECT_EQ(opened.json().size(), 2U);
  EXPECT_EQ(opened.json().at("idle_timeout_s"), 7);
  const std::string session = opened.text("session_id");
  EXPECT_THAT(session, MatchesRegex("[0-9a-f]{32}"));
  EXPECT_NE(client.open_session(), session);
  EXPECT_EQ(client.ping_session(session).summary(), "204");
  EXPECT_EQ(client.delete_session(session).summary(), "204");
}

TEST(HttpSessions, are_gone_once_they_are_deleted) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  EXPECT_EQ(client.delete_session(session).summary(), "204");
  EXPECT_EQ(client.ping_session(session).summary(), "410 session_gone");
  EXPECT_EQ(client.delete_session(session).summary(), "410 session_gone");
  EXPECT_THAT(answers(client, session), testing::Each("410 session_gone"));
}

TEST(HttpSessions, that_never_were_are_gone) {
  const Server server(Http::kOn);
  HttpClient client(server);
  for (const std::string& session : {std::string(32, '0'), std::string("x")}) {
    EXPECT_EQ(client.ping_session(session).summary(), "410 session_gone");
    EXPECT_EQ(client.delete_session(session).summary(), "410 session_gone");
    EXPECT_THAT(answers(client, session), testing::Each("410 session_gone"));
  }
}

TEST(HttpSessions, must_be_named) {
  const Server server(Http::kOn);
  HttpClient client(server);
  EXPECT_THAT(answers(client, ""), testing::Each("400 bad_request"));
}

TEST(HttpSessions, are_not_opened_by_what_may_not_name_them) {
  const Server server(Http::kOn);
  HttpClient client(server);
  for (const std::string& body :
       {std::string(R"({"stable_ref":""})"), R"({"stable_ref":")" + std::string(65, 'r') + "\"}",
        std::string(R"({"stable_ref":"a\u0000b"})"), std::string(R"({"stable_ref":7})"),
        std::string(R"({"name":""})"), R"({"name":")" + std::string(129, 'n') + "\"}",
        std::string(R"({"name":"a\nb"})"), std::string(R"({"name":["a"]})"),
        std::string(R"({"ref":"a"})"), std::string("[]")}) {
    const HttpResponse response = client.post("/v1/sessions", body);
    EXPECT_EQ(response.summary(), "400 bad_request") << body;
    EXPECT_NE(response.text("detail"), "") << body;
  }
  for (const char* const body : {"{}", R"({"stable_ref":null,"name":null})"}) {
    EXPECT_EQ(client.ping_session(client.open_session(body)).summary(), "204") << body;
  }
}

TEST(HttpSessions, are_called_as_they_say) {
  const Server server(Http::kOn);
  Client observer(server);
  HttpClient client(server);
  client.hold(client.open_session(R"({"name":"nightly d\u00e9p\u00f4t"})"), lock("job"));
  EXPECT_EQ(held(observer, lock("job")).at("name"), "nightly d\xc3\xa9p\xc3\xb4t");
}

TEST(HttpSessions, are_listed_without_their_ids) {
  const Server server(Http::kOn);
  HttpClient client(server, {.from = "127.0.0.2"});
  EXPECT_EQ(client.get("/v1/sessions").body, "{\"sessions\":[],\"total\":0}\n");
  const std::string session = client.open_session(R"({"name":"worker 7"})");
  client.hold(session, lock("job"));
  EXPECT_EQ(client.enqueue(session, lock("job")).summary(), "200 queued");
  const HttpResponse response = client.get("/v1/sessions");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body.find(session), std::string::npos);
  const nlohmann::json listed = response.json();
  EXPECT_EQ(listed.at("total"), 1);
  const nlohmann::json& one = listed.at("sessions").at(0);
  EXPECT_EQ(one.size(), 6U);
  EXPECT_EQ(one.at("address"), "127.0.0.2");
  EXPECT_EQ(one.at("name"), "worker 7");
  EXPECT_EQ(one.at("holds"), 1);
  EXPECT_EQ(one.at("waits"), 1);
  const nlohmann::json key = client.get("/v1/locks/job").json();
  EXPECT_EQ(one.at("owner_conn_id"), key.at("holders").at(0).at("owner_conn_id"));
}

TEST(HttpSessions, are_refused_beyond_max_sessions) {
  const Server server({"--http-max-sessions", "2"}, Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  client.open_session();
  EXPECT_EQ(client.post("/v1/sessions").summary(), "503 max_sessions");
  EXPECT_EQ(client.delete_session(session).summary(), "204");
  client.open_session();
}

TEST(HttpSessions, are_refused_beyond_max_sessions_per_ip) {
  const Server server({"--http-max-sessions-per-ip", "1"}, Http::kOn);
  for (const char* const address : {"127.0.0.2", "127.0.0.3"}) {
    HttpClient client(server, {.from = address});
    const std::string session = client.open_session();
    EXPECT_EQ(client.post("/v1/sessions").summary(), "503 max_sessions_per_ip");
    EXPECT_EQ(client.delete_session(session).summary(), "204");
    client.open_session();
  }
}

TEST(HttpSessions, are_counted_by_stats) {
  const Server server(Http::kOn);
  Client observer(server);
  HttpClient client(server);
  const auto count = [&] { return stats(observer).at("connections").get<int>(); };
  const std::string session = client.open_session();
  const int with_one = count();
  client.open_session();
  EXPECT_EQ(count(), with_one + 1);
  client.delete_session(session);
  EXPECT_EQ(count(), with_one);
}

TEST(HttpSessions, outlive_the_connection) {
  const Server server(Http::kOn);
  HttpClient first(server);
  const std::string session = first.open_session();
  const Grant grant = first.hold(session, lock("job"));
  first.close();
  HttpClient second(server);
  EXPECT_EQ(second.release(session, lock("job"), grant.token).summary(), "204");
}

// --- One request at a time ---

TEST(HttpRequestsOfASession, run_in_the_order_of_their_arrival) {
  const Server server(Http::kOn);
  Client holder(server);
  const Grant a = holder.hold(lock("a"));
  const Grant b = holder.hold(lock("b"));
  HttpClient first(server);
  HttpClient second = known_client(server);
  const std::string session = first.open_session();
  first.begin_acquire(session, lock("a"));
  await_waiters(holder, lock("a"), 1);
  second.begin_acquire(session, lock("b"));
  settle(holder);
  EXPECT_EQ(waiters(holder, lock("b")), 0);
  EXPECT_EQ(holder.release(lock("a"), a.token), "ok");
  grant_in(first.read_response());
  await_waiters(holder, lock("b"), 1);
  EXPECT_EQ(holder.release(lock("b"), b.token), "ok");
  grant_in(second.read_response());
}

TEST(HttpRequestsOfASession, wait_for_the_blocked_one_whatever_they_are) {
  const Server server(Http::kOn);
  Client holder(server);
  const Grant grant = holder.hold(lock("a"));
  HttpClient first(server);
  const std::string session = first.open_session();
  const Grant own = first.hold(session, lock("own"));
  first.begin_acquire(session, lock("a"));
  await_waiters(holder, lock("a"), 1);
  std::vector<HttpClient> others;
  for (int i = 0; i < 20; ++i) {
    others.push_back(known_client(server));
    const std::string body = nlohmann::json{{"token", own.token}}.dump();
    others.back().send(
        others.back().request_bytes("POST", path_of(lock("own"), "renew"), body, session));
    settle(holder);
  }
  for (HttpClient& other : others) EXPECT_FALSE(other.connection().has_input());
  EXPECT_EQ(holder.release(lock("a"), grant.token), "ok");
  grant_in(first.read_response());
  for (HttpClient& other : others) EXPECT_EQ(other.read_response().status, 200);
}

TEST(HttpRequestsOfASession, do_not_wait_for_a_body_that_is_slow) {
  const Server server(Http::kOn);
  HttpClient slow(server);
  HttpClient client(server);
  const std::string session = client.open_session();
  const std::string request =
      slow.request_bytes("POST", "/v1/locks/slow", R"({"acquire_timeout_s":0})", session);
  slow.send(std::string_view(request).substr(0, request.size() - 1));
  client.hold(session, lock("job"));
  slow.send("}");
  grant_in(slow.read_response());
}

TEST(HttpRequestsOfASession, ping_does_not_wait_for_the_blocked_one) {
  const Server server(Http::kOn);
  Client holder(server);
  holder.hold(lock("job"));
  HttpClient blocked(server);
  HttpClient client(server);
  const std::string session = client.open_session();
  blocked.begin_acquire(session, lock("job"));
  await_waiters(holder, lock("job"), 1);
  EXPECT_EQ(client.ping_session(session).summary(), "204");
  EXPECT_FALSE(blocked.connection().has_input());
}

TEST(HttpRequestsOfASession, are_answered_in_order_when_they_are_pipelined) {
  const Server server(Http::kOn);
  Client holder(server);
  const Grant a = holder.hold(lock("a"));
  const Grant b = holder.hold(lock("b"));
  HttpClient client(server);
  const std::string session = client.open_session();
  client.begin_acquire(session, lock("a"));
  client.begin_acquire(session, lock("b"));
  client.send(client.request_bytes("GET", "/health"));
  await_waiters(holder, lock("a"), 1);
  EXPECT_EQ(holder.release(lock("b"), b.token), "ok");
  EXPECT_FALSE(client.connection().has_input());
  EXPECT_EQ(holder.release(lock("a"), a.token), "ok");
  const Grant first = grant_in(client.read_response());
  const Grant second = grant_in(client.read_response());
  EXPECT_LT(first.fence(), second.fence());
  EXPECT_EQ(client.read_response().body, "{\"status\":\"ok\"}\n");
}

TEST(HttpRequestsOfASession, are_woken_when_it_is_deleted_and_what_it_held_is_released) {
  const Server server(Http::kOn);
  Client holder(server);
  holder.hold(lock("job"));
  HttpClient client(server);
  HttpClient blocked(server);
  HttpClient behind = known_client(server);
  Client next(server);
  const auto measure = [&] {
    const std::string session = client.open_session();
    client.hold(session, lock("own"));
    blocked.begin_acquire(session, lock("job"));
    await_waiters(holder, lock("job"), 1);
    behind.begin_acquire(session, lock("more"));
    next.begin_acquire(lock("own"));
    await_waiters(holder, lock("own"), 1);
    const auto began = Clock::now();
    EXPECT_EQ(client.delete_session(session).summary(), "204");
    const Grant grant = next.read_grant();
    const Duration took = Clock::now() - began;
    EXPECT_EQ(blocked.read_response().summary(), "410 session_gone");
    EXPECT_EQ(behind.read_response().summary(), "410 session_gone");
    EXPECT_EQ(waiters(holder, lock("job")), 0);
    EXPECT_TRUE(held(holder, lock("more")).is_null());
    EXPECT_EQ(next.release(lock("own"), grant.token), "ok");
    return took;
  };
  EXPECT_LE(best_measured(within(100ms), measure), within(100ms));
}

TEST(HttpSessions, that_are_deleted_release_what_they_held_even_without_auto_release) {
  const Server server({"--auto-release-on-disconnect=false"}, Http::kOn);
  Client observer(server);
  HttpClient client(server);
  const std::string session = client.open_session();
  client.hold(session, lock("own"));
  EXPECT_EQ(client.delete_session(session).summary(), "204");
  EXPECT_TRUE(held(observer, lock("own")).is_null());
}

// --- Idle ---

TEST(IdleHttpSessions, are_closed_after_twice_the_timeout) {
  const Server server({"--http-session-idle-timeout", "1"}, Http::kOn);
  HttpClient client(server);
  Client next(server);
  const std::string session = client.open_session();
  const auto began = Clock::now();
  client.hold(session, lock("job"));
  next.begin_acquire(lock("job"));
  next.read_grant();
  const Duration idle = Clock::now() - began;
  EXPECT_GE(idle, 1900ms);
  EXPECT_LE(idle, within(3s));
  EXPECT_EQ(client.ping_session(session).summary(), "410 session_gone");
}

TEST(IdleHttpSessions, leave_behind_what_they_held_without_auto_release) {
  const Server server({"--http-session-idle-timeout", "1", "--auto-release-on-disconnect=false"},
                      Http::kOn);
  Client observer(server);
  HttpClient client(server);
  const std::string session = client.open_session();
  const int with_session = stats(observer).at("connections").get<int>();
  const Grant grant = client.hold(session, lock("own"));
  ASSERT_TRUE(
      eventually([&] { return stats(observer).at("connections").get<int>() < with_session; }));
  EXPECT_EQ(client.ping_session(session).summary(), "410 session_gone");
  EXPECT_EQ(client.release(client.open_session(), lock("own"), grant.token).summary(), "204");
}

TEST(IdleHttpSessions, leave_what_they_have_to_the_next_of_their_ref) {
  const Server server({"--http-session-idle-timeout", "1", "--orphan-ttl", "60"}, Http::kOn);
  Client lines(server);
  HttpClient client(server);
  const std::string ref = R"({"stable_ref":"worker-7"})";
  const std::string session = client.open_session(ref);
  const int with_session = stats(lines).at("connections").get<int>();
  const Grant grant = client.hold(session, lock("own"));
  ASSERT_TRUE(eventually([&] { return stats(lines).at("connections").get<int>() < with_session; }));
  EXPECT_EQ(client.acquire(client.open_session(), lock("own"), 0).summary(), "200 timeout");
  const std::string again = client.open_session(ref);
  EXPECT_EQ(client.post(path_of(lock("own")), R"({"acquire_timeout_s":0,"shared":true})", again)
                .summary(),
            "400 bad_request");
  EXPECT_EQ(grant_in(client.acquire(again, lock("own"), 0)).token, grant.token);
  EXPECT_EQ(client.delete_session(again).summary(), "204");
  EXPECT_TRUE(is_idle(lines, lock("own"))) << "DELETE leaves nothing behind";
}

TEST(IdleHttpSessions, live_on_while_they_are_pinged) {
  const Server server({"--http-session-idle-timeout", "1"}, Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  client.hold(session, lock("job"));
  const auto until = Clock::now() + 3s;
  EXPECT_TRUE(eventually([&] {
    EXPECT_EQ(client.ping_session(session).summary(), "204");
    return Clock::now() >= until;
  }));
}

TEST(IdleHttpSessions, live_on_while_a_request_blocks_and_from_its_end_on) {
  const Server server({"--http-session-idle-timeout", "1"}, Http::kOn);
  Client holder(server);
  Client next(server);
  holder.hold(lock("job"));
  HttpClient client(server);
  const std::string session = client.open_session();
  client.hold(session, lock("own"));
  next.begin_acquire(lock("own"));
  const auto began = Clock::now();
  EXPECT_EQ(client.acquire(session, lock("job"), 3).summary(), "200 timeout");
  EXPECT_FALSE(next.has_input());
  next.read_grant();
  const Duration idle = Clock::now() - began;
  EXPECT_GE(idle, 4900ms) << "twice the timeout from the end of the request on";
  EXPECT_LE(idle, within(6s));
}

// --- Draining ---

class HttpDrain : public testing::TestWithParam<int> {
 protected:
  /// Asks the server to drain, and waits until it does.
  static void drain(Server& server) {
    server.signal(GetParam());
    if (!server.wait_for_log_line("draining")) throw std::runtime_error("it does not drain");
  }
};

INSTANTIATE_TEST_SUITE_P(After, HttpDrain, testing::Values(SIGTERM, SIGINT),
                         [](const testing::TestParamInfo<int>& parameter) {
                           return parameter.param == SIGTERM ? "SIGTERM" : "SIGINT";
                         });

TEST_P(HttpDrain, answers_those_who_wait_and_lets_holders_release) {
  Server server(Http::kOn);
  Client holder(server);
  const Grant of_lines = holder.hold(lock("job"));
  HttpClient client(server);
  HttpClient acquiring(server);
  HttpClient waiting(server);
  const std::string session = client.open_session();
  const Grant grant = client.hold(session, lock("own"));
  const std::string other = client.open_session();
  const std::string third = client.open_session();
  acquiring.begin_acquire(other, lock("job"));
  EXPECT_EQ(client.enqueue(third, lock("job")).summary(), "200 queued");
  waiting.begin_wait(third, lock("job"));
  await_waiters(holder, lock("job"), 2);
  settle(holder);
  drain(server);
  EXPECT_EQ(acquiring.read_response().summary(), "503 draining");
  EXPECT_EQ(waiting.read_response().summary(), "503 draining");
  const auto fresh = [&] { return HttpClient(server); };
  EXPECT_EQ(fresh().get("/ready").summary(), "503 draining");
  EXPECT_EQ(fresh().get("/health").summary(), "200 ok");
  EXPECT_EQ(fresh().ping_session(fresh().open_session()).summary(), "204");
  EXPECT_EQ(fresh().acquire(session, lock("free"), 0).summary(), "503 draining");
  EXPECT_EQ(fresh().enqueue(session, lock("free")).summary(), "503 draining");
  EXPECT_EQ(fresh().wait(session, lock("free"), 0).summary(), "409 not_enqueued");
  EXPECT_EQ(fresh().renew(session, lock("own"), grant.token).status, 200);
  EXPECT_EQ(fresh().ping_session(session).summary(), "204");
  EXPECT_EQ(holder.release(lock("job"), of_lines.token), "ok");
  EXPECT_TRUE(server.running());
  EXPECT_EQ(fresh().release(session, lock("own"), grant.token).summary(), "204");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(HttpDrain, answers_all_that_has_arrived_on_a_connection) {
  Server server(Http::kOn);
  HttpClient holder(server);
  const std::string session = holder.open_session();
  std::string releases;
  for (const std::string name : {"one", "two", "three"}) {
    const std::string token = holder.hold(session, lock(name)).token;
    releases += holder.request_bytes("POST", path_of(lock(name), "release"),
                                     R"({"token":")" + token + R"("})", session);
  }
  drain(server);
  HttpClient client(server);
  client.send(releases);
  for (int i = 0; i < 3; ++i) {
    const HttpResponse response = client.read_response();
    EXPECT_EQ(response.summary(), "204");
    EXPECT_EQ(response.header("connection").has_value(), i == 2);
  }
  EXPECT_EQ(client.connection().read_to_end(), "");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(HttpDrain, is_over_when_the_last_session_that_holds_something_is_deleted) {
  Server server(Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  client.hold(session, lock("job"));
  drain(server);
  EXPECT_EQ(HttpClient(server).delete_session(session).summary(), "204");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(HttpDrain, does_not_wait_for_sessions_that_hold_nothing) {
  Server server(Http::kOn);
  HttpClient client(server);
  client.open_session();
  server.signal(GetParam());
  EXPECT_EQ(client.connection().read_to_end(), "");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST_P(HttpDrain, is_cut_short_by_a_second_signal) {
  Server server(Http::kOn);
  HttpClient client(server);
  client.hold(client.open_session(), lock("job"));
  drain(server);
  EXPECT_TRUE(server.running());
  server.signal(GetParam());
  server.wait_for_exit(within(2s));
}

// --- TLS and the secret ---

TEST(HttpOverTls, serves_locks) {
  const TlsServer server({}, {}, Http::kOn);
  HttpClient client(server, server.trusting());
  const std::string session = client.open_session();
  const Grant grant = client.hold(session, lock("job"));
  EXPECT_EQ(client.release(session, lock("job"), grant.token).summary(), "204");
  EXPECT_EQ(client.delete_session(session).summary(), "204");
}

TEST(HttpOverTls, gives_up_the_place_of_a_caller_that_leaves) {
  const TlsServer server({}, {}, Http::kOn);
  TlsClient holder(server, server.trusting());
  const Grant grant = holder.hold(lock("job"));
  HttpClient leaving(server, server.trusting());
  const std::string session = leaving.open_session();
  leaving.begin_acquire(session, lock("job"));
  await_waiters(holder, lock("job"), 1);
  leaving.close();
  await_waiters(holder, lock("job"), 0);
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  holder.hold(lock("job"));
}

TEST(HttpOverTls, gives_up_the_place_of_a_caller_that_says_only_goodbye) {
  const TlsServer server({}, {}, Http::kOn);
  TlsClient holder(server, server.trusting());
  holder.hold(lock("job"));
  HttpClient leaving(server, server.trusting());
  leaving.begin_acquire(leaving.open_session(), lock("job"));
  await_waiters(holder, lock("job"), 1);
  dynamic_cast<TlsClient&>(leaving.connection()).say_goodbye();
  await_waiters(holder, lock("job"), 0);
}

TEST(HttpWithASecret, serves_those_who_know_it) {
  const Server server({"--auth-token", "open sesame"}, Http::kOn);
  HttpClient client(server);
  EXPECT_EQ(client.post("/v1/sessions").summary(), "401 unauthorized");
  client.authorize("wrong");
  EXPECT_EQ(client.post("/v1/sessions").summary(), "401 unauthorized");
  client.authorize("open sesame");
  const std::string session = client.open_session();
  const Grant grant = client.hold(session, lock("job"));
  EXPECT_EQ(client.release(session, lock("job"), grant.token).summary(), "204");
}

}  // namespace

}  // namespace dflockd::test
