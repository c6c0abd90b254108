// The rule of HTTP.md, "Browsers", branch by branch.
#include "http/browser_guard.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::http {
namespace {

using namespace std::string_literals;

constexpr std::string_view kLocal = "192.0.2.7";

/// A request and how it came: to 192.0.2.7, in clear text, without a secret, but for what is said.
struct Visit {
  std::optional<std::string> host = "localhost";
  std::optional<std::string> origin{};
  BrowserGuard::Circumstances circumstances{};
  std::string_view local_address = kLocal;
};

/// The code with which a visit is refused; "" if it is not.
std::string refusal(const Visit& visit, const BrowserGuard& guard = BrowserGuard({}, {})) {
  Request request;
  request.host = visit.host;
  request.origin = visit.origin;
  const auto failure =
      guard.check(request, visit.circumstances, [&] { return visit.local_address; });
  if (!failure) return "";
  EXPECT_EQ(failure->status, 403);
  EXPECT_LT(failure->detail.size(), 500U);
  return std::string(failure->code);
}

/// For a server without a secret that is found by this host.
std::string refusal_of(const std::string& host, const BrowserGuard& guard = BrowserGuard({}, {})) {
  return refusal({.host = host}, guard);
}

const std::vector<std::string> kLoopback{
    "localhost",   "localhost:6389", "LocalHost",        "localhost.",        "localhost.:80",
    "a.localhost", "a.b.LOCALHOST.", "127.0.0.1",        "127.0.0.1:1",       "127.0.0.1.",
    "127.255.0.9", "[::1]",          "[::1]:6389",       "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
    "[::1%lo]",    "ip6-localhost",  "ip6-loopback:6389"};

const std::vector<std::string> kForeign{"",
                                        ":6389",
                                        "attacker.example",
                                        "attacker.example:6389",
                                        "localhost.attacker.example",
                                        "attackerlocalhost",
                                        "localhost..",
                                        "localhos",
                                        "ocalhost",
                                        ".example",
                                        "127.0.0.1.attacker.example",
                                        "127.0.0.1,attacker.example",
                                        "127.1",
                                        "2130706433",
                                        "0x7f.0.0.1",
                                        "0.0.0.0",
                                        "[::]",
                                        "128.0.0.1",
                                        "192.0.2.8",
                                        "[2001:db8::1]",
                                        "[::127.0.0.1]",
                                        "local%68ost",
                                        "x%6c"};

// --- Host ---

TEST(browser_guard, host_that_need_not_be_this_server_is_forbidden) {
  for (const std::string& host : kForeign) EXPECT_EQ(refusal_of(host), "forbidden_host") << host;
}

TEST(browser_guard, host_is_looked_at_before_the_origin) {
  EXPECT_EQ(refusal({.host = "attacker.example", .origin = "http://attacker.example"}),
            "forbidden_host");
  const BrowserGuard listed({}, {"*"});
  EXPECT_EQ(refusal({.host = "attacker.example", .origin = "http://attacker.example"}, listed),
            "forbidden_host");
}

TEST(browser_guard, host_that_no_reader_would_take_is_forbidden) {
  for (const std::string& host : {"localhost\0.attacker.example"s, "user@localhost"s, "[::1"s}) {
    EXPECT_EQ(refusal_of(host), "forbidden_host") << testing::PrintToString(host);
  }
}

TEST(browser_guard, loopback_is_this_server_by_whatever_name_and_port) {
  for (const std::string& host : kLoopback) EXPECT_EQ(refusal_of(host), "") << host;
}

TEST(browser_guard, address_that_the_connection_came_to_is_this_server) {
  const std::pair<std::string, std::string_view> arrivals[] = {
      {"192.0.2.7", kLocal},
      {"192.0.2.7:6389", kLocal},
      {"192.0.2.7", "::ffff:192.0.2.7"},
      {"[::ffff:192.0.2.7]", kLocal},
      {"[2001:DB8::1]:6389", "2001:db8::1"},
      {"[fe80::1]", "fe80::1%eth0"},
      {"[fe80::1%25eth0]", "fe80::1%eth0"},
  };
  for (const auto& [host, local] : arrivals) {
    EXPECT_EQ(refusal({.host = host, .local_address = local}), "") << host << ' ' << local;
    EXPECT_EQ(refusal({.host = host, .local_address = "192.0.2.9"}), "forbidden_host") << host;
  }
  EXPECT_EQ(refusal({.host = "attacker.example", .local_address = ""}), "forbidden_host")
      << "when the socket cannot tell any more";
  EXPECT_EQ(refusal({.host = "", .local_address = ""}), "forbidden_host");
}

TEST(browser_guard, hosts_that_are_listed_are_this_server_with_any_port) {
  const BrowserGuard guard({"Locks.Example", "final.example.", "10.0.0.5", "2001:db8::5"}, {});
  for (const std::string& host :
       {"locks.example"s, "LOCKS.EXAMPLE:6389"s, "locks.example."s, "final.example"s,
        "final.example.:1"s, "10.0.0.5"s, "10.0.0.5:80"s, "[::ffff:10.0.0.5]"s,
        "[2001:db8:0::5]:1"s, "localhost"s, "192.0.2.7"s}) {
    EXPECT_EQ(refusal_of(host, guard), "") << host;
  }
  for (const std::string& host : {"a.locks.example"s, "locks.example.attacker.example"s,
                                  "xlocks.example"s, "10.0.0.6"s, "example"s, ""s}) {
    EXPECT_EQ(refusal_of(host, guard), "forbidden_host") << host;
  }
}

TEST(browser_guard, with_a_secret_any_host_will_do) {
  for (const std::string& host : kForeign) {
    EXPECT_EQ(refusal({.host = host, .circumstances = {.has_secret = true}}), "") << host;
  }
}

TEST(browser_guard, probes_may_use_any_host) {
  for (const std::string& host : kForeign) {
    EXPECT_EQ(refusal({.host = host, .circumstances = {.is_probe = true}}), "") << host;
  }
}

TEST(browser_guard, request_without_a_host_is_no_browsers) {
  EXPECT_EQ(refusal({.host = std::nullopt}), "");
}

// --- Origin ---

TEST(browser_guard, pages_from_elsewhere_are_forbidden) {
  for (const std::string& origin : {"http://attacker.example"s,
                                    "https://attacker.example"s,
                                    "null"s,
                                    ""s,
                                    "*"s,
                                    "localhost:6389"s,
                                    "http://"s,
                                    "http:"s,
                                    "http"s,
                                    "file://"s,
                                    "chrome-extension://abcdef"s,
                                    "http://localhost"s,
                                    "http://localhost:6390"s,
                                    "https://localhost:6389"s,
                                    "http://localhost:6389/"s,
                                    "http://localhost:6389 http://attacker.example"s,
                                    "http://attacker.example@localhost:6389"s,
                                    "http://localhost:6389@attacker.example"s,
                                    "http://a.localhost:6389"s,
                                    "http://127.0.0.1:6389"s,
                                    "http://localhost:99999"s,
                                    "xhttp://localhost:6389"s,
                                    "http://localhost:6389\0"s,
                                    "http:/localhost:6389"s}) {
    for (const bool has_secret : {false, true}) {
      for (const bool is_probe : {false, true}) {
        const BrowserGuard::Circumstances circumstances{.has_secret = has_secret,
                                                        .is_probe = is_probe};
        EXPECT_EQ(
            refusal({.host = "localhost:6389", .origin = origin, .circumstances = circumstances}),
            "forbidden_origin")
            << testing::PrintToString(origin);
      }
    }
  }
}

TEST(browser_guard, page_of_this_server_may_use_it) {
  struct Case {
    std::string origin;
    std::string host;
    bool tls = false;
  };
  for (const Case& own :
       {Case{"http://localhost:6389", "localhost:6389"},
        Case{"http://LOCALHOST:6389", "localhost.:6389"},
        Case{"http://localhost.:6389", "LocalHost:6389"}, Case{"HTTP://localhost", "localhost:80"},
        Case{"http://localhost:80", "localhost"}, Case{"http://localhost:", "localhost"},
        Case{"http://127.0.0.1:6389", "127.0.0.1:6389"}, Case{"http://[::1]:6389", "[0::1]:6389"},
        Case{"http://192.0.2.7:1", "192.0.2.7:1"}, Case{"https://localhost", "localhost", true},
        Case{"https://localhost:443", "localhost", true},
        Case{"https://localhost", "localhost:443", true},
        Case{"https://localhost:6389", "localhost:6389", true}}) {
    EXPECT_EQ(refusal({.host = own.host, .origin = own.origin, .circumstances = {.tls = own.tls}}),
              "")
        << own.origin << ' ' << own.host;
    EXPECT_EQ(refusal({.host = own.host, .origin = own.origin, .circumstances = {.tls = !own.tls}}),
              "forbidden_origin")
        << own.origin << ' ' << own.host << " with the other scheme";
  }
}

TEST(browser_guard, with_a_secret_the_host_that_the_request_names_is_this_servers_own) {
  const BrowserGuard::Circumstances circumstances{.has_secret = true};
  EXPECT_EQ(refusal({.host = "locks.example:6389",
                     .origin = "http://locks.example:6389",
                     .circumstances = circumstances}),
            "");
  EXPECT_EQ(refusal({.host = "locks.example:6389",
                     .origin = "http://other.example:6389",
                     .circumstances = circumstances}),
            "forbidden_origin");
}

TEST(browser_guard, no_page_comes_from_a_host_that_is_not_named) {
  const BrowserGuard::Circumstances circumstances{.has_secret = true};
  EXPECT_EQ(refusal({.host = std::nullopt, .origin = "http://localhost"}), "forbidden_origin");
  EXPECT_EQ(refusal({.host = "", .origin = "http://", .circumstances = circumstances}),
            "forbidden_origin");
  EXPECT_EQ(refusal({.host = "", .origin = "http://:80", .circumstances = circumstances}),
            "forbidden_origin");
}

TEST(browser_guard, pages_that_are_listed_may_use_it) {
  const BrowserGuard guard({}, {"https://a.example", "http://b.example:8080"});
  for (const std::string& origin : {"https://a.example"s, "http://b.example:8080"s}) {
    EXPECT_EQ(refusal({.origin = origin}, guard), "") << origin;
    EXPECT_EQ(refusal({.host = std::nullopt, .origin = origin}, guard), "") << origin;
  }
  for (const std::string& origin : {"http://a.example"s, "https://a.example:444"s, "null"s,
                                    "https://a.example.attacker.example"s, "https://xa.example"s}) {
    EXPECT_EQ(refusal({.origin = origin}, guard), "forbidden_origin") << origin;
  }
}

TEST(browser_guard, star_lists_every_page) {
  const BrowserGuard guard({}, {"*"});
  for (const std::string& origin : {"https://any.example"s, "null"s, ""s}) {
    EXPECT_EQ(refusal({.origin = origin}, guard), "") << origin;
  }
}

TEST(browser_guard, what_is_not_a_browsers_has_no_origin) {
  EXPECT_EQ(refusal({}), "");
  EXPECT_EQ(refusal({.circumstances = {.has_secret = true}}), "");
}

// --- What is told ---

TEST(browser_guard, refusal_tells_what_was_refused_and_what_would_allow_it) {
  Request request;
  request.host = "locks.example" + std::string(10'000, 'x');
  const auto local = [] { return kLocal; };
  const auto host = BrowserGuard({}, {}).check(request, {}, local);
  EXPECT_TRUE(host->detail.find("\"locks.example") != std::string::npos) << host->detail;
  EXPECT_TRUE(host->detail.find("--http-allowed-hosts") != std::string::npos) << host->detail;
  request.host = "localhost";
  request.origin = "http://page.example";
  const auto origin = BrowserGuard({}, {}).check(request, {}, local);
  EXPECT_TRUE(origin->detail.find("\"http://page.example\"") != std::string::npos);
  EXPECT_TRUE(origin->detail.find("--http-cors-allowed-origins") != std::string::npos);
}

TEST(browser_guard, socket_is_not_asked_without_need) {
  const auto never = []() -> std::string {
    ADD_FAILURE() << "asked for the local address";
    return "";
  };
  const BrowserGuard guard({"locks.example"}, {"*"});
  Request request;
  request.origin = "http://page.example";
  for (const std::optional<std::string>& host :
       {std::optional("localhost:6389"s), std::optional("locks.example"s),
        std::optional("127.0.0.1"s), std::optional<std::string>()}) {
    request.host = host;
    EXPECT_FALSE(guard.check(request, {}, never));
  }
  request.host = "any.example";
  EXPECT_FALSE(guard.check(request, {.has_secret = true}, never));
  EXPECT_FALSE(guard.check(request, {.is_probe = true}, never));
}

}  // namespace
}  // namespace dflockd::http
