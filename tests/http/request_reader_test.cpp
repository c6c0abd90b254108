#include "http/request_reader.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "reading.hpp"

namespace dflockd::http {
namespace {

using namespace std::string_literals;

// --- Lines that two readers could end differently ---

TEST(request_reader, bare_line_feeds_are_refused_wherever_a_line_ends) {
  for (const std::string& whole :
       {"GET /health HTTP/1.1\r\nHost: x\r\nAccept: *\r\n\r\n"s,
        chunked("3;a=b\r\nabc\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n")}) {
    for (std::size_t at = whole.find('\r'); at != std::string::npos;
         at = whole.find('\r', at + 1)) {
      std::string bare = whole;
      bare.erase(at, 1);
      expect_refused(bare);
    }
  }
  expect_refused("GET /health HTTP/1.1\nHost: x\n\n");
}

TEST(request_reader, bare_carriage_returns_are_refused_wherever_a_line_ends) {
  for (const std::string& whole :
       {"GET /health HTTP/1.1\r\nHost: x\r\nAccept: *\r\n\r\n"s,
        chunked("3;a=b\r\nabc\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n")}) {
    for (std::size_t at = whole.find('\n'); at != std::string::npos;
         at = whole.find('\n', at + 1)) {
      // What follows keeps the reader from waiting for the end of the line.
      expect_refused(whole.substr(0, at) + whole.substr(at + 1) + "x\r\n\r\n");
      expect_refused(whole.substr(0, at) + '\r' + whole.substr(at) + "\r\n\r\n");
    }
  }
}

TEST(request_reader, bare_line_feed_is_refused_before_the_head_is_whole) {
  for (const std::string& bytes :
       {"\n"s, "GET /health HTTP/1.1\n"s, "GET /health HTTP/1.1\r\nHost: x\n"s,
        "GET /health HTTP/1.1\r\nHost: x\n\n"s,
        "GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\nE"s}) {
    expect_refused(bytes);
  }
}

TEST(request_reader, bare_line_ends_in_front_of_a_request_are_refused) {
  const std::string request = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
  for (const std::string& before : {"\n"s, "\r"s, "\n\n"s, "\r\r\n"s, "\r\n\n"s, "\r\n\r"s}) {
    expect_refused(before + request);
  }
}

TEST(request_reader, control_characters_are_refused_in_every_line) {
  for (const char c : control_characters()) {
    expect_refused(with_line("GET /a"s + c + "b HTTP/1.1"));
    expect_refused(with_line("G"s + c + "T / HTTP/1.1"));
    expect_refused(with("Na"s + c + "me: value\r\n"));
    expect_refused(with("Name: val"s + c + "ue\r\n"));
    expect_refused(with("Name: "s + c + "\r\n"));
    expect_refused(with("X-Dflockd-Session: a"s + c + "\r\n"));
    expect_refused(chunked("3;a="s + c + "\r\nabc\r\n0\r\n\r\n"));
    expect_refused(chunked("3"s + c + "\r\nabc\r\n0\r\n\r\n"));
    expect_refused(chunked("0\r\nName: a"s + c + "b\r\n\r\n"));
  }
}

TEST(request_reader, folded_lines_are_refused) {
  for (const std::string& blank : {" "s, "\t"s, "  "s}) {
    expect_refused(with("Name: one\r\n" + blank + "two\r\n"));
    expect_refused(with("Transfer-Encoding:\r\n" + blank + "chunked\r\n", "0\r\n\r\n"));
    expect_refused(with("Content-Length:\r\n" + blank + "3\r\n", "abc"));
    expect_refused(with("Name: one\r\n" + blank + "\r\n"));
    expect_refused("GET / HTTP/1.1\r\n" + blank + "Host: x\r\n\r\n");
    expect_refused(chunked("0\r\nName: one\r\n" + blank + "two\r\n\r\n"));
  }
}

TEST(request_reader, field_names_must_be_tokens_right_before_a_colon) {
  for (const std::string& line :
       {"Content-Length : 3"s, "Content-Length\t: 3"s, " Content-Length: 3"s, "Content Length: 3"s,
        ": value"s, ":"s, "no colon"s, "nocolon"s, "(x): y"s, "a@b: c"s, "a[b]: c"s, "a/b: c"s,
        "\"a\": b"s, "a,b: c"s, "a;b: c"s, "a=b: c"s, "a{b}: c"s, "\xc3\xa4: b"s, "a\\b: c"s}) {
    expect_refused(with(line + "\r\n", "abc"));
    expect_refused(chunked("0\r\n" + line + "\r\n\r\n"));
  }
}

// --- The request line ---

TEST(request_reader, versions_other_than_1_0_and_1_1_are_refused) {
  for (const std::string& version :
       {"HTTP/0.9"s, "HTTP/1.2"s,  "HTTP/1.9"s,  "HTTP/2.0"s,  "HTTP/3.0"s,  "HTTP/1"s,
        "HTTP/2"s,   "HTTP/1.10"s, "HTTP/1.11"s, "HTTP/11.1"s, "HTTP/01.1"s, "HTTP/1."s,
        "HTTP/.1"s,  "HTTP/"s,     "HTTP"s,      "http/1.1"s,  "Http/1.1"s,  "HTTPS/1.1"s,
        "HTTP/1,1"s, "HTTP/-1.1"s, "ICE/1.0"s,   "HTTP/1.1x"s, "HTTP/ 1.1"s}) {
    expect_refused(with_line("GET /health " + version));
  }
  expect_refused(with_line("SOURCE /health ICE/1.1"));
  expect_refused("GET /health\r\n\r\n");
  expect_refused(with_line("GET /health"));
  expect_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

TEST(request_reader, blanks_other_than_the_two_between_the_words_are_refused) {
  for (const std::string& line :
       {"GET /a b HTTP/1.1"s, "GET  /health HTTP/1.1"s, "GET /health  HTTP/1.1"s,
        "GET /health HTTP/1.1 "s, " GET /health HTTP/1.1"s, "GET\t/health HTTP/1.1"s,
        "GET /health\tHTTP/1.1"s, "GET /a\tb HTTP/1.1"s, "GET /health?\t HTTP/1.1"s,
        "GET \t/health HTTP/1.1"s, "GET /health HTTP/1.1\t"s, "GET /health HTTP/1.1 HTTP/1.1"s,
        "GET http://x/a\tb HTTP/1.1"s, "GET  HTTP/1.1"s, "GET HTTP/1.1"s, "GET"s, " "s}) {
    expect_refused(with_line(line));
  }
}

TEST(request_reader, targets_that_are_no_uri_are_refused) {
  for (const std::string& target :
       {"health"s, "x/health"s, "http:/x/health"s, "://x/health"s, "?"s, "*x"s, "h2://x/"s, "x y"s,
        "#"s, "x:443"s, "%2fhealth"s, ".."s}) {
    expect_refused(with_line("GET " + target + " HTTP/1.1"));
  }
}

TEST(request_reader, bytes_that_are_no_http_are_refused) {
  expect_refused(with_line("l"));
  expect_refused("l\nkey\n10\n");
  expect_refused("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n\r\n"s);
}

TEST(request_reader, methods_that_are_no_token_are_refused) {
  for (const std::string& method : {"G=T"s, "\xff"s, "GET/"s, "(GET)"s, "GET,"s, "\"GET\""s, "G:T"s,
                                    "G[T"s, "G{T"s, "G\\T"s, "G@T"s, ""s}) {
    expect_refused(with_line(method + " /health HTTP/1.1"));
  }
}

TEST(request_reader, methods_are_told_apart) {
  const std::pair<std::string, Method> expected[] = {
      {"GET", Method::kGet},        {"HEAD", Method::kHead},       {"POST", Method::kPost},
      {"DELETE", Method::kDelete},  {"OPTIONS", Method::kOptions}, {"PUT", Method::kOther},
      {"PATCH", Method::kOther},    {"TRACE", Method::kOther},     {"PROPFIND", Method::kOther},
      {"M-SEARCH", Method::kOther}, {"CONNECT", Method::kOther},
  };
  for (const auto& [name, method] : expected) {
    EXPECT_EQ(only(with_line(name + " /x HTTP/1.1")).method, method) << name;
  }
}

// RFC 9110, 9.1: any token may be a method, and their case matters.
TEST(request_reader, methods_that_nobody_knows_are_read_as_all_others_are) {
  for (const std::string& name : {"BREW"s, "GE"s, "GETX"s, "get"s, "POSTS"s, "CONNECTED"s, "a"s,
                                  "7"s, "!#$%&'*+-.^_`|~"s, std::string(1'000, 'X')}) {
    const std::string head = name + " /x?y HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
    const Reading reading = read_in_parts(head + "abc" + with_line("GET /health HTTP/1.1"));
    ASSERT_EQ(reading.requests.size(), 2U) << name;
    EXPECT_EQ(reading.requests[0].method, Method::kOther) << name;
    EXPECT_EQ(reading.requests[0].path, "/x") << name;
    EXPECT_EQ(reading.requests[0].body, "abc") << name;
    EXPECT_TRUE(reading.requests[0].keep_alive) << name;
    EXPECT_EQ(reading.requests[1].method, Method::kGet) << name;
  }
}

TEST(request_reader, path_is_what_stands_between_authority_and_query) {
  const std::pair<std::string, std::string> expected[] = {
      {"/", "/"},
      {"/health", "/health"},
      {"/health?", "/health"},
      {"/health?a=b/c", "/health"},
      {"/health?a?b", "/health"},
      {"/health#x", "/health"},
      {"/health?a#b", "/health"},
      {"/v1/locks/a%2Fb", "/v1/locks/a%2Fb"},
      {"/v1/locks/a%zz", "/v1/locks/a%zz"},
      {"//x/health", "//x/health"},
      {"/../health", "/../health"},
      {"http://x/health", "/health"},
      {"http://x:8080/health?a", "/health"},
      {"HTTPS://x/health", "/health"},
      {"http://x:99999/health", "/health"},
      {"http://[::1]:80/health", "/health"},
  };
  for (const auto& [target, path] : expected) {
    EXPECT_EQ(only(with_line("GET " + target + " HTTP/1.1")).path, path) << target;
  }
}

TEST(request_reader, query_is_what_stands_between_path_and_fragment) {
  const std::pair<std::string, std::string> expected[] = {
      {"/x", ""},        {"/x?", ""},    {"/x?a=b&c", "a=b&c"}, {"/x?a=%2F?b", "a=%2F?b"},
      {"/x?a#b?c", "a"}, {"/x#a?b", ""}, {"http://h/x?a", "a"}, {"http://h?a", ""},
      {"/?a/b", "a/b"},
  };
  for (const auto& [target, query] : expected) {
    EXPECT_EQ(only(with_line("GET " + target + " HTTP/1.1")).query, query) << target;
  }
}

TEST(request_reader, targets_without_a_path_are_of_no_route) {
  for (const std::string& line : {"OPTIONS * HTTP/1.1"s, "GET * HTTP/1.1"s,
                                  "GET http://x HTTP/1.1"s, "GET http://x?/health HTTP/1.1"s,
                                  "CONNECT x:443 HTTP/1.1"s, "GET http:///health HTTP/1.1"s}) {
    EXPECT_EQ(only(with_line(line)).path, "*") << line;
  }
}

TEST(request_reader, empty_lines_in_front_of_a_request_are_ignored) {
  EXPECT_EQ(only("\r\n" + with_line("GET /health HTTP/1.1")).path, "/health");
  EXPECT_EQ(only("\r\n\r\n\r\n" + with_line("GET /health HTTP/1.1")).path, "/health");
  const Reading reading = read_in_parts("\r\n\r\n");
  EXPECT_EQ(reading.state, State::kIdle) << "though nothing of a request has come";
  EXPECT_EQ(reading.consumed, 4U);
}

TEST(request_reader, request_begins_with_the_first_byte_of_its_request_line) {
  EXPECT_EQ(read("\r").state, State::kIdle);
  EXPECT_EQ(read("\r\n\r").state, State::kIdle);
  EXPECT_EQ(read(with("") + "\r").state, State::kIdle);
  EXPECT_EQ(read("\r\nG").state, State::kPartial);
}

// --- Header fields ---

TEST(request_reader, host_must_be_given_once) {
  expect_refused("GET /health HTTP/1.1\r\n\r\n");
  expect_refused("GET /health HTTP/1.1\r\nAccept: *\r\n\r\n");
  expect_refused("GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n");
  expect_refused("GET /health HTTP/1.1\r\nHost: x\r\nhOST: y\r\n\r\n");
  expect_refused("GET /health HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n");
  EXPECT_EQ(only("GET /health HTTP/1.1\r\nHost:\r\n\r\n").path, "/health");
  EXPECT_EQ(only("GET /health HTTP/1.0\r\n\r\n").path, "/health");
}

TEST(request_reader, host_may_be_a_name_or_an_address_with_a_port) {
  for (const std::string& host :
       {""s, "x"s, "x:80"s, "x:"s, "locks.example"s, "locks.example.:6389"s, "127.0.0.1"s,
        "127.0.0.1:6389"s, "[::1]"s, "[::1]:6389"s, "[::ffff:127.0.0.1]"s, "[fe80::1%25eth0]"s,
        "[fe80::1%eth0]:80"s, "a_b~c-d"s, "!$&'()*+,;="s, "%C3%A4"s}) {
    EXPECT_EQ(only("GET /health HTTP/1.1\r\nHost: " + host + "\r\n\r\n").host, host);
    EXPECT_EQ(only("GET http://" + host + "/ HTTP/1.1\r\nHost: x\r\n\r\n").host, host);
  }
}

// RFC 9112, 3.2: "any request message that contains ... a Host header field with an invalid field
// value".
TEST(request_reader, host_that_is_no_authority_is_refused) {
  for (const std::string& host :
       {"a b"s,    "a\tb"s,     "a, b"s,    "user@x"s, "x/y"s,    "http://x"s, "x?y"s,
        "x#y"s,    "x:y"s,      "x:80:80"s, "x:-1"s,   "x:+80"s,  "x: 80"s,    "::1"s,
        "["s,      "[]"s,       "[::1"s,    "::1]"s,   "[::1]x"s, "[::1]:x"s,  "[[::1]]"s,
        "[::1]]"s, "[x y]"s,    "[a/b]"s,   "x]"s,     "x[y"s,    "\"x\""s,    "<x>"s,
        "x\\y"s,   "x^y"s,      "x`y"s,     "x{y}"s,   "x|y"s,    "%"s,        "%4"s,
        "x%zz"s,   "\xc3\xa4"s, "\xff"s,    "x\0y"s,   "x%00y"s,  "[v1.x:y]"s}) {
    expect_refused("GET /health HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
    expect_refused("GET /health HTTP/1.0\r\nHost: " + host + "\r\n\r\n");
  }
}

// RFC 9110, 4.2.4: user information is there "to obscure the authority".
TEST(request_reader, absolute_target_with_another_authority_is_refused) {
  for (const std::string& authority :
       {"user@x"s, "user:password@x:80"s, "127.0.0.1@x"s, "x@"s, "@x"s, "x%00"s, "[::1"s, "[::1]x"s,
        "x\\y"s, "x:y"s, "[x]"s}) {
    expect_refused("GET http://" + authority + "/health HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_refused("GET http://" + authority + "/health HTTP/1.0\r\n\r\n");
  }
}

TEST(request_reader, absolute_target_tells_the_host_whatever_the_field_says) {
  const std::pair<std::string, std::string> expected[] = {
      {"http://locks.example/health", "locks.example"},
      {"http://locks.example:6389/health?a", "locks.example:6389"},
      {"https://locks.example?x", "locks.example"},
      {"http://[::1]:80/#x", "[::1]:80"},
      {"http:///health", ""},
      {"/http://locks.example/", "x"},
      {"/?http://locks.example/", "x"},
      {"*", "x"},
  };
  for (const auto& [target, host] : expected) {
    EXPECT_EQ(only(with_line("GET " + target + " HTTP/1.1")).host, host) << target;
  }
  EXPECT_EQ(only("GET http://locks.example/ HTTP/1.0\r\n\r\n").host, "locks.example");
  EXPECT_EQ(only("GET / HTTP/1.0\r\n\r\n").host, std::nullopt);
}

TEST(request_reader, fields_that_matter_may_not_come_twice) {
  for (const std::string& name :
       {"X-Dflockd-Session"s, "Authorization"s, "Origin"s, "Access-Control-Request-Method"s}) {
    expect_refused(with(name + ": a\r\n" + name + ": a\r\n"));
    expect_refused(with(name + ":\r\n" + name + ": a\r\n"));
  }
}

TEST(request_reader, fields_that_matter_are_kept_without_white_space_around) {
  const Request request =
      only(with("x-dflockd-SESSION: \t 0123 \t\r\nAuthorization:Bearer  a b\r\nOrigin: http://o\r\n"
                "Access-Control-Request-Method: POST\r\nX: y\r\n"));
  EXPECT_EQ(request.session, "0123");
  EXPECT_EQ(request.authorization, "Bearer  a b");
  EXPECT_EQ(request.origin, "http://o");
  EXPECT_EQ(request.request_method, "POST");
}

TEST(request_reader, field_that_is_empty_is_there) {
  EXPECT_EQ(only(with("X-Dflockd-Session:\r\n")).session, "");
  EXPECT_EQ(only(with("Authorization: \t\r\n")).authorization, "");
  EXPECT_EQ(only(with("")).session, std::nullopt);
  EXPECT_EQ(only(with("X-Dflockd-Sessions: a\r\nX-Dflockd-Sessio: b\r\n")).session, std::nullopt);
}

TEST(request_reader, fields_of_one_request_are_not_those_of_the_next) {
  const Reading reading =
      read_in_parts(with("X-Dflockd-Session: a\r\nAuthorization: b\r\nExpect: 100-continue\r\n"
                         "Transfer-Encoding: chunked\r\n",
                         "1\r\nx\r\n0\r\nT: y\r\n\r\n") +
                    with("Content-Length: 1\r\n", "y") + with(""));
  ASSERT_EQ(reading.requests.size(), 3U);
  EXPECT_EQ(reading.requests[0].session, "a");
  EXPECT_EQ(reading.requests[0].body, "x");
  EXPECT_EQ(reading.requests[1].session, std::nullopt);
  EXPECT_EQ(reading.requests[1].authorization, std::nullopt);
  EXPECT_EQ(reading.requests[1].body, "y");
  EXPECT_EQ(reading.requests[2].body, "");
}

TEST(request_reader, offers_to_speak_another_protocol_are_ignored) {
  const std::string upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n";
  EXPECT_EQ(only(with(upgrade + "Content-Length: 3\r\n", "abc")).body, "abc");
  const Reading reading = read_in_parts(with(upgrade) + with(upgrade));
  EXPECT_EQ(reading.requests.size(), 2U);
  EXPECT_EQ(reading.state, State::kIdle);
  const Reading connects = read_in_parts(with_line("CONNECT x:443 HTTP/1.1") + with(""));
  EXPECT_EQ(connects.requests.size(), 2U);
}

// --- Whether the connection goes on ---

TEST(request_reader, connection_goes_on_as_version_and_field_say) {
  struct Case {
    std::string version;
    std::string connection;
    bool keep_alive;
  };
  for (const Case& one : std::vector<Case>{
           {"HTTP/1.1", "", true},
           {"HTTP/1.1", "Connection: keep-alive\r\n", true},
           {"HTTP/1.1", "Connection: close\r\n", false},
           {"HTTP/1.1", "Connection: CLOSE\r\n", false},
           {"HTTP/1.1", "Connection: keep-alive, close\r\n", false},
           {"HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false},
           {"HTTP/1.1", "Connection: closed\r\n", true},
           {"HTTP/1.0", "", false},
           {"HTTP/1.0", "Connection: close\r\n", false},
           {"HTTP/1.0", "Connection: Keep-Alive\r\n", true},
           {"HTTP/1.1", "Connection: x ,\t, close ,\r\n", false},
           {"HTTP/1.1", "Connection: close x\r\n", true},
           {"HTTP/1.0", "Connection: keep-alive\r\nConnection: close\r\n", false},
       }) {
    const Request request =
        only("GET /health " + one.version + "\r\nHost: x\r\n" + one.connection + "\r\n");
    EXPECT_EQ(request.keep_alive, one.keep_alive) << one.version << ' ' << one.connection;
    EXPECT_EQ(request.http_1_0, one.version == "HTTP/1.0");
  }
}

TEST(request_reader, pipelined_requests_come_one_by_one) {
  std::string bytes;
  std::vector<std::string> expected;
  for (const std::string& path : {"/a"s, "/b"s, "/c"s, "/d"s}) {
    bytes += "POST " + path + " HTTP/1.1\r\nHost: x\r\n";
    bytes += path < "/c" ? "Content-Length: 2\r\n\r\n" + path
                         : "Transfer-Encoding: chunked\r\n\r\n2\r\n" + path + "\r\n0\r\n\r\n";
    expected.push_back(path);
  }
  const Reading reading = read_in_parts(bytes + "GET /e");
  EXPECT_EQ(reading.state, State::kPartial);
  EXPECT_EQ(reading.consumed, bytes.size());
  ASSERT_EQ(reading.requests.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(reading.requests[i].path, expected[i]);
    EXPECT_EQ(reading.requests[i].body, expected[i]);
  }
}

TEST(request_reader, requests_in_front_of_a_bad_one_are_read) {
  const Reading reading = read_in_parts(with("") + with("") + "x\r\n\r\n" + with(""));
  EXPECT_EQ(reading.requests.size(), 2U);
  EXPECT_EQ(reading.state, State::kRefused);
}

TEST(request_reader, nothing_is_read_behind_what_was_refused) {
  RequestReader reader;
  EXPECT_EQ(reader.state(), State::kIdle);
  reader.read(with("Bad Name: x\r\n"));
  EXPECT_EQ(reader.state(), State::kRefused);
  EXPECT_EQ(reader.read(with("")), 0U);
  EXPECT_EQ(reader.state(), State::kRefused);
  EXPECT_EQ(reader.failure().code, "bad_request");
  EXPECT_NE(reader.failure().detail, "");
}

TEST(request_reader, nothing_is_read_while_a_request_waits_to_be_answered) {
  RequestReader reader;
  const std::string bytes = with("");
  EXPECT_EQ(read_whole(reader, bytes + bytes), bytes.size());
  EXPECT_EQ(reader.state(), State::kComplete);
  EXPECT_EQ(reader.read(bytes), 0U);
  EXPECT_EQ(reader.state(), State::kComplete);
}

TEST(request_reader, request_without_its_last_byte_is_partial) {
  for (const std::string& bytes :
       {with(""), with("Content-Length: 3\r\n", "abc"), chunked("3\r\nabc\r\n0\r\n\r\n"),
        chunked("0\r\nName: value\r\n\r\n")}) {
    for (std::size_t size = 1; size < bytes.size(); ++size) {
      const Reading reading = read(bytes.substr(0, size));
      EXPECT_EQ(reading.state, State::kPartial) << size;
      EXPECT_TRUE(reading.requests.empty());
    }
  }
  EXPECT_EQ(read("").state, State::kIdle);
}

}  // namespace
}  // namespace dflockd::http
