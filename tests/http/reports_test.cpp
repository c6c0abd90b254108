// What the API shows of the sessions of callers and of the lock table.
#include "http/reports.hpp"

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "connected.hpp"

namespace dflockd::http {
namespace {

using namespace std::chrono_literals;

using Json = nlohmann::json;

class HttpReports : public testing::Test {
 protected:
  Answer get(std::string_view path) {
    return connection_.send(request("GET " + std::string(path)));
  }
  Json json(std::string_view path) { return Json::parse(get(path).body); }
  Answer post(std::string_view path, std::string_view body, const std::string& session) {
    return connection_.send(
        request("POST " + std::string(path), body, "X-Dflockd-Session: " + session + "\r\n"));
  }

  Server server_;
  Connection connection_{server_};
};

// --- One key ---

TEST_F(HttpReports, keys_that_the_protocol_does_not_allow_are_refused) {
  for (const char* const kind : {"locks", "semaphores"}) {
    for (const std::string& key :
         {std::string(), std::string("a%20b"), std::string("a%09"), std::string("%0A"),
          std::string("a%0d"), std::string("%"), std::string("%zz"), std::string(257, 'k')}) {
      const Answer answer = get("/v1/" + std::string(kind) + "/" + key);
      EXPECT_EQ(answer.status, 400) << key;
      EXPECT_EQ(Json::parse(answer.body).at("error"), "bad_request") << key;
    }
  }
}

TEST_F(HttpReports, key_that_is_not_there_is_not_found) {
  const std::string session = server_.open_session();
  post("/v1/locks/job", R"({"acquire_timeout_s":0})", session);
  for (const char* const path : {"/v1/locks/other", "/v1/semaphores/job"}) {
    const Answer answer = get(path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_EQ(answer.body, "{\"error\":\"not_found\",\"detail\":\"no such key\"}\n");
  }
  EXPECT_EQ(server_.counted("GET", "/v1/locks/{key}", 404), 1U);
}

TEST_F(HttpReports, key_is_described_with_its_holders_and_waiters) {
  const std::string session = server_.open_session(R"({"name":"a \"b\""})");
  post("/v1/semaphores/a%2Fb", R"({"acquire_timeout_s":0,"limit":2,"lease_ttl_s":60})", session);
  post("/v1/semaphores/a%2Fb/enqueue", R"({"limit":2})", session);
  const std::string other = server_.open_session();
  post("/v1/semaphores/a%2Fb/enqueue", R"({"limit":2})", other);
  server_.pass(2s);
  const Json key = json("/v1/semaphores/a%2Fb");
  EXPECT_EQ(key.at("key"), "a/b");
  EXPECT_EQ(key.at("kind"), "semaphore");
  EXPECT_EQ(key.at("limit"), 2);
  EXPECT_EQ(key.at("holder_count"), 2);
  EXPECT_EQ(key.at("waiter_count"), 1);
  const Json& holder = key.at("holders").at(0);
  EXPECT_EQ(holder.at("owner"), "http:127.0.0.1");
  EXPECT_EQ(holder.at("name"), "a \"b\"");
  EXPECT_EQ(holder.at("lease_expires_in_s"), 58.0);
  const Json& waiter = key.at("waiters").at(0);
  EXPECT_NE(waiter.at("owner_conn_id"), holder.at("owner_conn_id"));
  EXPECT_EQ(waiter.at("waited_s"), 2.0);
  EXPECT_TRUE(waiter.at("times_out_in_s").is_null());
}

TEST_F(HttpReports, key_is_described_to_head_without_the_body) {
  post("/v1/locks/job", R"({"acquire_timeout_s":0})", server_.open_session());
  const std::string size = std::to_string(get("/v1/locks/job").body.size());
  connection_.arrive(request("HEAD /v1/locks/job"));
  const Answer answer = parse_answer(connection_.take(), true);
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("Content-Length: " + size));
  EXPECT_EQ(answer.rest, "");
  connection_.arrive(request("HEAD /v1/locks/other"));
  EXPECT_EQ(parse_answer(connection_.take(), true).status, 404);
}

TEST_F(HttpReports, key_is_described_during_a_drain) {
  post("/v1/locks/job", R"({"acquire_timeout_s":0})", server_.open_session());
  server_.drain();
  EXPECT_EQ(get("/v1/locks/job").status, 200);
}

// --- Sessions ---

TEST_F(HttpReports, sessions_of_an_empty_server_are_an_empty_list) {
  EXPECT_EQ(get("/v1/sessions").body, "{\"sessions\":[],\"total\":0}\n");
}

TEST_F(HttpReports, sessions_are_listed_longest_idle_first_without_their_ids) {
  const std::string idle = server_.open_session(R"({"name":"l\u0027\u00e9t\u00e9 \"7\""})");
  server_.pass(3s);
  Connection elsewhere(server_, "::ffff:192.0.2.7");
  elsewhere.send(request("POST /v1/sessions"));
  server_.pass(1500ms);
  const Answer answer = get("/v1/sessions");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.find(idle), std::string::npos);
  EXPECT_EQ(
      answer.body,
      "{\"sessions\":["
      "{\"owner_conn_id\":1,\"address\":\"127.0.0.1\",\"name\":\"l'\xc3\xa9t\xc3\xa9 \\\"7\\\"\","
      "\"idle_s\":4.500,\"holds\":0,\"waits\":0},"
      "{\"owner_conn_id\":2,\"address\":\"192.0.2.7\",\"name\":\"\","
      "\"idle_s\":1.500,\"holds\":0,\"waits\":0}],\"total\":2}\n");
}

TEST_F(HttpReports, sessions_say_how_many_claims_they_have) {
  const std::string session = server_.open_session();
  const std::string other = server_.open_session();
  const auto claims = [&] {
    std::string text;
    const Json listed = json("/v1/sessions");
    for (const Json& one : listed.at("sessions")) {
      text += one.at("owner_conn_id").dump() + ": " + one.at("holds").dump() + " " +
              one.at("waits").dump() + "; ";
    }
    return text;
  };
  post("/v1/locks/a", R"({"acquire_timeout_s":0,"lease_ttl_s":5})", session);
  post("/v1/locks/b/enqueue", "", session);
  const std::string body = post("/v1/locks/c", R"({"acquire_timeout_s":0})", session).body;
  const std::string token = body.substr(body.find("token") + 8, 32);
  post("/v1/locks/a/enqueue", "", other);
  post("/v1/locks/b/enqueue", "", other);
  EXPECT_EQ(claims(), "1: 3 0; 2: 0 2; ");
  post("/v1/locks/c/release", R"({"token":")" + token + "\"}", other);
  EXPECT_EQ(claims(), "1: 2 0; 2: 0 2; ");
  server_.pass(6s);
  EXPECT_EQ(claims(), "1: 1 0; 2: 1 1; ") << "a lease ran out";
  connection_.send(request("DELETE /v1/sessions/" + session));
  EXPECT_EQ(claims(), "2: 2 0; ");
}

TEST_F(HttpReports, session_with_a_request_in_flight_is_not_idle) {
  const std::string session = server_.open_session();
  post("/v1/locks/a", R"({"acquire_timeout_s":0,"lease_ttl_s":60})", session);
  Connection blocked(server_);
  blocked.arrive(request("POST /v1/locks/a", R"({"acquire_timeout_s":60})",
                         "X-Dflockd-Session: " + session + "\r\n"));
  server_.pass(5s);
  const Json listed = json("/v1/sessions").at("sessions").at(0);
  EXPECT_EQ(listed.at("idle_s"), 0.0);
  EXPECT_EQ(listed.at("holds"), 1);
  EXPECT_EQ(listed.at("waits"), 1);
}

TEST_F(HttpReports, at_most_a_thousand_sessions_are_listed_and_all_are_counted) {
  for (std::size_t i = 0; i < kMostListed + 5; ++i) {
    connection_.arrive(request("POST /v1/sessions"));
  }
  static_cast<void>(connection_.take());
  const Json listed = json("/v1/sessions");
  EXPECT_EQ(listed.at("sessions").size(), 1000U);
  EXPECT_EQ(listed.at("sessions").at(0).at("owner_conn_id"), 1);
  EXPECT_EQ(listed.at("total"), 1005);
}

}  // namespace
}  // namespace dflockd::http
