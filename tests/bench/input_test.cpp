#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bench/connection.hpp"

namespace dflockd::bench {
namespace {

constexpr std::string_view kGrant =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    "{\"status\":\"ok\"}";
constexpr std::string_view kNoContent = "HTTP/1.1 204 No Content\r\n\r\n";

void receive(Input& input, std::string_view bytes) {
  const std::span<char> space = input.space();
  ASSERT_LE(bytes.size(), space.size());
  std::copy(bytes.begin(), bytes.end(), space.begin());
  input.commit(bytes.size());
}

/// All replies in `bytes` as text; `piece` bytes arrive at a time.
std::vector<std::string> replies(std::string_view bytes, std::size_t piece, bool is_http) {
  Input input(512, is_http);
  std::vector<std::string> found;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
    receive(input, bytes.substr(0, piece));
    while (const auto reply = input.next()) found.push_back(to_text(*reply));
  }
  EXPECT_FALSE(input.is_broken());
  EXPECT_EQ(input.unread(), "");
  return found;
}

bool is_broken(std::string_view bytes) {
  Input input(512, true);
  receive(input, bytes);
  const auto reply = input.next();
  EXPECT_FALSE(reply && input.is_broken());
  return input.is_broken();
}

std::string with_fields(const std::string& fields) {
  return "HTTP/1.1 200 OK\r\n" + fields + "\r\n\r\n";
}

TEST(Input, what_is_not_http_is_noticed_at_its_first_byte) {
  EXPECT_TRUE(is_broken("e"));
  EXPECT_TRUE(is_broken("HTTP/1.0 200 OK"));
  EXPECT_FALSE(is_broken("HTT"));
  EXPECT_FALSE(is_broken(""));
}

TEST(Input, a_status_line_that_is_not_exact_is_refused) {
  for (const char* line :
       {"HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/1.1 100 Continue",
        "HTTP/1.1 600 Odd", "HTTP/1.1 204", "HTTP/1.1 -04 "}) {
    EXPECT_TRUE(is_broken(std::string(line) + "\r\n\r\n")) << line;
  }
}

TEST(Input, a_body_of_unknown_length_is_refused) {
  for (const char* fields :
       {"Server: x", "Content-Length:", "Content-Length: -1", "Content-Length: 2a",
        "Content-Length: 99999999999", "Content-Length: 2, 2", "Transfer-Encoding: chunked"}) {
    EXPECT_TRUE(is_broken(with_fields(fields) + "{}")) << fields;
  }
}

TEST(Input, nothing_more_comes_out_once_it_is_broken) {
  Input input(512, true);
  receive(input, kNoContent);
  receive(input, "error\n");
  receive(input, kNoContent);
  EXPECT_TRUE(input.next());
  EXPECT_FALSE(input.next());
  EXPECT_TRUE(input.is_broken());
  EXPECT_FALSE(input.next());
  EXPECT_TRUE(input.unread().starts_with("error\n"));
}

TEST(Input, a_reply_longer_than_the_buffer_leaves_no_space) {
  Input line(4, false);
  receive(line, "long");
  EXPECT_FALSE(line.next());
  EXPECT_TRUE(line.space().empty());
  Input http(64, true);
  receive(http, with_fields("Content-Length: 100") + std::string(24, 'x'));
  EXPECT_FALSE(http.next());
  EXPECT_FALSE(http.is_broken());
  EXPECT_TRUE(http.space().empty());
}

TEST(Input, replies_may_arrive_in_pieces_of_any_size) {
  const std::string http = std::string(kGrant) + std::string(kNoContent) + std::string(kGrant);
  const std::string lines = "ok\nSTORED\r\n\n";
  for (std::size_t piece = 1; piece <= http.size(); ++piece) {
    EXPECT_EQ(replies(http, piece, true),
              (std::vector<std::string>{R"(200 {"status":"ok"})", "204", R"(200 {"status":"ok"})"}))
        << piece;
    EXPECT_EQ(replies(lines, piece, false), (std::vector<std::string>{"ok", "STORED\r", ""}))
        << piece;
  }
}

TEST(Input, the_length_may_be_spelled_in_any_case) {
  for (const char* field : {"content-length:2", "CONTENT-LENGTH:  2", "Content-Length: 02"}) {
    EXPECT_EQ(replies(with_fields(field) + "{}", 1000, true), std::vector<std::string>{"200 {}"});
  }
  EXPECT_EQ(replies(with_fields("Content-Length: 0"), 1000, true), std::vector<std::string>{"200"});
}

TEST(Input, room_is_won_back_from_lines_that_were_taken_out) {
  Input input(8, false);
  receive(input, "one\ntwo ");
  EXPECT_EQ(input.next()->text, "one");
  EXPECT_EQ(input.space().size(), 4U);
  receive(input, "xyz\n");
  EXPECT_EQ(input.next()->text, "two xyz");
  EXPECT_EQ(input.space().size(), 8U);
}

}  // namespace
}  // namespace dflockd::bench
