// "Disconnect (end of file, reset, or a write that fails) is noticed within 100 ms even while a
// request blocks and even with pipelined bytes behind it." Over TLS the end of file is a
// close_notify, the end of the connection beneath, or both.

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "support/stats.hpp"
#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

enum class Leaving { kGoodbyeAndClose, kClose, kReset, kGoodbyeOnly, kHalfClose };

void leave(TlsClient& client, Leaving how) {
  switch (how) {
    case Leaving::kGoodbyeAndClose:
      client.say_goodbye();
      return client.close();
    case Leaving::kClose:
      return client.close();
    case Leaving::kReset:
      return client.reset();
    case Leaving::kGoodbyeOnly:
      return client.say_goodbye();
    case Leaving::kHalfClose:
      return client.half_close();
  }
}

class TlsDisconnect : public testing::TestWithParam<std::tuple<int, Leaving>> {
 protected:
  explicit TlsDisconnect(std::vector<std::string> flags = {}) : server_(std::move(flags)) {}

  static void leave(TlsClient& client) { test::leave(client, std::get<Leaving>(GetParam())); }

  [[nodiscard]] TlsOptions options() const { return server_.trusting(std::get<int>(GetParam())); }
  [[nodiscard]] TlsClient connect() const { return TlsClient(server_, options()); }

  /// How long it takes until the next waiter hears that a blocked client has left, which had sent
  /// `pipelined` behind its request.
  Duration time_to_notice(const std::string& pipelined) {
    TlsClient leaving = connect();
    const Key waited_for = lock("waited-for-" + std::to_string(round_));
    const Key handed_over = lock("handed-over-" + std::to_string(round_));
    ++round_;
    holder_.hold(waited_for);
    leaving.hold(handed_over);
    leaving.begin_acquire(waited_for);
    await_waiters(holder_, waited_for, 1);
    leaving.send(pipelined);
    TlsClient next = connect();
    next.begin_acquire(handed_over);
    await_waiters(holder_, handed_over, 1);
    const auto left = Clock::now();
    leave(leaving);
    next.read_grant();
    return Clock::now() - left;
  }

  TlsServer server_;
  TlsClient holder_ = connect();
  int round_ = 0;
};

std::string name_of(const testing::TestParamInfo<std::tuple<int, Leaving>>& parameter) {
  const std::string version =
      std::get<int>(parameter.param) == TLS1_2_VERSION ? "_over_TLS_1_2" : "_over_TLS_1_3";
  switch (std::get<Leaving>(parameter.param)) {
    case Leaving::kGoodbyeAndClose:
      return "close_notify_and_closing" + version;
    case Leaving::kClose:
      return "closing" + version;
    case Leaving::kReset:
      return "resetting" + version;
    case Leaving::kGoodbyeOnly:
      return "close_notify_only" + version;
    case Leaving::kHalfClose:
      return "half_closing" + version;
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(
    By, TlsDisconnect,
    testing::Combine(testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                     testing::Values(Leaving::kGoodbyeAndClose, Leaving::kClose, Leaving::kReset,
                                     Leaving::kGoodbyeOnly, Leaving::kHalfClose)),
    name_of);

TEST_P(TlsDisconnect, releases_what_the_connection_held) {
  TlsClient leaving = connect();
  leaving.hold(lock("job"));
  leaving.hold(semaphore("pool", 1));
  acquired(leaving.enqueue(lock("phase-1")));
  TlsClient next = connect();
  next.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), 1);
  leave(leaving);
  next.read_grant();
  granted(next.acquire(semaphore("pool", 1), 60));
  granted(next.acquire(lock("phase-1"), 60));
}

TEST_P(TlsDisconnect, cancels_waiting_and_phase_one_states) {
  TlsClient leaving = connect();
  holder_.hold(lock("job"));
  holder_.hold(semaphore("pool", 1));
  EXPECT_EQ(leaving.enqueue(semaphore("pool", 1)), "queued");
  leaving.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), 1);
  leave(leaving);
  await_waiters(holder_, lock("job"), 0);
  EXPECT_EQ(waiters(holder_, semaphore("pool", 1)), 0);
}

TEST_P(TlsDisconnect, while_a_request_blocks_is_noticed_within_100_ms) {
  EXPECT_LE(best_measured(within(100ms), [&] { return time_to_notice(""); }), within(100ms));
}

TEST_P(TlsDisconnect, with_pipelined_bytes_behind_a_blocked_request_is_noticed_within_100_ms) {
  std::string requests;
  while (requests.size() < 100 * 1'024) requests += request_bytes("ping", "_", "_");
  for (const std::string& pipelined : {std::string("ping\n_\n_\n!"), requests}) {
    EXPECT_LE(best_measured(within(100ms), [&] { return time_to_notice(pipelined); }),
              within(100ms));
  }
}

TEST_P(TlsDisconnect, in_the_middle_of_a_record_carries_nothing_out) {
  TlsClient leaving = connect();
  const std::string record = leaving.encrypted(request_bytes("l", "job", "0"));
  leaving.send_raw(std::string_view(record).substr(0, record.size() - 1));
  if (std::get<Leaving>(GetParam()) == Leaving::kReset) {
    leaving.reset();
  } else {
    leaving.Client::half_close();  // a goodbye would be taken for the record's last byte
  }
  EXPECT_TRUE(eventually([&] { return stats(holder_).at("connections") == 1; }));
  EXPECT_EQ(stats(holder_).at("locks"), Json::array());
  EXPECT_EQ(stats(holder_).at("idle_locks"), Json::array());
}

TEST_P(TlsDisconnect, that_races_with_the_grant_never_loses_it) {
  TlsClient next = connect();
  for (int round = 0; round < 50; ++round) {
    const Grant grant = holder_.hold(lock("job"));
    TlsClient leaving = connect();
    leaving.begin_acquire(lock("job"));
    await_waiters(holder_, lock("job"), 1);
    next.begin_acquire(lock("job"));
    await_waiters(holder_, lock("job"), 2);
    if (round % 2 == 0) leave(leaving);
    holder_.request("r", "job", grant.token);
    if (round % 2 == 1) leave(leaving);
    ASSERT_EQ(holder_.read_line(), "ok");
    ASSERT_EQ(next.release(lock("job"), next.read_grant().token), "ok");
  }
}

// --- "every complete request received before it that need not block is answered" ---

class TlsEndOfFile : public OfEachVersion {
 protected:
  [[nodiscard]] TlsClient connect() const {
    return TlsClient(server_, server_.trusting(GetParam()));
  }

  TlsServer server_{{"--debug"}};
};
FOR_EACH_VERSION(TlsEndOfFile);

/// The records of `requests` and of a close_notify.
std::string with_goodbye(TlsClient& client, std::string_view requests) {
  std::string records = client.encrypted(requests);
  return records += client.goodbye_bytes();
}

TEST_P(TlsEndOfFile, complete_requests_before_it_are_answered) {
  const std::string requests =
      request_bytes("ping", "_", "_") + request_bytes("l", "job", "10 60") +
      request_bytes("nonsense", "", "") + request_bytes("l", "job", "0") + "ping\n_\n";
  TlsClient next = connect();
  for (const bool close_beneath : {false, true}) {
    SCOPED_TRACE(close_beneath ? "with the end of the connection beneath" : "close_notify only");
    TlsClient leaving = connect();
    // All in one segment, so that the end is there when the requests are read.
    leaving.send_raw(with_goodbye(leaving, requests));
    if (close_beneath) leaving.Client::half_close();
    const Grant grant = granted(leaving.read_line() == "ok" ? leaving.read_line() : "no pong");
    EXPECT_EQ(leaving.read_to_end(), "error\ntimeout\n");
    EXPECT_TRUE(leaving.heard_goodbye());
    const Grant later = granted(next.acquire(lock("job"), 60));
    EXPECT_GT(later.fence(), grant.fence());
    EXPECT_EQ(next.release(lock("job"), later.token), "ok");
  }
}

TEST_P(TlsEndOfFile, complete_requests_before_the_end_of_the_connection_beneath_are_answered) {
  TlsClient leaving = connect();
  leaving.send(request_bytes("ping", "_", "_") + request_bytes("ping", "_", "_"));
  leaving.Client::half_close();
  EXPECT_EQ(leaving.read_to_end(), "ok\nok\n");
}

TEST_P(TlsEndOfFile, many_requests_before_it_are_answered) {
  TlsClient leaving = connect();
  constexpr int kPings = 20'000;
  std::string pings;
  for (int i = 0; i < kPings; ++i) pings += request_bytes("ping", "_", "_");
  leaving.send(pings);
  leaving.half_close();
  EXPECT_EQ(leaving.read_to_end().size(), kPings * 3U);
}

TEST_P(TlsEndOfFile, cancels_a_blocked_request_without_a_reply) {
  TlsClient holder = connect();
  TlsClient leaving = connect();
  holder.hold(lock("job"));
  leaving.send_raw(
      with_goodbye(leaving, request_bytes("ping", "_", "_") + request_bytes("l", "job", "60")));
  EXPECT_EQ(leaving.read_to_end(), "ok\n");
  await_waiters(holder, lock("job"), 0);
}

// In the log it is the peer that left, not the server that drains.
TEST_P(TlsEndOfFile, in_the_middle_of_a_record_is_told_as_the_peers) {
  TlsClient leaving = connect();
  EXPECT_EQ(leaving.ping(), "ok");
  server_.signal(SIGSTOP);  // both are there when the server wakes up
  leaving.send_raw(leaving.encrypted("ping\n_\n_\n").substr(0, 12));
  leaving.Client::half_close();
  server_.signal(SIGCONT);
  EXPECT_EQ(leaving.read_to_end(), "");
  const auto line = server_.wait_for_log_line("debug disconnected");
  ASSERT_TRUE(line) << server_.log();
  EXPECT_NE(line->find("reason=peer_left"), std::string::npos) << *line;
}

TEST_P(TlsEndOfFile, garbage_after_the_handshake_ends_the_connection) {
  TlsClient holder = connect();
  TlsClient broken = connect();
  broken.hold(lock("job"));
  std::string record = broken.encrypted(request_bytes("ping", "_", "_"));
  record.back() = static_cast<char>(record.back() ^ 1);
  broken.send_raw(record);
  granted(holder.acquire(lock("job"), 60));
  EXPECT_THROW(broken.read_to_end(), TlsFailure) << "an alert, not an end";
}

// --- --auto-release-on-disconnect=false ---

class TlsAutoReleaseOff : public TlsDisconnect {
 protected:
  explicit TlsAutoReleaseOff(std::vector<std::string> flags = {})
      : TlsDisconnect(with_flag(std::move(flags))) {}

  static std::vector<std::string> with_flag(std::vector<std::string> flags) {
    flags.emplace_back("--auto-release-on-disconnect=false");
    return flags;
  }

  TlsClient other_ = connect();
};

INSTANTIATE_TEST_SUITE_P(By, TlsAutoReleaseOff,
                         testing::Combine(testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                                          testing::Values(Leaving::kGoodbyeAndClose,
                                                          Leaving::kClose, Leaving::kReset)),
                         name_of);

TEST_P(TlsAutoReleaseOff, grant_of_a_connection_that_left_is_released_by_its_token) {
  TlsClient leaving = connect();
  const Grant grant = leaving.hold(lock("job"));
  leave(leaving);
  EXPECT_TRUE(eventually([&] { return stats(other_).at("connections") == 2; }));
  EXPECT_EQ(other_.acquire(lock("job"), 0), "timeout");
  EXPECT_EQ(other_.release(lock("job"), grant.token), "ok");
}

TEST_P(TlsAutoReleaseOff, slot_that_nobody_was_told_of_goes_to_the_next_waiter) {
  TlsClient leaving = connect();
  const Grant grant = holder_.hold(lock("job"));
  EXPECT_EQ(leaving.enqueue(lock("job")), "queued");
  other_.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), 2);
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
  await_waiters(holder_, lock("job"), 1);
  leave(leaving);
  other_.read_grant();
}

// The request, the end of its connection and the release all wait for the server when it wakes up.
TEST_P(TlsAutoReleaseOff, grant_that_meets_the_end_of_its_connection_goes_to_the_next_waiter) {
  for (int round = 0; round < 20; ++round) {
    const Grant grant = holder_.hold(lock("job"));
    TlsClient leaving = connect();
    EXPECT_EQ(leaving.ping(), "ok");
    server_.signal(SIGSTOP);
    leaving.begin_acquire(lock("job"));
    leave(leaving);
    holder_.request("r", "job", grant.token);
    server_.signal(SIGCONT);
    EXPECT_EQ(holder_.read_line(), "ok");
    const Grant next = granted(other_.acquire(lock("job"), 5));
    EXPECT_EQ(other_.release(lock("job"), next.token), "ok");
  }
}

/// A connection that asks for more grants than it reads answers, and is reset: the grants whose
/// answers it was sent stay, the others go to the next waiters.
class TlsAutoReleaseOffUnread : public OfEachVersion {
 protected:
  static constexpr int kKeys = 3'000;

  static Key key(int number) { return lock("job-" + std::to_string(number)); }

  TlsServer server_{
      {"--auto-release-on-disconnect=false", "--max-locks", "0", "--write-timeout", "60"}};
  TlsClient other_{server_, server_.trusting(GetParam())};
  TlsClient leaving_{server_, server_.trusting(GetParam()), 2'304};
};
FOR_EACH_VERSION(TlsAutoReleaseOffUnread);

TEST_P(TlsAutoReleaseOffUnread, exactly_the_grants_in_records_that_were_sent_stay) {
  // More answers than the system has room for.
  std::string pings;
  for (int i = 0; i < 100; ++i) pings += request_bytes("ping", "_", "_");
  std::string requests;
  for (int i = 0; i < kKeys; ++i) requests += request_bytes("l", key(i).name, "0") + pings;
  while (requests.size() < 64U << 20U) requests += pings;  // more than it has room for, too
  std::string_view unsent = requests;
  while (const std::size_t size = leaving_.send_some(unsent, 200ms)) unsent.remove_prefix(size);
  ASSERT_FALSE(unsent.empty()) << "the server could send everything";
  // What the system has taken over arrives also while the server stands still.
  server_.signal(SIGSTOP);
  const std::vector<std::string> answers = leaving_.read_lines(500ms);
  leaving_.reset();
  server_.signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return stats(other_).at("connections") == 1; }));
  const auto sent_grants = std::ranges::count_if(
      answers, [](const std::string& answer) { return answer.starts_with("ok "); });
  std::string attempts;
  for (int i = 0; i < kKeys; ++i) attempts += request_bytes("l", key(i).name, "0");
  other_.send(attempts);
  std::ptrdiff_t kept = 0;
  for (int i = 0; i < kKeys; ++i) kept += other_.read_line() == "timeout" ? 1 : 0;
  EXPECT_EQ(kept, sent_grants);
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, kKeys);
}

}  // namespace

}  // namespace dflockd::test
