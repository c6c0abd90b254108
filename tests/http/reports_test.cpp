// What the API shows of the sessions of callers and of the lock table.
#include "http/reports.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

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

// --- Stats of some keys ---

using Order = service::StatsQuery::Order;

/// Why a query is refused; "" if it is not.
std::string refusal(std::string_view query) {
  const auto result = read_stats_query(query);
  const auto* const failure = std::get_if<Failure>(&result);
  if (failure == nullptr) return "";
  EXPECT_EQ(failure->status, 400);
  EXPECT_EQ(failure->code, "bad_request");
  return failure->detail;
}

service::StatsQuery accepted(std::string_view query) {
  return std::get<0>(read_stats_query(query)).value();
}

TEST(stats_query, unknown_parameters_are_refused) {
  EXPECT_EQ(refusal("colour=blue"), R"(unknown parameter "colour")");
  EXPECT_EQ(refusal("Sort=key"), R"(unknown parameter "Sort")");
  EXPECT_EQ(refusal("s%6frt=key"), R"(unknown parameter "s%6frt")");
  EXPECT_EQ(refusal("limit=5&x"), R"(unknown parameter "x")");
  EXPECT_EQ(refusal(std::string(100, 'x') + "=1").size(), 64 + 20U);
  for (const char* const query : {"&", "limit=5&", "&limit=5", "limit=5&&sort=key", "=", "=5"}) {
    EXPECT_EQ(refusal(query), R"(unknown parameter "")") << query;
  }
}

TEST(stats_query, values_that_are_unknown_or_out_of_range_are_refused) {
  for (const char* const value : {"", "0", "10001", "-1", "+5", "5x", " 5", "5.0", "0x5", "1e3",
                                  "18446744073709551617", "%30"}) {
    EXPECT_EQ(refusal("limit=" + std::string(value)), "limit: expected an integer from 1 to 10000")
        << value;
  }
  for (const char* const value : {"", "Key", "keys", "name", "waiters,key", "key%20"}) {
    EXPECT_EQ(refusal("sort=" + std::string(value)),
              "sort: expected waiters, oldest_wait, held or key")
        << value;
  }
}

TEST(stats_query, parameters_without_a_value_or_given_twice_are_refused) {
  EXPECT_EQ(refusal("prefix"), "prefix: has no value");
  EXPECT_EQ(refusal("prefix=a&prefix=a"), "prefix: given twice");
  EXPECT_EQ(refusal("limit=5&sort=key&limit=6"), "limit: given twice");
}

TEST(stats_query, broken_percent_encoding_is_refused) {
  for (const char* const value : {"%", "%4", "a%zz", "%%41"}) {
    EXPECT_EQ(refusal("prefix=" + std::string(value)),
              "the query has a '%' without two hex digits behind it");
  }
}

TEST(stats_query, that_is_empty_asks_for_all) {
  EXPECT_EQ(std::get<0>(read_stats_query("")), std::nullopt);
}

TEST(stats_query, what_is_left_out_has_its_default) {
  EXPECT_EQ(accepted("prefix="), (service::StatsQuery{Order::kWaiters, "", 100}));
  EXPECT_EQ(accepted("limit=1"), (service::StatsQuery{Order::kWaiters, "", 1}));
  EXPECT_EQ(accepted("limit=10000").limit, 10'000U);
}

TEST(stats_query, order_prefix_and_limit_are_read_in_any_order) {
  EXPECT_EQ(accepted("prefix=a%2Fb%25+%ff=c&limit=0050&sort=oldest_wait"),
            (service::StatsQuery{Order::kOldestWait, "a/b%+\xff=c", 50}));
  EXPECT_EQ(accepted("sort=held").order, Order::kHeld);
  EXPECT_EQ(accepted("sort=key").order, Order::kKey);
  EXPECT_EQ(accepted("sort=w%61iters").order, Order::kWaiters);
}

class HttpStatsQuery : public HttpReports {
 protected:
  Answer ask(std::string_view query) {
    connection_.text = nullptr;
    connection_.arrive(request("GET /v1/stats" + std::string(query)));
    server_.report();
    connection_.go_on();
    Answer answer = connection_.take_answer();
    if (connection_.text != nullptr) {
      for (const std::string& piece : *connection_.text) answer.body += piece;
    }
    return answer;
  }
  Json stats(std::string_view query) { return Json::parse(ask(query).body); }
  /// The keys of one array of the answer, in their order.
  std::string keys(std::string_view query, const std::string& array = "locks") {
    std::string keys;
    const Json answer = stats(query);
    for (const Json& element : answer.at(array)) {
      keys += element.at("key").get<std::string>() + ' ';
    }
    return keys;
  }
  void hold(const std::string& key) {
    post("/v1/locks/" + key, R"({"acquire_timeout_s":0,"lease_ttl_s":1000})", session_);
  }
  void enqueue(const std::string& key) {
    post("/v1/locks/" + key + "/enqueue", "", server_.open_session());
  }
  /// Locks of different ages, queues and waits.
  void fill() {
    hold("b");
    hold("d");
    server_.pass(1s);
    hold("a");
    enqueue("a");
    server_.pass(1s);
    hold("c");
    enqueue("b");
    enqueue("b");
  }

  const std::string session_ = server_.open_session();
};

TEST_F(HttpStatsQuery, that_is_wrong_is_refused_before_anything_is_read) {
  for (const char* const query : {"?sort=size", "?limit=0", "?limit=10001", "?x=1", "?prefix",
                                  "?prefix=%zz", "?sort=key&sort=key", "?&"}) {
    const Answer answer = ask(query);
    EXPECT_EQ(answer.status, 400) << query;
    EXPECT_NE(answer.body.find(R"("detail":)"), std::string::npos) << query;
  }
  EXPECT_EQ(server_.counted("GET", "/v1/stats", 400), 8U);
}

TEST_F(HttpStatsQuery, that_is_empty_changes_nothing) {
  fill();
  for (const char* const query : {"", "?", "?#sort=size", "#?sort=size"}) {
    const Json answer = stats(query);
    EXPECT_EQ(answer.at("locks").size(), 4U) << query;
    EXPECT_FALSE(answer.contains("total")) << query;
  }
}

TEST_F(HttpStatsQuery, orders_the_keys) {
  fill();
  EXPECT_EQ(keys("?sort=waiters"), "b a c d ");
  EXPECT_EQ(keys("?sort=oldest_wait"), "a b c d ");
  EXPECT_EQ(keys("?sort=held"), "b d a c ");
  EXPECT_EQ(keys("?sort=key"), "a b c d ");
  EXPECT_EQ(keys("?prefix="), "b a c d ") << "by default by those who wait";
}

TEST_F(HttpStatsQuery, shows_the_first_of_each_array_and_counts_all) {
  fill();
  for (int i = 0; i < 7; ++i) {
    const std::string pool = "/v1/semaphores/p" + std::to_string(i);
    post(pool, R"({"acquire_timeout_s":0,"limit":2,"lease_ttl_s":)" + std::to_string(30 - i) + "}",
         session_);
  }
  for (const auto& [sort, expected] :
       {std::pair("waiters", "b a "), std::pair("oldest_wait", "a b "), std::pair("held", "b d "),
        std::pair("key", "a b ")}) {
    const std::string query = "?limit=2&sort=" + std::string(sort);
    EXPECT_EQ(keys(query), expected);
    EXPECT_EQ(keys(query, "semaphores"), "p0 p1 ");
  }
  server_.pass(27s);  // four leases are over
  const Json answer = stats("?limit=2&sort=key");
  EXPECT_EQ(answer.at("total").dump(),
            R"({"idle_locks":0,"idle_semaphores":4,"locks":4,"semaphores":3})");
  EXPECT_EQ(answer.at("idle_semaphores").size(), 2U);
  EXPECT_EQ(answer.at("idle_semaphores").at(0).at("key"), "p3");
}

TEST_F(HttpStatsQuery, total_counts_what_has_the_prefix_before_the_limit) {
  for (const char* const key : {"a", "a%2Fb", "a%2Fc", "a%2Fd", "ab", "b", "A%2F"}) hold(key);
  EXPECT_EQ(keys("?prefix=a%2F&limit=2&sort=key"), "a/b a/c ");
  EXPECT_EQ(stats("?prefix=a/&limit=2").at("total").at("locks"), 3);
  EXPECT_EQ(stats("?prefix=a").at("total").at("locks"), 5);
  EXPECT_EQ(stats("?prefix=nothing").at("total").at("locks"), 0);
  EXPECT_EQ(stats("?prefix=" + std::string(257, 'a')).at("locks").size(), 0U);
}

TEST_F(HttpStatsQuery, elements_are_those_of_the_whole_report) {
  fill();
  const Json all = stats("");
  const Json some = stats("?sort=held");
  EXPECT_EQ(some.at("connections"), all.at("connections"));
  for (const Json& element : some.at("locks")) {
    EXPECT_NE(std::ranges::find(all.at("locks"), element), all.at("locks").end()) << element;
  }
}

TEST_F(HttpStatsQuery, equal_ones_share_a_report_and_others_have_their_own) {
  fill();
  Connection other(server_);
  Connection third(server_);
  connection_.arrive(request("GET /v1/stats?limit=2&sort=key"));
  other.arrive(request("GET /v1/stats?sort=key&limit=2"));
  third.arrive(request("GET /v1/stats?sort=key&limit=3"));
  server_.report();
  for (Connection* const asker : {&connection_, &other, &third}) asker->go_on();
  EXPECT_EQ(connection_.text, other.text);
  EXPECT_NE(connection_.text, third.text);
}

TEST_F(HttpStatsQuery, large_one_is_put_into_order_in_slices) {
  Server::Setup setup;
  setup.service.table.max_locks = 0;
  Server server(setup);
  const std::string session = server.open_session();
  Connection connection(server);
  constexpr int kKeys = 10'500;
  for (int i = 0; i < kKeys; ++i) {
    // In the order in which each one is among the first so far.
    connection.arrive(request("POST /v1/locks/" + std::to_string(99'999 - i),
                              R"({"acquire_timeout_s":0})",
                              "X-Dflockd-Session: " + session + "\r\n"));
  }
  static_cast<void>(connection.take());
  connection.arrive(request("GET /v1/stats?sort=key&limit=10000"));
  server.report();
  connection.go_on();
  std::string body;
  for (const std::string& piece : *connection.text) {
    EXPECT_LT(piece.size(), 70'000U);
    body += piece;
  }
  const Json answer = Json::parse(body);
  EXPECT_EQ(answer.at("total").at("locks"), kKeys);
  ASSERT_EQ(answer.at("locks").size(), 10'000U);
  for (std::size_t i = 0; i < 10'000; ++i) {
    ASSERT_EQ(answer.at("locks").at(i).at("key"), std::to_string(100'000 - kKeys + i));
  }
}

}  // namespace
}  // namespace dflockd::http
