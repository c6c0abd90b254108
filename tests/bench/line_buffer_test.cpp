#include "bench/line_buffer.hpp"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace dflockd::bench {
namespace {

void receive(LineBuffer& buffer, std::string_view bytes) {
  const std::span<char> space = buffer.space();
  ASSERT_LE(bytes.size(), space.size());
  std::copy(bytes.begin(), bytes.end(), space.begin());
  buffer.commit(bytes.size());
}

TEST(LineBuffer, gives_lines_in_order_without_their_ends) {
  LineBuffer buffer(64);
  receive(buffer, "ok\nSTORED\r\n\n");
  EXPECT_EQ(buffer.next(), "ok");
  EXPECT_EQ(buffer.next(), "STORED\r");
  EXPECT_EQ(buffer.next(), "");
  EXPECT_EQ(buffer.next(), std::nullopt);
}

TEST(LineBuffer, a_line_may_arrive_a_byte_at_a_time) {
  LineBuffer buffer(8);
  for (const char* byte : {"t", "i", "m", "e"}) {
    receive(buffer, byte);
    EXPECT_EQ(buffer.next(), std::nullopt);
  }
  receive(buffer, "\n");
  EXPECT_EQ(buffer.next(), "time");
}

TEST(LineBuffer, room_is_won_back_from_lines_that_were_taken_out) {
  LineBuffer buffer(8);
  receive(buffer, "one\ntwo ");
  EXPECT_EQ(buffer.next(), "one");
  EXPECT_EQ(buffer.space().size(), 4U);
  receive(buffer, "xyz\n");
  EXPECT_EQ(buffer.next(), "two xyz");
  EXPECT_EQ(buffer.space().size(), 8U);
}

TEST(LineBuffer, a_line_longer_than_the_buffer_leaves_no_space) {
  LineBuffer buffer(4);
  receive(buffer, "long");
  EXPECT_EQ(buffer.next(), std::nullopt);
  EXPECT_TRUE(buffer.space().empty());
}

}  // namespace
}  // namespace dflockd::bench
