#include "http/http_session.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "connected.hpp"

namespace dflockd::http {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

using net::Patience;
using net::Want;

const std::string kHealth = request("GET /health");

std::string with_session(const std::string& id) {
  return "X-Dflockd-Session: " + id + "\r\n";
}

/// The statuses of the answers in `bytes`.
std::vector<int> statuses(const std::string& bytes) {
  std::vector<int> result;
  for (const Answer& answer : parse_answers(bytes)) result.push_back(answer.status);
  return result;
}

// --- New ---

TEST(http_session, new_connection_that_says_nothing_ends_without_an_answer) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection.advance(), Want::kInput);
  EXPECT_TRUE(connection.is_new());
  EXPECT_FALSE(connection.is_spare());
  EXPECT_EQ(connection.patience(), Patience::kRequest) << "the first request is due";
  EXPECT_EQ(connection.be_silent(), Want::kDrop);
  EXPECT_EQ(connection.take(), "");
}

TEST(http_session, request_that_stays_incomplete_is_refused) {
  Server server;
  const std::string whole = request("POST /v1/sessions", "{}");
  for (const std::size_t size : {1UL, 20UL, whole.size() - 3, whole.size() - 1}) {
    Connection connection(server);
    EXPECT_EQ(connection.arrive(whole.substr(0, size)), Want::kInput);
    EXPECT_EQ(connection.patience(), Patience::kRequest);
    EXPECT_FALSE(connection.is_spare());
    EXPECT_FALSE(connection.is_new());
    EXPECT_EQ(connection.be_silent(), Want::kClose);
    const Answer answer = connection.take_answer();
    EXPECT_EQ(answer.status, 400);
    EXPECT_TRUE(answer.has("Connection: close"));
    EXPECT_EQ(connection.advance(), Want::kClose);
    EXPECT_EQ(connection.take(), "") << "it is refused once";
  }
}

// --- Open ---

TEST(http_session, idle_connection_ends_without_an_answer) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection.send(kHealth).status, 200);
  EXPECT_EQ(connection.want, Want::kInput);
  EXPECT_EQ(connection.patience(), Patience::kIdle);
  EXPECT_TRUE(connection.is_spare());
  EXPECT_FALSE(connection.is_new());
  EXPECT_EQ(connection.be_silent(), Want::kDrop);
  EXPECT_EQ(connection.take(), "");
}

TEST(http_session, advancing_without_an_event_does_nothing) {
  Server server;
  Connection connection(server);
  for (const std::string& bytes : {""s, "GET /hea"s, "lth HTTP/1.1\r\nHost: localhost\r\n\r\n"s}) {
    const Want want = connection.arrive(bytes);
    static_cast<void>(connection.take());
    EXPECT_EQ(connection.advance(), want);
    EXPECT_EQ(connection.take(), "");
  }
}

std::string without_dates(std::string bytes) {
  for (std::size_t at = 0; (at = bytes.find("Date: ", at)) != std::string::npos;) {
    bytes.erase(at, bytes.find("\r\n", at) + 2 - at);
  }
  return bytes;
}

/// A conversation whose answers are always the same.
std::string conversation(const std::string& session) {
  const std::string fields = with_session(session);
  return kHealth + request("GET /nowhere") + request("PUT /v1/locks/k", "body") +
         request("POST /v1/locks/k", R"({"acquire_timeout_s":0})") +
         request("POST /v1/locks/k", R"({"acquire_timeout_s":0})", fields) +
         request("POST /v1/locks/k", "{", fields) +
         request("POST /v1/locks/k", R"({"acquire_timeout_s":0})",
                 with_session("0123456789abcdef0123456789abcdef")) +
         "POST /v1/sessions/" + session +
         "/ping HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
         "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n" +
         "garbage\r\n\r\n" + kHealth;
}

TEST(http_session, answers_do_not_depend_on_how_the_bytes_arrive) {
  Server server;
  const std::string holder = server.open_session();
  Connection first(server);
  ASSERT_EQ(
      first.send(request("POST /v1/locks/k", R"({"acquire_timeout_s":0})", with_session(holder)))
          .status,
      200);
  const std::string bytes = conversation(server.open_session());
  const auto heard = [&](std::size_t cut, std::size_t step) {
    Connection connection(server);
    for (std::size_t begin = 0; begin < bytes.size();) {
      const std::size_t end = begin == 0 && cut > 0 ? cut : std::min(begin + step, bytes.size());
      connection.arrive(bytes.substr(begin, end - begin));
      begin = end;
    }
    return without_dates(connection.take());
  };
  const std::string whole = heard(0, bytes.size());
  EXPECT_EQ(statuses(whole), (std::vector{200, 404, 405, 400, 200, 400, 410, 204, 400}));
  EXPECT_EQ(heard(0, 1), whole) << "byte by byte";
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    ASSERT_EQ(heard(cut, bytes.size()), whole) << "cut at " << cut;
  }
}

TEST(http_session, bytes_that_are_no_request_are_refused_and_nothing_after_them_is_read) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection.arrive(kHealth + "garbage\r\n\r\n" + kHealth), Want::kClose);
  EXPECT_EQ(statuses(connection.take()), (std::vector{200, 400}));
  EXPECT_EQ(server.counted("OTHER", "-", 400), 1U);
}

TEST(http_session, requests_sent_ahead_are_answered_in_order_a_bounded_number_in_a_turn) {
  Server server;
  Connection connection(server);
  std::string ahead;
  for (int i = 0; i < 100; ++i) ahead += i % 2 == 0 ? kHealth : request("GET /nowhere");
  connection.lay(ahead);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(connection.advance(true), Want::kTurn);
    const std::vector<int> said = statuses(connection.take());
    EXPECT_EQ(said.size(), static_cast<std::size_t>(HttpSession::kRequestsATurn));
    for (std::size_t j = 0; j < said.size(); ++j) EXPECT_EQ(said[j], j % 2 == 0 ? 200 : 404);
  }
  EXPECT_EQ(connection.advance(true), Want::kInput);
  EXPECT_EQ(statuses(connection.take()).size(), 4U);
}

TEST(http_session, large_answers_end_a_turn) {
  Server server;
  Connection connection(server);
  std::string ahead;
  for (int i = 0; i < 20; ++i) ahead += request("GET /v1/openapi.json");
  connection.lay(ahead);
  EXPECT_EQ(connection.advance(true), Want::kTurn);
  const std::size_t one = connection.take().size();
  EXPECT_LT(one, 2 * HttpSession::kBytesATurn);
  EXPECT_EQ(connection.advance(), Want::kInput);
}

TEST(http_session, connection_goes_on_as_both_sides_say) {
  Server server;
  Connection close(server);
  EXPECT_TRUE(close.send(request("GET /health", "", "Connection: close\r\n") + kHealth)
                  .has("Connection: close"));
  EXPECT_EQ(close.want, Want::kClose);

  Connection old(server);
  EXPECT_TRUE(old.send("GET /health HTTP/1.0\r\n\r\n").has("Connection: close"));
  EXPECT_EQ(old.want, Want::kClose);

  Connection kept(server);
  EXPECT_TRUE(kept.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                  .has("Connection: keep-alive"));
  EXPECT_EQ(kept.want, Want::kInput);
}

TEST(http_session, head_is_answered_as_get_is_without_a_body) {
  Server server;
  Connection connection(server);
  const Answer get = connection.send(request("GET /v1/openapi.json"));
  connection.arrive(request("HEAD /v1/openapi.json"));
  const Answer head = parse_answer(connection.take(), true);
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(head.has("Content-Length: " + std::to_string(get.body.size())));
  EXPECT_EQ(head.rest, "");
}

TEST(http_session, time_of_a_request_begins_with_it_and_not_with_each_part) {
  Server server;
  Connection connection(server);
  const std::string whole = request("POST /v1/sessions", "{}");
  for (const std::string& bytes : {whole, whole + whole}) {
    for (std::size_t end = 1; end < whole.size(); ++end) {
      connection.arrive(bytes.substr(end - 1, 1));
      EXPECT_FALSE(connection.served) << end;
    }
    connection.arrive(bytes.substr(whole.size() - 1));
    EXPECT_TRUE(connection.served);
  }
}

// --- What is wrong first is answered first ---

/// A request of which one thing after the other is right, up to `right`, and the rest wrong.
struct Faulty {
  enum Step { kNothing, kOrigin, kSecret, kRate, kPath, kMethod, kSession, kLiveSession };

  static std::string head(int right, const std::string& live) {
    std::string head = right >= kMethod ? "POST " : "PUT ";
    head += right >= kPath ? "/v1/locks/k" : "/nowhere";
    head += " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n";
    if (right < kOrigin) head += "Origin: http://elsewhere.example\r\n";
    head +=
        right >= kSecret ? "Authorization: Bearer secret\r\n" : "Authorization: Bearer wrong\r\n";
    if (right >= kSession) {
      head += with_session(right >= kLiveSession ? live : std::string(32, '0'));
    }
    return head;
  }
};

TEST(http_session, what_is_wrong_first_is_answered_first_before_the_body_is_read) {
  const std::pair<Faulty::Step, int> expected[] = {
      {Faulty::kNothing, 403}, {Faulty::kOrigin, 401}, {Faulty::kSecret, 429},
      {Faulty::kRate, 404},    {Faulty::kPath, 405},   {Faulty::kMethod, 400},
      {Faulty::kSession, 410},
  };
  for (const auto& [right, status] : expected) {
    for (const std::string& expect : {""s, "Expect: 100-continue\r\n"s}) {
      Server::Setup setup{.secret = "secret"};
      setup.options.rate = {.per_second = 1, .burst = 2};
      Server server(setup);
      Connection connection(server);
      if (right == Faulty::kSecret) {  // draw on the bucket until it is empty
        for (int i = 0; i < 2; ++i) {
          connection.send(request("GET /v1/stats/x", "", "Authorization: Bearer secret\r\n"));
        }
      }
      connection.arrive(Faulty::head(right, "") + expect + "\r\n");
      if (status == 401) {
        EXPECT_EQ(connection.want, Want::kPause);
        EXPECT_EQ(connection.take(), "") << "it is kept waiting";
        connection.advance();
      }
      const Answer answer = connection.take_answer();
      EXPECT_EQ(answer.status, status) << right;
      EXPECT_EQ(answer.rest, "") << right;
      EXPECT_EQ(answer.has("Connection: close"), !expect.empty()) << right;
      if (!expect.empty()) {
        EXPECT_EQ(connection.want, Want::kClose);
        continue;
      }
      EXPECT_EQ(connection.want, Want::kInput);
      EXPECT_EQ(connection.patience(), Patience::kRequest) << "the body is due";
      EXPECT_FALSE(connection.is_spare());
      connection.arrive(std::string(39, 'x'));
      EXPECT_EQ(connection.take(), "") << "the body is thrown away";
      EXPECT_EQ(connection.send("x" + kHealth).status, 200) << "and the next request follows";
    }
  }
}

TEST(http_session, body_is_asked_for_when_the_head_is_right_and_judged_before_the_claim) {
  Server server(Server::Setup{.secret = "secret"});
  const std::string fields = "Authorization: Bearer secret\r\n";
  Connection opener(server);
  const std::string opened = opener.send(request("POST /v1/sessions", "", fields)).body;
  const std::string live = opened.substr(15, 32);
  Connection connection(server);
  connection.arrive(Faulty::head(Faulty::kLiveSession, live) + "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(connection.take(), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(connection.advance(), Want::kInput);
  EXPECT_EQ(connection.take(), "") << "it is said once";
  EXPECT_EQ(connection.send(std::string(40, 'x')).status, 400);
  EXPECT_EQ(server.counts().locks_held, 0U);
}

TEST(http_session, host_of_another_name_is_refused_before_credentials_are_asked_for) {
  Server server;
  Connection connection(server);
  const Answer answer =
      connection.send("GET /v1/stats HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
  EXPECT_EQ(answer.status, 403);
  EXPECT_NE(answer.body.find("forbidden_host"), std::string::npos);
  EXPECT_EQ(connection.send("GET /nowhere HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n").status, 404)
      << "the address that the connection came to";
}

TEST(http_session, body_that_is_too_large_is_refused_after_the_head) {
  Server server(Server::Setup{.secret = "secret"});
  const std::string large = "Content-Length: 1048577\r\n\r\n";
  Connection denied(server);
  denied.arrive("POST /v1/sessions HTTP/1.1\r\nHost: x\r\n" + large);
  EXPECT_EQ(denied.want, Want::kPause);
  denied.advance();
  const Answer answer = denied.take_answer();
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(answer.rest, "");
  EXPECT_TRUE(answer.has("Connection: close"));
  EXPECT_EQ(denied.want, Want::kClose);

  Connection known(server);
  EXPECT_EQ(known
                .send("POST /v1/sessions HTTP/1.1\r\nHost: x\r\n"
                      "Authorization: Bearer secret\r\n" +
                      large)
                .status,
            413);
  EXPECT_EQ(known.want, Want::kClose);
}

// --- Skipping ---

TEST(http_session, body_thrown_away_that_stays_incomplete_ends_the_connection_without_more_words) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(
      connection.send("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
          .status,
      404);
  EXPECT_EQ(connection.be_silent(), Want::kClose);
  EXPECT_EQ(connection.take(), "");
}

TEST(http_session, body_thrown_away_that_is_malformed_ends_the_connection_without_more_words) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection
                .send("POST /nowhere HTTP/1.1\r\nHost: localhost\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n")
                .status,
            404);
  EXPECT_EQ(connection.arrive("x\r\n"), Want::kClose);
  EXPECT_EQ(connection.take(), "");
}

// --- Denied ---

TEST(http_session, stranger_is_kept_waiting_and_may_try_again) {
  Server server(Server::Setup{.secret = "secret"});
  for (const std::string& field :
       {""s, "Authorization: Bearer wrong\r\n"s, "Authorization: secret\r\n"s,
        "Authorization: Basic secret\r\n"s}) {
    Connection connection(server);
    EXPECT_EQ(connection.arrive(request("GET /v1/stats/x", "", field) + kHealth), Want::kPause);
    EXPECT_EQ(connection.take(), "");
    EXPECT_EQ(connection.advance(), Want::kInput);
    const std::vector<Answer> answers = parse_answers(connection.take());
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_EQ(answers[0].status, 401);
    EXPECT_TRUE(answers[0].has("WWW-Authenticate: Bearer"));
    EXPECT_EQ(answers[1].status, 200);
    EXPECT_EQ(connection.send(request("GET /x", "", "Authorization: bearer  secret\r\n")).status,
              404);
  }
  EXPECT_EQ(server.auth_failures(), 4U);
}

// --- Reporting ---

TEST(http_session, report_is_framed_and_its_pieces_follow_the_head) {
  Server server;
  for (const std::string& method : {"GET"s, "HEAD"s}) {
    Connection connection(server);
    EXPECT_EQ(connection.arrive(request(method + " /v1/stats") + kHealth), Want::kPark);
    EXPECT_EQ(connection.take(), "");
    EXPECT_EQ(connection.advance(), Want::kPark) << "it is not made yet";
    server.report();
    EXPECT_TRUE(connection.woken);
    EXPECT_EQ(connection.advance(true), Want::kTurn)
        << "the pieces are sent before the next answer";
    const Answer answer = parse_answer(connection.take(), true);
    EXPECT_EQ(answer.status, 200);
    if (method == "GET") {
      ASSERT_NE(connection.text, nullptr);
      std::string text;
      for (const std::string& piece : *connection.text) text += piece;
      EXPECT_TRUE(text.starts_with(R"({"connections":7,)")) << text;
      EXPECT_TRUE(answer.has("Content-Length: " + std::to_string(text.size())));
    } else {
      EXPECT_EQ(connection.text, nullptr);
    }
    EXPECT_EQ(connection.advance(), Want::kInput);
    EXPECT_EQ(connection.take_answer().status, 200);
  }
}

TEST(http_session, nobody_waits_for_a_report_that_nobody_reads) {
  Server server;
  Connection connection(server);
  connection.arrive(request("GET /v1/stats"));
  connection.hang_up(false);
  EXPECT_EQ(connection.want, Want::kPark) << "it may still read";
  connection.hang_up(true);
  EXPECT_EQ(connection.want, Want::kDrop);
  server.report();
  EXPECT_FALSE(connection.woken);
  EXPECT_EQ(connection.advance(), Want::kDrop);
}

// --- Turns ---

TEST(http_session, large_body_has_a_turn_of_its_own) {
  Server server;
  const std::string session = server.open_session();
  const auto with_body = [&](std::size_t size) {
    const std::string body = R"({"acquire_timeout_s":0})";
    return request("POST /v1/locks/k", body + std::string(size - body.size(), ' '),
                   with_session(session));
  };
  for (const bool is_large : {false, true}) {
    Connection connection(server);
    connection.lay(kHealth + with_body(HttpSession::kLargeBody + (is_large ? 1 : 0)) + kHealth);
    EXPECT_EQ(connection.advance(true), is_large ? Want::kTurn : Want::kInput);
    EXPECT_EQ(statuses(connection.take()).size(), is_large ? 1U : 3U);
    EXPECT_EQ(connection.advance(true), Want::kInput);
    EXPECT_EQ(statuses(connection.take()).size(), is_large ? 2U : 0U);
  }
}

// --- Drain ---

TEST(http_session, drain_ends_connections_with_their_next_answer_and_takes_new_sessions) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection.send(request("GET /ready")).status, 200);
  server.drain();
  const Answer ready = connection.send(request("GET /ready"));
  EXPECT_EQ(ready.status, 503);
  EXPECT_TRUE(ready.has("Connection: close"));
  EXPECT_EQ(connection.want, Want::kClose);
  const std::string session = server.open_session();
  EXPECT_EQ(session.size(), 32U);
  Connection other(server);
  const Answer acquire =
      other.send(request("POST /v1/locks/k", R"({"acquire_timeout_s":1})", with_session(session)));
  EXPECT_EQ(acquire.status, 503);
  EXPECT_NE(acquire.body.find("draining"), std::string::npos);
}

TEST(http_session, drain_answers_all_that_has_arrived_before_it_ends_the_connection) {
  Server server;
  server.drain();
  for (const std::string& first : {kHealth, request("PUT /v1/locks/k", "body"),
                                   request("POST /v1/sessions", std::string(20'000, 'x'))}) {
    Connection connection(server);
    EXPECT_EQ(connection.arrive(first + kHealth + kHealth), Want::kClose);
    const std::vector<Answer> answers = parse_answers(connection.take());
    ASSERT_EQ(answers.size(), 3U);
    for (const Answer& answer : answers) {
      EXPECT_EQ(answer.has("Connection: close"), &answer == &answers.back());
    }
  }
}

TEST(http_session, drain_lets_a_request_that_has_begun_arrive) {
  Server server;
  server.drain();
  Connection connection(server);
  EXPECT_EQ(connection.arrive(kHealth + kHealth.substr(0, 9)), Want::kInput);
  EXPECT_FALSE(connection.take_answer().has("Connection: close"));
  EXPECT_FALSE(connection.is_spare());
  EXPECT_EQ(connection.arrive(kHealth.substr(9)), Want::kClose);
  EXPECT_TRUE(connection.take_answer().has("Connection: close"));
}

TEST(http_session, drain_ends_a_connection_with_the_answer_to_what_blocked) {
  Server server;
  const std::string holder = server.open_session();
  const std::string waiter = server.open_session();
  const std::string acquire = R"({"acquire_timeout_s":60})";
  Connection holding(server);
  EXPECT_EQ(holding.send(request("POST /v1/locks/k", acquire, with_session(holder))).status, 200);
  Connection waiting(server);
  waiting.arrive(request("POST /v1/locks/k", acquire, with_session(waiter)));
  server.drain();
  EXPECT_EQ(waiting.go_on(), Want::kClose);
  const Answer answer = waiting.take_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_TRUE(answer.has("Connection: close"));
}

}  // namespace
}  // namespace dflockd::http
