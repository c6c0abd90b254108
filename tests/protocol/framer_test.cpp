#include "protocol/framer.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::protocol {
namespace {

using std::string_literals::operator""s;

TEST(framer, line_longer_than_256_bytes_is_too_long_on_every_line) {
  const std::string too_long(257, 'x');
  for (const std::string& before : {""s, "l\n"s, "l\nkey\n"s}) {
    EXPECT_EQ(Framer().next(before + too_long).status, FrameStatus::kTooLong) << before;
    EXPECT_EQ(Framer().next(before + too_long + "\n").status, FrameStatus::kTooLong) << before;
  }
}

TEST(framer, line_of_256_bytes_is_accepted_on_every_line) {
  const std::string longest(256, 'x');
  const std::string bytes = longest + "\n" + longest + "\n" + longest + "\n";
  const Frame frame = Framer().next(bytes);
  EXPECT_EQ(frame.status, FrameStatus::kComplete);
  EXPECT_EQ(frame.lines.key, longest);
  EXPECT_EQ(frame.size, bytes.size());
}

TEST(framer, carriage_returns_count_toward_the_length_of_a_line) {
  EXPECT_EQ(Framer().next(std::string(256, 'x') + "\r").status, FrameStatus::kTooLong);
  EXPECT_EQ(Framer().next(std::string(255, 'x') + "\r").status, FrameStatus::kIncomplete);
}

TEST(framer, argument_of_auth_may_have_65536_bytes) {
  const std::string start = "auth\n_\n";
  EXPECT_EQ(Framer().next(start + std::string(65'536, 'x') + "\n").status, FrameStatus::kComplete);
  EXPECT_EQ(Framer().next(start + std::string(65'536, 'x')).status, FrameStatus::kIncomplete);
  EXPECT_EQ(Framer().next(start + std::string(65'537, 'x')).status, FrameStatus::kTooLong);
}

TEST(framer, only_the_argument_of_auth_may_be_so_long) {
  const std::string longer(257, 'x');
  EXPECT_EQ(Framer().next("auth\n" + longer).status, FrameStatus::kTooLong);
  EXPECT_EQ(Framer().next("ping\n_\n" + longer).status, FrameStatus::kTooLong);
}

TEST(framer, trailing_carriage_returns_are_dropped) {
  const Frame frame = Framer().next("l\r\nmy\rkey\r\r\n10\r\n");
  ASSERT_EQ(frame.status, FrameStatus::kComplete);
  EXPECT_EQ(frame.lines.command, "l");
  EXPECT_EQ(frame.lines.key, "my\rkey");
  EXPECT_EQ(frame.lines.argument, "10");
}

TEST(framer, empty_lines_are_lines) {
  const Frame frame = Framer().next("\n\r\n\n");
  ASSERT_EQ(frame.status, FrameStatus::kComplete);
  EXPECT_EQ(frame.lines.command, "");
  EXPECT_EQ(frame.lines.key, "");
  EXPECT_EQ(frame.lines.argument, "");
  EXPECT_EQ(frame.size, 4U);
}

TEST(framer, request_is_complete_with_its_last_byte_and_not_before) {
  const std::string bytes = "auth\r\n_\r\nsecret\r\n";
  Framer framer;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string arrived = bytes.substr(0, size);  // elsewhere each time
    EXPECT_EQ(framer.next(arrived).status, FrameStatus::kIncomplete) << size;
  }
  const Frame frame = framer.next(bytes);
  ASSERT_EQ(frame.status, FrameStatus::kComplete);
  EXPECT_EQ(frame.lines.command, "auth");
  EXPECT_EQ(frame.lines.argument, "secret");
}

TEST(framer, every_split_of_pipelined_requests_gives_the_same_requests) {
  const std::string bytes = "l\nfirst\n10\nr\r\nsecond\r\ntoken\nping\n\n\n";
  for (std::size_t split = 0; split <= bytes.size(); ++split) {
    Framer framer;
    std::vector<std::string> keys;
    std::size_t consumed = 0;
    for (const std::size_t arrived : {split, bytes.size()}) {
      for (;;) {
        const std::string unread = bytes.substr(consumed, arrived - consumed);
        const Frame frame = framer.next(unread);
        if (frame.status != FrameStatus::kComplete) break;
        keys.emplace_back(frame.lines.key);
        consumed += frame.size;
      }
    }
    EXPECT_EQ(keys, (std::vector{"first"s, "second"s, ""s})) << split;
    EXPECT_EQ(consumed, bytes.size());
  }
}

}  // namespace
}  // namespace dflockd::protocol
