// "Disconnect (end of file, reset, or a write that fails) is noticed within 100 ms even while a
// request blocks and even with pipelined bytes behind it. It always cancels that connection's
// waiting and phase-1 states; it releases what the connection was granted unless
// --auto-release-on-disconnect=false. The next waiter is granted at once. A grant that races with
// the disconnect goes to the next waiter; it is never lost and never held by nobody."

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

enum class Leaving { kClose, kHalfClose, kReset };

class Disconnect : public testing::TestWithParam<Leaving> {
 protected:
  static void leave(Client& client) {
    switch (GetParam()) {
      case Leaving::kClose:
        return client.close();
      case Leaving::kHalfClose:
        return client.half_close();
      case Leaving::kReset:
        return client.reset();
    }
  }

  /// How long it takes until the next waiter hears that a blocked client has left, which had sent
  /// `pipelined` behind its request.
  Duration time_to_notice(const std::string& pipelined) {
    Client leaving(server_);
    const Key waited_for = lock("waited-for-" + std::to_string(round_));
    const Key handed_over = lock("handed-over-" + std::to_string(round_));
    ++round_;
    holder_.hold(waited_for);
    leaving.hold(handed_over);
    leaving.begin_acquire(waited_for);
    await_waiters(holder_, waited_for, 1);
    leaving.send(pipelined);
    Client next(server_);
    next.begin_acquire(handed_over);
    await_waiters(holder_, handed_over, 1);
    const auto left = Clock::now();
    leave(leaving);
    next.read_grant();
    return Clock::now() - left;
  }

  Server server_;
  Client holder_{server_};
  int round_ = 0;
};

INSTANTIATE_TEST_SUITE_P(By, Disconnect,
                         testing::Values(Leaving::kClose, Leaving::kHalfClose, Leaving::kReset),
                         [](const testing::TestParamInfo<Leaving>& parameter) {
                           switch (parameter.param) {
                             case Leaving::kClose:
                               return "closing";
                             case Leaving::kHalfClose:
                               return "half_closing";
                             default:
                               return "resetting";
                           }
                         });

TEST_P(Disconnect, releases_what_the_connection_held) {
  Client leaving(server_);
  leaving.hold(lock("job"));
  leaving.hold(semaphore("pool", 1));
  acquired(leaving.enqueue(lock("phase-1")));
  Client next(server_);
  next.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), 1);
  leave(leaving);
  next.read_grant();
  granted(next.acquire(semaphore("pool", 1), 60));
  granted(next.acquire(lock("phase-1"), 60));
}

TEST_P(Disconnect, spares_what_other_connections_hold) {
  Client leaving(server_);
  const Grant grant = holder_.hold(semaphore("pool", 3));
  leaving.hold(semaphore("pool", 3));
  leave(leaving);
  EXPECT_TRUE(eventually([&] { return held(holder_, semaphore("pool", 3)).at("holders") == 1; }));
  EXPECT_EQ(holder_.renew(semaphore("pool", 3), grant.token, 60), "ok 60");
}

TEST_P(Disconnect, cancels_waiting_and_phase_one_states) {
  Client leaving(server_);
  holder_.hold(lock("job"));
  holder_.hold(semaphore("pool", 1));
  EXPECT_EQ(leaving.enqueue(semaphore("pool", 1)), "queued");
  leaving.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), 1);
  leave(leaving);
  await_waiters(holder_, lock("job"), 0);
  EXPECT_EQ(waiters(holder_, semaphore("pool", 1)), 0);
}

TEST_P(Disconnect, while_a_request_blocks_is_noticed_within_100_ms) {
  EXPECT_LE(best_measured(within(100ms), [&] { return time_to_notice(""); }), within(100ms));
}

TEST_P(Disconnect, with_a_few_bytes_behind_a_blocked_request_is_noticed_within_100_ms) {
  EXPECT_LE(best_measured(within(100ms), [&] { return time_to_notice("ping\n_\n_\n!"); }),
            within(100ms));
}

TEST_P(Disconnect, with_100_kib_behind_a_blocked_request_is_noticed_within_100_ms) {
  std::string requests;
  while (requests.size() < 100 * 1'024) requests += request_bytes("ping", "_", "_");
  EXPECT_LE(best_measured(within(100ms), [&] { return time_to_notice(requests); }), within(100ms));
}

// More than the server keeps would hide the end of the stream behind it.
TEST_P(Disconnect, with_4_mib_behind_a_blocked_request_is_not_waited_for) {
  std::string requests;
  while (requests.size() < 4U << 20U) requests += request_bytes("ping", "_", "_");
  Client leaving(server_);
  Client next(server_);
  holder_.hold(lock("waited-for"));
  leaving.hold(lock("handed-over"));
  next.begin_acquire(lock("handed-over"));
  await_waiters(holder_, lock("handed-over"), 1);
  leaving.begin_acquire(lock("waited-for"));
  try {
    leaving.send_some(requests, 1s);
    leave(leaving);
  } catch (const std::system_error&) {  // the server was the first to leave
  }
  next.read_grant(within(2s));
  await_waiters(holder_, lock("waited-for"), 0);
}

TEST_P(Disconnect, of_a_blocked_wait_leaves_the_queue) {
  Client leaving(server_);
  Client next(server_);
  const Grant grant = holder_.hold(lock("job"));
  EXPECT_EQ(leaving.enqueue(lock("job")), "queued");
  leaving.begin_wait(lock("job"));
  next.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), 2);
  leave(leaving);
  await_waiters(holder_, lock("job"), 1);
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
  next.read_grant();
}

TEST_P(Disconnect, in_the_middle_of_a_request_carries_nothing_out) {
  Client leaving(server_);
  leaving.send("l\njob\n0");
  leave(leaving);
  EXPECT_TRUE(eventually([&] { return stats(holder_).at("connections") == 1; }));
  EXPECT_EQ(stats(holder_).at("locks"), Json::array());
  EXPECT_EQ(stats(holder_).at("idle_locks"), Json::array());
}

TEST_P(Disconnect, that_races_with_the_grant_never_loses_it) {
  Client next(server_);
  for (int round = 0; round < 100; ++round) {
    const Grant grant = holder_.hold(lock("job"));
    Client leaving(server_);
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

TEST(ManyDisconnects, thousand_waiters_leaving_at_once_are_passed_over) {
  allow_many_connections();
  const Server server;
  Client holder(server);
  Client last(server);
  const Grant grant = holder.hold(lock("job"));
  std::vector<Client> leaving = connect_many(server, 1'000);
  for (Client& client : leaving) client.begin_acquire(lock("job"));
  await_waiters(holder, lock("job"), 1'000);
  last.begin_acquire(lock("job"));
  await_waiters(holder, lock("job"), 1'001);
  for (Client& client : leaving) client.reset();
  const auto left = Clock::now();
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  last.read_grant();
  EXPECT_LE(Clock::now() - left, within(2s));
  EXPECT_TRUE(eventually([&] { return stats(holder).at("connections") == 2; }));
}

TEST(ManyDisconnects, connection_that_held_a_thousand_keys_frees_them_all) {
  const Server server({"--max-locks", "1000"});
  Client observer(server);
  Client leaving(server);
  for (int i = 0; i < 1'000; ++i) leaving.begin_acquire(lock("job-" + std::to_string(i)), 0);
  for (int i = 0; i < 1'000; ++i) leaving.read_grant();
  leaving.reset();
  EXPECT_TRUE(eventually([&] { return stats(observer).at("idle_locks").size() == 1'000; }));
}

// --- "end of file from the client | every complete request received before it that need not block
// is answered; then as a disconnect" ---

TEST(EndOfFile, complete_requests_before_it_are_answered) {
  const Server server;
  Client next(server);
  Client leaving(server);
  leaving.send(request_bytes("ping", "_", "_") + request_bytes("l", "job", "10 60") +
               request_bytes("nonsense", "", "") + request_bytes("l", "job", "0") + "ping\n_\n");
  leaving.half_close();
  const Grant grant = granted(leaving.read_line() == "ok" ? leaving.read_line() : "no pong");
  EXPECT_EQ(leaving.read_to_end(), "error\ntimeout\n");
  EXPECT_GT(granted(next.acquire(lock("job"), 60)).fence(), grant.fence())
      << "then as a disconnect: what it was granted is free again";
}

TEST(EndOfFile, answers_larger_than_the_sockets_buffers_are_sent_to_the_end) {
  const Server server({"--max-locks", "2000"});
  Client holder(server);
  for (int i = 0; i < 2'000; ++i) {
    holder.begin_acquire(lock(std::string(200, 'k') + std::to_string(i)), 0);
  }
  for (int i = 0; i < 2'000; ++i) holder.read_grant();
  Client leaving(server, 4'096);
  std::string requests;
  for (int i = 0; i < 20; ++i) requests += request_bytes("stats", "_", "_");
  leaving.send(requests + request_bytes("ping", "_", "_"));
  leaving.half_close();
  for (int i = 0; i < 20; ++i) EXPECT_GT(leaving.read_line().size(), 2'000U * 200U);
  EXPECT_EQ(leaving.read_to_end(), "ok\n");
}

TEST(EndOfFile, cancels_a_blocked_request_without_a_reply) {
  const Server server;
  Client holder(server);
  Client leaving(server);
  holder.hold(lock("job"));
  leaving.send(request_bytes("ping", "_", "_") + request_bytes("l", "job", "60"));
  await_waiters(holder, lock("job"), 1);
  leaving.half_close();
  EXPECT_EQ(leaving.read_to_end(), "ok\n");
  EXPECT_EQ(waiters(holder, lock("job")), 0);
}

TEST(EndOfFile, that_arrives_with_a_request_that_would_block_cancels_it) {
  const Server server;
  Client holder(server);
  Client leaving(server);
  holder.hold(lock("job"));
  leaving.send(request_bytes("l", "job", "60"));
  leaving.half_close();
  EXPECT_EQ(leaving.read_to_end(), "");
  await_waiters(holder, lock("job"), 0);
}

TEST(EndOfFile, without_any_request_just_closes) {
  const Server server;
  Client leaving(server);
  leaving.half_close();
  EXPECT_EQ(leaving.read_to_end(), "");
}

// "... even while a request blocks": also while the replies before it wait for a peer that does not
// read.
TEST(EndOfFile, cancels_a_blocked_request_behind_replies_that_nobody_reads) {
  Server server({"--max-locks", "100000", "--write-timeout", "30"});
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  // Which of these batches the socket has just no room for depends on the system.
  for (int requests = 1000; requests < 4000; requests += 50) {
    Client leaving(server, 2304);
    std::string batch;
    for (int i = 0; i < requests; ++i) batch += request_bytes("l", std::to_string(i), "0");
    batch += request_bytes("l", "job", "60");
    leaving.send_some(batch, 100ms);
    leaving.half_close();
    EXPECT_EQ(holder.renew(lock("job"), grant.token, 60), "ok 60");
    ASSERT_TRUE(eventually([&] { return waiters(holder, lock("job")) == 0; }, 1s)) << requests;
  }
}

// --- --auto-release-on-disconnect=false ---

/// Grants outlive their connections here, so that the server would drain for long.
class AutoReleaseOff : public testing::Test {
 protected:
  explicit AutoReleaseOff(std::vector<std::string> flags = {}) : server_(with_flag(flags)) {}

  static std::vector<std::string> with_flag(std::vector<std::string> flags) {
    flags.emplace_back("--auto-release-on-disconnect=false");
    return flags;
  }

  Server server_;
  Client holder_{server_};
  Client other_{server_};
};

TEST_F(AutoReleaseOff, grant_stays_until_its_lease_runs_out) {
  Client leaving(server_);
  const auto asked = Clock::now();
  leaving.hold(lock("job"), 1);
  leaving.close();
  EXPECT_TRUE(eventually([&] { return stats(other_).at("connections") == 2; }));
  granted(other_.acquire(lock("job"), 60));
  EXPECT_GE(Clock::now() - asked, 1s);
}

TEST_F(AutoReleaseOff, grant_of_a_connection_that_left_is_released_by_its_token) {
  Client leaving(server_);
  const Grant grant = leaving.hold(lock("job"));
  leaving.reset();
  EXPECT_TRUE(eventually([&] { return stats(other_).at("connections") == 2; }));
  EXPECT_EQ(other_.acquire(lock("job"), 0), "timeout");
  EXPECT_EQ(other_.renew(lock("job"), grant.token, 60), "ok 60");
  EXPECT_EQ(other_.release(lock("job"), grant.token), "ok");
  other_.hold(lock("job"));
}

TEST_F(AutoReleaseOff, waits_and_phase_one_states_are_cancelled_all_the_same) {
  Client leaving(server_);
  const Grant grant = holder_.hold(lock("job"));
  holder_.hold(semaphore("pool", 1));
  EXPECT_EQ(leaving.enqueue(semaphore("pool", 1)), "queued");
  leaving.begin_acquire(lock("job"));
  await_waiters(other_, lock("job"), 1);
  leaving.close();
  await_waiters(other_, lock("job"), 0);
  EXPECT_EQ(waiters(other_, semaphore("pool", 1)), 0);
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
  other_.hold(lock("job"));
}

// Nobody knows the token: "it is never lost and never held by nobody."
TEST_F(AutoReleaseOff, slot_that_nobody_was_told_of_goes_to_the_next_waiter) {
  Client leaving(server_);
  const Grant grant = holder_.hold(lock("job"));
  EXPECT_EQ(leaving.enqueue(lock("job")), "queued");
  other_.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), 2);
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
  await_waiters(holder_, lock("job"), 1);
  leaving.close();
  other_.read_grant();
}

// The request, the end of its connection and the release all wait for the server when it wakes up.
TEST_F(AutoReleaseOff, grant_that_meets_the_end_of_its_connection_goes_to_the_next_waiter) {
  for (int round = 0; round < 20; ++round) {
    const Grant grant = holder_.hold(lock("job"));
    Client leaving(server_);
    EXPECT_EQ(leaving.ping(), "ok");
    server_.signal(SIGSTOP);
    leaving.begin_acquire(lock("job"));
    leaving.close();
    holder_.request("r", "job", grant.token);
    server_.signal(SIGCONT);
    EXPECT_EQ(holder_.read_line(), "ok");
    const Grant next = granted(other_.acquire(lock("job"), 5));
    EXPECT_EQ(other_.release(lock("job"), next.token), "ok");
  }
}

/// A connection that asks for more grants than it reads answers, and is reset: the grants whose
/// answers it was sent stay, the others go to the next waiters.
class AutoReleaseOffUnread : public AutoReleaseOff {
 protected:
  static constexpr int kKeys = 5'000;

  AutoReleaseOffUnread() : AutoReleaseOff({"--max-locks", "0", "--write-timeout", "60"}) {}

  static Key key(int number) { return lock("job-" + std::to_string(number)); }

  /// One request for each key.
  static std::string for_each_key(std::string_view command, std::string_view argument) {
    std::string requests;
    for (int i = 0; i < kKeys; ++i) requests += request_bytes(command, key(i).name, argument);
    return requests;
  }

  /// Asks for each key, and leaves in the middle of the answers. How many grants were sent.
  std::ptrdiff_t leave_with_answers_unsent(std::string_view command) {
    // More answers than the system has room for.
    std::string pings;
    for (int i = 0; i < 60; ++i) pings += request_bytes("ping", "_", "_");
    std::string requests;
    for (int i = 0; i < kKeys; ++i) requests += request_bytes(command, key(i).name, "0") + pings;
    while (requests.size() < 128U << 20U) requests += pings;  // more than it has room for, too
    std::string_view unsent = requests;
    while (const std::size_t size = leaving_.send_some(unsent, 200ms)) unsent.remove_prefix(size);
    EXPECT_FALSE(unsent.empty()) << "the server could send everything";
    // What the system has taken over arrives also while the server stands still.
    server_.signal(SIGSTOP);
    const std::vector<std::string> answers = leaving_.read_lines(500ms);
    leaving_.reset();
    server_.signal(SIGCONT);
    EXPECT_TRUE(eventually([&] { return stats(other_).at("connections") == 2; }));
    return std::ranges::count_if(
        answers, [](const std::string& answer) { return answer.starts_with("ok "); });
  }

  /// How many keys are held still.
  std::ptrdiff_t kept() {
    std::ptrdiff_t kept = 0;
    other_.send(for_each_key("l", "0"));
    for (int i = 0; i < kKeys; ++i) kept += other_.read_line() == "timeout" ? 1 : 0;
    return kept;
  }

  void expect_exactly_the_grants_sent_to_stay(std::string_view command) {
    const std::ptrdiff_t sent = leave_with_answers_unsent(command);
    EXPECT_EQ(kept(), sent);
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, kKeys);
  }

  Client leaving_{server_, 2304};
};

TEST_F(AutoReleaseOffUnread, grants_whose_answers_were_not_sent_go_to_the_next_waiter) {
  expect_exactly_the_grants_sent_to_stay("l");
}

TEST_F(AutoReleaseOffUnread, collected_grants_whose_answers_were_not_sent_do_so_too) {
  other_.send(for_each_key("l", "0"));
  std::vector<Grant> grants;
  for (int i = 0; i < kKeys; ++i) grants.push_back(other_.read_grant());
  leaving_.send(for_each_key("e", ""));
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(leaving_.read_line(), "queued");
  for (int i = 0; i < kKeys; ++i) other_.request("r", key(i).name, grants[std::size_t(i)].token);
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(other_.read_line(), "ok");
  EXPECT_EQ(leaving_.ping(), "ok") << "an answer that is later than the grants";
  expect_exactly_the_grants_sent_to_stay("w");
}

// The first phase has told of them, and their leases run.
TEST_F(AutoReleaseOffUnread, collected_grants_that_the_first_phase_told_of_stay) {
  leaving_.send(for_each_key("e", ""));
  for (int i = 0; i < kKeys; ++i) acquired(leaving_.read_line());
  EXPECT_LT(leave_with_answers_unsent("w"), kKeys);
  EXPECT_EQ(kept(), kKeys);
}

// The report is longer than what the system has room for.
TEST_F(AutoReleaseOffUnread, places_of_the_first_phase_are_given_up_at_once) {
  constexpr int kLongKeys = 30'000;
  constexpr int kBatch = 1'000;
  for (int done = 0; done < kLongKeys; done += kBatch) {
    std::string requests;
    for (int i = 0; i < kBatch; ++i) {
      requests += request_bytes("l", std::string(240, 'k') + std::to_string(done + i), "0 3600");
    }
    other_.send(requests);
    for (int i = 0; i < kBatch; ++i) ASSERT_TRUE(other_.read_line().starts_with("ok "));
  }
  const Grant grant = other_.hold(key(0));
  EXPECT_EQ(leaving_.enqueue(key(0)), "queued");
  Client next(server_);
  next.begin_acquire(key(0));
  leaving_.request("stats", "_", "_");
  EXPECT_EQ(leaving_.read_bytes(3), "ok ");
  leaving_.half_close();
  EXPECT_EQ(other_.release(key(0), grant.token), "ok");
  next.read_grant();
}

TEST(AutoReleaseFlag, negated_form_turns_it_off_too) {
  const Server server({"--no-auto-release-on-disconnect"});
  Client observer(server);
  Client leaving(server);
  const Grant grant = leaving.hold(lock("job"));
  leaving.close();
  EXPECT_TRUE(eventually([&] { return stats(observer).at("connections") == 1; }));
  EXPECT_EQ(observer.acquire(lock("job"), 0), "timeout");
  EXPECT_EQ(observer.release(lock("job"), grant.token), "ok");
}

}  // namespace

}  // namespace dflockd::test
