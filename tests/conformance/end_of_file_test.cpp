// "end of file from the client | every complete request received before it that need not block is
// answered; then as a disconnect", and what stays of a connection with
// --auto-release-on-disconnect=false. Over TLS the end is a close_notify, or the end of the
// connection beneath.

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"
#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

std::string pings(std::size_t count) {
  return repeated(count, request_bytes("ping", "_", "_"));
}

class EndOfFile : public OfEachStream {
 protected:
  /// Sends requests and the end: over TLS in one segment, so that the end is there when the
  /// requests are read.
  static void send_with_end(Client& client, std::string_view requests) {
    auto* const tls = dynamic_cast<TlsClient*>(&client);
    if (tls == nullptr) {
      client.send(requests);
      return client.half_close();
    }
    std::string records = tls->encrypted(requests);
    tls->send_raw(records += tls->goodbye_bytes());
  }

  [[nodiscard]] std::unique_ptr<Client> connect(std::optional<int> receive_buffer = {}) const {
    return server_.connect(receive_buffer);
  }

  StreamServer server_{GetParam(), {"--max-locks", "2000", "--debug"}};
  std::unique_ptr<Client> stayer_ = connect();
};
FOR_EACH_STREAM(EndOfFile);

TEST_P(EndOfFile, complete_requests_before_it_are_answered) {
  const std::string requests = request_bytes("ping", "_", "_") +
                               request_bytes("l", "job", "10 60") +
                               request_bytes("nonsense", "", "") + request_bytes("l", "job", "0");
  for (const bool end_beneath : {false, true}) {
    SCOPED_TRACE(end_beneath ? "and the connection beneath ends" : "the stream ends");
    const std::unique_ptr<Client> leaving = connect();
    send_with_end(*leaving, requests + "ping\n_\n");
    if (end_beneath) leaving->Client::half_close();
    const Grant grant = granted(leaving->read_line() == "ok" ? leaving->read_line() : "no pong");
    EXPECT_EQ(leaving->read_to_end(), "error\ntimeout\n");
    if (auto* const tls = dynamic_cast<TlsClient*>(leaving.get())) {
      EXPECT_TRUE(tls->heard_goodbye());
    }
    const Grant later = granted(stayer_->acquire(lock("job"), 60));
    EXPECT_GT(later.fence(), grant.fence())
        << "then as a disconnect: what it was granted is free again";
    EXPECT_EQ(stayer_->release(lock("job"), later.token), "ok");
  }
}

TEST_P(EndOfFile, of_the_connection_beneath_alone_is_as_good) {
  const std::unique_ptr<Client> leaving = connect();
  leaving->send(pings(2));
  leaving->Client::half_close();
  EXPECT_EQ(leaving->read_to_end(), "ok\nok\n");
}

TEST_P(EndOfFile, many_requests_before_it_are_answered) {
  constexpr std::size_t kPings = 20'000;
  const std::unique_ptr<Client> leaving = connect();
  leaving->send(pings(kPings));
  leaving->half_close();
  EXPECT_EQ(leaving->read_to_end().size(), kPings * 3);
}

TEST_P(EndOfFile, answers_larger_than_the_sockets_buffers_are_sent_to_the_end) {
  stayer_->hold_many(std::string(200, 'k'), 2'000);
  const std::unique_ptr<Client> leaving = connect(4'096);
  send_with_end(*leaving, repeated(20, request_bytes("stats", "_", "_")) + pings(1));
  for (int i = 0; i < 20; ++i) EXPECT_GT(leaving->read_line().size(), 2'000U * 200U);
  EXPECT_EQ(leaving->read_to_end(), "ok\n");
}

TEST_P(EndOfFile, cancels_a_blocked_request_without_a_reply) {
  stayer_->hold(lock("job"));
  const std::string requests = pings(1) + request_bytes("l", "job", "60");
  const std::unique_ptr<Client> together = connect();
  send_with_end(*together, requests);
  EXPECT_EQ(together->read_to_end(), "ok\n");
  await_waiters(*stayer_, lock("job"), 0);
  const std::unique_ptr<Client> later = connect();
  later->send(requests);
  await_waiters(*stayer_, lock("job"), 1);
  later->half_close();
  EXPECT_EQ(later->read_to_end(), "ok\n");
  EXPECT_EQ(waiters(*stayer_, lock("job")), 0);
}

TEST_P(EndOfFile, without_any_request_just_closes) {
  const std::unique_ptr<Client> leaving = connect();
  leaving->half_close();
  EXPECT_EQ(leaving->read_to_end(), "");
}

// In the log it is the peer that left, not the server that drains.
TEST_P(EndOfFile, in_the_middle_of_a_request_or_record_is_told_as_the_peers) {
  const std::unique_ptr<Client> leaving = connect();
  EXPECT_EQ(leaving->ping(), "ok");
  server_.signal(SIGSTOP);  // both are there when the server wakes up
  if (server_.has_tls()) {
    auto& tls = dynamic_cast<TlsClient&>(*leaving);
    tls.send_raw(tls.encrypted(request_bytes("l", "job", "0")).substr(0, 12));
  } else {
    leaving->send("l\njob\n0");
  }
  leaving->Client::half_close();
  server_.signal(SIGCONT);
  EXPECT_EQ(leaving->read_to_end(), "");
  const auto line = server_.wait_for_log_line("debug disconnected");
  ASSERT_TRUE(line) << server_.log();
  EXPECT_NE(line->find("reason=peer_left"), std::string::npos) << *line;
  EXPECT_EQ(stats(*stayer_).at("locks"), Json::array());
  EXPECT_EQ(stats(*stayer_).at("idle_locks"), Json::array());
}

class TlsRecords : public OfEachVersion {};
FOR_EACH_VERSION(TlsRecords);

TEST_P(TlsRecords, that_are_garbage_end_the_connection) {
  const TlsServer server;
  TlsClient observer(server, server.trusting(GetParam()));
  TlsClient broken(server, server.trusting(GetParam()));
  broken.hold(lock("job"));
  std::string record = broken.encrypted(pings(1));
  record.back() = static_cast<char>(record.back() ^ 1);
  broken.send_raw(record);
  granted(observer.acquire(lock("job"), 60));
  EXPECT_THROW(broken.read_to_end(), TlsFailure) << "an alert, not an end";
}

// "... even while a request blocks": also while the replies before it wait for a peer that does not
// read.
TEST(UnreadReplyBeforeTheEnd, does_not_keep_a_blocked_request_in_the_queue) {
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
class AutoReleaseOff : public OfEachStream {
 protected:
  void await_connections(int count) {
    EXPECT_TRUE(eventually([&] { return stats(*other_).at("connections") == count; }));
  }

  StreamServer server_{
      GetParam(),
      {"--auto-release-on-disconnect=false", "--max-locks", "0", "--write-timeout", "60"}};
  std::unique_ptr<Client> holder_ = server_.connect();
  std::unique_ptr<Client> other_ = server_.connect();
  std::unique_ptr<Client> leaving_ = server_.connect();
};
FOR_EACH_STREAM(AutoReleaseOff);

TEST_P(AutoReleaseOff, grant_stays_until_its_lease_runs_out) {
  const auto asked = Clock::now();
  leaving_->hold(lock("job"), 1);
  leaving_->close();
  await_connections(2);
  granted(other_->acquire(lock("job"), 60));
  EXPECT_GE(Clock::now() - asked, 1s);
}

TEST_P(AutoReleaseOff, grant_of_a_connection_that_left_is_released_by_its_token) {
  const Grant grant = leaving_->hold(lock("job"));
  leaving_->reset();
  await_connections(2);
  EXPECT_EQ(other_->acquire(lock("job"), 0), "timeout");
  EXPECT_EQ(other_->renew(lock("job"), grant.token, 60), "ok 60");
  EXPECT_EQ(other_->release(lock("job"), grant.token), "ok");
  other_->hold(lock("job"));
}

TEST_P(AutoReleaseOff, waits_and_phase_one_states_are_cancelled_all_the_same) {
  const Grant grant = holder_->hold(lock("job"));
  holder_->hold(semaphore("pool", 1));
  EXPECT_EQ(leaving_->enqueue(semaphore("pool", 1)), "queued");
  leaving_->begin_acquire(lock("job"));
  await_waiters(*other_, lock("job"), 1);
  leaving_->close();
  await_waiters(*other_, lock("job"), 0);
  EXPECT_EQ(waiters(*other_, semaphore("pool", 1)), 0);
  EXPECT_EQ(holder_->release(lock("job"), grant.token), "ok");
  other_->hold(lock("job"));
}

// Nobody knows the token: "it is never lost and never held by nobody."
TEST_P(AutoReleaseOff, slot_that_nobody_was_told_of_goes_to_the_next_waiter) {
  const Grant grant = holder_->hold(lock("job"));
  EXPECT_EQ(leaving_->enqueue(lock("job")), "queued");
  other_->begin_acquire(lock("job"));
  await_waiters(*holder_, lock("job"), 2);
  EXPECT_EQ(holder_->release(lock("job"), grant.token), "ok");
  await_waiters(*holder_, lock("job"), 1);
  leaving_->close();
  other_->read_grant();
}

// The request, the end of its connection and the release all wait for the server when it wakes up.
TEST_P(AutoReleaseOff, grant_that_meets_the_end_of_its_connection_goes_to_the_next_waiter) {
  for (int round = 0; round < 20; ++round) {
    const Grant grant = holder_->hold(lock("job"));
    const std::unique_ptr<Client> leaving = server_.connect();
    EXPECT_EQ(leaving->ping(), "ok");
    server_.signal(SIGSTOP);
    leaving->begin_acquire(lock("job"));
    if (auto* const tls = dynamic_cast<TlsClient*>(leaving.get()); tls && round % 3 == 1) {
      tls->say_goodbye();
    }
    round % 3 == 2 ? leaving->reset() : leaving->close();
    holder_->request("r", "job", grant.token);
    server_.signal(SIGCONT);
    EXPECT_EQ(holder_->read_line(), "ok");
    const Grant next = granted(other_->acquire(lock("job"), 5));
    EXPECT_EQ(other_->release(lock("job"), next.token), "ok");
  }
}

/// A connection that asks for more grants than it reads answers, and is reset: the grants whose
/// answers it was sent stay, the others go to the next waiters.
class AutoReleaseOffUnread : public AutoReleaseOff {
 protected:
  static constexpr int kKeys = 3'000;

  static Key key(int number) { return lock("job-" + std::to_string(number)); }

  /// One request for each key, and something behind each.
  static std::string for_each_key(std::string_view command, std::string_view argument,
                                  std::string_view behind = {}) {
    std::string requests;
    for (int i = 0; i < kKeys; ++i) {
      requests.append(request_bytes(command, key(i).name, argument)).append(behind);
    }
    return requests;
  }

  /// Asks for each key, and leaves in the middle of the answers. How many grants were sent.
  std::ptrdiff_t leave_with_answers_unsent(std::string_view command) {
    // More answers than the system has room for, and more requests.
    const std::string behind = pings(200);
    std::string requests = for_each_key(command, "0", behind);
    while (requests.size() < 128U << 20U) requests += behind;
    std::string_view unsent = requests;
    while (const std::size_t size = leaving_->send_some(unsent, 200ms)) unsent.remove_prefix(size);
    EXPECT_FALSE(unsent.empty()) << "the server could send everything";
    // What the system has taken over arrives also while the server stands still.
    server_.signal(SIGSTOP);
    const std::vector<std::string> answers = leaving_->read_lines(500ms);
    leaving_->reset();
    server_.signal(SIGCONT);
    await_connections(2);
    return std::ranges::count_if(
        answers, [](const std::string& answer) { return answer.starts_with("ok "); });
  }

  /// How many keys are held still.
  std::ptrdiff_t kept() {
    std::ptrdiff_t kept = 0;
    other_->send(for_each_key("l", "0"));
    for (int i = 0; i < kKeys; ++i) kept += other_->read_line() == "timeout" ? 1 : 0;
    return kept;
  }

  void expect_exactly_the_grants_sent_to_stay(std::string_view command) {
    const std::ptrdiff_t sent = leave_with_answers_unsent(command);
    EXPECT_EQ(kept(), sent);
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, kKeys);
  }

  void SetUp() override { leaving_ = server_.connect(2'304); }
};
FOR_EACH_STREAM(AutoReleaseOffUnread);

TEST_P(AutoReleaseOffUnread, grants_whose_answers_were_not_sent_go_to_the_next_waiter) {
  expect_exactly_the_grants_sent_to_stay("l");
}

TEST_P(AutoReleaseOffUnread, collected_grants_whose_answers_were_not_sent_do_so_too) {
  other_->send(for_each_key("l", "0"));
  std::vector<Grant> grants;
  for (int i = 0; i < kKeys; ++i) grants.push_back(other_->read_grant());
  leaving_->send(for_each_key("e", ""));
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(leaving_->read_line(), "queued");
  for (int i = 0; i < kKeys; ++i) other_->request("r", key(i).name, grants[std::size_t(i)].token);
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(other_->read_line(), "ok");
  EXPECT_EQ(leaving_->ping(), "ok") << "an answer that is later than the grants";
  expect_exactly_the_grants_sent_to_stay("w");
}

// The first phase has answered with them, and their leases run.
TEST_P(AutoReleaseOffUnread, collected_grants_that_the_first_phase_told_of_stay) {
  leaving_->send(for_each_key("e", ""));
  for (int i = 0; i < kKeys; ++i) acquired(leaving_->read_line());
  EXPECT_LT(leave_with_answers_unsent("w"), kKeys);
  EXPECT_EQ(kept(), kKeys);
}

// The report is longer than what the system has room for.
TEST_P(AutoReleaseOffUnread, places_of_the_first_phase_are_given_up_at_once) {
  other_->hold_many(std::string(240, 'k'), 30'000);
  const Grant grant = other_->hold(key(0));
  EXPECT_EQ(leaving_->enqueue(key(0)), "queued");
  const std::unique_ptr<Client> next = server_.connect();
  next->begin_acquire(key(0));
  leaving_->request("stats", "_", "_");
  EXPECT_EQ(leaving_->read_bytes(3), "ok ");
  leaving_->half_close();
  EXPECT_EQ(other_->release(key(0), grant.token), "ok");
  next->read_grant();
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
