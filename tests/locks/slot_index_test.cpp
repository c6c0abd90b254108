#include "locks/slot_index.hpp"

#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::locks {

namespace {

auto is(std::uint32_t slot) {
  return [slot](std::uint32_t candidate) { return candidate == slot; };
}

TEST(SlotIndexTest, finds_nothing_when_empty) {
  const SlotIndex index;
  EXPECT_EQ(index.size(), 0U);
  EXPECT_EQ(index.find(42, [](std::uint32_t) { return true; }), SlotIndex::kNone);
}

TEST(SlotIndexTest, finds_what_was_inserted_until_it_is_erased) {
  SlotIndex index;
  index.insert(7, 1);
  index.insert(8, 2);
  EXPECT_EQ(index.find(7, is(1)), 1U);
  EXPECT_EQ(index.find(8, is(2)), 2U);
  EXPECT_EQ(index.find(7, is(2)), SlotIndex::kNone);
  index.erase(7, 1);
  EXPECT_EQ(index.find(7, is(1)), SlotIndex::kNone);
  EXPECT_EQ(index.find(8, is(2)), 2U);
  EXPECT_EQ(index.size(), 1U);
}

TEST(SlotIndexTest, caller_distinguishes_records_of_one_hash) {
  SlotIndex index;
  for (std::uint32_t slot = 0; slot < 20; ++slot) index.insert(7, slot);
  index.erase(7, 5);
  index.erase(7, 0);
  for (std::uint32_t slot = 0; slot < 20; ++slot) {
    const bool present = slot != 5 && slot != 0;
    EXPECT_EQ(index.find(7, is(slot)), present ? slot : SlotIndex::kNone);
  }
}

TEST(SlotIndexTest, survives_growing) {
  SlotIndex index;
  for (std::uint32_t slot = 0; slot < 10'000; ++slot) index.insert(slot * 31, slot);
  EXPECT_EQ(index.size(), 10'000U);
  for (std::uint32_t slot = 0; slot < 10'000; ++slot) {
    ASSERT_EQ(index.find(slot * 31, is(slot)), slot);
  }
}

// Few hashes, so that entries crowd, wrap around the end and have to move up when one leaves.
TEST(SlotIndexTest, agrees_with_a_map_under_random_changes) {
  for (const std::uint64_t hashes : {3U, 40U, 100'000U}) {
    std::mt19937_64 random(20'240'101);  // NOLINT: the same numbers each time.
    SlotIndex index;
    std::map<std::uint32_t, std::uint64_t> expected;
    for (int i = 0; i < 20'000; ++i) {
      const auto slot = static_cast<std::uint32_t>(random() % 60);
      if (const auto found = expected.find(slot); found != expected.end()) {
        index.erase(found->second, slot);
        expected.erase(found);
      } else {
        const std::uint64_t hash = random() % hashes;
        index.insert(hash, slot);
        expected[slot] = hash;
      }
      ASSERT_EQ(index.size(), expected.size());
      for (const auto& [present, hash] : expected) {
        ASSERT_EQ(index.find(hash, is(present)), present);
      }
      if (!expected.contains(slot)) {
        ASSERT_EQ(index.find(random() % hashes, is(slot)), SlotIndex::kNone);
      }
    }
  }
}

}  // namespace

}  // namespace dflockd::locks
