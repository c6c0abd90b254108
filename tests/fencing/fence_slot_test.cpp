#include "fencing/fence_slot.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include <gtest/gtest.h>

namespace dflockd::fencing {
namespace {

constexpr Slot kSlot{.sequence = 0x0102030405060708, .limit = 0x1112131415161718, .step = 0x100000};

TEST(FenceSlot, zeros_are_no_slot) {
  EXPECT_EQ(decode(SlotBytes{}), std::nullopt);
}

TEST(FenceSlot, any_flipped_bit_is_noticed) {
  const SlotBytes intact = encode(kSlot);
  for (std::size_t bit = 0; bit < 8 * kSlotSize; ++bit) {
    SlotBytes damaged = intact;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_EQ(decode(damaged), std::nullopt) << "bit " << bit;
  }
}

TEST(FenceSlot, any_mix_of_two_slots_is_noticed) {
  const SlotBytes before = encode(kSlot);
  const SlotBytes after = encode({.sequence = ~kSlot.sequence, .limit = 1, .step = 1});
  for (std::size_t cut = kSequenceAt + 1; cut < kSlotSize; ++cut) {
    SlotBytes torn = before;
    std::copy_n(after.begin(), cut, torn.begin());
    EXPECT_EQ(decode(torn), std::nullopt) << "cut at " << cut;
  }
}

TEST(FenceSlot, values_survive_the_way_through_bytes) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  for (const Slot& slot : {kSlot, Slot{}, Slot{kMax, kMax, kMax, kMax}}) {
    EXPECT_EQ(decode(encode(slot)), slot);
  }
}

TEST(FenceSlot, bytes_are_those_documented) {
  const SlotBytes bytes = encode(kSlot);
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  using namespace std::string_literals;
  EXPECT_EQ(text.substr(0, 8), "dflfence");
  EXPECT_EQ(text.substr(8, 8), "\x01\0\0\0\0\0\0\0"s);
  EXPECT_EQ(text.substr(16, 8), "\x08\x07\x06\x05\x04\x03\x02\x01"s);
  EXPECT_EQ(text.substr(24, 8), "\x18\x17\x16\x15\x14\x13\x12\x11"s);
  EXPECT_EQ(text.substr(32, 8), "\0\0\x10\0\0\0\0\0"s);
  // What sha256sum(1) says of the 40 bytes before.
  EXPECT_EQ(text.substr(40),
            "\xb9\xd3\x60\xf5\xf5\x31\xae\x15\xa6\x63\xc8\x48\x1a\x36\x5a\x56"
            "\xbe\xed\x53\x1c\x80\xe1\x8e\x48\x3c\x2a\x35\x87\xb1\x68\x4c\x3d"s);
}

}  // namespace
}  // namespace dflockd::fencing
