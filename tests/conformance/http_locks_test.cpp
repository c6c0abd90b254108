// Locks and semaphores over HTTP: "a second door to the same lock table".

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/namespaces.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

class HttpLocks : public OfEachNamespace {
 protected:
  /// A server with these flags, a client on each door and two sessions.
  struct Setting {
    explicit Setting(std::vector<std::string> flags = {}) : server(std::move(flags), Http::kOn) {}

    Server server;
    Client lines{server};
    HttpClient client{server};
    HttpClient other_client{server};
    std::string session = client.open_session();
    std::string other = other_client.open_session();
  };
};

FOR_EACH_NAMESPACE(HttpLocks);

TEST_P(HttpLocks, are_acquired_and_released) {
  Setting its;
  const Grant grant = grant_in(its.client.acquire(its.session, key("job"), 0, 7));
  EXPECT_EQ(grant.lease, 7);
  EXPECT_EQ(its.client.acquire(its.other, key("job"), 0).summary(), "200 timeout");
  EXPECT_EQ(its.client.release(its.session, key("job"), grant.token).summary(), "204");
  EXPECT_EQ(its.client.release(its.session, key("job"), grant.token).summary(), "404 not_held");
  EXPECT_GT(its.client.hold(its.other, key("job")).fence(), grant.fence());
}

TEST_P(HttpLocks, time_out_when_the_time_is_over) {
  Setting its;
  its.lines.hold(key("job"));
  const auto began = Clock::now();
  EXPECT_EQ(its.client.acquire(its.session, key("job"), 1).summary(), "200 timeout");
  EXPECT_GE(Clock::now() - began, 1s);
  EXPECT_EQ(waiters(its.lines, key("job")), 0);
}

TEST(HttpLeases, longer_ones_than_may_be_are_cut_and_the_answers_say_so) {
  const Server server({"--max-lease-ttl", "5"}, Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  for (const Key& key : {lock("job"), semaphore("pool", 3)}) {
    const Grant grant = grant_in(client.acquire(session, key, 0, 60));
    EXPECT_EQ(grant.lease, 5);
    EXPECT_EQ(client.renew(session, key, grant.token, 60).json().at("remaining_s"), 5);
    EXPECT_EQ(client.renew(session, key, grant.token).json().at("remaining_s"), 5);
    EXPECT_EQ(client.release(session, key, grant.token).status, 204);
    EXPECT_EQ(grant_in(client.enqueue(session, key), "acquired").lease, 5);
    EXPECT_EQ(grant_in(client.wait(session, key, 0)).lease, 5);
  }
}

TEST(HttpClaims, beyond_the_cap_are_refused) {
  const Server server({"--max-claims", "1"}, Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  EXPECT_EQ(client.acquire(session, lock("job"), 0).status, 200);
  EXPECT_EQ(client.acquire(session, lock("other"), 0).summary(), "503 max_locks");
  EXPECT_EQ(client.enqueue(session, lock("job")).summary(), "503 max_locks");
  EXPECT_EQ(client.acquire(session, lock("job"), 60).summary(), "503 max_locks");
}

TEST_P(HttpLocks, have_the_default_lease_without_one_or_with_0) {
  Setting its({"--default-lease-ttl", "44"});
  EXPECT_EQ(grant_in(its.client.acquire(its.session, key("a"), 0)).lease, 44);
  EXPECT_EQ(grant_in(its.client.acquire(its.session, key("b"), 0, 0)).lease, 44);
  EXPECT_EQ(grant_in(its.client.enqueue(its.session, key("c")), "acquired").lease, 44);
  EXPECT_EQ(grant_in(its.client.enqueue(its.session, key("d"), 0), "acquired").lease, 44);
  const Grant grant = its.client.hold(its.session, key("e"), 5);
  for (const std::optional<std::int64_t> lease : {std::optional<std::int64_t>(), {0}}) {
    const HttpResponse renewed = its.client.renew(its.session, key("e"), grant.token, lease);
    EXPECT_EQ(renewed.status, 200);
    EXPECT_EQ(renewed.json(), (nlohmann::json{{"remaining_s", 44}}));
  }
}

TEST_P(HttpLocks, are_renewed) {
  Setting its;
  const Grant grant = its.client.hold(its.session, key("job"), 5);
  const HttpResponse renewed = its.client.renew(its.session, key("job"), grant.token, 50);
  EXPECT_EQ(renewed.json(), (nlohmann::json{{"remaining_s", 50}}));
  EXPECT_EQ(its.client.renew(its.session, key("job"), std::string(32, '0')).summary(),
            "404 not_held");
  EXPECT_EQ(its.client.renew(its.session, key("another"), grant.token).summary(), "404 not_held");
}

TEST_P(HttpLocks, are_acquired_in_two_phases) {
  Setting its;
  const Grant first = grant_in(its.client.enqueue(its.session, key("job"), 9), "acquired");
  EXPECT_EQ(first.lease, 9);
  EXPECT_EQ(its.client.enqueue(its.other, key("job"), 8).summary(), "200 queued");
  EXPECT_EQ(its.client.wait(its.other, key("job"), 0).summary(), "200 timeout");
  EXPECT_EQ(its.client.enqueue(its.other, key("job"), 8).summary(), "200 queued");
  its.other_client.begin_wait(its.other, key("job"));
  EXPECT_EQ(grant_in(its.client.wait(its.session, key("job"), 0)).token, first.token);
  EXPECT_EQ(its.client.release(its.session, key("job"), first.token).summary(), "204");
  EXPECT_EQ(grant_in(its.other_client.read_response()).lease, 8);
}

TEST_P(HttpLocks, say_what_is_wrong_with_two_phases) {
  Setting its;
  EXPECT_EQ(its.client.wait(its.session, key("job"), 0).summary(), "409 not_enqueued");
  EXPECT_EQ(its.client.enqueue(its.session, key("job"), 1).summary(), "200 acquired");
  EXPECT_EQ(its.client.enqueue(its.session, key("job"), 1).summary(), "409 already_enqueued");
  ASSERT_TRUE(eventually([&] { return held(its.lines, key("job")).is_null(); }));
  EXPECT_EQ(its.client.wait(its.session, key("job"), 0).summary(), "409 lease_expired");
  its.lines.hold(key("queued"));
  EXPECT_EQ(its.client.enqueue(its.session, key("queued")).summary(), "200 queued");
  EXPECT_EQ(its.client.enqueue(its.session, key("queued")).summary(), "409 already_enqueued");
}

TEST_P(HttpLocks, are_refused_beyond_max_locks) {
  Setting its({"--max-locks", "1"});
  its.client.hold(its.session, key("job"));
  EXPECT_EQ(its.client.acquire(its.session, key("more"), 0).summary(), "503 max_locks");
  EXPECT_EQ(its.client.enqueue(its.session, key("more")).summary(), "503 max_locks");
}

TEST_P(HttpLocks, are_refused_beyond_max_waiters) {
  Setting its({"--max-waiters", "1"});
  its.lines.hold(key("job"));
  EXPECT_EQ(its.client.enqueue(its.session, key("job")).summary(), "200 queued");
  EXPECT_EQ(its.client.acquire(its.other, key("job"), 60).summary(), "503 max_waiters");
  EXPECT_EQ(its.client.enqueue(its.other, key("job")).summary(), "503 max_waiters");
}

TEST_P(HttpLocks, have_tokens_that_anybody_may_use) {
  Setting its;
  const Grant grant = its.client.hold(its.session, key("job"));
  EXPECT_EQ(its.lines.renew(key("job"), grant.token, 33), "ok 33");
  EXPECT_EQ(its.client.renew(its.other, key("job"), grant.token, 44).json().at("remaining_s"), 44);
  EXPECT_EQ(its.lines.release(key("job"), grant.token), "ok");
  const Grant again = its.client.hold(its.session, key("job"));
  EXPECT_EQ(its.client.release(its.other, key("job"), again.token).summary(), "204");
  const Grant of_lines = its.lines.hold(key("job"));
  EXPECT_EQ(its.client.release(its.session, key("job"), of_lines.token).summary(), "204");
}

TEST_P(HttpLocks, do_not_meet_their_namesakes_in_the_other_namespace) {
  Setting its;
  const Grant grant = its.client.hold(its.session, key("job"));
  its.client.hold(its.session, namesake(key("job")));
  EXPECT_EQ(its.client.release(its.session, namesake(key("job")), grant.token).summary(),
            "404 not_held");
}

TEST_P(HttpLocks, have_one_queue_for_both_doors) {
  Setting its;
  Grant grant = its.lines.hold(key("job"));
  constexpr std::size_t kEach = 8;
  std::vector<Client> lines = connect_many(its.server, kEach);
  std::vector<HttpClient> https;
  std::vector<std::string> sessions;
  for (std::size_t i = 0; i < kEach; ++i) {
    https.emplace_back(its.server);
    sessions.push_back(https[i].open_session());
  }
  Client observer(its.server);
  for (std::size_t i = 0; i < kEach; ++i) {
    https[i].begin_acquire(sessions[i], key("job"));
    await_waiters(observer, key("job"), static_cast<std::int64_t>(2 * i + 1));
    lines[i].begin_acquire(key("job"));
    await_waiters(observer, key("job"), static_cast<std::int64_t>(2 * i + 2));
  }
  EXPECT_EQ(its.lines.release(key("job"), grant.token), "ok");
  for (std::size_t i = 0; i < kEach; ++i) {
    grant = grant_in(https[i].read_response());
    EXPECT_FALSE(lines[i].has_input());
    EXPECT_EQ(https[i].release(sessions[i], key("job"), grant.token).summary(), "204");
    grant = lines[i].read_grant();
    EXPECT_EQ(lines[i].release(key("job"), grant.token), "ok");
  }
}

TEST_P(HttpLocks, go_to_the_waiter_when_the_lease_runs_out) {
  Setting its;
  its.other_client.hold(its.other, key("job"), 1);
  its.client.begin_acquire(its.session, key("job"));
  const auto began = Clock::now();
  const Grant grant = grant_in(its.client.read_response());
  EXPECT_LE(Clock::now() - began, within(2s));
  EXPECT_EQ(its.client.renew(its.session, key("job"), grant.token).status, 200);
}

TEST_P(HttpLocks, are_granted_to_300_sessions_in_the_order_of_their_requests) {
  allow_many_connections();
  Setting its;
  constexpr std::size_t kSessions = 300;
  const Grant first = its.lines.hold(key("job"));
  std::vector<HttpClient> clients;
  std::vector<std::string> sessions;
  Client observer(its.server);
  for (std::size_t i = 0; i < kSessions; ++i) {
    clients.emplace_back(its.server);
    sessions.push_back(clients[i].open_session());
    clients[i].begin_acquire(sessions[i], key("job"));
    await_waiters(observer, key("job"), static_cast<std::int64_t>(i + 1));
  }
  EXPECT_EQ(its.lines.release(key("job"), first.token), "ok");
  std::uint64_t fence = first.fence();
  for (std::size_t i = 0; i < kSessions; ++i) {
    const Grant grant = grant_in(clients[i].read_response());
    EXPECT_EQ(grant.fence(), ++fence);
    EXPECT_EQ(clients[i].release(sessions[i], key("job"), grant.token).summary(), "204");
  }
}

TEST_P(HttpLocks, refuse_fields_that_are_wrong) {
  Setting its;
  const auto post = [&](std::string_view operation, std::string_view body) {
    return its.client.post(path_of(key("job"), operation), body, its.session).summary();
  };
  const std::string limit = key("job").limit ? R"(,"limit":1)" : "";
  for (const std::string& body :
       {std::string(""), std::string("[]"), std::string("{}"),
        R"({"acquire_timeout_s":-1)" + limit + "}", R"({"acquire_timeout_s":1.5)" + limit + "}",
        R"({"acquire_timeout_s":"1")" + limit + "}",
        R"({"acquire_timeout_s":99999999999)" + limit + "}",
        R"({"acquire_timeout_s":0,"lease_ttl_s":-1)" + limit + "}",
        R"({"acquire_timeout_s":0,"surprise":1)" + limit + "}"}) {
    EXPECT_EQ(post("", body), "400 bad_request") << body;
  }
  EXPECT_EQ(post("release", R"({"token":"XYZ"})"), "400 bad_request");
  EXPECT_EQ(post("release", "{}"), "400 bad_request");
  EXPECT_EQ(post("renew", "{}"), "400 bad_request");
  EXPECT_EQ(post("wait", "{}"), "400 bad_request");
  EXPECT_EQ(post("enqueue", R"({"timeout_s":1)" + limit + "}"), "400 bad_request");
  EXPECT_EQ(its.client.acquire(its.session, key("job"), 0).summary(), "200 ok");
}

TEST(HttpSharedLocks, are_asked_for_with_true_or_false) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  for (const char* const shared : {"1", "\"true\"", "[]", "{}", "0.5"}) {
    const std::string field = R"("shared":)" + std::string(shared) + "}";
    EXPECT_EQ(client.post("/v1/locks/job", R"({"acquire_timeout_s":0,)" + field, session).summary(),
              "400 bad_request");
    EXPECT_EQ(client.post("/v1/locks/job/enqueue", "{" + field, session).summary(),
              "400 bad_request");
  }
  for (const char* const path : {"/v1/semaphores/job", "/v1/semaphores/job/enqueue",
                                 "/v1/locks/job/wait", "/v1/locks/job/release"}) {
    EXPECT_EQ(client.post(path, R"({"shared":false})", session).summary(), "400 bad_request")
        << path;
  }
}

TEST(HttpSharedLocks, have_any_number_of_readers_or_one_writer_from_both_doors) {
  const Server server(Http::kOn);
  Client lines(server);
  HttpClient client(server);
  HttpClient writer(server);
  const std::string session = client.open_session();
  const auto enqueue = [&](const std::string& reader) {
    return client.post("/v1/locks/job/enqueue", R"({"shared":true})", reader);
  };
  EXPECT_EQ(lines.ask("rl", "job", "0 60").substr(0, 3), "ok ");
  const Grant second =
      grant_in(client.post("/v1/locks/job", R"({"acquire_timeout_s":0,"shared":true})", session));
  const Grant third = grant_in(enqueue(session), "acquired");
  EXPECT_EQ(held(lines, lock("job")).at("holders"), 3);
  const std::string writing = writer.open_session();
  writer.begin_acquire(writing, lock("job"));
  await_waiters(lines, lock("job"), 1);
  EXPECT_EQ(enqueue(client.open_session()).summary(), "200 queued") << "behind the writer";
  EXPECT_EQ(client.release(session, lock("job"), second.token).summary(), "204");
  EXPECT_EQ(client.renew(session, lock("job"), third.token).summary(), "200");
  EXPECT_EQ(client.release(session, lock("job"), third.token).summary(), "204");
  lines.close();
  const Grant written = grant_in(writer.read_response());
  Client observer(server);
  EXPECT_EQ(held(observer, lock("job")).at("shared"), false);
  EXPECT_EQ(writer.release(writing, lock("job"), written.token).summary(), "204");
  EXPECT_EQ(held(observer, lock("job")).at("shared"), true);
}

TEST(HttpKeys, are_percent_decoded) {
  const Server server(Http::kOn);
  HttpClient client(server);
  Client observer(server);
  const std::string session = client.open_session();
  client.hold(session, lock("a%2Fb"));
  EXPECT_FALSE(held(observer, lock("a/b")).is_null());
  for (const char* const bad : {"a%20b", "a%09b", "a%0Ab", "a%", "a%2", "a%zz"}) {
    EXPECT_EQ(client.acquire(session, lock(bad), 0).summary(), "400 bad_request") << bad;
  }
  EXPECT_EQ(client.acquire(session, lock(std::string(256, 'k')), 0).summary(), "200 ok");
  EXPECT_EQ(client.acquire(session, lock(std::string(257, 'k')), 0).summary(), "400 bad_request");
}

TEST(HttpStat, needs_a_key_that_there_is_and_a_method_that_reads) {
  const Server server(Http::kOn);
  HttpClient client(server);
  client.hold(client.open_session(), lock("job"));
  EXPECT_EQ(client.get("/v1/locks/other").summary(), "404 not_found");
  EXPECT_EQ(client.get("/v1/semaphores/job").summary(), "404 not_found");
  for (const char* const bad : {"", "a%20b", "%0A", "%zz"}) {
    EXPECT_EQ(client.get("/v1/locks/" + std::string(bad)).summary(), "400 bad_request") << bad;
    EXPECT_EQ(client.get("/v1/semaphores/" + std::string(bad)).summary(), "400 bad_request") << bad;
  }
  for (const char* const path : {"/v1/locks/job", "/v1/semaphores/job", "/v1/sessions"}) {
    const HttpResponse response = client.request("PUT", path);
    EXPECT_EQ(response.summary(), "405 method_not_allowed");
    EXPECT_EQ(response.header("allow"), "POST, GET, HEAD");
  }
}

TEST_P(HttpLocks, are_shown_with_holders_and_waiters_without_a_session) {
  Setting its;
  const Grant grant = its.client.hold(its.session, key("a%2Fb"));
  its.lines.request(key("job").limit ? "sl" : "l", "a/b", key("job").limit ? "60 1" : "60");
  Client observer(its.server);
  await_waiters(observer, key("a/b"), 1);
  const HttpResponse response = its.client.get(path_of(key("a%2Fb")));
  EXPECT_EQ(response.status, 200);
  const nlohmann::json shown = response.json();
  EXPECT_EQ(shown.at("key"), "a/b");
  EXPECT_EQ(shown.at("kind"), key("job").limit ? "semaphore" : "lock");
  EXPECT_EQ(shown.at("holder_count"), 1);
  EXPECT_EQ(shown.at("holders").at(0).at("owner"), "http:127.0.0.1");
  EXPECT_EQ(shown.at("holders").at(0).at("fence"), std::to_string(grant.fence()));
  EXPECT_EQ(shown.at("waiter_count"), 1);
  EXPECT_GT(shown.at("waiters").at(0).at("times_out_in_s"), 50);
  its.client.send(its.client.request_bytes("HEAD", path_of(key("a%2Fb"))));
  const HttpResponse head = its.client.read_response(kPatience, true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST(HttpStats, say_http_and_the_address_of_the_holder) {
  const Server server(Http::kOn);
  Client observer(server);
  HttpClient client(server, {.from = "127.0.0.2"});
  client.hold(client.open_session(), lock("job"));
  EXPECT_EQ(held(observer, lock("job")).at("owner"), "http:127.0.0.2");
  const nlohmann::json over_http = client.get("/v1/stats").json();
  EXPECT_EQ(over_http.at("locks").at(0).at("owner"), "http:127.0.0.2");
}

TEST(HttpStats, of_a_query_that_is_wrong_are_refused) {
  const Server server(Http::kOn);
  HttpClient client(server);
  for (const char* const query :
       {"sort=size", "sort=", "limit=0", "limit=10001", "limit=-1", "limit=1.5", "prefix",
        "prefix=%zz", "page=2", "&", "limit=5&limit=5"}) {
    const HttpResponse response = client.get("/v1/stats?" + std::string(query));
    EXPECT_EQ(response.summary(), "400 bad_request") << query;
    EXPECT_NE(response.text("detail"), "") << query;
  }
}

TEST(HttpStats, of_a_query_are_in_order_and_count_what_has_the_prefix) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  for (const char* const key : {"a%2F1", "a%2F2", "a%2F3", "b"}) client.hold(session, lock(key));
  client.hold(session, semaphore("a%2F1", 2));
  EXPECT_EQ(client.enqueue(session, lock("a%2F2")).summary(), "200 queued");
  const auto keys = [&](const std::string& query) {
    const nlohmann::json stats = client.get("/v1/stats?prefix=a%2F&limit=2" + query).json();
    EXPECT_EQ(stats.at("total").dump(),
              R"({"idle_locks":0,"idle_semaphores":0,"locks":3,"semaphores":1})");
    EXPECT_EQ(stats.at("semaphores").size(), 1U);
    std::vector<std::string> shown;
    for (const nlohmann::json& one : stats.at("locks")) shown.push_back(one.at("key"));
    return shown;
  };
  EXPECT_THAT(keys(""), testing::ElementsAre("a/2", "a/1"));
  EXPECT_THAT(keys("&sort=waiters"), testing::ElementsAre("a/2", "a/1"));
  EXPECT_THAT(keys("&sort=oldest_wait"), testing::ElementsAre("a/2", "a/1"));
  EXPECT_THAT(keys("&sort=held"), testing::ElementsAre("a/1", "a/2"));
  EXPECT_THAT(keys("&sort=key"), testing::ElementsAre("a/1", "a/2"));
  const nlohmann::json all = client.get("/v1/stats").json();
  EXPECT_EQ(all.at("locks").size(), 4U);
  EXPECT_FALSE(all.contains("total"));
}

// In the server's processor time, to which the other programs of a busy machine add nothing.
TEST(HttpStats, of_a_query_over_many_keys_hold_nobody_up) {
  const Server server({"--max-locks", "0"}, Http::kOn);
  Client pinging(server);
  pinging.hold_many("job-", 50'000);
  HttpClient asking(server);
  const auto longest_stall = [&] {
    Duration longest{0};
    asking.send(asking.request_bytes("GET", "/v1/stats?sort=key&limit=10000"));
    do {
      const Duration before = server.cpu_time();
      EXPECT_EQ(pinging.ping(), "ok");
      longest = std::max(longest, server.cpu_time() - before);
    } while (!asking.connection().has_input());
    const nlohmann::json stats = asking.read_response().json();
    EXPECT_EQ(stats.at("total").at("locks"), 50'000);
    EXPECT_EQ(stats.at("locks").size(), 10'000U);
    return longest;
  };
  EXPECT_LE(best_measured(within(10ms), longest_stall), within(10ms));
}

TEST(HttpSemaphores, keep_to_their_limit) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  client.hold(session, semaphore("pool", 2));
  client.hold(session, semaphore("pool", 2));
  EXPECT_EQ(client.acquire(session, semaphore("pool", 2), 0).summary(), "200 timeout");
  EXPECT_EQ(client.acquire(session, semaphore("pool", 3), 0).summary(), "409 limit_mismatch");
  EXPECT_EQ(client.enqueue(session, semaphore("pool", 3)).summary(), "409 limit_mismatch");
}

}  // namespace

}  // namespace dflockd::test
