#include "http/message.hpp"

#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "base/json.hpp"

namespace dflockd::http {
namespace {

using namespace std::string_literals;

std::string on_the_wire(const Response& response, const Delivery& delivery = {}) {
  std::string out;
  append_response(out, response, delivery);
  return out;
}

/// What stands in every head.
const std::string kAlways = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

TEST(message, response_is_exact_to_the_byte) {
  EXPECT_EQ(on_the_wire({.body = "{}\n"}),
            "HTTP/1.1 200 OK\r\n" + kAlways +
                "Content-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n");
  EXPECT_EQ(on_the_wire({.content_type = "text/plain", .body = "a\r\n\0\n"s}),
            "HTTP/1.1 200 OK\r\n" + kAlways +
                "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\na\r\n\0\n"s);
}

TEST(message, body_without_a_newline_at_its_end_gets_one) {
  EXPECT_EQ(on_the_wire({.body = "{}"}), on_the_wire({.body = "{}\n"}));
  EXPECT_EQ(on_the_wire({.body = "{}"}, {.head_only = true}),
            on_the_wire({.body = "{}\n"}, {.head_only = true}));
}

TEST(message, response_without_a_body_says_so) {
  EXPECT_EQ(on_the_wire({.status = 404}),
            "HTTP/1.1 404 Not Found\r\n" + kAlways +
                "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n");
}

// RFC 9110, 8.6: a 204 has neither.
TEST(message, response_of_status_204_has_no_body_and_no_length) {
  EXPECT_EQ(on_the_wire({.status = 204}), "HTTP/1.1 204 No Content\r\n" + kAlways + "\r\n");
  EXPECT_EQ(on_the_wire({.status = 204, .body = "x"}),
            "HTTP/1.1 204 No Content\r\n" + kAlways + "\r\n");
}

TEST(message, response_to_head_has_the_length_but_not_the_body) {
  EXPECT_EQ(on_the_wire({.body = "abc"}, {.head_only = true}),
            "HTTP/1.1 200 OK\r\n" + kAlways +
                "Content-Type: application/json\r\nContent-Length: 4\r\n\r\n");
}

TEST(message, response_may_be_kept_if_it_says_so) {
  EXPECT_EQ(on_the_wire({.status = 204, .cache_control = "max-age=60"}),
            "HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\n"
            "X-Content-Type-Options: nosniff\r\n\r\n");
}

TEST(message, last_response_says_that_it_is) {
  EXPECT_EQ(on_the_wire({.status = 204}, {.keep_alive = false}),
            "HTTP/1.1 204 No Content\r\n" + kAlways + "Connection: close\r\n\r\n");
}

TEST(message, further_headers_come_before_the_body) {
  EXPECT_EQ(on_the_wire({.status = 429, .body = "{}", .headers = "Retry-After: 1\r\nVary: x\r\n"}),
            "HTTP/1.1 429 Too Many Requests\r\n" + kAlways +
                "Content-Type: application/json\r\nContent-Length: 3\r\n"
                "Retry-After: 1\r\nVary: x\r\n\r\n{}\n");
}

TEST(message, head_may_be_that_of_a_body_of_another_size) {
  std::string out;
  append_head(out, {.headers = "Vary: x\r\n"}, 1'000'000, {.keep_alive = false});
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\n" + kAlways +
                     "Content-Type: application/json\r\nContent-Length: 1000000\r\n"
                     "Vary: x\r\nConnection: close\r\n\r\n");
}

TEST(message, date_comes_first) {
  DateLine date;
  EXPECT_EQ(
      on_the_wire({.status = 204}, {.date_line = date.at(784'111'777)}),
      "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" + kAlways + "\r\n");
}

// RFC 9110, 5.6.7: IMF-fixdate.
TEST(message, date_line_is_what_rfc_9110_says) {
  DateLine date;
  const std::pair<std::time_t, std::string> expected[] = {
      {784'111'777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
      {0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"},
      {951'782'400, "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n"},
      {951'782'399, "Date: Mon, 28 Feb 2000 23:59:59 GMT\r\n"},
      {4'102'444'799, "Date: Thu, 31 Dec 2099 23:59:59 GMT\r\n"},
      {253'402'300'799, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"},
  };
  for (const auto& [time, line] : expected) {
    EXPECT_EQ(date.at(time), line);
    EXPECT_EQ(date.at(time), line) << "the second time";
  }
  EXPECT_EQ(date.at(253'402'300'800), "") << "five digits for the year";
  EXPECT_EQ(DateLine().at(-1), "Date: Wed, 31 Dec 1969 23:59:59 GMT\r\n");
}

TEST(message, responses_are_appended) {
  std::string out = "x";
  append_response(out, {.status = 204}, {});
  append_response(out, {.status = 204}, {});
  const std::string one = on_the_wire({.status = 204});
  EXPECT_EQ(out, "x" + one + one);
}

TEST(message, every_status_of_the_api_has_its_reason) {
  const std::pair<int, std::string> reasons[] = {
      {200, "OK"},
      {204, "No Content"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {410, "Gone"},
      {413, "Content Too Large"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {503, "Service Unavailable"},
      {299, "Unknown"},
  };
  for (const auto& [status, reason] : reasons) {
    const std::string line = "HTTP/1.1 " + std::to_string(status) + " " + reason + "\r\n";
    EXPECT_EQ(on_the_wire({.status = status}).substr(0, line.size()), line);
  }
}

TEST(message, failure_is_told_in_json) {
  const Response response = to_response({404, "not_held", "the token holds \"nothing\"\n"});
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.content_type, "application/json");
  EXPECT_EQ(response.body, R"({"error":"not_held","detail":"the token holds \"nothing\"\n"})");
}

TEST(message, detail_is_left_out_if_there_is_none) {
  EXPECT_EQ(to_response({409, "not_enqueued"}).body, R"({"error":"not_enqueued"})");
}

TEST(message, failure_without_more_is_a_bad_request) {
  const Response response = to_response({});
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.body, R"({"error":"bad_request"})");
}

// --- Credentials ---

TEST(message, credentials_of_another_scheme_are_no_bearer_token) {
  for (const std::string& value :
       {""s, " "s, "secret"s, "Basic secret"s, "Bear secret"s, "Bearers secret"s, "Bearer\tsecret"s,
        "Bearer=secret"s, "Bearersecret"s, " Bearer secret"s, "\"Bearer\" secret"s}) {
    EXPECT_EQ(bearer_token(value), std::nullopt) << testing::PrintToString(value);
  }
}

TEST(message, bearer_token_may_be_missing) {
  EXPECT_EQ(bearer_token("Bearer"), "");
  EXPECT_EQ(bearer_token("Bearer "), "");
  EXPECT_EQ(bearer_token("Bearer   "), "");
}

// RFC 9110, 11.4: one or more spaces.
TEST(message, bearer_token_stands_behind_any_number_of_spaces) {
  for (const std::string& value : {"Bearer a b"s, "bearer  a b"s, "BEARER    a b"s,
                                   "bEaReR" + std::string(1'000, ' ') + "a b"}) {
    EXPECT_EQ(bearer_token(value), "a b") << value;
  }
  EXPECT_EQ(bearer_token("Bearer \ta"), "\ta") << "a tab is none";
}

TEST(message, json_strings_are_valid_whatever_they_hold) {
  EXPECT_EQ(base::json_string(""), R"("")");
  EXPECT_EQ(base::json_string("a\"\\\b\f\n\r\t"), R"("a\"\\\b\f\n\r\t")");
  EXPECT_EQ(base::json_string("\0\x01\x1f"s), R"("\u0000\u0001\u001f")");
  EXPECT_EQ(base::json_string("\xc3\xa4\xf0\x9f\x94\x92"), "\"\xc3\xa4\xf0\x9f\x94\x92\"");
  EXPECT_EQ(base::json_string("a\xff"
                              "b"),
            "\"a\xef\xbf\xbd"
            "b\"");
  EXPECT_EQ(base::json_string("\xc3"), "\"\xef\xbf\xbd\"");
}

TEST(message, methods_have_their_names_and_all_others_one) {
  EXPECT_EQ(text(Method::kGet), "GET");
  EXPECT_EQ(text(Method::kHead), "HEAD");
  EXPECT_EQ(text(Method::kPost), "POST");
  EXPECT_EQ(text(Method::kDelete), "DELETE");
  EXPECT_EQ(text(Method::kOptions), "OPTIONS");
  EXPECT_EQ(text(Method::kOther), "OTHER");
}

}  // namespace
}  // namespace dflockd::http
