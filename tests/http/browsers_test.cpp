// What browsers are told, and what a target and a host mean: through whole sessions.
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "connected.hpp"

namespace dflockd::http {
namespace {

using namespace std::string_literals;

Server::Setup allowing(std::vector<std::string> origins) {
  Server::Setup setup;
  setup.options.allowed_origins = std::move(origins);
  return setup;
}

std::string from(const std::string& origin) {
  return "Origin: " + origin + "\r\n";
}

std::string preflight(const std::string& path, const std::string& origin) {
  return request("OPTIONS " + path, "", from(origin) + "Access-Control-Request-Method: POST\r\n");
}

TEST(browsers, preflight_finds_only_paths_that_there_are) {
  Server::Setup setup = allowing({"*"});
  setup.secret = "secret";
  Server server(setup);
  Connection connection(server);
  for (const std::string& path :
       {"/v1/stats"s, "/health"s, "/v1/sessions/a/ping"s, "/v1/semaphores/a/renew"s}) {
    const Answer answer = connection.send(preflight(path, "https://a.example"));
    EXPECT_EQ(answer.status, 204) << path;
    EXPECT_TRUE(answer.has("Access-Control-Allow-Methods: GET, HEAD, POST, DELETE"));
  }
  for (const std::string& path : {"/nowhere"s, "/"s, "*"s, "/v1/locks"s, "/v1/locks/a/steal"s}) {
    const Answer answer = connection.send(preflight(path, "https://a.example"));
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_TRUE(answer.has("Access-Control-Allow-Origin: https://a.example"));
    EXPECT_EQ(answer.head.find("Access-Control-Allow-Methods"), std::string::npos);
  }
}

TEST(browsers, preflight_counts_as_the_request_that_follows_it) {
  Server::Setup setup = allowing({"*"});
  setup.options.rate = {.per_second = 1, .burst = 3};
  Server server(setup);
  Connection connection(server);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(connection.send(preflight("/v1/sessions", "https://a.example")).status, 204);
  }
  for (const std::string& path : {"/v1/sessions"s, "/nowhere"s}) {
    const Answer answer = connection.send(preflight(path, "https://a.example"));
    EXPECT_EQ(answer.status, 429);
    EXPECT_TRUE(answer.has("Retry-After: 1"));
    EXPECT_TRUE(answer.has("Access-Control-Allow-Origin: https://a.example"));
  }
  EXPECT_EQ(connection.send(preflight("/health", "https://a.example")).status, 204);
  EXPECT_EQ(connection.send(preflight("/v1/locks/a/renew", "https://a.example")).status, 204)
      << "without it a page could not renew";
}

TEST(browsers, star_allows_any_origin) {
  Server server(allowing({"*"}));
  Connection connection(server);
  for (const std::string& origin : {"https://any.example"s, "null"s}) {
    const Answer answer = connection.send(request("GET /health", "", from(origin)));
    EXPECT_TRUE(answer.has("Access-Control-Allow-Origin: " + origin));
    EXPECT_TRUE(answer.has("Vary: Origin"));
  }
  const Answer answer = connection.send(request("GET /health"));
  EXPECT_EQ(answer.head.find("Access-Control-"), std::string::npos);
}

TEST(browsers, refusal_can_be_read_by_a_page_that_is_allowed) {
  Server server(allowing({"https://a.example"}));
  Connection connection(server);
  const Answer answer =
      connection.send("POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\n" +
                      from("https://a.example") + "Content-Length: 1048577\r\n\r\n");
  EXPECT_EQ(answer.status, 413);
  EXPECT_TRUE(answer.has("Access-Control-Allow-Origin: https://a.example"));
}

TEST(browsers, page_of_this_server_may_use_it) {
  Server server;
  Connection connection(server);
  for (const std::string& host : {"localhost:6389"s, "127.0.0.1:6389"s, "[::1]:6389"s}) {
    EXPECT_EQ(connection
                  .send("POST /v1/sessions HTTP/1.1\r\nHost: " + host + "\r\n" +
                        from("http://" + host) + "Content-Length: 0\r\n\r\n")
                  .status,
              200)
        << host;
  }
}

TEST(browsers, probes_may_use_any_host) {
  Server server;
  Connection connection(server);
  for (const std::string& line : {"GET /health"s, "HEAD /ready"s}) {
    EXPECT_EQ(connection.send(line + " HTTP/1.1\r\nHost: my_server:1\r\n\r\n").status, 200) << line;
  }
  EXPECT_EQ(connection.send("POST /health HTTP/1.1\r\nHost: my_server:1\r\n\r\n").status, 405);
}

TEST(browsers, http_1_0_may_leave_the_host_out) {
  const std::pair<std::string, int> expected[] = {
      {"", 404},
      {"Host: attacker.example\r\n", 403},
      {"Host: localhost\r\n", 404},
      {from("http://localhost"), 403},
  };
  Server server;
  for (const auto& [fields, status] : expected) {
    Connection connection(server);
    EXPECT_EQ(connection.send("GET /nowhere HTTP/1.0\r\n" + fields + "\r\n").status, status)
        << fields;
  }
}

TEST(browsers, absolute_target_counts_as_its_host) {
  Server server;
  Connection connection(server);
  const auto ask = [&](const std::string& target, const std::string& host) {
    return connection.send("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  EXPECT_EQ(ask("http://localhost/nowhere", "attacker.example"), 404);
  EXPECT_EQ(ask("http://attacker.example/nowhere", "localhost"), 403);
  EXPECT_EQ(ask("http://attacker.example/health", "localhost"), 200);
}

// --- What a path allows ---

TEST(http_answers, methods_that_a_path_lacks_are_answered_by_those_that_it_has) {
  Server server;
  Connection connection(server);
  for (const std::string& method : {"PUT"s, "OPTIONS"s, "BREW"s, "get"s}) {
    const Answer answer = connection.send(request(method + " /health", "tea"));
    EXPECT_EQ(answer.status, 405) << method;
    EXPECT_TRUE(answer.has("Allow: GET, HEAD"));
    EXPECT_TRUE(connection.send(request(method + " /v1/locks/a")).has("Allow: POST, GET, HEAD"));
    EXPECT_EQ(connection.send(request(method + " /nowhere")).status, 404);
  }
  EXPECT_EQ(server.counted("OTHER", "/health", 405), 3U) << "methods of clients are no labels";
}

TEST(http_answers, refused_head_has_no_body) {
  Server server;
  Connection connection(server);
  connection.arrive("HEAD /health HTTP/1.1\r\nHost: a b\r\n\r\n");
  const Answer answer = parse_answer(connection.take(), true);
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.rest, "");
}

TEST(http_answers, every_one_has_a_type_and_may_be_cached_or_not) {
  Server server;
  Connection connection(server);
  const auto ask = [&](const char* line) { return connection.send(request(line)); };
  EXPECT_TRUE(ask("GET /health").has("Content-Type: application/json"));
  EXPECT_TRUE(ask("GET /metrics").has("Content-Type: text/plain; version=0.0.4; charset=utf-8"));
  EXPECT_TRUE(ask("GET /v1/openapi.json").has("Cache-Control: max-age=60"));
  for (const char* const line : {"GET /health", "POST /v1/sessions", "GET /nowhere", "GET /metrics",
                                 "POST /v1/openapi.json"}) {
    const Answer answer = ask(line);
    EXPECT_TRUE(answer.has("Cache-Control: no-store")) << line;
    EXPECT_TRUE(answer.has("X-Content-Type-Options: nosniff")) << line;
    EXPECT_TRUE(answer.body.ends_with('\n')) << line;
  }
}

TEST(http_answers, body_that_is_malformed_leaves_the_connection_open) {
  Server server;
  Connection connection(server);
  const std::string session = "X-Dflockd-Session: " + server.open_session() + "\r\n";
  for (const std::string& body : {""s, "[]"s, "{"s, R"({"acquire_timeout_s":-1})"s,
                                  R"({"acquire_timeout_s":0} x)"s, std::string(100'000, '[')}) {
    const Answer answer = connection.send(request("POST /v1/locks/k", body, session));
    EXPECT_EQ(answer.status, 400) << body.substr(0, 50);
    EXPECT_FALSE(answer.has("Connection: close"));
  }
  EXPECT_EQ(connection.send(request("POST /v1/sessions", R"({"idle":1})")).status, 400);
  for (const char* const key : {"%zz", "%20", "", "a%0ab"}) {
    EXPECT_EQ(connection
                  .send(request("POST /v1/locks/" + std::string(key), R"({"acquire_timeout_s":0})",
                                session))
                  .status,
              400)
        << key;
  }
}

}  // namespace
}  // namespace dflockd::http
