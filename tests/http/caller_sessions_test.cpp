// Requests on sessions of callers: their turns, what waits for the lock table, and who has left.
#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "caller_requests.hpp"
#include "connected.hpp"

namespace dflockd::http {
namespace {

using namespace std::chrono_literals;

using net::Want;

class HttpCallers : public testing::Test {
 protected:
  /// Another session holds the key.
  std::string hold(std::string_view key = "k") {
    return token_in(holder_.send(acquire(holder_session_, key, 0)));
  }
  void give_back(const std::string& token, std::string_view key = "k") {
    EXPECT_EQ(holder_.send(release(holder_session_, token, key)).status, 204);
  }
  [[nodiscard]] std::size_t waiters() { return server_.counts().lock_waiters; }
  [[nodiscard]] std::size_t held() { return server_.counts().locks_held; }

  Server server_;
  const std::string holder_session_ = server_.open_session();
  Connection holder_{server_};
  const std::string session_ = server_.open_session();
};

// --- Blocked ---

TEST_F(HttpCallers, blocked_request_is_answered_when_the_lock_is_free) {
  const std::string token = hold();
  Connection caller(server_);
  EXPECT_EQ(caller.arrive(acquire(session_)), Want::kAnswer);
  EXPECT_EQ(caller.take(), "");
  EXPECT_EQ(caller.advance(), Want::kAnswer) << "nothing has happened";
  give_back(token);
  EXPECT_TRUE(caller.woken);
  EXPECT_EQ(caller.go_on(), Want::kInput);
  const Answer answer = caller.take_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(caller.send(release(session_, token_in(answer))).status, 204);
}

TEST_F(HttpCallers, blocked_request_times_out) {
  hold();
  Connection caller(server_);
  caller.arrive(acquire(session_, "k", 2));
  server_.pass(2s);
  caller.go_on();
  EXPECT_EQ(caller.take_answer().body, "{\"status\":\"timeout\"}\n");
}

TEST_F(HttpCallers, drain_answers_blocked_requests) {
  hold();
  Connection caller(server_);
  caller.arrive(acquire(session_));
  server_.drain();
  caller.go_on();
  EXPECT_EQ(caller.take_answer().status, 503);
}

TEST_F(HttpCallers, what_is_sent_ahead_of_an_answer_waits) {
  const std::string token = hold();
  Connection caller(server_);
  const std::string health = request("GET /health");
  std::size_t ahead = HttpSession::kMostInput / health.size();
  caller.arrive(acquire(session_) + health);
  for (std::size_t i = 1; i < ahead; ++i) caller.lay(health);
  EXPECT_EQ(caller.advance(), Want::kAnswer) << "or its leaving would not be seen";
  EXPECT_EQ(caller.take(), "");
  give_back(token);
  caller.go_on();
  EXPECT_EQ(parse_answers(caller.take()).size(), 1 + ahead);
}

TEST_F(HttpCallers, too_much_sent_ahead_of_an_answer_ends_the_wait_and_the_connection) {
  hold();
  Connection patient(server_);
  patient.arrive(acquire(session_));
  for (const std::string& session : {server_.open_session(), session_}) {  // behind the other, too
    Connection caller(server_);
    caller.arrive(acquire(session));
    EXPECT_EQ(caller.arrive(std::string(HttpSession::kMostInput - 1, 'x')), Want::kAnswer);
    EXPECT_EQ(caller.arrive("x"), Want::kClose);
    const Answer answer = caller.take_answer();
    EXPECT_EQ(answer.status, 400);
    EXPECT_TRUE(answer.has("Connection: close"));
    EXPECT_EQ(answer.rest, "");
    EXPECT_EQ(waiters(), 1U);
    EXPECT_EQ(caller.advance(), Want::kClose);
    EXPECT_EQ(caller.take(), "") << "it is refused once";
  }
  EXPECT_EQ(server_.counted("POST", "/v1/locks/{key}", 400), 2U);
}

TEST_F(HttpCallers, what_needs_no_caller_is_carried_out_whatever_is_sent_ahead_of_its_answer) {
  const std::string token = hold();
  const std::string own = token_in(holder_.send(acquire(session_, "own", 0)));
  Connection patient(server_);
  patient.arrive(acquire(session_));
  Connection caller(server_);
  EXPECT_EQ(caller.arrive(release(session_, own, "own")), Want::kPark);
  EXPECT_EQ(caller.arrive(std::string(HttpSession::kMostInput, '\n')), Want::kPark);
  give_back(token);
  patient.go_on();
  caller.go_on();
  EXPECT_EQ(caller.take_answer().status, 204);
}

TEST_F(HttpCallers, caller_that_leaves_loses_its_place_at_once) {
  hold();
  for (const auto leave : kLeaving) {
    Connection caller(server_);
    caller.arrive(acquire(session_));
    EXPECT_EQ(waiters(), 1U);
    leave(caller);
    EXPECT_EQ(waiters(), 0U);
    EXPECT_TRUE(caller.want == Want::kDrop || leave == kLeaving[2]);
    EXPECT_EQ(caller.take(), "");
  }
  EXPECT_EQ(server_.counted("POST", "/v1/locks/{key}", 408), 3U);
}

TEST_F(HttpCallers, grant_that_races_with_a_caller_that_leaves_goes_to_the_next) {
  const std::string other = server_.open_session();
  std::string token = hold();
  for (const auto leave : kLeaving) {
    Connection caller(server_);
    Connection next(server_);
    caller.arrive(acquire(session_));
    next.arrive(acquire(other));
    give_back(token);
    leave(caller);
    EXPECT_EQ(next.go_on(), Want::kInput);
    token = token_in(next.take_answer());
  }
}

TEST_F(HttpCallers, grant_is_not_kept_for_a_caller_whose_leaving_nobody_has_noticed) {
  const std::string token = hold();
  Connection caller(server_);
  Connection next(server_);
  const std::string other = server_.open_session();
  caller.arrive(acquire(session_));
  next.arrive(acquire(other));
  caller.is_gone = true;
  give_back(token);
  caller.go_on();
  EXPECT_EQ(caller.take_answer().status, 408);
  next.go_on();
  EXPECT_EQ(next.take_answer().status, 200);

  Connection at_once(server_);
  at_once.is_gone = true;
  EXPECT_EQ(at_once.send(acquire(session_, "free")).status, 408);
  EXPECT_EQ(held(), 1U) << "only what the next one has";
}

TEST_F(HttpCallers, caller_that_has_hung_up_does_not_begin_to_wait) {
  hold();
  Connection caller(server_);
  caller.hang_up();
  EXPECT_EQ(caller.arrive(request("GET /health") + acquire(session_)), Want::kDrop);
  EXPECT_EQ(caller.take_answer().status, 200) << "what can be answered is";
  EXPECT_EQ(waiters(), 0U);

  Connection blocked(server_);
  Connection behind(server_);
  blocked.arrive(acquire(session_));
  behind.hang_up();
  EXPECT_EQ(behind.arrive(acquire(session_, "free")), Want::kDrop);
  EXPECT_EQ(held(), 1U);
}

TEST_F(HttpCallers, grant_that_enqueue_has_answered_stays_though_the_caller_of_wait_leaves) {
  Connection caller(server_);
  EXPECT_EQ(caller.send(enqueue(session_)).status, 200);
  caller.is_gone = true;
  EXPECT_EQ(caller.send(wait(session_)).status, 200);
  EXPECT_EQ(held(), 1U);
}

TEST_F(HttpCallers, place_in_the_queue_is_waited_for_in_two_steps) {
  const std::string token = hold();
  Connection caller(server_);
  EXPECT_EQ(caller.send(enqueue(session_)).body, "{\"status\":\"queued\"}\n");
  EXPECT_EQ(caller.arrive(wait(session_)), Want::kAnswer);
  give_back(token);
  caller.go_on();
  EXPECT_EQ(caller.take_answer().status, 200);
}

// --- Queued ---

TEST_F(HttpCallers, requests_on_one_session_are_carried_out_in_the_order_of_their_arrival) {
  const std::string first = hold("first");
  const std::string second = hold("second");
  Connection one(server_);
  Connection two(server_);
  Connection three(server_);
  one.arrive(acquire(session_, "first"));
  EXPECT_EQ(two.arrive(acquire(session_, "second")), Want::kAnswer);
  EXPECT_EQ(three.arrive(enqueue(session_)), Want::kPark) << "it is carried out in any case";
  EXPECT_EQ(waiters(), 1U) << "the second is not in the table yet";
  give_back(second, "second");
  EXPECT_FALSE(two.woken);
  give_back(first, "first");
  one.go_on();
  EXPECT_EQ(one.take_answer().status, 200);
  two.go_on();
  EXPECT_EQ(two.take_answer().status, 200);
  three.go_on();
  EXPECT_EQ(three.take_answer().status, 200);
}

TEST_F(HttpCallers, ping_and_delete_do_not_queue_and_delete_wakes_whoever_waits) {
  hold();
  Connection blocked(server_);
  Connection queued(server_);
  Connection other(server_);
  blocked.arrive(acquire(session_));
  queued.arrive(release(session_, std::string(32, '0')));
  EXPECT_EQ(other.send(request("POST /v1/sessions/" + session_ + "/ping")).status, 204);
  EXPECT_EQ(other.send(request("DELETE /v1/sessions/" + session_)).status, 204);
  EXPECT_EQ(waiters(), 0U);
  blocked.go_on();
  queued.go_on();
  EXPECT_EQ(blocked.take_answer().status, 410);
  EXPECT_EQ(queued.take_answer().status, 410);
  EXPECT_EQ(other.send(request("POST /v1/sessions/" + session_ + "/ping")).status, 410);
  EXPECT_EQ(other.send(request("DELETE /v1/sessions/" + session_)).status, 410);
}

TEST_F(HttpCallers, caller_that_hangs_up_in_the_queue_lets_the_others_go_on) {
  const std::string token = hold();
  Connection blocked(server_);
  Connection queued(server_);
  Connection last(server_);
  blocked.arrive(acquire(session_));
  queued.arrive(acquire(session_, "other"));
  last.arrive(acquire(session_, "another"));
  queued.hang_up();
  EXPECT_EQ(queued.want, Want::kDrop);
  blocked.hang_up();
  last.go_on();
  EXPECT_EQ(last.take_answer().status, 200);
  EXPECT_EQ(held(), 2U);
}

TEST_F(HttpCallers, release_that_is_queued_is_carried_out_though_its_caller_hangs_up) {
  const std::string other = hold("other");
  Connection caller(server_);
  const std::string token = token_in(caller.send(acquire(session_)));
  Connection blocked(server_);
  blocked.arrive(acquire(session_, "other"));
  EXPECT_EQ(caller.arrive(release(session_, token)), Want::kPark);
  caller.hang_up();
  EXPECT_EQ(caller.want, Want::kPark);
  give_back(other, "other");
  blocked.go_on();
  caller.go_on();
  EXPECT_EQ(caller.take_answer().status, 204);
  EXPECT_EQ(held(), 1U) << "what the blocked request was for";
}

TEST_F(HttpCallers, wait_that_is_queued_gives_its_place_up_when_its_caller_hangs_up) {
  hold();
  hold("other");
  Connection caller(server_);
  caller.send(enqueue(session_));
  Connection blocked(server_);
  blocked.arrive(acquire(session_, "other"));
  caller.arrive(wait(session_));
  EXPECT_EQ(waiters(), 2U);
  caller.hang_up();
  EXPECT_EQ(waiters(), 1U);
}

TEST_F(HttpCallers, session_that_ends_while_a_body_arrives_is_gone) {
  const std::string path = "/v1/sessions/" + session_;
  Connection acquiring(server_);
  Connection pinging(server_);
  Connection deleting(server_);
  for (const auto& [caller, whole] : {std::pair(&acquiring, acquire(session_)),
                                      std::pair(&pinging, request("POST " + path + "/ping", "{}")),
                                      std::pair(&deleting, request("DELETE " + path, "{}"))}) {
    caller->arrive(whole.substr(0, whole.size() - 1));
  }
  Connection other(server_);
  EXPECT_EQ(other.send(request("DELETE " + path)).status, 204);
  for (Connection* const caller : {&acquiring, &pinging, &deleting}) {
    EXPECT_EQ(caller->send("}").status, 410);
  }
  EXPECT_EQ(held(), 0U);
}

// --- Idle sessions ---

TEST_F(HttpCallers, session_idle_for_twice_its_timeout_is_closed) {
  Connection caller(server_);
  const std::string ping = request("POST /v1/sessions/" + session_ + "/ping");
  server_.pass(39s);
  EXPECT_EQ(caller.send(ping).status, 204);
  server_.pass(39s);
  EXPECT_EQ(caller.send(ping).status, 204);
  server_.pass(40s + 2 * base::LoopClock::kBeat);
  EXPECT_EQ(caller.send(ping).status, 410);
}

TEST_F(HttpCallers, request_in_flight_keeps_its_session_alive_and_so_does_its_end) {
  const std::string token = hold();
  Connection caller(server_);
  caller.arrive(acquire(session_, "k", 1'000));
  const std::string idle = server_.open_session();
  for (int i = 0; i < 5; ++i) {
    server_.pass(30s);
    EXPECT_EQ(holder_.send(request("POST /v1/sessions/" + holder_session_ + "/ping")).status, 204);
    EXPECT_EQ(holder_
                  .send(request("POST /v1/locks/k/renew", R"({"token":")" + token + "\"}",
                                with_session(holder_session_)))
                  .status,
              200);
  }
  EXPECT_FALSE(caller.woken);
  EXPECT_EQ(holder_.send(request("POST /v1/sessions/" + idle + "/ping")).status, 410)
      << "others are judged all the same";
  give_back(token);
  caller.go_on();
  EXPECT_EQ(caller.take_answer().status, 200);
  server_.pass(39s);
  EXPECT_EQ(caller.send(request("POST /v1/sessions/" + session_ + "/ping")).status, 204);
}

TEST_F(HttpCallers, request_keeps_its_session_alive_from_its_head_on) {
  Connection caller(server_);
  const std::string whole = acquire(session_);
  server_.pass(39s);
  caller.arrive(whole.substr(0, whole.size() - 1));
  server_.pass(20s);
  EXPECT_EQ(caller.send("}").status, 200);
}

TEST_F(HttpCallers, session_whose_request_lies_in_a_socket_is_not_idle) {
  Connection caller(server_);
  const std::string ping = request("POST /v1/sessions/" + session_ + "/ping");
  server_.pass(40s);
  // What has arrived before a tick is read before the next one.
  EXPECT_EQ(caller.send(ping).status, 204);
  server_.tick();
  EXPECT_EQ(caller.send(ping).status, 204);
  server_.skip(100s);
  server_.tick();
  EXPECT_EQ(caller.send(ping).status, 204);
  server_.tick();
  EXPECT_EQ(caller.send(ping).status, 204);
}

TEST(http_callers, thousands_of_idle_sessions_are_closed_a_part_at_a_time) {
  Server server;
  Connection connection(server);
  constexpr std::size_t kSessions = 2 * Callers::kJudgedATick + 10;
  for (std::size_t i = 0; i < kSessions; ++i) connection.arrive(request("POST /v1/sessions"));
  server.skip(41s);
  server.tick();
  for (std::size_t left = kSessions; left > 0;) {
    server.tick();
    left -= std::min<std::size_t>(left, Callers::kJudgedATick);
    EXPECT_EQ(server.door().callers.size(), left);
  }
}

TEST(http_callers, caps_refuse_further_sessions) {
  Server::Setup setup;
  setup.options.sessions = {.max_sessions = 3, .max_sessions_per_ip = 2};
  Server server(setup);
  Connection one(server);
  EXPECT_EQ(one.send(request("POST /v1/sessions")).status, 200);
  EXPECT_EQ(one.send(request("POST /v1/sessions")).status, 200);
  EXPECT_NE(one.send(request("POST /v1/sessions")).body.find("max_sessions_per_ip"),
            std::string::npos);
  Connection two(server, "::ffff:192.0.2.7");
  EXPECT_EQ(two.send(request("POST /v1/sessions")).status, 200);
  EXPECT_NE(two.send(request("POST /v1/sessions")).body.find("\"max_sessions\""),
            std::string::npos);
}

TEST(http_callers, grants_outlive_a_session_that_is_idle_but_not_one_that_is_deleted) {
  for (const bool deleted : {false, true}) {
    Server::Setup setup;
    setup.service.release_on_disconnect = false;
    setup.service.default_lease = std::chrono::hours(1);
    Server server(setup);
    const std::string session = server.open_session();
    Connection caller(server);
    EXPECT_EQ(caller.send(acquire(session)).status, 200);
    if (deleted) {
      caller.send(request("DELETE /v1/sessions/" + session));
    } else {
      server.pass(41s);
      EXPECT_EQ(caller.send(request("POST /v1/sessions/" + session + "/ping")).status, 410);
    }
    EXPECT_EQ(server.counts().locks_held, deleted ? 0U : 1U);
  }
}

}  // namespace
}  // namespace dflockd::http
