// Who leaves, how, and while what. At the door of the line protocol: "Disconnect (end of file,
// reset, or a write that fails) is noticed within 100 ms even while a request blocks and even with
// pipelined bytes behind it. It always cancels that connection's waiting and phase-1 states; it
// releases what the connection was granted unless --auto-release-on-disconnect=false. The next
// waiter is granted at once. A grant that races with the disconnect goes to the next waiter; it is
// never lost and never held by nobody." At that of HTTP: "A caller that disconnects during acquire
// or wait loses its place within 100 ms; a grant that raced with it goes to the next waiter."
//
// Over TLS the end of file is a close_notify, the end of the connection beneath, or both.

#include <csignal>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"
#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

enum class Door { kLines, kHttp };
enum class Way { kClose, kHalfClose, kReset, kGoodbye, kGoodbyeAndClose };

/// Somebody at a door, in the words of both.
class Caller {
 public:
  Caller(const StreamServer& server, Door door) {
    if (door == Door::kLines) {
      line_ = server.connect();
    } else {
      http_ = server.has_tls() ? std::make_unique<HttpClient>(server, server.trusting())
                               : std::make_unique<HttpClient>(server);
      session_ = http_->open_session();
    }
  }

  [[nodiscard]] Client& connection() { return http_ ? http_->connection() : *line_; }

  /// A request for a lock that is granted if it is free.
  [[nodiscard]] std::string bytes_of_acquire(const std::string& name) const {
    if (line_) return request_bytes("l", name, "0");
    return http_->request_bytes("POST", "/v1/locks/" + name, R"({"acquire_timeout_s":0})",
                                session_);
  }
  /// A request that changes nothing.
  [[nodiscard]] std::string harmless_bytes() const {
    return line_ ? request_bytes("ping", "_", "_") : http_->request_bytes("GET", "/health");
  }
  void begin_acquire(const Key& key) {
    line_ ? line_->begin_acquire(key) : http_->begin_acquire(session_, key);
  }
  void begin_wait(const Key& key) {
    line_ ? line_->begin_wait(key) : http_->begin_wait(session_, key);
  }
  [[nodiscard]] bool is_queued(const Key& key) {
    return line_ ? line_->enqueue(key) == "queued"
                 : http_->enqueue(session_, key).summary() == "200 queued";
  }

  HttpResponse read_response() { return http_->read_response(); }

  void leave(Way way) {
    if (way == Way::kGoodbye || way == Way::kGoodbyeAndClose) {
      dynamic_cast<TlsClient&>(connection()).say_goodbye();
    }
    switch (way) {
      case Way::kClose:
      case Way::kGoodbyeAndClose:
        return connection().close();
      case Way::kHalfClose:
        return connection().half_close();
      case Way::kReset:
        return connection().reset();
      case Way::kGoodbye:
        return;
    }
  }

 private:
  std::unique_ptr<Client> line_;
  std::unique_ptr<HttpClient> http_;
  std::string session_;
};

struct Case {
  Door door;
  Stream stream;
  Way way;
};

/// The ways to leave a request that waits.
std::vector<Case> cases_of_waiters(Door door) {
  std::vector<Case> all;
  for (const Stream stream : {Stream::kPlain, Stream::kTls12, Stream::kTls13}) {
    for (const Way way : {Way::kClose, Way::kHalfClose, Way::kReset}) {
      all.push_back({door, stream, way});
    }
    if (stream == Stream::kPlain) continue;
    all.push_back({door, stream, Way::kGoodbyeAndClose});
    all.push_back({door, stream, Way::kGoodbye});
  }
  return all;
}

/// The ways to leave in every state. An HTTP caller that says close_notify and no more still reads
/// an answer that is on its way.
std::vector<Case> cases(Door door) {
  std::vector<Case> all = cases_of_waiters(door);
  std::erase_if(
      all, [](const Case& each) { return each.door == Door::kHttp && each.way == Way::kGoodbye; });
  return all;
}

std::string name_of(const testing::TestParamInfo<Case>& parameter) {
  static const std::map<Way, std::string> kNames{
      {Way::kClose, "closing"},
      {Way::kHalfClose, "half_closing"},
      {Way::kReset, "resetting"},
      {Way::kGoodbye, "close_notify_only"},
      {Way::kGoodbyeAndClose, "close_notify_and_closing"}};
  return kNames.at(parameter.param.way) + "_" + name_of(parameter.param.stream);
}

/// A server, a caller who leaves it, and somebody who stays.
class Leaving : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] Caller call() const { return {server_, GetParam().door}; }
  static void leave(Caller& caller) { caller.leave(GetParam().way); }

  /// How long it takes until the place of a caller is free who has sent `pipelined` behind its
  /// request.
  Duration time_to_notice(std::string_view pipelined) {
    const Key key = lock("round-" + std::to_string(round_++));
    stayer_->hold(key);
    Caller leaving = call();
    leaving.begin_acquire(key);
    await_waiters(*stayer_, key, 1);
    leaving.connection().send(pipelined);
    const auto left = Clock::now();
    leave(leaving);
    await_waiters(*stayer_, key, 0);
    return Clock::now() - left;
  }

  StreamServer server_{GetParam().stream, {}, Http::kOn};
  std::unique_ptr<Client> stayer_ = server_.connect();
  int round_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Lines, Leaving, testing::ValuesIn(cases(Door::kLines)), name_of);
INSTANTIATE_TEST_SUITE_P(Http, Leaving, testing::ValuesIn(cases(Door::kHttp)), name_of);

TEST_P(Leaving, before_the_request_is_whole_carries_nothing_out) {
  const std::string request = call().bytes_of_acquire("job");
  int callers = 1;
  for (std::size_t size = 1; size < request.size(); size += 7) {
    Caller leaving = call();
    ++callers;
    leaving.connection().send(std::string_view(request).substr(0, size));
    leave(leaving);
    EXPECT_EQ(stayer_->ping(), "ok");
  }
  const int sessions = GetParam().door == Door::kHttp ? callers : 0;
  EXPECT_TRUE(eventually([&] { return stats(*stayer_).at("connections") == 1 + sessions; }));
  EXPECT_EQ(stats(*stayer_).at("locks"), Json::array());
  EXPECT_EQ(stats(*stayer_).at("idle_locks"), Json::array());
}

class LeavingWaiter : public Leaving {};
INSTANTIATE_TEST_SUITE_P(Lines, LeavingWaiter, testing::ValuesIn(cases_of_waiters(Door::kLines)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Http, LeavingWaiter, testing::ValuesIn(cases_of_waiters(Door::kHttp)),
                         name_of);

TEST_P(LeavingWaiter, while_a_request_blocks_is_noticed_within_100_ms) {
  const std::string harmless = call().harmless_bytes();
  const int many = GetParam().door == Door::kLines ? 12'000 : 1'000;
  const std::vector<std::string> pipelined{"", harmless, harmless + '!', repeated(many, harmless)};
  for (const std::string& behind : pipelined) {
    EXPECT_LE(best_measured(within(100ms), [&] { return time_to_notice(behind); }), within(100ms))
        << "with " << behind.size() << " bytes behind";
  }
}

TEST_P(LeavingWaiter, cancels_the_states_of_both_phases) {
  const Grant grant = stayer_->hold(lock("job"));
  Caller leaving = call();
  EXPECT_TRUE(leaving.is_queued(lock("job")));
  leaving.begin_wait(lock("job"));
  const std::unique_ptr<Client> next = server_.connect();
  next->begin_acquire(lock("job"));
  await_waiters(*stayer_, lock("job"), 2);
  // The second phase may still be on its way.
  for (int i = 0; i < 2; ++i) EXPECT_EQ(stayer_->ping(), "ok");
  leave(leaving);
  await_waiters(*stayer_, lock("job"), 1);
  EXPECT_EQ(stayer_->release(lock("job"), grant.token), "ok");
  next->read_grant();
}

// When the server has stood still it finds both at once, in whatever order.
TEST_P(Leaving, as_the_grant_comes_leaves_it_to_the_next) {
  const std::unique_ptr<Client> next = server_.connect();
  for (int round = 0; round < 60; ++round) {
    const Grant grant = stayer_->hold(lock("job"));
    Caller leaving = call();
    leaving.begin_acquire(lock("job"));
    await_waiters(*stayer_, lock("job"), 1);
    next->begin_acquire(lock("job"));
    await_waiters(*stayer_, lock("job"), 2);
    // What an HTTP caller has read stays with its session.
    const bool at_once = GetParam().door == Door::kHttp || round % 2 == 0;
    const bool leave_first = round % 4 < 2;
    if (at_once) server_.signal(SIGSTOP);
    if (leave_first) leave(leaving);
    stayer_->request("r", "job", grant.token);
    if (!leave_first) leave(leaving);
    if (at_once) server_.signal(SIGCONT);
    ASSERT_EQ(stayer_->read_line(), "ok");
    ASSERT_EQ(next->release(lock("job"), next->read_grant().token), "ok");
  }
}

TEST_P(Leaving, together_with_the_request_leaves_nothing_held) {
  for (int round = 0; round < 20; ++round) {
    Caller leaving = call();
    server_.signal(SIGSTOP);
    leaving.connection().send(leaving.bytes_of_acquire("job"));
    leave(leaving);
    server_.signal(SIGCONT);
    EXPECT_TRUE(eventually([&] { return held(*stayer_, lock("job")).is_null(); }, 2s));
  }
}

// --- At the door of the line protocol a connection owns what it was granted ---

class LeavingOwner : public Leaving {};
INSTANTIATE_TEST_SUITE_P(Lines, LeavingOwner, testing::ValuesIn(cases(Door::kLines)), name_of);

TEST_P(LeavingOwner, releases_what_the_connection_held_and_no_more) {
  Caller leaving = call();
  Client& connection = leaving.connection();
  connection.hold(lock("job"));
  connection.hold(semaphore("pool", 2));
  acquired(connection.enqueue(lock("phase-1")));
  const Grant others = stayer_->hold(semaphore("pool", 2));
  stayer_->hold(lock("taken"));
  EXPECT_TRUE(leaving.is_queued(lock("taken")));
  const std::unique_ptr<Client> next = server_.connect();
  next->begin_acquire(lock("job"));
  await_waiters(*stayer_, lock("job"), 1);
  leave(leaving);
  next->read_grant();
  granted(next->acquire(semaphore("pool", 2), 60));
  granted(next->acquire(lock("phase-1"), 60));
  await_waiters(*stayer_, lock("taken"), 0);
  EXPECT_EQ(stayer_->renew(semaphore("pool", 2), others.token, 60), "ok 60");
}

// More than the server keeps would hide the end of the stream behind it.
TEST(LeavingPipeliner, with_4_mib_behind_a_blocked_request_is_not_waited_for) {
  const std::string requests = repeated(500'000, request_bytes("ping", "_", "_"));
  for (const Way way : {Way::kClose, Way::kHalfClose, Way::kReset}) {
    SCOPED_TRACE(static_cast<int>(way));
    const StreamServer server(Stream::kPlain);
    Client holder(server);
    Client next(server);
    Caller leaving(server, Door::kLines);
    holder.hold(lock("waited-for"));
    leaving.connection().hold(lock("handed-over"));
    next.begin_acquire(lock("handed-over"));
    await_waiters(holder, lock("handed-over"), 1);
    leaving.begin_acquire(lock("waited-for"));
    try {
      leaving.connection().send_some(requests, 1s);
      leaving.leave(way);
    } catch (const std::system_error&) {  // the server was the first to leave
    }
    next.read_grant(within(2s));
    await_waiters(holder, lock("waited-for"), 0);
  }
}

TEST(LeavingPipeliner, at_the_http_door_is_refused_with_too_much_behind_a_blocked_request) {
  for (const Stream stream : {Stream::kPlain, Stream::kTls13}) {
    const StreamServer server(stream, {}, Http::kOn);
    const std::unique_ptr<Client> holder = server.connect();
    holder->hold(lock("job"));
    Caller pipeliner(server, Door::kHttp);
    pipeliner.begin_acquire(lock("job"));
    await_waiters(*holder, lock("job"), 1);
    const std::string harmless = pipeliner.harmless_bytes();
    std::string requests;
    while (requests.size() < 128 * 1024) requests += harmless;
    pipeliner.connection().send(requests);
    EXPECT_EQ(pipeliner.read_response().summary(), "400 bad_request");
    EXPECT_EQ(pipeliner.connection().read_to_end(), "");
    await_waiters(*holder, lock("job"), 0);
  }
}

TEST(LeavingCrowd, of_a_thousand_waiters_is_passed_over) {
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

TEST(LeavingCrowd, of_a_thousand_keys_is_freed) {
  const Server server({"--max-locks", "1000"});
  Client observer(server);
  Client leaving(server);
  leaving.hold_many("job-", 1'000);
  leaving.reset();
  EXPECT_TRUE(eventually([&] { return stats(observer).at("idle_locks").size() == 1'000; }));
}

}  // namespace

}  // namespace dflockd::test
