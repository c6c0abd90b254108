// The line protocol over TLS: "--tls-cert --tls-key | both or neither; both listeners; TLS 1.2 at
// least". What is said inside must be what is said over plain text.

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "support/http_client.hpp"
#include "support/stats.hpp"
#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

class Tls : public OfEachVersion {
 protected:
  explicit Tls(std::vector<std::string> flags = {}) : server_(std::move(flags)) {}

  [[nodiscard]] TlsOptions options() const { return server_.trusting(GetParam()); }
  [[nodiscard]] TlsClient connect() const { return TlsClient(server_, options()); }

  TlsServer server_;
};

FOR_EACH_VERSION(Tls);

/// Every command with every kind of reply that one connection can provoke. Tokens differ from run
/// to run: "TOKEN" in an argument stands for the last one granted, and in a reply for any.
std::vector<std::string> replies_of(Client& client) {
  const std::string nobody(32, '0');
  const std::vector<std::vector<std::string>> requests{
      {"ping", "_", "_"},       {"l", "job", "0 44"},
      {"l", "job", "0"},        {"n", "job", "TOKEN 55"},
      {"n", "job", nobody},     {"r", "job", nobody},
      {"r", "job", "TOKEN"},    {"r", "job", "TOKEN"},
      {"sl", "pool", "0 2 44"}, {"sl", "pool", "0 3"},
      {"sn", "pool", "TOKEN"},  {"sr", "pool", "TOKEN"},
      {"e", "phase", ""},       {"e", "phase", ""},
      {"w", "phase", "0"},      {"w", "other", "0"},
      {"r", "phase", "TOKEN"},  {"se", "pool", "2"},
      {"sw", "pool", "0"},      {"sr", "pool", "TOKEN"},
      {"l", "a key", "0"},      {"l", "", "0"},
      {"nonsense", "job", "0"}, {"l", "job", "soon"},
      {"auth", "_", "secret"},  {"l", "\xff\xfe", "0 44"},
      {"l", "job", "0 1 1"},    {"l\r\r", "crlf\r", "0\r"},
  };
  std::vector<std::string> replies;
  std::string token;
  const std::regex any_token("[0-9a-f]{32}");
  for (const auto& request : requests) {
    const std::string argument = std::regex_replace(request[2], std::regex("TOKEN"), token);
    const std::string reply = client.ask(request[0], request[1], argument);
    if (std::smatch found; std::regex_search(reply, found, any_token)) token = found.str();
    replies.push_back(std::regex_replace(reply, any_token, "TOKEN"));
  }
  client.send(std::string(300, 'x'));
  replies.push_back(client.read_to_end());
  return replies;
}

TEST_P(Tls, replies_are_those_over_plain_text) {
  const Server plain;
  Client plain_client(plain);
  TlsClient client = connect();
  EXPECT_EQ(replies_of(client), replies_of(plain_client));
  EXPECT_TRUE(client.heard_goodbye());
}

TEST_P(Tls, stats_show_the_peers_address) {
  TlsClient client = connect();
  client.hold(lock("job"));
  const Json element = held(client, lock("job"));
  EXPECT_EQ(element.at("owner"), client.local_endpoint());
  EXPECT_EQ(stats(client).at("connections"), 1);
}

TEST_P(Tls, lock_goes_from_hand_to_hand) {
  TlsClient first = connect();
  TlsClient second = connect();
  for (int round = 0; round < 50; ++round) {
    const Grant grant = first.hold(lock("job"));
    second.begin_acquire(lock("job"));
    await_waiters(first, lock("job"), 1);
    EXPECT_EQ(first.release(lock("job"), grant.token), "ok");
    EXPECT_EQ(second.release(lock("job"), second.read_grant().token), "ok");
  }
}

TEST_P(Tls, request_in_many_records_is_one_request) {
  TlsClient client = connect();
  for (const char byte : std::string("ping\n_\n_\n")) client.send_raw(client.encrypted({&byte, 1}));
  EXPECT_EQ(client.read_line(), "ok");
}

TEST_P(Tls, record_that_comes_byte_by_byte_is_put_together) {
  TlsClient client = connect();
  for (const char byte : client.encrypted("ping\n_\n_\n")) client.send_raw({&byte, 1});
  EXPECT_EQ(client.read_line(), "ok");
}

TEST_P(Tls, many_requests_in_one_record_are_answered_in_order) {
  TlsClient client = connect();
  std::string requests;
  std::vector<Grant> grants;
  for (int i = 0; i < 500; ++i) requests += request_bytes("l", "job-" + std::to_string(i), "0");
  client.send(requests);
  for (int i = 0; i < 500; ++i) grants.push_back(client.read_grant());
  EXPECT_TRUE(std::ranges::is_sorted(grants, {}, &Grant::fence));
}

TEST_P(Tls, twenty_thousand_pipelined_pings_are_answered) {
  TlsClient client = connect();
  constexpr int kPings = 20'000;
  client.send(repeated(kPings, request_bytes("ping", "_", "_")));
  for (int i = 0; i < kPings; ++i) ASSERT_EQ(client.read_line(), "ok") << i;
}

// A request that blocks in front of them keeps them where they are, decrypted or not.
TEST_P(Tls, requests_behind_a_blocked_one_wait_for_it) {
  TlsClient holder = connect();
  TlsClient blocked = connect();
  const Grant grant = holder.hold(lock("job"));
  blocked.send(request_bytes("l", "job", "60 44") +
               repeated(5'000, request_bytes("ping", "_", "_")));
  await_waiters(holder, lock("job"), 1);
  EXPECT_FALSE(blocked.has_input());
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(blocked.read_grant().lease, 44);
  for (int i = 0; i < 5'000; ++i) ASSERT_EQ(blocked.read_line(), "ok") << i;
}

// --- Much to send ---

class TlsWithManyLocks : public Tls {
 protected:
  explicit TlsWithManyLocks(const std::string& write_timeout = "60")
      : Tls({"--max-locks", "5000", "--write-timeout", write_timeout}) {
    holder_.hold_many(std::string(150, 'k'), kKeys);
  }

  static std::string many_stats(std::size_t count) {
    return repeated(count, request_bytes("stats", "_", "_"));
  }

  static constexpr int kKeys = 3'000;

  TlsClient holder_ = connect();
};

FOR_EACH_VERSION(TlsWithManyLocks);

TEST_P(TlsWithManyLocks, stats_come_whole) {
  TlsClient client = connect();
  EXPECT_EQ(stats(client).at("locks").size(), kKeys);
  client.send(many_stats(10) + request_bytes("ping", "_", "_"));
  for (int i = 0; i < 10; ++i) EXPECT_GT(client.read_line().size(), kKeys * 150U);
  EXPECT_EQ(client.read_line(), "ok");
}

TEST_P(TlsWithManyLocks, stats_come_whole_through_small_buffers) {
  TlsClient client(server_, options(), 4'096);
  client.send(many_stats(5) + request_bytes("ping", "_", "_"));
  client.half_close();
  for (int i = 0; i < 5; ++i) EXPECT_GT(client.read_line().size(), kKeys * 150U);
  EXPECT_EQ(client.read_to_end(), "ok\n");
  EXPECT_TRUE(client.heard_goodbye());
}

// Replies to pipelined requests that the socket has no room for, retried from the same byte.
TEST_P(TlsWithManyLocks, replies_that_wait_for_room_come_whole_and_in_order) {
  TlsClient client(server_, options(), 2'304);
  constexpr int kRequests = 20'000;
  std::string requests;
  for (int i = 0; i < kRequests; ++i) {
    requests += i % 2 == 0 ? request_bytes("ping", "_", "_") : request_bytes("l", "bad key", "0");
  }
  std::string_view unsent = requests;
  int read = 0;
  while (read < kRequests) {
    if (!unsent.empty()) unsent.remove_prefix(client.send_some(unsent, 1ms));
    if (unsent.empty() || client.has_input()) {
      ASSERT_EQ(client.read_line(), read % 2 == 0 ? "ok" : "error") << read;
      ++read;
    }
  }
}

class TlsWithManyLocksForASecond : public TlsWithManyLocks {
 protected:
  TlsWithManyLocksForASecond() : TlsWithManyLocks("1") {}
};

FOR_EACH_VERSION(TlsWithManyLocksForASecond);

// "a reply cannot be written within --write-timeout | closed"
TEST_P(TlsWithManyLocksForASecond, peer_that_does_not_read_is_closed_and_frees_what_it_held) {
  TlsClient next = connect();
  TlsClient deaf(server_, options(), 4'096);
  const auto start = Clock::now();
  deaf.hold(lock("job"));
  next.begin_acquire(lock("job"));
  deaf.send(many_stats(40));
  next.read_grant(within(10s));
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_TRUE(server_.wait_for_log_line("warn write_timeout")) << server_.log();
  EXPECT_TRUE(eventually([&] { return stats(holder_).at("connections") == 2; }));
}

// --- Nobody keeps the others waiting ---

/// Has so many pings answered that the system takes in megabytes for this connection.
void grow_buffers(TlsClient& client) {
  constexpr int kPings = 500'000;
  const std::string pings = repeated(kPings, request_bytes("ping", "_", "_"));
  std::string_view unsent = pings;
  for (int answered = 0; answered < kPings;) {
    unsent.remove_prefix(client.send_some(unsent, 0ms));
    for (; answered < kPings && client.has_input(); ++answered) client.read_line();
  }
}

// Such records carry no request, and as many are sent between two requests as the server takes. It
// wakes up to find them, and behind them the request of another client.
TEST(TlsFlood, of_key_updates_does_not_hold_up_others) {
  TlsServer server;
  TlsClient flooding(server, server.trusting(TLS1_3_VERSION));
  TlsClient other(server, server.trusting());
  EXPECT_EQ(other.ping(), "ok");
  grow_buffers(flooding);
  const int pings = kSanitized ? 300 : 1'200;
  // What part of the flood's time the other one waits. More than once: it may be the machine.
  double share = 1;
  for (int round = 0; round < 5 && share >= 0.25; ++round) {
    std::string flood;
    for (int i = 0; i < pings; ++i) {
      flood += flooding.key_updates(32);
      flood += flooding.encrypted(request_bytes("ping", "_", "_"));
    }
    server.signal(SIGSTOP);
    flooding.send_raw(flood);
    other.request("ping", "_", "_");
    const auto start = Clock::now();
    server.signal(SIGCONT);
    EXPECT_EQ(other.read_line(), "ok");
    const Duration others = Clock::now() - start;
    for (int i = 0; i < pings; ++i) EXPECT_EQ(flooding.read_line(), "ok");
    share = std::chrono::duration<double>(others) / (Clock::now() - start);
  }
  EXPECT_LT(share, 0.25);
}

// --- Draining ---

class TlsDrain : public Tls {};
FOR_EACH_VERSION(TlsDrain);

TEST_P(TlsDrain, does_not_wait_for_half_a_record_of_who_holds_nothing) {
  TlsClient client = connect();
  EXPECT_EQ(client.ping(), "ok");
  client.send_raw(client.encrypted(request_bytes("ping", "_", "_")).substr(0, 10));
  TlsClient other = connect();
  EXPECT_EQ(other.ping(), "ok");  // so it has been read
  server_.signal(SIGTERM);
  EXPECT_EQ(client.read_to_end(), "");
  EXPECT_EQ(server_.wait_for_exit(), 0);
}

TEST_P(TlsDrain, answers_a_long_http_request_that_has_arrived) {
  TlsServer server({}, {}, Http::kOn);
  HttpClient client(server, server.trusting(GetParam()));
  EXPECT_EQ(client.get("/health").summary(), "200 ok");
  const std::string cookie = "Cookie: " + std::string(3000, 'c') + "\r\n";
  server.signal(SIGSTOP);
  client.send(client.request_bytes("GET", "/v1/stats", "", "", cookie));
  server.signal(SIGTERM);
  server.signal(SIGCONT);
  EXPECT_EQ(client.read_response().status, 200);
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(TlsTimeouts, silence_between_requests_is_an_error_and_a_goodbye) {
  const TlsServer server({"--read-timeout", "1"});
  TlsClient silent(server, server.trusting());
  TlsClient in_a_request(server, server.trusting());
  TlsClient in_a_record(server, server.trusting());
  TlsClient holder(server, server.trusting());
  const Grant grant = holder.hold(lock("job"));
  in_a_request.send("ping\n_\n");
  in_a_record.send_raw(in_a_record.encrypted("ping\n_\n_\n").substr(0, 10));
  for (TlsClient* client : {&silent, &in_a_request, &in_a_record}) {
    EXPECT_EQ(client->read_to_end(), "error\n");
    EXPECT_TRUE(client->heard_goodbye());
  }
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
}

}  // namespace

}  // namespace dflockd::test
