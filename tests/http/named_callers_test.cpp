// Sessions of callers that have a stable ref: what they leave behind, and who gets it back.
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

/// Sessions that say who they are, on a server that keeps what they leave for 30 seconds.
class NamedHttpCallers : public testing::Test {
 protected:
  static Server::Setup setup() {
    Server::Setup setup;
    setup.service.orphan_ttl = 100s;
    setup.service.default_lease = 1'000s;
    return setup;
  }
  std::string named(std::string_view ref = "worker-7") {
    return server_.open_session(R"({"stable_ref":")" + std::string(ref) + "\"}");
  }
  /// Ends a session by letting it be idle; the others are pinged.
  void let_idle(const std::string& session, const std::vector<std::string>& others = {}) {
    Connection connection(server_);
    for (int i = 0; i < 3; ++i) {
      for (const std::string& other : others) {
        EXPECT_EQ(connection.send(request("POST /v1/sessions/" + other + "/ping")).status, 204);
      }
      server_.pass(21s);
    }
    EXPECT_EQ(connection.send(request("POST /v1/sessions/" + session + "/ping")).status, 410);
  }
  [[nodiscard]] std::size_t waiters() { return server_.counts().lock_waiters; }
  [[nodiscard]] std::size_t held() { return server_.counts().locks_held; }

  Server server_{setup()};
};

TEST_F(NamedHttpCallers, refs_and_names_that_are_not_allowed_open_no_session) {
  Connection caller(server_);
  for (const char* const body :
       {R"({"stable_ref":""})", R"({"name":"\u0007"})", R"({"ref":"a"})", R"({"name":1})", "[]"}) {
    const Answer answer = caller.send(request("POST /v1/sessions", body));
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_NE(answer.body.find(R"("detail":)"), std::string::npos) << answer.body;
  }
  EXPECT_EQ(server_.door().callers.size(), 0U);
}

TEST_F(NamedHttpCallers, held_lock_of_an_idle_session_is_the_next_ones_with_the_same_token) {
  Connection caller(server_);
  const std::string token = token_in(caller.send(acquire(named(), "k", 0)));
  server_.pass(41s);
  EXPECT_EQ(held(), 1U);
  EXPECT_EQ(caller.send(acquire(named("another"), "k", 0)).body, "{\"status\":\"timeout\"}\n");
  EXPECT_EQ(token_in(caller.send(acquire(named(), "k", 0))), token);
  EXPECT_EQ(held(), 1U);
}

TEST_F(NamedHttpCallers, orphans_end_with_their_ttl) {
  Connection caller(server_);
  caller.send(acquire(named(), "k", 0));
  server_.pass(41s + 101s);
  EXPECT_EQ(held(), 0U);
}

TEST_F(NamedHttpCallers, deleted_session_leaves_nothing_behind) {
  Connection caller(server_);
  Connection other(server_);
  const std::string session = named();
  caller.send(acquire(session, "k", 0));
  caller.send(request("POST /v1/locks/other/enqueue", "", with_session(session)));
  other.send(request("DELETE /v1/sessions/" + session));
  EXPECT_EQ(server_.counts().claims, 0U);
}

TEST_F(NamedHttpCallers, place_of_an_idle_session_is_the_next_ones) {
  Connection holder(server_);
  const std::string holding = server_.open_session();
  const std::string token = token_in(holder.send(acquire(holding, "k", 0)));
  Connection caller(server_);
  const std::string first = named();
  caller.send(enqueue(first));
  const std::string second = server_.open_session();
  caller.send(enqueue(second));
  let_idle(first, {holding, second});
  EXPECT_EQ(waiters(), 2U);
  const std::string again = named();
  EXPECT_EQ(caller.arrive(wait(again)), Want::kAnswer);
  EXPECT_EQ(waiters(), 2U) << "in its old place";
  EXPECT_EQ(holder.send(release(holding, token)).status, 204);
  caller.go_on();
  EXPECT_EQ(caller.take_answer().status, 200) << "before the one that came later";
}

TEST_F(NamedHttpCallers, living_session_is_not_displaced) {
  Connection caller(server_);
  Connection second(server_);
  const std::string session = named();
  const std::string token = token_in(caller.send(acquire(session, "k", 0)));
  const std::string other = named();
  EXPECT_EQ(second.arrive(acquire(other)), Want::kAnswer);
  EXPECT_EQ(caller.send(release(session, token)).status, 204);
  second.go_on();
  EXPECT_NE(token_in(second.take_answer()), token);
}

TEST_F(NamedHttpCallers, session_that_waits_with_the_same_ref_gets_the_claim_when_the_other_ends) {
  Connection caller(server_);
  const std::string session = named();
  const std::string token = token_in(caller.send(acquire(session, "k", 0)));
  Connection second(server_);
  EXPECT_EQ(second.arrive(acquire(named(), "k", 1'000)), Want::kAnswer);
  let_idle(session);
  second.go_on();
  EXPECT_EQ(token_in(second.take_answer()), token);
  EXPECT_EQ(held(), 1U);
}

TEST_F(NamedHttpCallers, claim_of_the_other_mode_is_not_handed_back) {
  Connection caller(server_);
  caller.send(acquire(named(), "k", 0));
  server_.pass(41s);
  const std::string again = named();
  const Answer shared = caller.send(
      request("POST /v1/locks/k", R"({"acquire_timeout_s":0,"shared":true})", with_session(again)));
  EXPECT_EQ(shared.status, 400);
  EXPECT_NE(shared.body.find(R"({"error":"bad_request","detail":"shared: )"), std::string::npos);
  EXPECT_EQ(caller.send(acquire(again, "k", 0)).status, 200);
}

TEST_F(NamedHttpCallers, renewal_makes_the_session_that_sends_it_the_owner) {
  Connection caller(server_);
  const std::string token = token_in(caller.send(acquire(named(), "k", 0)));
  server_.pass(41s);
  const std::string other = server_.open_session();
  EXPECT_EQ(caller
                .send(request("POST /v1/locks/k/renew", R"({"token":")" + token + "\"}",
                              with_session(other)))
                .status,
            200);
  caller.send(request("DELETE /v1/sessions/" + other));
  EXPECT_EQ(held(), 0U);
}

TEST_F(NamedHttpCallers, that_leave_a_wait_lose_their_place_though_it_was_handed_back) {
  Connection holder(server_);
  const std::string holding = server_.open_session();
  holder.send(acquire(holding, "k", 0));
  for (const auto leave : kLeaving) {
    Connection caller(server_);
    const std::string first = named();
    caller.send(enqueue(first));
    let_idle(first, {holding});
    EXPECT_EQ(waiters(), 1U);
    caller.arrive(acquire(named()));
    EXPECT_EQ(waiters(), 1U);
    leave(caller);
    EXPECT_EQ(waiters(), 0U);
  }
}

TEST_F(NamedHttpCallers, that_leave_before_a_lock_is_handed_back_keep_it) {
  Connection caller(server_);
  const std::string token = token_in(caller.send(acquire(named(), "k", 0)));
  server_.pass(41s);
  Connection leaving(server_);
  leaving.is_gone = true;
  leaving.send(acquire(named(), "k", 0));
  EXPECT_EQ(held(), 1U) << "its program knows the token";
  server_.pass(41s);
  EXPECT_EQ(token_in(caller.send(acquire(named(), "k", 0))), token);
}

TEST_F(NamedHttpCallers, that_leave_as_another_ends_keep_what_that_leaves_them) {
  for (const auto leave : kLeaving) {
    Connection caller(server_);
    const std::string session = named();
    const std::string token = token_in(caller.send(acquire(session, "k", 0)));
    Connection second(server_);
    const std::string other = named();
    second.arrive(acquire(other, "k", 1'000));
    let_idle(session);
    leave(second);
    EXPECT_EQ(held(), 1U);
    EXPECT_EQ(caller.send(release(other, token)).status, 204);
  }
}

TEST_F(NamedHttpCallers, drain_hands_back_what_is_held) {
  Connection caller(server_);
  const std::string token = token_in(caller.send(acquire(named(), "k", 0)));
  server_.pass(41s);
  server_.drain();
  const std::string again = named();
  Connection one(server_);
  EXPECT_EQ(token_in(one.send(acquire(again, "k", 0))), token);
  Connection two(server_);
  EXPECT_EQ(two.send(acquire(again, "other", 0)).status, 503);
}

TEST_F(NamedHttpCallers, readers_share_a_lock) {
  Connection caller(server_);
  const std::string body = R"({"acquire_timeout_s":0,"shared":true})";
  const std::string one = named("one");
  const std::string two = named("two");
  const auto read = [&](const std::string& session) {
    return caller.send(request("POST /v1/locks/k", body, with_session(session)));
  };
  const std::string token = token_in(read(one));
  EXPECT_NE(token_in(read(two)), "");
  EXPECT_EQ(held(), 2U);
  EXPECT_EQ(caller.send(acquire(one, "k", 0)).body, "{\"status\":\"timeout\"}\n");
  server_.pass(41s);
  EXPECT_EQ(token_in(read(named("one"))), token);
}

}  // namespace
}  // namespace dflockd::http
