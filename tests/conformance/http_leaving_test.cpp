// "A caller that disconnects during acquire or wait loses its place within 100 ms; a grant that
// raced with it goes to the next waiter."

#include <csignal>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "client.hpp"
#include "http_client.hpp"
#include "stats.hpp"

namespace dflockd::conformance {

namespace {

enum class Leaving { kClose, kHalfClose, kReset };

class HttpCallers : public testing::TestWithParam<Leaving> {
 protected:
  static void leave(HttpClient& client) {
    switch (GetParam()) {
      case Leaving::kClose:
        return client.close();
      case Leaving::kHalfClose:
        return client.half_close();
      case Leaving::kReset:
        return client.reset();
    }
  }

  /// How long it takes until the place of a caller is free who has sent `pipelined` behind its
  /// request.
  Duration time_to_give_up(const std::string& pipelined) {
    const Key key = lock("round-" + std::to_string(round_++));
    holder_.hold(key);
    HttpClient leaving(server_);
    leaving.begin_acquire(leaving.open_session(), key);
    leaving.send(pipelined);
    await_waiters(holder_, key, 1);
    const auto left = Clock::now();
    leave(leaving);
    await_waiters(holder_, key, 0);
    return Clock::now() - left;
  }

  /// Waits until the server has looked at what was sent before on connections that it knows.
  void settle() {
    for (int i = 0; i < 2; ++i) EXPECT_EQ(holder_.ping(), "ok");
  }

  Server server_{Http::kOn};
  Client holder_{server_};
  HttpClient client_{server_};
  int round_ = 0;
};

INSTANTIATE_TEST_SUITE_P(By, HttpCallers,
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

TEST_P(HttpCallers, that_leave_before_the_request_is_whole_do_nothing) {
  const std::string session = client_.open_session();
  const std::string request =
      client_.request_bytes("POST", "/v1/locks/job", R"({"acquire_timeout_s":60})", session);
  for (std::size_t size = 1; size < request.size(); size += 7) {
    HttpClient leaving(server_);
    leaving.send(std::string_view(request).substr(0, size));
    leave(leaving);
  }
  EXPECT_EQ(holder_.ping(), "ok");
  EXPECT_TRUE(held(holder_, lock("job")).is_null());
  client_.hold(session, lock("job"));
}

TEST_P(HttpCallers, that_leave_lose_their_place_within_100_ms) {
  EXPECT_LE(best_measured(within(100ms), [&] { return time_to_give_up(""); }), within(100ms));
}

TEST_P(HttpCallers, that_leave_with_requests_pipelined_lose_their_place_within_100_ms) {
  const std::string pipelined = client_.request_bytes("GET", "/health");
  EXPECT_LE(best_measured(within(100ms), [&] { return time_to_give_up(pipelined); }),
            within(100ms));
}

TEST_P(HttpCallers, that_leave_take_their_enqueued_state_along_but_not_their_session) {
  holder_.hold(lock("job"));
  HttpClient leaving(server_);
  const std::string session = leaving.open_session();
  client_.hold(session, lock("own"));
  EXPECT_EQ(leaving.enqueue(session, lock("job")).summary(), "200 queued");
  leaving.begin_wait(session, lock("job"));
  settle();
  leave(leaving);
  await_waiters(holder_, lock("job"), 0);
  EXPECT_EQ(client_.wait(session, lock("job"), 0).summary(), "409 not_enqueued");
  EXPECT_FALSE(held(holder_, lock("own")).is_null());
}

TEST_P(HttpCallers, that_leave_behind_a_blocked_request_of_their_session_get_no_turn) {
  const Grant grant = holder_.hold(lock("job"));
  const std::string session = client_.open_session();
  HttpClient leaving(server_);
  EXPECT_EQ(leaving.ping_session(session).summary(), "204");
  client_.begin_acquire(session, lock("job"));
  await_waiters(holder_, lock("job"), 1);
  leaving.begin_acquire(session, lock("free"));
  settle();
  leave(leaving);
  settle();
  EXPECT_EQ(holder_.release(lock("job"), grant.token), "ok");
  grant_in(client_.read_response());
  EXPECT_TRUE(eventually([&] { return held(holder_, lock("free")).is_null(); }));
}

// The server finds the hang-up and the release at once, in whatever order.
TEST_P(HttpCallers, that_leave_as_the_grant_comes_leave_it_to_the_next) {
  for (int round = 0; round < 50; ++round) {
    const Grant grant = holder_.hold(lock("job"));
    HttpClient leaving(server_);
    leaving.begin_acquire(leaving.open_session(), lock("job"));
    await_waiters(holder_, lock("job"), 1);
    Client next(server_);
    next.begin_acquire(lock("job"));
    await_waiters(holder_, lock("job"), 2);
    server_.signal(SIGSTOP);
    if (round % 2 == 0) leave(leaving);
    holder_.request("r", "job", grant.token);
    if (round % 2 != 0) leave(leaving);
    server_.signal(SIGCONT);
    EXPECT_EQ(holder_.read_line(), "ok");
    EXPECT_EQ(next.release(lock("job"), next.read_grant().token), "ok");
  }
}

TEST_P(HttpCallers, that_have_left_before_the_server_looks_hold_nothing) {
  for (int round = 0; round < 20; ++round) {
    HttpClient leaving(server_);
    const std::string session = leaving.open_session();
    server_.signal(SIGSTOP);
    leaving.begin_acquire(session, lock("job"));
    leave(leaving);
    server_.signal(SIGCONT);
    EXPECT_TRUE(eventually([&] { return held(holder_, lock("job")).is_null(); }, 2s));
    EXPECT_EQ(client_.delete_session(session).summary(), "204");
  }
}

TEST_P(HttpCallers, that_leave_during_stats_do_no_harm) {
  for (int round = 0; round < 50; ++round) {
    HttpClient leaving(server_);
    leaving.send(leaving.request_bytes("GET", "/v1/stats"));
    if (round % 2 == 0) settle();
    leave(leaving);
  }
  EXPECT_EQ(client_.get("/v1/stats").status, 200);
}

}  // namespace

}  // namespace dflockd::conformance
