// Framing: three lines a request, one line a reply, pipelining, and the longest line.

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

constexpr std::size_t kMaxLine = 256;
constexpr std::size_t kMaxAuthLine = 65'536;

std::string times(std::size_t count, const std::string& text) {
  std::string repeated;
  for (std::size_t i = 0; i < count; ++i) repeated += text;
  return repeated;
}

const std::string kPing = request_bytes("ping", "_", "_");

TEST(Framing, request_is_three_lines_and_reply_is_one) {
  const Server server;
  Client client(server);
  client.send("l\nmy-key\n10\n");
  const Grant grant = granted(client.read_line());
  client.send("n\nmy-key\n" + grant.token + " 60\n");
  EXPECT_EQ(client.read_line(), "ok 60");
  client.send("r\nmy-key\n" + grant.token + "\n");
  client.half_close();
  EXPECT_EQ(client.read_to_end(), "ok\n");
}

TEST(Framing, trailing_carriage_returns_are_dropped) {
  const Server server;
  Client client(server);
  client.send("l\r\njob\r\n0 60\r\n");
  granted(client.read_line());
  client.send("l\r\r\r\njob\r\r\n0\r\r\r\r\n");
  EXPECT_EQ(client.read_line(), "timeout") << "\"job\\r\" and \"job\" must be the same key";
  client.send("ping\r\n\r\n\r\n");
  EXPECT_EQ(client.read_line(), "ok");
}

TEST(Framing, request_that_arrives_a_byte_at_a_time_is_answered) {
  const Server server;
  Client client(server);
  for (const char byte : request_bytes("l", "job", "0 60")) {
    EXPECT_FALSE(client.has_input());
    client.send({&byte, 1});
  }
  granted(client.read_line());
}

TEST(Framing, requests_split_anywhere_are_answered) {
  const Server server;
  Client client(server);
  const std::string requests = kPing + request_bytes("l", "", "") + kPing;
  for (std::size_t split = 1; split < requests.size(); ++split) {
    client.send(requests.substr(0, split));
    client.send(requests.substr(split));
    const std::string replies = client.read_line() + client.read_line() + client.read_line();
    ASSERT_EQ(replies, "okerrorok") << "split at " << split;
  }
}

TEST(Framing, two_thousand_requests_in_one_write_are_all_answered) {
  const Server server;
  Client client(server);
  client.send(times(2'000, kPing));
  client.half_close();
  EXPECT_EQ(client.read_to_end(), times(2'000, "ok\n"));
}

TEST(Framing, two_thousand_pipelined_acquires_are_granted_in_order) {
  const Server server({"--max-locks", "2000"});
  Client client(server);
  std::string requests;
  for (int i = 0; i < 2'000; ++i) {
    requests += request_bytes("l", "job-" + std::to_string(i), "0 60");
  }
  client.send(requests);
  std::uint64_t last_fence = 0;
  for (int i = 0; i < 2'000; ++i) {
    const Grant grant = granted(client.read_line());
    ASSERT_GT(grant.fence(), last_fence);
    last_fence = grant.fence();
  }
}

TEST(Framing, replies_come_in_the_order_of_requests) {
  const Server server;
  Client client(server);
  client.send(request_bytes("l", "job", "0 44") + request_bytes("l", "job", "0") +
              request_bytes("what?", "job", "0") + kPing + request_bytes("e", "other", "55") +
              request_bytes("w", "nothing", "0") + request_bytes("stats", "_", "_"));
  EXPECT_EQ(granted(client.read_line()).lease, 44);
  EXPECT_EQ(client.read_line(), "timeout");
  EXPECT_EQ(client.read_line(), "error");
  EXPECT_EQ(client.read_line(), "ok");
  EXPECT_EQ(acquired(client.read_line()).lease, 55);
  EXPECT_EQ(client.read_line(), "error_not_enqueued");
  EXPECT_TRUE(client.read_line().starts_with("ok {"));
}

// "A request that blocks holds back the ones behind it on that connection only."
TEST(Framing, blocked_request_holds_back_those_behind_it_on_its_connection_only) {
  const Server server;
  Client holder(server);
  Client blocked(server);
  const Grant grant = holder.hold(lock("job"));
  blocked.send(request_bytes("l", "job", "60") + kPing + request_bytes("l", "other", "0"));
  await_waiters(holder, lock("job"), 1);
  EXPECT_EQ(holder.ping(), "ok");
  EXPECT_TRUE(held(holder, lock("other")).is_null()) << "a request behind a blocked one ran";
  EXPECT_FALSE(blocked.has_input());
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  blocked.read_grant();
  EXPECT_EQ(blocked.read_line(), "ok");
  blocked.read_grant();
}

TEST(Framing, requests_that_arrive_while_one_blocks_are_answered_after_it) {
  const Server server;
  Client holder(server);
  Client blocked(server);
  const Grant grant = holder.hold(lock("job"));
  blocked.begin_acquire(lock("job"));
  await_waiters(holder, lock("job"), 1);
  blocked.send("pi");
  blocked.send(kPing.substr(2) + "nonsense\n\n\n");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  blocked.read_grant();
  EXPECT_EQ(blocked.read_line(), "ok");
  EXPECT_EQ(blocked.read_line(), "error");
}

// --- "a line is at most 256 bytes before its \n; the argument line of auth at most 65,536 |
// longer: error, then the connection is closed" ---

// What is sent ahead of an answer is kept, up to a megabyte.
TEST(SentAhead, megabyte_is_kept) {
  const Server server;
  Client holder(server);
  Client client(server);
  const Grant grant = holder.hold(lock("job"));
  client.begin_acquire(lock("job"));
  const std::string ping = request_bytes("ping", "_", "_");
  std::string pings;
  while (pings.size() + ping.size() < 1U << 20U) pings += ping;
  client.send(pings);
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  client.read_grant();
  for (std::size_t i = 0; i < pings.size() / ping.size(); ++i) ASSERT_EQ(client.read_line(), "ok");
}

TEST(SentAhead, more_is_an_error_and_closes_the_connection) {
  const Server server;
  Client holder(server);
  Client client(server);
  holder.hold(lock("job"));
  client.begin_acquire(lock("job"));
  std::string pings;
  while (pings.size() < 1U << 20U) pings += request_bytes("ping", "_", "_");
  client.send(pings);
  EXPECT_EQ(client.read_to_end(), "error\n");
  await_waiters(holder, lock("job"), 0);
}

TEST(LongLines, line_of_256_bytes_is_accepted) {
  const Server server;
  Client client(server);
  const std::string longest(kMaxLine, 'x');
  EXPECT_EQ(client.ask(longest, "job", "0"), "error") << "an unknown command";
  granted(client.ask("l", longest, "0"));
  EXPECT_EQ(client.ask("ping", "_", longest), "ok");
  EXPECT_EQ(client.ping(), "ok");
}

TEST(LongLines, line_of_257_bytes_is_an_error_and_closes_the_connection) {
  const Server server;
  const std::string too_long(kMaxLine + 1, 'x');
  for (const auto& [command, key, argument] :
       {std::tuple(too_long, std::string("_"), std::string("_")),
        std::tuple(std::string("ping"), too_long, std::string("_")),
        std::tuple(std::string("ping"), std::string("_"), too_long)}) {
    Client client(server);
    client.request(command, key, argument);
    EXPECT_EQ(client.read_to_end(), "error\n");
  }
}

// The 256 bytes are those before the line end, dropped or not.
TEST(LongLines, carriage_returns_count) {
  const Server server;
  Client client(server);
  EXPECT_EQ(client.ask("ping", std::string(kMaxLine - 1, 'x') + "\r", "_"), "ok");
  client.send("ping\n" + std::string(kMaxLine, 'x') + "\r\n");
  EXPECT_EQ(client.read_to_end(), "error\n");
}

TEST(LongLines, too_long_line_is_refused_before_it_ends) {
  const Server server;
  Client client(server);
  client.send(std::string(kMaxLine + 1, 'x'));
  EXPECT_EQ(client.read_to_end(), "error\n");
}

TEST(LongLines, requests_before_a_too_long_line_are_answered_and_those_behind_it_are_not) {
  const Server server;
  Client observer(server);
  Client client(server);
  client.send(kPing + kPing + std::string(kMaxLine + 1, 'x') + "\n_\n_\n" + kPing +
              request_bytes("l", "job", "0"));
  EXPECT_EQ(client.read_to_end(), "ok\nok\nerror\n");
  EXPECT_TRUE(held(observer, lock("job")).is_null());
}

TEST(LongLines, endless_line_is_refused_with_error) {
  const Server server;
  Client client(server);
  try {
    client.send(std::string(1'000'000, 'x'));
  } catch (const std::runtime_error&) {
    // The server may have closed the connection before it was sent all of it.
  }
  EXPECT_EQ(client.read_to_end(), "error\n");
}

TEST(LongLines, argument_of_auth_may_have_65536_bytes) {
  const Server server;
  Client client(server);
  EXPECT_EQ(client.ask("auth", "_", std::string(kMaxAuthLine, 'x')), "error")
      << "without a secret configured, auth is an unknown command";
  EXPECT_EQ(client.ping(), "ok") << "the connection stays usable";
}

TEST(LongLines, argument_of_auth_with_65537_bytes_closes_the_connection) {
  const Server server;
  Client client(server);
  client.send("auth\n_\n" + std::string(kMaxAuthLine + 1, 'x'));
  EXPECT_EQ(client.read_to_end(), "error\n");
}

TEST(LongLines, key_of_auth_may_not_be_longer_than_any_other_line) {
  const Server server;
  Client client(server);
  client.send("auth\n" + std::string(kMaxLine + 1, 'x') + "\n");
  EXPECT_EQ(client.read_to_end(), "error\n");
}

TEST(LongLines, only_the_command_auth_may_have_a_long_argument) {
  const Server server;
  for (const char* command : {"AUTH", "auth2", "l", "stats"}) {
    Client client(server);
    client.send(std::string(command) + "\n_\n" + std::string(kMaxLine + 1, 'x'));
    EXPECT_EQ(client.read_to_end(), "error\n") << command;
  }
}

// "the first line of a connection looks like an HTTP request | closed at once without a line,
// nothing behind it is read, with a secret or without"
TEST(HttpRequest, where_lines_are_expected_closes_without_a_line_and_does_nothing) {
  const TemporaryDirectory directory;
  const Server open;
  const Server secret({"--auth-token-file", directory.write("token", "secret")});
  const std::string body = request_bytes("l", "victim", "0 9223372036");
  for (const Server* server : {&open, &secret}) {
    for (const std::string& head :
         {std::string("POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
          std::string("GET /v1/stats HTTP/1.0\r\n"), std::string("PROPFIND /a b HTTP/1.1\n"),
          "GET /" + std::string(300, 'a') + " HTTP/1.1\r\n"}) {
      Client client(*server);
      client.send(head + body);
      EXPECT_EQ(client.read_to_end(), "") << head;
    }
    EXPECT_TRUE(server->wait_for_log_line("request_forbidden")) << server->log();
  }
  Client client(open);
  EXPECT_TRUE(client.acquire(lock("victim"), 0).starts_with("ok ")) << "nobody took it";
}

TEST(HttpRequest, is_looked_for_in_the_first_line_only) {
  const Server server;
  Client client(server);
  EXPECT_EQ(client.ping(), "ok");
  EXPECT_EQ(client.ask("GET / HTTP/1.1", "_", "_"), "error");
  EXPECT_EQ(client.ping(), "ok");
  for (const char* other : {"GET / HTTP", "get / HTTP/1.1", "GET", " / HTTP/1.1", "HELO x"}) {
    Client another(server);
    EXPECT_EQ(another.ask(other, "_", "_"), "error") << other;
    EXPECT_EQ(another.ping(), "ok") << other;
  }
}

// --- "However much one connection has sent ahead, one turn of the loop carries out a bounded part"

TEST(SentAhead, does_not_hold_up_others) {
  const Server server;
  Client good(server);
  std::vector<Client> greedy = connect_many(server, 20);
  std::string requests;
  while (requests.size() < 1'000'000) requests += request_bytes("l", "busy", "0");
  Client holder(server);
  const Grant grant = holder.hold(lock("held"));
  holder.hold(lock("busy"));
  for (Client& client : greedy) {
    client.begin_acquire(lock("held"), 2);
    client.send(requests);
  }
  await_waiters(holder, lock("held"), 20);
  Duration most{0};
  for (const auto start = Clock::now(); Clock::now() - start < 3s;) {
    const Duration before = server.cpu_time();
    ASSERT_EQ(good.ping(), "ok");
    most = std::max(most, server.cpu_time() - before);
  }
  EXPECT_LT(most, within(20ms)) << "of the server's time while a ping waits";
  for (Client& client : greedy) EXPECT_EQ(client.read_line(), "timeout");
}

}  // namespace

}  // namespace dflockd::test
