// Starting up: where the server listens, how it refuses a bad configuration, and what it logs.

#include <csignal>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/certificates.hpp"
#include "support/client.hpp"
#include "support/deadlines.hpp"
#include "support/log.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

using Strings = std::vector<std::string>;

Strings lines(const std::string& text) {
  Strings found;
  std::size_t start = 0;
  for (std::size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
    found.push_back(text.substr(start, end - start));
  }
  EXPECT_EQ(start, text.size()) << "the last line does not end";
  return found;
}

// --- What the process inherits ---

class InheritedSignals : public testing::TestWithParam<const char*> {};

TEST_P(InheritedSignals, do_not_take_the_servers_own_away) {
  Process process(
      {.flags = {std::string("--") + GetParam() + "-signal=TERM,INT,HUP", binary(), "--port", "0"},
       .program = "/usr/bin/env"});
  ASSERT_TRUE(process.wait_for_log_line("listening")) << process.log();
  process.signal(SIGHUP);
  EXPECT_TRUE(process.wait_for_log_line("reloaded")) << process.log();
  process.signal(SIGINT);
  EXPECT_TRUE(process.wait_for_log_line("draining signal=2")) << process.log();
  EXPECT_EQ(process.wait_for_exit(), 0);
}

INSTANTIATE_TEST_SUITE_P(Signals, InheritedSignals, testing::Values("block", "ignore"),
                         [](const auto& test) { return std::string(test.param); });

TEST(InheritedEnvironment, is_warned_of_once_and_not_again_on_a_reload) {
  Server server(Launch{.environment = {{"DFLOCKD_HTTP_PORT", "tcp://10.96.3.7:6389"},
                                       {"DFLOCKD_MAX_LOCK", "1"},
                                       {"DFLOCKD_GC_LOOP_SLEEP", "5"}}});
  server.signal(SIGHUP);
  ASSERT_TRUE(server.wait_for_log_line("reloaded"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  for (const char* const name :
       {"DFLOCKD_HTTP_PORT is passed over", "DFLOCKD_MAX_LOCK is no variable",
        "DFLOCKD_GC_LOOP_SLEEP is the old name"}) {
    const std::string log = server.log();
    const std::size_t first = log.find(std::string("warn configuration message=\"") + name);
    EXPECT_NE(first, std::string::npos) << name << log;
    EXPECT_EQ(log.find(name, first + 40), std::string::npos) << name << log;
  }
}

// --- Without threads ---

class NoThreads : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
  }
};

TEST_F(NoThreads, no_log_is_a_line_that_says_so_and_status_1) {
  for (const char* const format : {"text", "json"}) {
    Process process(
        {.flags = {"--port", "0", "--log-format", format},
         .environment = {{"LD_PRELOAD", DFLOCKD_FAULT_SHIM}, {"DFLOCKD_SHIM_THREADS", "0"}}});
    EXPECT_EQ(process.wait_for_exit(), 1);
    const std::string reason = "cannot start the log's thread: Resource temporarily unavailable";
    if (std::string(format) == "json") {
      const auto line = Json::parse(process.log());
      EXPECT_EQ(line.at("event"), "cannot_run");
      EXPECT_EQ(line.at("error"), reason);
    } else {
      EXPECT_THAT(process.log(),
                  testing::MatchesRegex("20..-..-..T..:..:..\\....Z error cannot_run error=\"" +
                                        reason + "\"\n"));
    }
  }
}

TEST_F(NoThreads, no_reserve_of_fences_is_a_line_that_says_so_and_status_1) {
  const TemporaryDirectory directory;
  Process process(
      {.flags = {"--port", "0", "--fence-state-file", (directory / "fences").string()},
       .environment = {{"LD_PRELOAD", DFLOCKD_FAULT_SHIM}, {"DFLOCKD_SHIM_THREADS", "1"}}});
  EXPECT_EQ(process.wait_for_exit(), 1);
  EXPECT_TRUE(process.wait_for_log_line(
      "error cannot_run error=\"cannot start the thread that reserves fences: "
      "Resource temporarily unavailable\""))
      << process.log();
}

// --- Listening ---

TEST(Listening, is_logged_with_the_address_and_the_free_port_that_was_picked) {
  const Server server;
  EXPECT_EQ(server.address(), "127.0.0.1");
  EXPECT_NE(server.port(), 0);
  EXPECT_EQ(Client(server).ping(), "ok");
}

TEST(Listening, on_ipv6_works) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  const Server server({"--host", "::1"});
  EXPECT_EQ(server.address(), "::1");
  Client client(server);
  client.hold(lock("job"));
  EXPECT_NE(held(client, lock("job")).at("owner").get<std::string>().find("::1"),
            std::string::npos);
}

TEST(Listening, on_a_name_works) {
  const Server server({"--host", "localhost"});
  EXPECT_EQ(Client(server).ping(), "ok");
}

TEST(Listening, on_a_port_in_use_is_refused_with_a_line_that_names_it) {
  for (const std::string host : {"127.0.0.1", "::1"}) {
    if (host == "::1" && !has_ipv6()) continue;
    const Server server({"--host", host});
    const std::string port = std::to_string(server.port());
    Process second({.flags = {"--host", host, "--port", port}});
    EXPECT_EQ(second.wait_for_exit(), 1);
    const std::string place = (host == "::1" ? "[::1]:" : "127.0.0.1:") + port;
    EXPECT_TRUE(second.wait_for_log_line("cannot listen on " + place)) << second.log();
    EXPECT_FALSE(second.wait_for_log_line("listening")) << second.log();
    EXPECT_EQ(Client(server).ping(), "ok");
  }
}

TEST(Listening, on_an_address_that_is_not_ours_is_refused_with_a_line_that_names_it) {
  for (const char* host : {"192.0.2.1", "no-such-host.invalid"}) {
    Process process({.flags = {"--port", "0", "--host", host}});
    EXPECT_NE(process.wait_for_exit(), 0);
    EXPECT_TRUE(process.wait_for_log_line(host)) << process.log();
  }
}

// --- "A bad value is one clear line on standard error that names the flag, the value and what is
// allowed, and exit status 2." ---

void expect_refusal(const Launch& launch, const Strings& named) {
  Process process(launch);
  EXPECT_EQ(process.wait_for_exit(), 2);
  EXPECT_EQ(lines(process.log()).size(), 1U) << process.log();
  for (const std::string& text : named) {
    EXPECT_NE(process.log().find(text), std::string::npos)
        << "'" << text << "' is not named in: " << process.log();
  }
}

// tests/config has every flag, variable and file.
TEST(BadConfiguration, is_refused_wherever_it_stands) {
  expect_refusal({.flags = {"--port=65536"}}, {"--port", "65536"});
  expect_refusal({.flags = {"--no-such-flag"}}, {"--no-such-flag"});
  expect_refusal({.flags = {"word"}}, {"word"});
  expect_refusal({.flags = {"--config", "/nonexistent/dflockd.toml"}},
                 {"/nonexistent/dflockd.toml"});
  expect_refusal({.environment = {{"DFLOCKD_PORT", "http"}}}, {"DFLOCKD_PORT", "http"});
}

// --- "Precedence: command-line flag, then environment variable" ---

std::int64_t default_lease(Launch launch) {
  const Server server(std::move(launch));
  return granted(Client(server).acquire(lock("job"), 0)).lease;
}

TEST(Configuration, environment_is_read_and_flags_win) {
  EXPECT_EQ(default_lease({.environment = {{"DFLOCKD_DEFAULT_LEASE_TTL_S", "44"}}}), 44);
  EXPECT_EQ(default_lease({.flags = {"--default-lease-ttl", "55"},
                           .environment = {{"DFLOCKD_DEFAULT_LEASE_TTL_S", "44"}}}),
            55);
}

TEST(Configuration, version_is_printed) {
  Process process({.flags = {"--version"}});
  EXPECT_EQ(process.wait_for_exit(), 0);
  EXPECT_THAT(process.output(), testing::ContainsRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_EQ(lines(process.output()).size(), 1U);
  EXPECT_EQ(process.log(), "");
}

TEST(Configuration, help_is_printed) {
  Process process({.flags = {"--help"}});
  EXPECT_EQ(process.wait_for_exit(), 0);
  for (const char* text : {"--port", "DFLOCKD_PORT", "6388"}) {
    EXPECT_NE(process.output().find(text), std::string::npos) << text << " is not in --help";
  }
  EXPECT_EQ(process.log(), "");
}

TEST(Configuration, check_validates_prints_and_exits) {
  Process good({.flags = {"--check-config", "--default-lease-ttl", "4444"}});
  EXPECT_EQ(good.wait_for_exit(), 0);
  EXPECT_NE(good.output().find("4444"), std::string::npos) << good.output();
  expect_refusal({.flags = {"--check-config", "--port", "65536"}}, {"--port", "65536"});
}

// --- "When a listener is bound beyond loopback, start-up warns once for each cap left unbounded,
// and for an auth token without TLS." ---

/// The flags that are warned of, in their order.
Strings warned_of(const Launch& launch) {
  Server server(launch);
  Client(server).ping();  // it runs, and so the signal does not come too early
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);  // the log is complete then
  Strings flags;
  for (const std::string& line : lines_with(server.log(), "warn ")) {
    const std::size_t event = line.find("warn ") + 5;
    const std::size_t field = line.find(" flag=");
    if (field == std::string::npos) continue;
    const bool is_cap = line.substr(event, field - event) == "unbounded_beyond_loopback";
    if (!is_cap) {
      EXPECT_EQ(line.substr(event, field - event), "auth_token_without_tls");
    }
    flags.push_back(line.substr(field + 6) + (is_cap ? "" : " for the token"));
  }
  return flags;
}

const Strings kNoCaps{"--max-connections=0", "--max-connections-per-ip=0", "--max-locks=0",
                      "--max-waiters=0"};

Strings with_host(const std::string& host, Strings flags) {
  flags.push_back("--host=" + host);
  return flags;
}

TEST(BeyondLoopback, each_cap_left_unbounded_is_warned_of_once) {
  EXPECT_THAT(warned_of({.flags = with_host("0.0.0.0", kNoCaps)}),
              testing::ElementsAre("--max-connections", "--max-connections-per-ip", "--max-locks",
                                   "--max-waiters"));
  EXPECT_THAT(
      warned_of({.flags = with_host("0.0.0.0", {})}),
      testing::ElementsAre("--max-connections", "--max-connections-per-ip", "--max-waiters"))
      << "--max-locks has a default";
  EXPECT_THAT(warned_of({.flags = with_host("0.0.0.0", {"--max-connections=9", "--max-locks=0"})}),
              testing::ElementsAre("--max-connections-per-ip", "--max-locks", "--max-waiters"));
}

TEST(BeyondLoopback, on_ipv6_is_warned_of_too) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  EXPECT_EQ(warned_of({.flags = with_host("::", kNoCaps)}).size(), 4U);
}

TEST(BeyondLoopback, caps_on_everything_leave_nothing_to_warn_of) {
  EXPECT_THAT(warned_of({.flags = with_host("0.0.0.0", {"--max-connections=9", "--max-waiters=9",
                                                        "--max-connections-per-ip=9"})}),
              testing::IsEmpty());
}

TEST(BeyondLoopback, auth_token_without_tls_is_warned_of) {
  const std::map<std::string, std::string> token{{"DFLOCKD_AUTH_TOKEN", "hunter2"}};
  const Strings caps{"--max-connections=9", "--max-waiters=9", "--max-connections-per-ip=9"};
  EXPECT_THAT(warned_of({.flags = with_host("0.0.0.0", caps), .environment = token}),
              testing::ElementsAre("--tls-cert for the token"));
  EXPECT_THAT(warned_of({.flags = with_host("127.0.0.1", caps), .environment = token}),
              testing::IsEmpty());
}

TEST(BeyondLoopback, loopback_in_any_form_is_not) {
  Strings hosts{"127.0.0.1", "127.0.0.2", "localhost"};
  if (has_ipv6()) hosts.insert(hosts.end(), {"::1", "::ffff:127.0.0.1"});
  for (const std::string& host : hosts) {
    EXPECT_THAT(warned_of({.flags = with_host(host, kNoCaps)}), testing::IsEmpty()) << host;
  }
}

// --- The log ---

/// Time, level, event and fields.
constexpr const char* kTextLine =
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z (debug|info|warn|error) [^ "
    "].*";

TEST(Log, in_text_is_a_time_a_level_and_an_event_with_fields_on_each_line) {
  Server server({"--debug"});
  EXPECT_EQ(Client(server).ping(), "ok");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  for (const std::string& line : lines(server.log())) {
    EXPECT_THAT(line, testing::MatchesRegex(kTextLine));
  }
}

TEST(Log, in_json_is_an_object_on_each_line) {
  Server server({"--debug", "--log-format", "json"});
  Client client(server);
  client.hold(lock("quote\"backslash\\control\x01not-utf-8\xff"));
  client.close();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  for (const std::string& line : lines(server.log())) {
    EXPECT_TRUE(Json::parse(line, nullptr, false).is_object()) << line;
  }
}

TEST(Log, shows_each_request_with_debug_only) {
  Server quiet;
  Server talkative({"--debug"});
  for (Server* server : {&quiet, &talkative}) {
    Client client(*server);
    client.hold(lock("needle-1"));
    client.hold(semaphore("needle-2", 2));
  }
  EXPECT_TRUE(talkative.wait_for_log_line("needle-1"));
  EXPECT_TRUE(talkative.wait_for_log_line("needle-2"));
  quiet.signal(SIGTERM);
  EXPECT_EQ(quiet.wait_for_exit(), 0);
  EXPECT_EQ(quiet.log().find("needle"), std::string::npos) << quiet.log();
}

// What only --debug tells: a waiter's grant, and a lease that runs out.
TEST(Log, tells_with_debug_who_was_unblocked_and_whose_lease_ran_out) {
  Server server({"--debug"});
  Client holder(server);
  Client waiting(server);
  holder.hold(lock("job"), 1);
  waiting.begin_acquire(lock("job"));
  waiting.read_grant();
  EXPECT_TRUE(server.wait_for_log_line("lease_expired key=job semaphore=false")) << server.log();
  EXPECT_TRUE(server.wait_for_log_line("unblocked")) << server.log();
}

TEST(Log, level_leaves_out_what_is_below_it) {
  Launch launch{.flags = {"--log-level", "error", "--host", "127.0.0.1", "--port", "0"}};
  Process process(launch);
  process.signal(SIGTERM);
  process.wait_for_exit();
  EXPECT_EQ(process.log(), "");
}

TEST(Log, tells_why_a_connection_ended) {
  Server server({"--debug", "--read-timeout", "1"});
  Client leaving(server);
  Client silent(server);
  Client holding(server);
  const auto reason_of = [&server](const Client& client) {
    const auto line = server.wait_for_log_line("peer=" + client.local_endpoint() + " reason=");
    return line ? line->substr(line->rfind('=') + 1) : "none";
  };
  holding.hold(lock("job"));
  EXPECT_EQ(leaving.ping(), "ok");
  leaving.half_close();
  EXPECT_EQ(reason_of(leaving), "peer_left");
  Client wordy(server);
  wordy.send(std::string(300, 'x'));
  EXPECT_EQ(reason_of(wordy), "line_too_long");
  EXPECT_EQ(reason_of(silent), "read_timeout");
  EXPECT_EQ(holding.release(lock("job"), "wrong"), "error");
  server.signal(SIGTERM);
  EXPECT_TRUE(server.wait_for_log_line("draining"));
  server.signal(SIGTERM);
  server.wait_for_exit();
  EXPECT_EQ(reason_of(holding), "stopped");
}

TEST(Log, tells_of_a_connection_that_was_reset) {
  const Server server({"--debug"});
  Client client(server);
  EXPECT_EQ(client.ping(), "ok");
  client.reset();
  EXPECT_TRUE(server.wait_for_log_line(" reason=connection_lost")) << server.log();
}

// "Log lines escape control characters."
TEST(Log, cannot_be_forged_by_what_a_client_sends) {
  Server server({"--debug"});
  Client client(server);
  const std::string forged = "2026-01-01T00:00:00.000Z\x1b[31m\x0b\x0c\x08\x7finfo\rlistening";
  std::string key;
  for (const char byte : forged) {
    if (byte != '\r') key += byte;
  }
  client.hold(lock(key + std::string(1, '\0') + "end-of-key"));
  EXPECT_EQ(client.ask("\x1b[2Jcommand\x07", "in\rside", "\x1b]0;title\x07"), "error");
  client.close();
  ASSERT_TRUE(server.wait_for_log_line("end-of-key")) << server.log();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  for (const std::string& line : lines(server.log())) {
    EXPECT_THAT(line, testing::MatchesRegex(kTextLine));
    for (const char byte : line) {
      EXPECT_TRUE(static_cast<unsigned char>(byte) >= 0x20 && byte != 0x7f)
          << "a control character in: " << line;
    }
  }
}

}  // namespace

}  // namespace dflockd::test
