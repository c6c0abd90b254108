// Who may use the HTTP API: credentials, rates, and pages in browsers. tests/http and tests/access
// have what these come to for each request, in memory.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "base/descriptor.hpp"
#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

const std::string kNobody(32, '0');

HttpResponse ask(HttpClient& client, const std::string& method, const std::string& path,
                 const std::string& fields) {
  return client.request(method, path, {}, {}, fields);
}

// --- Credentials ---

class HttpSecret : public testing::Test {
 protected:
  static constexpr std::string_view kSecret = "correct horse battery staple";
  /// What a stranger is kept waiting for.
  static constexpr Duration kDelay = 100ms;

  const Server server_{{"--auth-token", std::string(kSecret)}, Http::kOn};
  HttpClient client_{server_};
};

TEST_F(HttpSecret, is_all_that_helps_and_others_wait_and_may_try_again) {
  const std::string secret(kSecret);
  for (const std::string& field :
       {std::string(), std::string("Bearer"), "Bearer\t" + secret, secret, "Basic " + secret,
        "Bearer" + secret, "Bearer " + secret + "x", "Bearer " + secret.substr(1),
        "Bearer " + std::string(60'000, 'x')}) {
    const auto began = Clock::now();
    const HttpResponse response =
        ask(client_, "GET", "/v1/stats", field.empty() ? "" : "Authorization: " + field + "\r\n");
    EXPECT_EQ(response.summary(), "401 unauthorized") << field.substr(0, 50);
    EXPECT_EQ(response.header("www-authenticate"), "Bearer");
    EXPECT_EQ(response.body.find(secret), std::string::npos);
    EXPECT_GE(Clock::now() - began, kDelay);
    EXPECT_LE(Clock::now() - began, within(1s));
  }
  for (const std::string before : {"Bearer ", "bEARER    "}) {
    EXPECT_EQ(
        ask(client_, "GET", "/v1/stats", "Authorization: " + before + secret + " \t \r\n").status,
        200);
  }
}

TEST_F(HttpSecret, is_wanted_by_all_but_the_probes_and_the_description) {
  const std::vector<std::pair<std::string, std::string>> guarded{
      {"GET", "/metrics"},        {"HEAD", "/v1/stats"},        {"POST", "/v1/sessions"},
      {"GET", "/nowhere"},        {"DELETE", "/v1/sessions/a"}, {"PUT", "/v1/locks/a"},
      {"POST", "/v1/locks/a"},    {"GET", "/v1/locks/a"},       {"GET", "/v1/sessions"},
      {"GET", "/v1/semaphores/a"}};
  for (const auto& [method, path] : guarded) EXPECT_EQ(client_.request(method, path).status, 401);
  const auto measure = [&] {
    const auto began = Clock::now();
    for (const std::string path : {"/health", "/ready", "/v1/openapi.json"}) {
      EXPECT_EQ(client_.get(path).status, 200) << path;
      EXPECT_EQ(client_.request("HEAD", path).status, 200) << path;
      EXPECT_EQ(client_.request("BREW", path).status, 405) << path;
    }
    return Clock::now() - began;
  };
  EXPECT_LT(best_measured(kDelay, measure), kDelay) << "it was asked for";
  client_.authorize(std::string(kSecret));
  EXPECT_EQ(client_.metric("dflockd_http_sessions"), 0);
  EXPECT_EQ(client_.metric(R"(dflockd_auth_failures_total{transport="http"})"), guarded.size());
}

TEST_F(HttpSecret, of_others_that_is_wrong_delays_nobody_who_knows_it) {
  const auto measure = [&] {
    std::vector<HttpClient> guessers;
    for (int i = 0; i < 50; ++i) guessers.emplace_back(server_);
    HttpClient client(server_);
    EXPECT_EQ(client.get("/health").status, 200);
    client.authorize(std::string(kSecret));
    for (HttpClient& guesser : guessers) guesser.send(guesser.request_bytes("GET", "/v1/stats"));
    const auto began = Clock::now();
    EXPECT_EQ(client.get("/v1/stats").status, 200);
    const Duration took = Clock::now() - began;
    for (HttpClient& guesser : guessers) EXPECT_EQ(guesser.read_response().status, 401);
    return took;
  };
  const Duration bound = kSanitized ? 90ms : 20ms;
  EXPECT_LT(best_measured(bound, measure), bound);
}

// --- Rates ---

class HttpRateLimit : public testing::Test {
 protected:
  /// Asks until the bucket of the address is empty, and returns the answer that says so.
  static HttpResponse exhaust(HttpClient& client) {
    for (int served = 0;; ++served) {
      const HttpResponse response = client.get("/v1/stats");
      if (response.status == 200 && served < 6) continue;
      EXPECT_EQ(response.summary(), "429 rate_limited");
      EXPECT_GE(served, 3);
      return response;
    }
  }
  /// Asks until it is refused.
  static void exhaust(HttpClient& client, const std::string& method, const std::string& path) {
    EXPECT_TRUE(eventually([&] { return client.request(method, path).status == 429; })) << path;
  }

  const Server server_{{"--http-rate-limit-per-ip", "1", "--http-rate-limit-burst", "3"},
                       Http::kOn};
};

TEST_F(HttpRateLimit, has_an_address_wait_and_no_other) {
  HttpClient client(server_, {.from = "127.0.0.3"});
  const std::string wait = exhaust(client).header("retry-after").value();
  EXPECT_TRUE(wait == "1" || wait == "2") << wait;
  EXPECT_EQ(HttpClient(server_, {.from = "127.0.0.3"}).get("/metrics").status, 429);
  EXPECT_EQ(HttpClient(server_, {.from = "127.0.0.2"}).get("/metrics").status, 200);
  const auto began = Clock::now();
  EXPECT_TRUE(eventually([&] { return client.get("/v1/stats").status == 200; }));
  EXPECT_LE(Clock::now() - began, within(1s * (std::stoi(wait) + 1)));
}

TEST_F(HttpRateLimit, names_a_second_if_the_wait_is_shorter) {
  const Server server({"--http-rate-limit-per-ip", "1000", "--http-rate-limit-burst", "1"},
                      Http::kOn);
  HttpClient client(server);
  std::optional<std::string> wait;
  EXPECT_TRUE(eventually([&] {
    client.send(repeated(100, client.request_bytes("GET", "/nowhere")));
    for (int i = 0; i < 100; ++i) {
      const HttpResponse response = client.read_response();
      if (response.status == 429) wait = response.header("retry-after");
    }
    return wait.has_value();
  }));
  EXPECT_EQ(wait, "1");
}

TEST_F(HttpRateLimit, counts_requests_of_no_route_but_not_the_probes) {
  HttpClient client(server_);
  exhaust(client, "GET", "/nowhere");
  EXPECT_EQ(client.request("PUT", "/v1/stats").status, 429);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.get("/health").status, 200);
    EXPECT_EQ(client.request("HEAD", "/ready").status, 200);
  }
  EXPECT_EQ(client.request("PUT", "/health").status, 405);
}

TEST_F(HttpRateLimit, is_another_for_what_keeps_or_gives_back_what_is_held) {
  const std::string session = HttpClient(server_, {.from = "127.0.0.2"}).open_session();
  const std::string ping = "/v1/sessions/" + session + "/ping";
  int address = 0;
  for (const std::string& path :
       {std::string("/v1/locks/a/renew"), std::string("/v1/locks/a/release"),
        std::string("/v1/semaphores/a/renew"), std::string("/v1/semaphores/a/release"), ping}) {
    HttpClient client(server_, {.from = "127.0.1." + std::to_string(++address)});
    exhaust(client);
    const std::string body = path == ping ? "" : R"({"token":")" + kNobody + R"("})";
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(client.post(path, body, session).status, path == ping ? 204 : 404) << path;
    }
    EXPECT_TRUE(eventually([&] { return client.post(path, body, session).status == 429; })) << path;
    EXPECT_EQ(client.delete_session(kNobody).status, 429) << path;
  }
}

TEST_F(HttpRateLimit, of_what_is_held_is_drawn_on_by_nothing_else) {
  HttpClient client(server_);
  exhaust(client);
  exhaust(client, "GET", "/v1/locks/a/renew");
  exhaust(client, "PUT", "/v1/sessions/a");
  exhaust(client, "OPTIONS", "/v1/locks/a/release");
  EXPECT_EQ(client.delete_session(kNobody).summary(), "410 session_gone");

  const Server guarded({"--auth-token", "right", "--http-rate-limit-per-ip", "1"}, Http::kOn);
  HttpClient stranger(guarded);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(stranger.ping_session(kNobody).status, 401);
  HttpClient holder(guarded);
  holder.authorize("right");
  EXPECT_EQ(holder.ping_session(kNobody).summary(), "410 session_gone");
}

// --- Pages that somebody else wrote, and names that lead here though they are not ours ---

const std::vector<std::pair<std::string, std::string>> kAnything{
    {"POST", "/v1/sessions"},     {"GET", "/v1/stats"}, {"POST", "/v1/locks/a"},
    {"DELETE", "/v1/sessions/a"}, {"GET", "/nowhere"},  {"OPTIONS", "/v1/sessions"}};

void expect_forbidden(const HttpResponse& response, const std::string& code) {
  EXPECT_EQ(response.summary(), "403 " + code);
  EXPECT_EQ(response.header("connection"), std::nullopt);
}

std::string host(const std::string& name) {
  return "Host: " + name + "\r\n";
}

std::string origin(const std::string& page) {
  return "Origin: " + page + "\r\n";
}

TEST(HttpBrowsers, are_forbidden_hosts_that_are_not_this_server) {
  const Server server(Http::kOn);
  HttpClient client(server);
  for (const std::string name :
       {"attacker.example", "localhost.attacker.example", "10.0.0.1", ""}) {
    for (const auto& [method, path] : kAnything) {
      expect_forbidden(ask(client, method, path, host(name)), "forbidden_host");
    }
  }
  EXPECT_EQ(client.metric("dflockd_http_sessions"), 0);
  EXPECT_EQ(client.metric("dflockd_http_requests_total{method=\"POST\",path=\"/v1/sessions\","
                          "status=\"403\"}"),
            4);
  EXPECT_TRUE(server.wait_for_log_line("warn request_forbidden ")) << server.log();
  EXPECT_NE(server.log().find("reason=forbidden_host"), std::string::npos) << server.log();
}

TEST(HttpBrowsers, are_forbidden_pages_from_elsewhere_whatever_they_ask_for) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const std::string port = std::to_string(server.http_port());
  const std::string here = host("localhost:" + port);
  for (const std::string& page :
       {std::string("http://attacker.example"), std::string("null"), "https://localhost:" + port,
        "http://127.0.0.1:" + port, std::string("http://localhost")}) {
    for (const auto& [method, path] : kAnything) {
      expect_forbidden(ask(client, method, path, here + origin(page)), "forbidden_origin");
    }
    expect_forbidden(ask(client, "GET", "/health", here + origin(page)), "forbidden_origin");
  }
  EXPECT_TRUE(server.wait_for_log_line("warn request_forbidden ")) << server.log();
  const HttpResponse own = ask(client, "GET", "/health", here + origin("http://localhost:" + port));
  EXPECT_EQ(own.status, 200);
  EXPECT_EQ(own.header("vary"), std::nullopt);
  EXPECT_EQ(own.header("access-control-allow-origin"), std::nullopt);
}

/// The address of this machine that others would connect to; empty if only loopback is up.
std::string own_address() {
  const base::Descriptor probe(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(9);
  ::inet_pton(AF_INET, "192.0.2.1", &address.sin_addr);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (::connect(probe.get(), generic, size) != 0) return {};
  ::getsockname(probe.get(), generic, &size);
  return ::inet_ntoa(address.sin_addr);
}

TEST(HttpHosts, may_be_the_address_that_the_connection_came_to) {
  const std::string address = own_address();
  if (address.empty()) GTEST_SKIP() << "only the loopback interface is up";
  const Server server(Http::kOnEveryAddress);
  HttpClient client(server, {.to = address});
  EXPECT_EQ(ask(client, "GET", "/v1/stats", host(address + ":1")).status, 200);
  expect_forbidden(ask(client, "GET", "/v1/stats", host("192.0.2.1")), "forbidden_host");
  HttpClient local(server);
  expect_forbidden(ask(local, "GET", "/v1/stats", host(address)), "forbidden_host");
}

TEST(HttpHosts, may_be_listed_or_any_with_a_secret) {
  const Server listing({"--http-allowed-hosts", "locks.example, 10.0.0.5,[2001:db8::5]"},
                       Http::kOn);
  HttpClient client(listing);
  for (const std::string name :
       {"locks.example", "Locks.Example.:80", "10.0.0.5:6389", "[2001:db8::5]:6389", "localhost"}) {
    EXPECT_EQ(ask(client, "GET", "/v1/stats", host(name)).status, 200) << name;
  }
  expect_forbidden(ask(client, "GET", "/v1/stats", host("a.locks.example")), "forbidden_host");

  const Server guarded({"--auth-token", "secret"}, Http::kOn);
  HttpClient known(guarded);
  const std::string there = host("locks.example");
  const auto began = Clock::now();
  expect_forbidden(ask(known, "POST", "/v1/sessions", there + origin("http://attacker.example")),
                   "forbidden_origin");
  EXPECT_LT(Clock::now() - began, within(100ms)) << "before the secret is looked at";
  known.authorize("secret");
  EXPECT_EQ(ask(known, "POST", "/v1/sessions", there + origin("http://locks.example")).status, 200);
  expect_forbidden(ask(known, "POST", "/v1/sessions", there + origin("http://attacker.example")),
                   "forbidden_origin");
}

TEST(HttpBrowsers, have_own_pages_over_https_with_tls) {
  const TlsServer server({}, {}, Http::kOn);
  HttpClient client(server, server.trusting());
  EXPECT_EQ(ask(client, "POST", "/v1/sessions", origin("https://localhost")).status, 200);
  expect_forbidden(ask(client, "POST", "/v1/sessions", origin("http://localhost")),
                   "forbidden_origin");
}

class HttpCors : public testing::Test {
 protected:
  static void expect_no_cors(const HttpResponse& response) {
    EXPECT_EQ(response.header("vary"), "Origin");
    for (const auto& [name, value] : response.headers) {
      EXPECT_FALSE(name.starts_with("access-control-")) << name;
    }
  }

  static inline const std::string kPreflight =
      "Access-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization, x-dflockd-session\r\n";

  const Server server_{{"--http-cors-allowed-origins", "https://a.example,http://b.example:8080",
                        "--auth-token", "secret"},
                       Http::kOn};
  HttpClient client_{server_};
};

TEST_F(HttpCors, echoes_pages_that_are_listed_and_forbids_others) {
  client_.authorize("secret");
  for (const std::string page : {"https://a.example", "http://b.example:8080"}) {
    for (const auto& [method, path] : kAnything) {
      const HttpResponse response = ask(client_, method, path, origin(page));
      EXPECT_EQ(response.header("access-control-allow-origin"), page) << path;
      EXPECT_EQ(response.header("vary"), "Origin") << path;
    }
  }
  for (const std::string page : {"https://c.example", "http://a.example", "https://a.example:444",
                                 "null", "https://a.example.evil", "https://xa.example", "*"}) {
    for (const HttpResponse& response :
         {ask(client_, "GET", "/health", origin(page)),
          ask(client_, "OPTIONS", "/v1/sessions", origin(page) + kPreflight)}) {
      EXPECT_EQ(response.summary(), "403 forbidden_origin") << page;
      expect_no_cors(response);
    }
  }
  expect_no_cors(client_.get("/health"));
}

TEST_F(HttpCors, tells_a_preflight_what_the_page_may_do) {
  for (const std::string path : {"/v1/sessions", "/v1/locks/a", "/v1/locks/a/wait", "/v1/stats"}) {
    const HttpResponse response =
        ask(client_, "OPTIONS", path, origin("https://a.example") + kPreflight);
    EXPECT_EQ(response.status, 204) << path;
    EXPECT_EQ(response.header("access-control-allow-origin"), "https://a.example");
    EXPECT_EQ(response.header("vary"), "Origin");
    EXPECT_EQ(response.header("access-control-allow-methods"), "GET, HEAD, POST, DELETE");
    EXPECT_EQ(response.header("access-control-allow-headers"),
              "Authorization, Content-Type, X-Dflockd-Session");
    EXPECT_EQ(response.header("access-control-max-age"), "300");
  }
  for (const std::string method : {"OPTIONS", "GET"}) {
    const HttpResponse response = ask(client_, method, "/v1/stats", origin("https://a.example"));
    EXPECT_EQ(response.status, 401) << "that is no preflight";
    EXPECT_EQ(response.header("access-control-allow-origin"), "https://a.example");
  }
}

}  // namespace

}  // namespace dflockd::test
