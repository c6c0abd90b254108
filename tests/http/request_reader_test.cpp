#include "http/request_reader.hpp"

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::http {

bool operator==(const Request& left, const Request& right) {
  return left.method == right.method && left.path == right.path && left.session == right.session &&
         left.authorization == right.authorization && left.origin == right.origin &&
         left.request_method == right.request_method && left.keep_alive == right.keep_alive &&
         left.http_1_0 == right.http_1_0 && left.body == right.body;
}

void PrintTo(const Request& request, std::ostream* out) {
  *out << text(request.method) << ' ' << testing::PrintToString(request.path) << ' '
       << testing::PrintToString(request.session) << (request.keep_alive ? " keep-alive" : " close")
       << (request.http_1_0 ? " 1.0 " : " 1.1 ") << request.body.size() << " bytes";
}

namespace {

using namespace std::string_literals;

using State = RequestReader::State;

/// What a reader makes of some bytes.
struct Reading {
  std::vector<Request> requests;
  State state = State::kIdle;
  int status = 0;  ///< of the failure
  std::size_t consumed = 0;

  bool operator==(const Reading& other) const {
    return requests == other.requests && state == other.state && status == other.status &&
           (state == State::kRefused || consumed == other.consumed);
  }
};

void PrintTo(const Reading& reading, std::ostream* out) {
  *out << "state " << static_cast<int>(reading.state) << ", status " << reading.status << ", "
       << reading.consumed << " consumed, requests " << testing::PrintToString(reading.requests);
}

/// Reads what it can of a request and its body. Returns how much it has consumed.
std::size_t read_whole(RequestReader& reader, std::string_view bytes) {
  std::size_t consumed = reader.read(bytes);
  if (reader.state() == State::kHead) {
    reader.keep_body();
    consumed += reader.read(bytes.substr(consumed));
  }
  return consumed;
}

/// Reads `bytes`, which arrive up to each of `arrivals` and then all. Each time they lie elsewhere.
Reading read(const std::string& bytes, const std::vector<std::size_t>& arrivals = {}) {
  RequestReader reader;
  Reading reading;
  const auto arrive = [&](std::size_t size) {
    for (;;) {
      const std::string unread = bytes.substr(reading.consumed, size - reading.consumed);
      const std::size_t consumed = read_whole(reader, unread);
      EXPECT_LE(consumed, unread.size());
      reading.consumed += consumed;
      if (reader.state() != State::kComplete) break;
      reading.requests.push_back(reader.request());
      reader.next();
    }
  };
  for (const std::size_t size : arrivals) arrive(size);
  arrive(bytes.size());
  reading.state = reader.state();
  if (reading.state == State::kRefused) reading.status = reader.failure().status;
  return reading;
}

/// The same, and again byte by byte and in two parts, cut at every place: no cut may matter.
Reading read_in_parts(const std::string& bytes) {
  Reading whole = read(bytes);
  std::vector<std::size_t> every;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    every.push_back(size);
    EXPECT_EQ(read(bytes, {size}), whole) << testing::PrintToString(bytes) << " cut at " << size;
  }
  EXPECT_EQ(read(bytes, every), whole) << testing::PrintToString(bytes) << " byte by byte";
  return whole;
}

void expect_refused(const std::string& bytes, int status = 400) {
  const Reading reading = read_in_parts(bytes);
  EXPECT_EQ(reading.state, State::kRefused) << testing::PrintToString(bytes);
  EXPECT_EQ(reading.status, status) << testing::PrintToString(bytes);
  EXPECT_TRUE(reading.requests.empty()) << testing::PrintToString(bytes);
}

/// The one request that `bytes` are.
Request only(const std::string& bytes) {
  const Reading reading = read_in_parts(bytes);
  EXPECT_EQ(reading.state, State::kIdle) << testing::PrintToString(bytes);
  EXPECT_EQ(reading.consumed, bytes.size()) << testing::PrintToString(bytes);
  EXPECT_EQ(reading.requests.size(), 1U) << testing::PrintToString(bytes);
  return reading.requests.empty() ? Request() : reading.requests.front();
}

/// A request with these further header lines, each ended by CR and LF.
std::string with(std::string_view fields, std::string_view body = "") {
  return "POST /v1/locks/k HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + "\r\n" +
         std::string(body);
}

std::string chunked(std::string_view body) {
  return with("Transfer-Encoding: chunked\r\n", body);
}

std::string with_line(std::string_view request_line) {
  return std::string(request_line) + "\r\nHost: x\r\n\r\n";
}

/// Further header lines that make a head `size` bytes long.
std::string head_of(std::size_t size, std::string_view fields = "") {
  const std::size_t rest = with(std::string(fields) + "X: \r\n").size();
  return with(std::string(fields) + "X: " + std::string(size - rest, 'x') + "\r\n");
}

/// The bytes that a line must not hold.
std::vector<char> control_characters() {
  std::vector<char> result;
  for (char c = 0; c < 0x20; ++c) {
    if (c != '\t') result.push_back(c);
  }
  result.push_back('\x7f');
  return result;
}

// --- Bodies whose length two readers could see differently ---

TEST(request_reader, length_together_with_chunked_is_refused) {
  for (const std::string& length : {"0"s, "3"s, "11"s}) {
    const std::string first = "Content-Length: " + length + "\r\n";
    const std::string second = "Transfer-Encoding: chunked\r\n";
    expect_refused(with(first + second, "1\r\nx\r\n0\r\n\r\n"));
    expect_refused(with(second + first, "1\r\nx\r\n0\r\n\r\n"));
  }
}

TEST(request_reader, two_lengths_are_refused_though_they_are_equal) {
  expect_refused(with("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"));
  expect_refused(with("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"));
  expect_refused(with("Content-Length: 3\r\nX: y\r\ncontent-LENGTH: 3\r\n", "abc"));
}

TEST(request_reader, length_must_be_digits) {
  for (const std::string& length : {""s, " "s, "+3"s, "-3"s, "-0"s, "3, 3"s, "3,3"s, "3 3"s, "0x3"s,
                                    "3x"s, "x"s, "3.0"s, "3e0"s, "\"3\""s, "3;"s, ",3"s, "３"s}) {
    expect_refused(with("Content-Length: " + length + "\r\n", "abc"));
    expect_refused(with("Content-Length:" + length + "\r\n", "abc"));
  }
}

TEST(request_reader, length_that_no_integer_holds_is_too_large) {
  for (const std::string& length :
       {"18446744073709551615"s, "18446744073709551616"s, "18446744073709551619"s,
        "184467440737095516190"s, "00018446744073709551616"s, std::string(1'000, '9')}) {
    expect_refused(with("Content-Length: " + length + "\r\n", "abc"), 413);
    expect_refused(with("Content-Length: " + length + "x\r\n", "abc"));
    expect_refused(with("Content-Length: " + length + "\r\nContent-Length: 3\r\n", "abc"));
    expect_refused(with("Content-Length: " + length + "\r\nTransfer-Encoding: chunked\r\n"));
    expect_refused("POST / HTTP/1.1\r\nContent-Length: " + length + "\r\n\r\n");
  }
  EXPECT_EQ(only(with("Content-Length: " + std::string(100, '0') + "3\r\n", "abc")).body, "abc");
}

TEST(request_reader, other_transfer_encodings_than_chunked_are_refused) {
  for (const std::string& coding :
       {""s, " "s, "gzip"s, "identity"s, "gzip, chunked"s, "chunked, gzip"s, "chunked, chunked"s,
        "chunked,"s, ",chunked"s, "xchunked"s, "chunkedx"s, "chunked;q=1"s, "\"chunked\""s,
        "chunke"s, "chunked chunked"s, "x chunked"s,
        "\xc2\xa0"
        "chunked"s}) {
    expect_refused(with("Transfer-Encoding: " + coding + "\r\n", "0\r\n\r\n"));
  }
}

TEST(request_reader, two_transfer_encodings_are_refused) {
  for (const std::string& second : {"chunked"s, "identity"s, "gzip"s}) {
    const std::string fields =
        "Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: " + second + "\r\n";
    expect_refused(with(fields, "0\r\n\r\n"));
  }
  expect_refused(with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"));
}

TEST(request_reader, chunked_is_refused_for_http_1_0) {
  expect_refused(
      "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
  expect_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n");
}

TEST(request_reader, chunked_with_white_space_around_is_chunked_or_refused_but_never_ignored) {
  for (const std::string& value : {" chunked "s, "\tchunked"s, "chunked\t"s, "  chunked \t"s}) {
    const Reading reading =
        read_in_parts(with("Transfer-Encoding:" + value + "\r\n", "1\r\nx\r\n0\r\n\r\n"));
    if (reading.state == State::kRefused) continue;
    ASSERT_EQ(reading.requests.size(), 1U) << testing::PrintToString(value);
    EXPECT_EQ(reading.requests[0].body, "x") << testing::PrintToString(value);
  }
}

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

// --- The head before the body ---

TEST(request_reader, head_is_there_before_any_of_the_body_is_read) {
  for (const std::string& bytes :
       {with("X-Dflockd-Session: a\r\nContent-Length: 3\r\n", "abc"),
        with("X-Dflockd-Session: a\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        with("X-Dflockd-Session: a\r\n")}) {
    const std::size_t head_size = bytes.find("\r\n\r\n") + 4;
    RequestReader reader;
    EXPECT_EQ(reader.read(bytes), head_size);
    EXPECT_EQ(reader.state(), State::kHead);
    EXPECT_EQ(reader.request().path, "/v1/locks/k");
    EXPECT_EQ(reader.request().session, "a");
    EXPECT_EQ(reader.read(bytes.substr(head_size)), 0U) << "the body is not asked for";
    reader.keep_body();
    EXPECT_EQ(reader.read(bytes.substr(head_size)), bytes.size() - head_size);
    EXPECT_EQ(reader.state(), State::kComplete);
  }
}

TEST(request_reader, body_that_is_too_large_is_refused_after_the_head) {
  for (const std::string& length : {"1048577"s, std::string(100, '9')}) {
    RequestReader reader;
    reader.read(with("Content-Length: " + length + "\r\n"));
    EXPECT_EQ(reader.state(), State::kHead);
    reader.skip_body();
    EXPECT_EQ(reader.state(), State::kRefused);
    EXPECT_EQ(reader.failure().status, 413);
  }
}

TEST(request_reader, skipped_body_is_read_but_not_kept) {
  for (const std::string& bytes : {with("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc"),
                                   with("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n",
                                        "1\r\na\r\n2\r\nbc\r\n0\r\nT: x\r\n\r\n")}) {
    RequestReader reader;
    std::size_t consumed = reader.read(bytes);
    reader.skip_body();
    EXPECT_TRUE(reader.take_expectation());
    for (std::size_t end = consumed; end <= bytes.size(); ++end) {
      consumed += reader.read(std::string_view(bytes).substr(consumed, end - consumed));
    }
    EXPECT_EQ(consumed, bytes.size());
    EXPECT_EQ(reader.state(), State::kComplete);
    EXPECT_EQ(reader.request().body, "");
    reader.next();
    EXPECT_EQ(read_whole(reader, chunked("1\r\nx\r\n0\r\n\r\n")),
              chunked("1\r\nx\r\n0\r\n\r\n").size());
    EXPECT_EQ(reader.request().body, "x") << "the next is kept again";
  }
}

TEST(request_reader, skipped_body_may_have_1_mib_and_no_more) {
  const std::string half = "80000\r\n" + std::string(0x80000, 'x') + "\r\n";
  RequestReader reader;
  const std::string bytes = chunked(half + half + "1\r\nx\r\n0\r\n\r\n");
  const std::size_t head_size = reader.read(bytes);
  reader.skip_body();
  reader.read(std::string_view(bytes).substr(head_size));
  EXPECT_EQ(reader.state(), State::kRefused);
  EXPECT_EQ(reader.failure().status, 413);
}

// --- Bodies ---

TEST(request_reader, body_has_the_length_that_was_given) {
  EXPECT_EQ(only(with("Content-Length: 0\r\n")).body, "");
  EXPECT_EQ(only(with("Content-Length: 3\r\n", "abc")).body, "abc");
  EXPECT_EQ(only(with("Content-Length: 0003 \r\n", "abc")).body, "abc");
  EXPECT_EQ(only(with("Content-Length: 6\r\n", "\r\n\0\n\r\xff"s)).body, "\r\n\0\n\r\xff"s);
  const std::string inner = with("");
  const std::string outer = "Content-Length: " + std::to_string(inner.size()) + "\r\n";
  EXPECT_EQ(only(with(outer, inner)).body, inner);
}

TEST(request_reader, body_of_http_1_0_has_the_length_that_was_given) {
  EXPECT_EQ(only("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").body, "abc");
}

TEST(request_reader, chunks_make_a_body) {
  const std::pair<std::string, std::string> expected[] = {
      {"0\r\n\r\n", ""},
      {"3\r\nabc\r\n0\r\n\r\n", "abc"},
      {"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"},
      {"00003\r\nabc\r\n000\r\n\r\n", "abc"},
      {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
      {"4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"},
      {"5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"},
      {"3;name=value;other=\"a b\"\r\nabc\r\n0;last\r\n\r\n", "abc"},
      {"3 ; name\r\nabc\r\n0\r\n\r\n", "abc"},
      {"3;\r\nabc\r\n0\r\n\r\n", "abc"},
      {"0\r\nTrailer: x\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: y\r\n\r\n", ""},
  };
  for (const auto& [bytes, body] : expected) EXPECT_EQ(only(chunked(bytes)).body, body) << bytes;
  EXPECT_EQ(only(with("transfer-encoding:CHUNKED\r\n", "1\r\nx\r\n0\r\n\r\n")).body, "x");
}

TEST(request_reader, trailers_change_nothing) {
  const Request request =
      only(chunked("0\r\nX-Dflockd-Session: a\r\nAuthorization: b\r\nConnection: close\r\n\r\n"));
  EXPECT_EQ(request.session, std::nullopt);
  EXPECT_EQ(request.authorization, std::nullopt);
  EXPECT_TRUE(request.keep_alive);
}

TEST(request_reader, chunk_sizes_must_be_hex_digits) {
  for (const std::string& size :
       {""s, " "s, " 3"s, "\t3"s, "-3"s, "+3"s, "0x3"s, "3h"s, "g"s, ";a=b"s, "3 "s, "3\t"s, "3 3"s,
        "3 x"s, "3,3"s, "3:"s, "3.0"s, "\"3\""s, "\xff"s}) {
    expect_refused(chunked(size + "\r\nabc\r\n0\r\n\r\n"));
  }
}

TEST(request_reader, chunk_size_that_no_integer_holds_is_too_large) {
  for (const std::string& size : {"FFFFFFFFFFFFFFFF"s, "FFFFFFFFFFFFFFFF1"s, "10000000000000003"s,
                                  "00010000000000000000;x"s, std::string(200, 'f')}) {
    expect_refused(chunked(size + "\r\nabc\r\n0\r\n\r\n"), 413);
  }
  EXPECT_EQ(only(chunked(std::string(100, '0') + "3\r\nabc\r\n0\r\n\r\n")).body, "abc");
}

TEST(request_reader, chunks_must_be_as_long_as_they_say) {
  expect_refused(chunked("2\r\nabc\r\n0\r\n\r\n"));
  expect_refused(chunked("4\r\nabc\r\n0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc\n0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc\r0\r\n\r\n"));
  expect_refused(chunked("3\r\nabc\r\n\r\n0\r\n\r\n"));
}

TEST(request_reader, long_extensions_of_a_chunk_are_refused) {
  EXPECT_EQ(only(chunked("1;" + std::string(252, 'x') + "\r\nx\r\n0\r\n\r\n")).body, "x");
  expect_refused(chunked("1;" + std::string(253, 'x') + "\r\nx\r\n0\r\n\r\n"));
  EXPECT_EQ(read(chunked("1;" + std::string(254, 'x'))).state, State::kPartial);
  expect_refused(chunked("1;" + std::string(255, 'x')));
}

// --- Limits ---

TEST(request_reader, head_may_have_64_kib_and_no_more) {
  constexpr std::size_t kMost = 65'536;
  const std::string longest = head_of(kMost);
  ASSERT_EQ(longest.size(), kMost);
  const std::vector<std::size_t> cuts{1, 100, kMost - 4, kMost - 3, kMost - 2, kMost - 1};
  EXPECT_EQ(read(longest).requests.size(), 1U);
  EXPECT_EQ(read(longest, cuts), read(longest));

  const std::string longer = head_of(kMost + 1);
  EXPECT_EQ(read(longer).status, 431);
  EXPECT_EQ(read(longer, cuts), read(longer));
  EXPECT_EQ(read(head_of(10 * kMost)).status, 431);
}

TEST(request_reader, head_that_does_not_end_is_refused_at_64_kib) {
  const std::string endless = head_of(100'000);
  EXPECT_EQ(read(endless.substr(0, 65'536)).state, State::kPartial);
  EXPECT_EQ(read(endless.substr(0, 65'537)).status, 431);
  EXPECT_EQ(read("GET /" + std::string(65'532, 'x')).status, 431);
}

TEST(request_reader, longest_target_is_whole) {
  const std::string rest = with_line("GET / HTTP/1.1");
  const std::string path = "/" + std::string(65'536 - rest.size(), 'x');
  const Reading reading = read(with_line("GET " + path + " HTTP/1.1"));
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].path, path);
}

TEST(request_reader, lines_of_chunk_sizes_do_not_count_towards_the_head) {
  const std::string fields = "Transfer-Encoding: chunked\r\n";
  const Reading reading = read(head_of(65'530, fields) + "1;extension\r\nx\r\n0;extension\r\n\r\n");
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].body, "x");
}

TEST(request_reader, trailers_count_towards_the_head) {
  const std::string head = head_of(60'000, "Transfer-Encoding: chunked\r\n") + "0\r\n";
  const auto trailer = [](std::size_t size) { return "T: " + std::string(size - 5, 'x') + "\r\n"; };
  const std::vector<std::size_t> cuts{head.size() + 5'535, head.size() + 5'536,
                                      head.size() + 5'537};
  EXPECT_EQ(read(head + trailer(5'536) + "\r\n").requests.size(), 1U);
  EXPECT_EQ(read(head + trailer(5'536) + "\r\n", cuts).requests.size(), 1U);
  EXPECT_EQ(read(head + trailer(5'537) + "\r\n").status, 431);
  EXPECT_EQ(read(head + trailer(5'537) + "\r\n", cuts).status, 431);
  EXPECT_EQ(read(head + trailer(5'000) + trailer(537) + "\r\n").status, 431);
  EXPECT_EQ(read(head + trailer(100'000)).status, 431);
}

TEST(request_reader, empty_line_at_the_end_of_the_chunks_is_no_trailer) {
  const std::string chunks = "1\r\nx\r\n0\r\n\r\n";
  const std::string longest = head_of(65'536, "Transfer-Encoding: chunked\r\n");
  for (std::size_t end = 0; end <= chunks.size(); ++end) {
    const Reading reading = read(longest + chunks, {longest.size() + end});
    ASSERT_EQ(reading.requests.size(), 1U) << end;
    EXPECT_EQ(reading.requests[0].body, "x") << end;
  }
  EXPECT_EQ(read(longest + "0\r\nT\r\n\r\n").status, 431);
  EXPECT_EQ(read(longest + "0\r\nT: x\r\n\r\n").status, 431);

  std::string fields = "Transfer-Encoding: chunked\r\n";
  for (int i = 0; i < 98; ++i) fields += "a:b\r\n";
  EXPECT_EQ(read(with(fields, chunks)).requests.size(), 1U);
  EXPECT_EQ(read(with(fields, "0\r\na:b\r\n\r\n")).status, 431);
}

TEST(request_reader, request_may_have_100_fields_and_no_more) {
  std::string fields;
  for (int i = 0; i < 99; ++i) fields += "a:b\r\n";  // and Host
  EXPECT_EQ(read(with(fields)).requests.size(), 1U);
  EXPECT_EQ(read(with(fields + "a:b\r\n")).status, 431);
  EXPECT_EQ(read(with(fields + fields)).status, 431);
}

TEST(request_reader, trailers_count_towards_the_fields) {
  std::string fields = "Transfer-Encoding: chunked\r\n";
  for (int i = 0; i < 97; ++i) fields += "a:b\r\n";
  EXPECT_EQ(read(with(fields, "0\r\na:b\r\n\r\n")).requests.size(), 1U);
  EXPECT_EQ(read(with(fields, "0\r\na:b\r\na:b\r\n\r\n")).status, 431);
}

TEST(request_reader, what_is_wrong_first_is_refused_however_it_arrives) {
  std::string fields;
  for (int i = 0; i < 101; ++i) fields += "a:b\r\n";
  expect_refused(with(fields + "c: d\n"), 431);
  expect_refused(with("c: d\n" + fields), 400);
  expect_refused(head_of(60'000, "c d\r\n"), 400);
}

TEST(request_reader, body_may_have_1_mib_and_no_more) {
  constexpr std::size_t kMost = 1'048'576;
  const std::string longest(kMost, 'x');
  const Reading reading = read(with("Content-Length: 1048576\r\n", longest), {5'000, 1'000'000});
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].body, longest);
  EXPECT_EQ(read(with("Content-Length: 1048577\r\n")).status, 413) << "before any of it came";
  EXPECT_EQ(read(with("Content-Length: 999999999999\r\n")).status, 413);
}

TEST(request_reader, body_in_chunks_may_have_1_mib_and_no_more) {
  const std::string half = "80000\r\n" + std::string(0x80000, 'x') + "\r\n";
  const Reading reading = read(chunked(half + half + "0\r\n\r\n"), {300'000, 600'000});
  ASSERT_EQ(reading.requests.size(), 1U);
  EXPECT_EQ(reading.requests[0].body.size(), 1'048'576U);
  EXPECT_EQ(
      read(chunked("100000\r\n" + std::string(0x100000, 'x') + "\r\n0\r\n\r\n")).requests.size(),
      1U);
  EXPECT_EQ(read(chunked("100001\r\n")).status, 413) << "before any of it came";
  EXPECT_EQ(read(chunked(half + half + "1\r\n")).status, 413);
  EXPECT_EQ(read(chunked("1\r\nx\r\nFFFFFFFFFFFFFFF\r\n")).status, 413) << "the sum must not wrap";
}

TEST(request_reader, failures_have_the_codes_of_their_statuses) {
  const auto code = [](const std::string& bytes) {
    RequestReader reader;
    read_whole(reader, bytes);
    return reader.failure().code;
  };
  EXPECT_EQ(code(with("Bad Name: x\r\n")), "bad_request");
  EXPECT_EQ(code(with("Content-Length: 1048577\r\n")), "body_too_large");
  EXPECT_EQ(code(chunked("100001\r\n")), "body_too_large");
  EXPECT_EQ(code(std::string(65'537, 'x')), "headers_too_large");
}

// --- Expect: 100-continue ---

TEST(request_reader, unknown_expectations_are_refused) {
  for (const std::string& value : {""s, "x"s, "100"s, "100-continue, x"s, "200-ok"s}) {
    expect_refused(with("Expect: " + value + "\r\nContent-Length: 3\r\n", "abc"));
  }
}

TEST(request_reader, client_that_waits_to_send_a_body_is_told_once) {
  for (const std::string& length : {"Content-Length: 3\r\n"s, "Transfer-Encoding: chunked\r\n"s}) {
    RequestReader reader;
    const std::string head = with("Expect: 100-Continue\r\n" + length);
    const std::size_t consumed = reader.read(head.substr(0, head.size() - 1));
    EXPECT_FALSE(reader.take_expectation()) << "the head is not whole";
    EXPECT_EQ(read_whole(reader, head.substr(consumed)), head.size() - consumed);
    EXPECT_TRUE(reader.take_expectation());
    EXPECT_FALSE(reader.take_expectation());
    EXPECT_EQ(reader.state(), State::kPartial);
  }
}

TEST(request_reader, client_that_does_not_wait_is_told_nothing) {
  const std::string fields = "Expect: 100-continue\r\nContent-Length: 3\r\n";
  for (const std::string& bytes :
       {with(fields, "abc"), with(fields, "a"), with("Expect: 100-continue\r\n"),
        with("Content-Length: 3\r\n"),
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"s}) {
    RequestReader reader;
    read_whole(reader, bytes);
    EXPECT_FALSE(reader.take_expectation()) << bytes;
  }
}

}  // namespace
}  // namespace dflockd::http
