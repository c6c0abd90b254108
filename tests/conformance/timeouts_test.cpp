// Read, idle and write timeouts, and back-pressure.

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

const std::vector<std::string> kShortReadTimeout{"--read-timeout", "1"};

/// Waits for longer than anybody may keep a server with `kShortReadTimeout` waiting.
void outlast_the_timeout(const Server& server) {
  EXPECT_EQ(Client(server).read_to_end(), "error\n");
}

// "nothing arrives for --read-timeout in the middle of a request | error, then closed"
TEST(ReadTimeouts, silence_in_the_middle_of_a_request_is_an_error_and_closes) {
  const Server server(kShortReadTimeout);
  std::vector<Client> silent = connect_many(server, 4);
  const auto start = Clock::now();
  silent[0].send("p");
  silent[1].send("ping\n");
  silent[2].send("ping\n_\n");
  silent[3].send(request_bytes("ping", "_", "_") + "l\njob\n0");
  EXPECT_EQ(silent[3].read_line(), "ok");
  for (Client& client : silent) {
    EXPECT_EQ(client.read_to_end(), "error\n");
    EXPECT_GE(Clock::now() - start, 1s);
  }
  EXPECT_LT(Clock::now() - start, within(4s));
}

// "a connection's first request within it of the accept | error, then closed"
TEST(ReadTimeouts, connection_that_never_speaks_is_told_error_and_closed) {
  const Server server(kShortReadTimeout);
  const auto start = Clock::now();
  Client silent(server);
  EXPECT_EQ(silent.read_to_end(), "error\n");
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_LT(Clock::now() - start, within(3s));
}

// "nothing arrives between two requests | the connection stays open, whatever it holds"
TEST(ReadTimeouts, silence_between_requests_is_not_judged) {
  const Server server(kShortReadTimeout);
  Client pinged(server);
  Client holder(server);
  Client queued(server);
  Client blocked(server);
  EXPECT_EQ(pinged.ping(), "ok");
  const Grant grant = holder.hold(lock("job"));
  EXPECT_EQ(queued.enqueue(lock("job")), "queued");
  blocked.begin_acquire(lock("job"));
  await_waiters(holder, lock("job"), 2);
  outlast_the_timeout(server);
  EXPECT_EQ(pinged.ping(), "ok");
  EXPECT_EQ(queued.ping(), "ok");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  const Grant next = granted(queued.wait(lock("job"), 60));
  EXPECT_EQ(queued.release(lock("job"), next.token), "ok");
  blocked.read_grant();
}

// "With --idle-timeout set, one that holds nothing and waits for nothing is closed after that long,
// without a line"
TEST(IdleTimeout, closes_whoever_holds_and_waits_for_nothing_without_a_line) {
  const Server server({"--idle-timeout", "1"});
  Client pinged(server);
  Client released(server);
  EXPECT_EQ(pinged.ping(), "ok");
  const Grant grant = released.hold(lock("job"));
  const auto start = Clock::now();
  EXPECT_EQ(released.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(pinged.read_to_end(), "");
  EXPECT_EQ(released.read_to_end(), "");
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_LT(Clock::now() - start, within(4s));
}

TEST(IdleTimeout, spares_holders_and_waiters_until_they_have_nothing) {
  const Server server({"--idle-timeout", "1"});
  Client holder(server);
  Client queued(server);
  Client blocked(server);
  const auto start = Clock::now();
  holder.hold(lock("job"), 2);
  EXPECT_EQ(queued.enqueue(lock("other")).substr(0, 8), "acquired");
  blocked.begin_acquire(lock("other"));
  EXPECT_EQ(holder.read_to_end(), "") << "its lease has run out";
  EXPECT_GE(Clock::now() - start, 2s);
  EXPECT_EQ(queued.wait(lock("other"), 0).substr(0, 2), "ok");
  queued.close();
  blocked.read_grant();
}

// The row that spares holders speaks of silence between requests.
TEST(ReadTimeouts, holder_that_falls_silent_in_the_middle_of_a_request_is_not_spared) {
  const Server server(kShortReadTimeout);
  Client holder(server);
  holder.hold(lock("job"));
  holder.send("r\njob\n");
  EXPECT_EQ(holder.read_to_end(), "error\n");
}

TEST(ReadTimeouts, waiter_that_timed_out_may_speak_again) {
  const Server server(kShortReadTimeout);
  Client holder(server);
  Client blocked(server);
  holder.hold(lock("job"));
  EXPECT_EQ(blocked.acquire(lock("job"), 2), "timeout");
  EXPECT_EQ(blocked.ping(), "ok") << "the time it was blocked is not silence";
}

// "a request is not complete within --read-timeout of its first byte"
TEST(ReadTimeouts, request_that_trickles_in_is_not_spared) {
  const Server server(kShortReadTimeout);
  Client trickling(server);
  EXPECT_EQ(trickling.ping(), "ok");
  const auto start = Clock::now();
  trickling.send("ping\n");
  while (!trickling.has_input()) {
    trickling.send("_");
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_EQ(trickling.read_to_end(), "error\n");
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_LT(Clock::now() - start, within(3s));
}

// "When the loop was held up [...], what is already in a socket's buffer is read before any timeout
// of that peer is judged, and the hold-up is not counted against it"
TEST(LateLoop, judges_nobody_by_the_time_in_which_the_process_was_stopped) {
  Server server({"--read-timeout", "1", "--idle-timeout", "1"});
  std::vector<Client> clients = connect_many(server, 50);
  for (Client& client : clients) EXPECT_EQ(client.ping(), "ok");
  Client halfway(server);
  halfway.send("ping\n_\n");
  Client silent(server);
  EXPECT_EQ(clients.front().ping(), "ok");
  server.signal(SIGSTOP);
  for (Client& client : clients) client.request("ping", "_", "_");
  halfway.send("_\n");
  std::this_thread::sleep_for(1500ms);
  server.signal(SIGCONT);
  for (Client& client : clients) EXPECT_EQ(client.read_line(), "ok");
  EXPECT_EQ(halfway.read_line(), "ok");
  EXPECT_EQ(silent.ping(), "ok") << "which did not speak while the process was stopped";
}

// --- Clients that do not read ---

/// A server whose answer to `stats` is half a megabyte: some dozen fill every buffer on the way to
/// a client that does not read.
class UnreadReplies : public testing::Test {
 protected:
  explicit UnreadReplies(const std::string& write_timeout = "60")
      : server_({"--write-timeout", write_timeout, "--max-locks", "2000"}) {
    for (int i = 0; i < kKeys; ++i) {
      holder_.begin_acquire(lock(std::string(200, 'k') + std::to_string(i)), 0, 3'600);
    }
    for (int i = 0; i < kKeys; ++i) holder_.read_grant();
  }

  static std::string many_stats() {
    std::string requests;
    for (int i = 0; i < kStats; ++i) requests += request_bytes("stats", "_", "_");
    return requests;
  }

  static constexpr int kKeys = 1'500;
  static constexpr int kStats = 60;

  Server server_;
  Client holder_{server_};
};

class UnreadRepliesForASecond : public UnreadReplies {
 protected:
  UnreadRepliesForASecond() : UnreadReplies("1") {}
};

// "a reply cannot be written within --write-timeout | closed"
TEST_F(UnreadRepliesForASecond, end_the_connection_and_free_what_it_held) {
  Client next(server_);
  Client deaf(server_, 4'096);
  const auto start = Clock::now();
  deaf.hold(lock("job"));
  next.begin_acquire(lock("job"));
  deaf.send(many_stats());
  next.read_grant(within(10s));
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_TRUE(server_.wait_for_log_line("warn write_timeout")) << server_.log();
  EXPECT_TRUE(eventually([&] { return stats(holder_).at("connections") == 2; }));
}

TEST_F(UnreadReplies, do_not_hold_up_other_clients) {
  Client other(server_);
  Client deaf(server_, 4'096);
  deaf.send(many_stats());
  Duration slowest{0};
  for (int i = 0; i < 200; ++i) {
    const auto asked = Clock::now();
    ASSERT_EQ(other.ping(), "ok");
    slowest = std::max(slowest, Clock::now() - asked);
  }
  EXPECT_LT(slowest, within(1s));
  const Grant grant = other.hold(lock("job"));
  EXPECT_EQ(other.release(lock("job"), grant.token), "ok");
}

// A client that does not read its replies stops being read, and loses none of them.
TEST_F(UnreadReplies, stop_the_server_from_reading_until_they_are_read) {
  constexpr std::size_t kFar = 64U << 20U;
  Client deaf(server_, 4'096);
  deaf.send(many_stats());
  const std::size_t memory_before = server_.resident_memory();
  const std::string ping = request_bytes("ping", "_", "_");
  std::string pings;
  for (int i = 0; i < 10'000; ++i) pings += ping;
  std::size_t sent = 0;
  while (sent < kFar) {
    const std::size_t size = deaf.send_some(pings, 200ms);
    sent += size;
    if (size < pings.size()) break;
  }
  ASSERT_LT(sent, kFar) << "the server goes on reading";
  EXPECT_LT(server_.resident_memory(), memory_before + (32U << 20U));

  for (int i = 0; i < kStats; ++i) ASSERT_TRUE(deaf.read_line().starts_with("ok {"));
  deaf.send(pings.substr(sent % ping.size(), (ping.size() - sent % ping.size()) % ping.size()));
  const std::size_t expected = (sent + ping.size() - 1) / ping.size();
  for (std::size_t i = 0; i < expected; ++i) ASSERT_EQ(deaf.read_line(), "ok");
  EXPECT_EQ(deaf.ping(), "ok");
}

TEST_F(UnreadReplies, of_a_client_that_leaves_are_dropped_with_it) {
  Client deaf(server_, 4'096);
  deaf.send(many_stats());
  deaf.reset();
  EXPECT_TRUE(eventually([&] { return stats(holder_).at("connections") == 1; }));
}

}  // namespace

}  // namespace dflockd::test
