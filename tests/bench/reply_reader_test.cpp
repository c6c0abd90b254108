#include "bench/reply_reader.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::bench {
namespace {

constexpr std::string_view kGrant =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    "{\"status\":\"ok\"}";
constexpr std::string_view kNoContent = "HTTP/1.1 204 No Content\r\n\r\n";

void receive(ReplyReader& reader, std::string_view bytes) {
  const std::span<char> space = reader.space();
  ASSERT_LE(bytes.size(), space.size());
  std::copy(bytes.begin(), bytes.end(), space.begin());
  reader.commit(bytes.size());
}

/// All replies in `bytes`, of which `piece` arrive at a time, as text.
std::vector<std::string> replies(std::string_view bytes, std::size_t piece) {
  ReplyReader reader(512);
  std::vector<std::string> found;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
    receive(reader, bytes.substr(0, piece));
    while (const auto reply = reader.next()) found.push_back(text(*reply));
  }
  EXPECT_FALSE(reader.is_broken());
  EXPECT_EQ(reader.unread(), "");
  return found;
}

bool is_broken(std::string_view bytes) {
  ReplyReader reader(512);
  receive(reader, bytes);
  const auto reply = reader.next();
  EXPECT_FALSE(reply && reader.is_broken());
  return reader.is_broken();
}

std::string with_fields(const std::string& fields) {
  return "HTTP/1.1 200 OK\r\n" + fields + "\r\n\r\n";
}

TEST(ReplyReader, gives_status_and_body) {
  ReplyReader reader(512);
  receive(reader, kGrant);
  const auto reply = reader.next();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, R"({"status":"ok"})");
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.is_broken());
}

TEST(ReplyReader, replies_may_arrive_in_pieces_of_any_size) {
  const std::string bytes = std::string(kGrant) + std::string(kNoContent) + std::string(kGrant);
  const std::vector<std::string> expected{R"(200 {"status":"ok"})", "204",
                                          R"(200 {"status":"ok"})"};
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    EXPECT_EQ(replies(bytes, piece), expected) << piece;
  }
}

TEST(ReplyReader, the_length_may_be_spelled_in_any_case_and_with_white_space) {
  for (const char* field : {"content-length:2", "CONTENT-LENGTH: \t 2 \t", "Content-Length: 02"}) {
    EXPECT_EQ(replies(with_fields(field) + "{}", 1000), std::vector<std::string>{"200 {}"});
  }
}

TEST(ReplyReader, a_body_may_be_empty) {
  EXPECT_EQ(replies(with_fields("Content-Length: 0"), 1000), std::vector<std::string>{"200"});
}

TEST(ReplyReader, words_behind_the_status_may_lack) {
  EXPECT_EQ(replies("HTTP/1.1 204 \r\n\r\n", 1000), std::vector<std::string>{"204"});
}

TEST(ReplyReader, what_is_no_reply_is_noticed_at_its_first_byte) {
  EXPECT_TRUE(is_broken("e"));
  EXPECT_TRUE(is_broken("HTTP/1.0 200 OK"));
  EXPECT_FALSE(is_broken("HTT"));
  EXPECT_FALSE(is_broken(""));
}

TEST(ReplyReader, a_status_line_that_is_not_exact_is_refused) {
  for (const char* line : {"HTTP/1.1", "HTTP/1.1 20", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK",
                           "HTTP/1.1 100 Continue", "HTTP/1.1 600 Odd", "HTTP/1.1 204",
                           "HTTP/1.1 -04 ", "HTTP/1.1 204 a\rb", "HTTP/1.1 204 a\nb"}) {
    EXPECT_TRUE(is_broken(std::string(line) + "\r\n\r\n")) << line;
  }
}

TEST(ReplyReader, a_body_of_unknown_length_is_refused) {
  for (const char* fields :
       {"Server: x", "Content-Length:", "Content-Length: -1", "Content-Length: 2a",
        "Content-Length: 0x2", "Content-Length: 99999999999", "Content-Length: 2, 2",
        "Content-Length: 2\r\nContent-Length: 2", "Transfer-Encoding: chunked",
        "Content-Length: 2\r\ntransfer-encoding: chunked"}) {
    EXPECT_TRUE(is_broken(with_fields(fields) + "{}")) << fields;
  }
  EXPECT_TRUE(is_broken("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"));
}

TEST(ReplyReader, a_line_that_is_no_field_is_refused) {
  for (const char* line : {"Server", ": x", "Ser ver: x", "Server : x", " folded: x",
                           "Server: a\nb", "Server: a\rb"}) {
    EXPECT_TRUE(is_broken(with_fields(std::string("Content-Length: 0\r\n") + line))) << line;
  }
}

TEST(ReplyReader, nothing_more_comes_out_once_it_is_broken) {
  ReplyReader reader(512);
  receive(reader, kNoContent);
  receive(reader, "error\n");
  receive(reader, kNoContent);
  EXPECT_TRUE(reader.next());
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.is_broken());
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.unread().starts_with("error\n"));
}

TEST(ReplyReader, a_reply_longer_than_the_buffer_leaves_no_space) {
  ReplyReader reader(64);
  receive(reader, with_fields("Content-Length: 100") + std::string(24, 'x'));
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.is_broken());
  EXPECT_TRUE(reader.space().empty());
}

}  // namespace
}  // namespace dflockd::bench
