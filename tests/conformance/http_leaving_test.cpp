// What HTTP adds to leaving (leaving_test.cpp has what both doors promise): sessions outlive their
// callers, and requests of one session wait for each other.

#include <csignal>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

/// How many descriptors the server has open.
std::ptrdiff_t open_files(const Server& server) {
  const std::string directory = "/proc/" + std::to_string(server.pid()) + "/fd";
  return std::distance(std::filesystem::directory_iterator(directory), {});
}

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

  /// Waits until the server has looked at what was sent before on connections that it knows.
  void settle() {
    for (int i = 0; i < 2; ++i) EXPECT_EQ(holder_.ping(), "ok");
  }

  Server server_{Http::kOn};
  Client holder_{server_};
  HttpClient client_{server_};
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

// The lease ends while the server sees one caller after the other leave.
TEST_P(HttpCallers, that_leave_as_the_lease_before_them_ends_leave_it_to_the_next) {
  constexpr int kCallers = 300;
  const Grant grant = holder_.hold(lock("job"));
  std::deque<HttpClient> callers;
  for (int i = 0; i < kCallers; ++i) {
    HttpClient& caller = callers.emplace_back(server_);
    caller.begin_acquire(caller.open_session(), lock("job"));
  }
  await_waiters(holder_, lock("job"), kCallers);
  Client next(server_);
  next.begin_acquire(lock("job"));
  await_waiters(holder_, lock("job"), kCallers + 1);
  EXPECT_EQ(holder_.renew(lock("job"), grant.token, 1), "ok 1");
  const auto end = Clock::now() + 1s;
  server_.signal(SIGSTOP);
  for (HttpClient& caller : callers) leave(caller);
  std::this_thread::sleep_until(end - 1ms);
  server_.signal(SIGCONT);
  EXPECT_EQ(next.release(lock("job"), next.read_grant().token), "ok");
}

// Request and end arrive together. Each session has a request that waits, or one behind it.
TEST_P(HttpCallers, that_leave_with_their_request_lose_their_place) {
  holder_.hold(lock("job"));
  for (const bool behind_another : {false, true}) {
    const std::string session = client_.open_session();
    HttpClient patient(server_);
    if (behind_another) patient.begin_acquire(session, lock("job"));
    await_waiters(holder_, lock("job"), behind_another ? 1 : 0);
    const std::ptrdiff_t files = open_files(server_);
    for (int round = 0; round < 20; ++round) {
      HttpClient leaving(server_);
      server_.signal(SIGSTOP);
      leaving.begin_acquire(session, lock("job"));
      leave(leaving);
      server_.signal(SIGCONT);
    }
    settle();
    await_waiters(holder_, lock("job"), behind_another ? 1 : 0);
    EXPECT_TRUE(eventually([&] { return open_files(server_) == files; }, 5s));
  }
}

TEST_P(HttpCallers, that_leave_a_second_phase_behind_another_request_lose_their_place) {
  const Grant first = holder_.hold(lock("first"));
  const Grant second = holder_.hold(lock("second"));
  const std::string session = client_.open_session();
  EXPECT_EQ(client_.enqueue(session, lock("second")).summary(), "200 queued");
  HttpClient patient(server_);
  patient.begin_acquire(session, lock("first"));
  await_waiters(holder_, lock("first"), 1);
  HttpClient leaving(server_);
  leaving.begin_wait(session, lock("second"));
  settle();
  leave(leaving);
  await_waiters(holder_, lock("second"), 0);
  EXPECT_EQ(holder_.release(lock("first"), first.token), "ok");
  grant_in(patient.read_response());
  EXPECT_EQ(client_.wait(session, lock("second"), 0).summary(), "409 not_enqueued");
}

// What they would have held they do not get; what they sent behind it is carried out.
TEST_P(HttpCallers, that_leave_behind_what_need_not_wait_have_all_of_it_carried_out) {
  if (GetParam() == Leaving::kReset) GTEST_SKIP() << "a reset throws away what was not read";
  holder_.hold(lock("held"));
  const std::string session = client_.open_session();
  const std::vector<std::string> firsts{
      client_.request_bytes("POST", "/v1/locks/free", R"({"acquire_timeout_s":0})", session),
      client_.request_bytes("POST", "/v1/locks/held", R"({"acquire_timeout_s":0})", session),
      client_.request_bytes("POST", "/v1/locks/none/wait", R"({"timeout_s":0})", session)};
  for (const std::string& first : firsts) {
    const Grant grant = client_.hold(session, lock("own"));
    HttpClient leaving(server_);
    server_.signal(SIGSTOP);
    leaving.send(first + client_.request_bytes("POST", "/v1/locks/own/release",
                                               R"({"token":")" + grant.token + R"("})", session));
    leave(leaving);
    server_.signal(SIGCONT);
    EXPECT_TRUE(eventually([&] { return held(holder_, lock("own")).is_null(); })) << first;
    EXPECT_TRUE(held(holder_, lock("free")).is_null());
  }
}

// Only waiting is for the caller.
TEST_P(HttpCallers, that_leave_behind_a_blocked_request_have_what_needs_no_waiting_done) {
  holder_.hold(lock("job"));
  const std::string session = client_.open_session();
  HttpClient patient(server_);
  std::map<std::string, std::string> bodies;
  for (const std::string name : {"one", "other"}) {
    bodies[name] = R"({"token":")" + client_.hold(session, lock(name)).token + R"("})";
  }
  patient.begin_acquire(session, lock("job"), 1);
  await_waiters(holder_, lock("job"), 1);
  for (const std::string name : {"one", "other"}) {
    // A reset throws away what the server has not read.
    const bool together = name == "one" && GetParam() != Leaving::kReset;
    HttpClient leaving(server_);
    if (together) server_.signal(SIGSTOP);
    leaving.send(
        leaving.request_bytes("POST", path_of(lock(name), "release"), bodies[name], session));
    if (!together) settle();
    leave(leaving);
    if (together) server_.signal(SIGCONT);
  }
  EXPECT_EQ(patient.read_response().summary(), "200 timeout");
  for (const std::string name : {"one", "other"}) {
    EXPECT_TRUE(eventually([&] { return held(holder_, lock(name)).is_null(); }));
  }
}

// The session knows the token from the first phase, and counts on its lease.
TEST_P(HttpCallers, that_leave_during_the_second_phase_keep_what_the_first_has_granted) {
  HttpClient leaving(server_);
  const std::string session = leaving.open_session();
  const Grant grant = grant_in(leaving.enqueue(session, lock("job")), "acquired");
  server_.signal(SIGSTOP);
  leaving.begin_wait(session, lock("job"));
  leave(leaving);
  server_.signal(SIGCONT);
  settle();
  EXPECT_EQ(client_.release(session, lock("job"), grant.token).summary(), "204");
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

// The answer is longer than what the kernel's buffers hold.
TEST_P(HttpCallers, that_leave_in_the_middle_of_very_long_stats_are_let_go) {
  const Server server({"--max-locks", "0", "--write-timeout", "3600"}, Http::kOn);
  Client holder(server);
  constexpr std::size_t kKeys = 30'000;
  holder.hold_many(std::string(240, 'k'), kKeys);
  HttpClient client(server);
  EXPECT_EQ(client.get("/health").summary(), "200 ok");
  const std::ptrdiff_t before = open_files(server);
  HttpClient leaving(server);
  leaving.send(leaving.request_bytes("GET", "/v1/stats"));
  EXPECT_EQ(leaving.connection().read_line(), "HTTP/1.1 200 OK\r");
  EXPECT_EQ(client.get("/health").summary(), "200 ok") << "while the other does not read";
  EXPECT_GT(open_files(server), before);
  leave(leaving);
  // Who has only closed its own side may still want the answer.
  if (GetParam() == Leaving::kHalfClose) {
    const std::string answer = leaving.connection().read_to_end();
    EXPECT_TRUE(answer.ends_with("}\n"));
    EXPECT_GT(answer.size(), kKeys * 240);
  }
  EXPECT_TRUE(eventually([&] { return open_files(server) == before; }));
  EXPECT_EQ(client.get("/health").summary(), "200 ok");
  EXPECT_EQ(holder.ping(), "ok");
}

}  // namespace

}  // namespace dflockd::test
