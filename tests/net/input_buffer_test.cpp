#include "net/input_buffer.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "support/freed_memory.hpp"

namespace dflockd::net {
namespace {

/// Receives as much of `bytes` as there is room for, and returns how much.
std::size_t receive(InputBuffer& input, std::string_view bytes) {
  const std::span<char> space = input.space();
  const std::string_view part = bytes.substr(0, space.size());
  std::ranges::copy(part, space.begin());
  input.received(part.size());
  return part.size();
}

TEST(InputBuffer, says_whether_more_may_have_arrived_than_there_was_room_for) {
  InputBuffer input(1024);
  EXPECT_FALSE(input.filled());
  EXPECT_EQ(receive(input, "few"), 3U);
  EXPECT_FALSE(input.filled());
  EXPECT_LT(receive(input, std::string(1024, 'x')), 1024U);
  EXPECT_TRUE(input.filled());
  input.consume(input.unread().size());
  EXPECT_TRUE(input.filled());
  receive(input, "few");
  EXPECT_FALSE(input.filled());
}

TEST(InputBuffer, grows_while_receptions_fill_it_up_to_its_limit) {
  InputBuffer input(100'000);
  const std::string bytes(100'000, 'x');
  std::size_t received = 0;
  while (!input.full()) received += receive(input, bytes);
  EXPECT_EQ(received, bytes.size());
  EXPECT_EQ(input.unread(), bytes);
}

constexpr std::string_view kSecret = "correct horse battery staple";

TEST(InputBuffer, leaves_no_copy_of_a_secret_behind_when_it_grows) {
  const base::FreedMemoryWatch watch(kSecret);
  {
    InputBuffer input(100'000);
    receive(input, kSecret);
    while (input.unread().size() < 10'000) receive(input, std::string(10'000, 'x'));
    input.wipe(kSecret.size());
  }
  EXPECT_FALSE(watch.seen());
}

TEST(InputBuffer, leaves_no_copy_of_a_secret_behind_when_it_moves_it_to_the_front) {
  const base::FreedMemoryWatch watch(kSecret);
  {
    InputBuffer input(100'000);
    const std::string before(2 * kSecret.size(), 'x');
    receive(input, before);
    receive(input, kSecret);
    input.consume(before.size());
    receive(input, "\n");
    input.wipe(kSecret.size() + 1);
  }
  EXPECT_FALSE(watch.seen());
}

TEST(InputBuffer, wipes_what_is_not_consumed_in_the_end) {
  const base::FreedMemoryWatch watch(kSecret);
  {
    InputBuffer input(100'000);
    receive(input, kSecret);
  }
  EXPECT_FALSE(watch.seen());
}

}  // namespace
}  // namespace dflockd::net
