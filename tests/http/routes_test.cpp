#include "http/routes.hpp"

#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

namespace dflockd::http {
namespace {

using namespace std::string_literals;

constexpr Method kMethods[] = {Method::kGet,    Method::kHead,    Method::kPost,
                               Method::kDelete, Method::kOptions, Method::kOther};

/// The `Allow` of what is no route: "" if there is no such path.
std::string allowed(Method method, std::string_view path) {
  const auto result = find_route(method, path);
  const auto* const none = std::get_if<NoMatch>(&result);
  EXPECT_NE(none, nullptr) << text(method) << ' ' << path;
  return none == nullptr ? "(matched)" : none->allow;
}

Match found(Method method, std::string_view path) {
  auto result = find_route(method, path);
  if (auto* const match = std::get_if<Match>(&result)) return std::move(*match);
  throw std::runtime_error("no route: " + std::string(path));
}

bool fails(Method method, std::string_view path) {
  const auto result = find_route(method, path);
  const auto* const failure = std::get_if<Failure>(&result);
  return failure != nullptr && failure->status == 400 && failure->code == "bad_request";
}

/// A path of the pattern.
std::string path_of(std::string_view pattern, std::string_view parameter = "p") {
  const std::size_t start = pattern.find('{');
  if (start == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, start)) + std::string(parameter) +
         std::string(pattern.substr(pattern.find('}') + 1));
}

TEST(routes, unknown_paths_are_found_for_no_method) {
  for (const std::string& path : {""s,
                                  "/"s,
                                  "*"s,
                                  "/v1"s,
                                  "/v1/"s,
                                  "/v1/locks"s,
                                  "/v1/semaphores"s,
                                  "/v1/locks/k/steal"s,
                                  "/v1/locks/k/release/x"s,
                                  "/v2/locks/k"s,
                                  "/v1/lock/k"s,
                                  "/V1/locks/k"s,
                                  "/v1/Locks/k"s,
                                  "/v1/sessions/s/pong"s,
                                  "/healthz"s,
                                  "/Health"s,
                                  "health"s,
                                  "/health/x"s,
                                  "//health"s,
                                  "/v1//locks/k"s,
                                  "/v1/stats/x"s,
                                  "/v1/openapi"s,
                                  "/v1/%6cocks/k"s,
                                  "/%68ealth"s,
                                  "/v1/locks/k/%72elease"s,
                                  "/v1/locks/../stats"s,
                                  "/./health"s,
                                  "/health?"s,
                                  "\0"s}) {
    for (const Method method : kMethods) EXPECT_EQ(allowed(method, path), "") << path;
  }
}

TEST(routes, slash_at_the_end_makes_another_path) {
  for (const Route& route : routes()) {
    if (route.pattern == "/v1/sessions") continue;  // of which it makes a session without a name
    EXPECT_EQ(allowed(route.method, path_of(route.pattern) + "/"), "") << route.pattern;
  }
  EXPECT_EQ(allowed(Method::kPost, "/v1/sessions/"), "DELETE");
}

TEST(routes, broken_percent_encoding_fails) {
  for (const std::string& key : {"%"s, "%0"s, "a%"s, "a%4"s, "%zz"s, "%0z"s, "%z0"s, "%%"s, "%%41"s,
                                 "%-1"s, "%+1"s, "% 1"s, "%4\0"s, "%\xff\xff"s, "%41%"s}) {
    for (const std::string& path :
         {"/v1/locks/" + key, "/v1/locks/" + key + "/release", "/v1/semaphores/" + key + "/wait"}) {
      EXPECT_TRUE(fails(Method::kPost, path)) << path;
    }
    EXPECT_TRUE(fails(Method::kDelete, "/v1/sessions/" + key)) << key;
  }
}

TEST(routes, parameter_is_percent_decoded) {
  const std::pair<std::string, std::string> expected[] = {
      {"key", "key"},         {"a%2Fb", "a/b"},
      {"a%2fb", "a/b"},       {"%2Frelease", "/release"},
      {"%41%6a%4A", "AjJ"},   {"%00", "\0"s},
      {"a%00b", "a\0b"s},     {"%0a", "\n"},
      {"%20", " "},           {"%25", "%"},
      {"%2541", "%41"},  // once
      {"%ff%FE", "\xff\xfe"}, {"\xc3\xa4", "\xc3\xa4"},
      {"a+b", "a+b"},         {"..", ".."},
      {"%2e%2E", ".."},       {"{key}", "{key}"},
      {"a;b=c", "a;b=c"},
  };
  for (const auto& [encoded, decoded] : expected) {
    for (const Route& route : routes()) {
      if (route.pattern.find('{') == std::string_view::npos) continue;
      const Match match = found(route.method, path_of(route.pattern, encoded));
      EXPECT_EQ(match.route, &route) << route.pattern;
      EXPECT_EQ(match.parameter, decoded) << encoded;
    }
  }
}

// So that the answer can say what is wrong with the key.
TEST(routes, parameter_may_be_empty) {
  EXPECT_EQ(found(Method::kPost, "/v1/locks/").parameter, "");
  EXPECT_EQ(found(Method::kPost, "/v1/locks//release").parameter, "");
  EXPECT_EQ(found(Method::kPost, "/v1/locks//release").route->operation, Operation::kRelease);
  EXPECT_EQ(found(Method::kDelete, "/v1/sessions/").parameter, "");
}

TEST(routes, keys_named_as_an_operation_are_keys) {
  EXPECT_EQ(found(Method::kPost, "/v1/locks/release").route->operation, Operation::kAcquire);
  EXPECT_EQ(found(Method::kPost, "/v1/locks/release/release").parameter, "release");
  EXPECT_EQ(found(Method::kPost, "/v1/sessions/ping/ping").route->operation,
            Operation::kPingSession);
}

TEST(routes, methods_that_a_path_lacks_are_answered_by_those_that_it_has) {
  for (const Method method : {Method::kPost, Method::kDelete, Method::kOptions, Method::kOther}) {
    for (const char* const path :
         {"/health", "/ready", "/metrics", "/v1/stats", "/v1/openapi.json"}) {
      EXPECT_EQ(allowed(method, path), "GET, HEAD") << path;
    }
  }
  for (const Method method :
       {Method::kGet, Method::kHead, Method::kDelete, Method::kOptions, Method::kOther}) {
    for (const char* const path :
         {"/v1/sessions/s/ping", "/v1/locks/k/release", "/v1/semaphores/k/enqueue"}) {
      EXPECT_EQ(allowed(method, path), "POST") << path;
    }
  }
  for (const Method method : {Method::kDelete, Method::kOptions, Method::kOther}) {
    for (const char* const path : {"/v1/sessions", "/v1/locks/k", "/v1/semaphores/k"}) {
      EXPECT_EQ(allowed(method, path), "POST, GET, HEAD") << path;
    }
  }
  for (const Method method : {Method::kGet, Method::kHead, Method::kPost, Method::kOptions}) {
    EXPECT_EQ(allowed(method, "/v1/sessions/s"), "DELETE");
  }
}

TEST(routes, head_works_where_get_does) {
  for (const char* const path : {"/health", "/ready", "/metrics", "/v1/stats", "/v1/openapi.json",
                                 "/v1/sessions", "/v1/locks/k", "/v1/semaphores/k"}) {
    EXPECT_EQ(found(Method::kHead, path).route, found(Method::kGet, path).route) << path;
  }
}

TEST(routes, path_is_known_by_any_of_its_routes_whatever_the_method) {
  for (const Route& route : routes()) {
    const auto result = find_route(Method::kOther, path_of(route.pattern));
    const Route* const other = std::get<NoMatch>(result).other;
    ASSERT_NE(other, nullptr) << route.pattern;
    EXPECT_EQ(other->pattern, route.pattern);
    EXPECT_EQ(other->needs_auth, route.needs_auth) << route.pattern;
    EXPECT_EQ(other->bucket, route.bucket) << route.pattern;
  }
  EXPECT_EQ(std::get<NoMatch>(find_route(Method::kOther, "/nowhere")).other, nullptr);
}

TEST(routes, every_route_is_found_by_its_pattern) {
  for (const Route& route : routes()) {
    const Match match = found(route.method, path_of(route.pattern));
    EXPECT_EQ(match.route, &route) << route.pattern;
    EXPECT_EQ(match.parameter, route.pattern.find('{') == std::string_view::npos ? "" : "p");
  }
}

TEST(routes, table_says_what_the_documentation_does) {
  const std::map<Bucket, std::string> buckets{
      {Bucket::kCommon, " limited"}, {Bucket::kHolding, " limited-apart"}, {Bucket::kNone, ""}};
  std::set<std::string> lines;
  for (const Route& route : routes()) {
    lines.insert(std::string(text(route.method)) + ' ' + std::string(route.pattern) +
                 (route.kind == locks::Kind::kSemaphore ? " semaphore" : "") +
                 (route.needs_auth ? " auth" : "") + buckets.at(route.bucket));
  }
  std::set<std::string> expected = {
      "POST /v1/sessions auth limited",
      "DELETE /v1/sessions/{id} auth limited-apart",
      "POST /v1/sessions/{id}/ping auth limited-apart",
      "GET /v1/sessions auth limited",
      "GET /v1/locks/{key} auth limited",
      "GET /v1/semaphores/{key} semaphore auth limited",
      "GET /v1/stats auth limited",
      "GET /health",
      "GET /ready",
      "GET /metrics auth limited",
      "GET /v1/openapi.json limited",
  };
  for (const char* const operation : {"", "/enqueue", "/wait"}) {
    expected.insert("POST /v1/locks/{key}"s + operation + " auth limited");
    expected.insert("POST /v1/semaphores/{key}"s + operation + " semaphore auth limited");
  }
  for (const char* const operation : {"/release", "/renew"}) {
    expected.insert("POST /v1/locks/{key}"s + operation + " auth limited-apart");
    expected.insert("POST /v1/semaphores/{key}"s + operation + " semaphore auth limited-apart");
  }
  EXPECT_EQ(lines, expected);
}

}  // namespace
}  // namespace dflockd::http
