#include "locks/slot_pool.hpp"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::locks {

namespace {

struct Record {
  std::uint32_t slot = 0;
  std::string text;
};

TEST(SlotPoolTest, has_no_slots_at_first) {
  const SlotPool<Record> pool;
  EXPECT_EQ(pool.size(), 0U);
}

TEST(SlotPoolTest, numbers_its_records_densely) {
  SlotPool<Record> pool;
  for (std::uint32_t i = 0; i < 1000; ++i) EXPECT_EQ(pool.take().slot, i);
  EXPECT_EQ(pool.size(), 1000U);
}

TEST(SlotPoolTest, finds_a_record_by_its_slot_and_never_moves_it) {
  SlotPool<Record> pool;
  std::vector<Record*> records;
  for (int i = 0; i < 1000; ++i) {
    records.push_back(&pool.take());
    records.back()->text = std::to_string(i);
  }
  for (std::uint32_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(&pool.at(i), records[i]);
    EXPECT_EQ(pool.at(i).text, std::to_string(i));
  }
}

TEST(SlotPoolTest, gives_returned_records_out_again_before_new_ones) {
  SlotPool<Record> pool;
  std::vector<Record*> records;
  for (int i = 0; i < 10; ++i) records.push_back(&pool.take());
  pool.give_back(*records[3]);
  pool.give_back(*records[7]);
  std::set<std::uint32_t> slots{pool.take().slot, pool.take().slot};
  EXPECT_EQ(slots, (std::set<std::uint32_t>{3, 7}));
  EXPECT_EQ(pool.take().slot, 10U);
  EXPECT_EQ(pool.size(), 11U);
}

TEST(SlotPoolTest, keeps_what_a_returned_record_has_allocated) {
  SlotPool<Record> pool;
  Record& record = pool.take();
  record.text = "something too long for a small string's own room";
  const char* text = record.text.data();
  pool.give_back(record);
  EXPECT_EQ(pool.take().text.data(), text);
}

TEST(SlotPoolTest, no_record_is_in_use_twice) {
  SlotPool<Record> pool;
  std::vector<Record*> used;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 200; ++i) used.push_back(&pool.take());
    EXPECT_EQ(std::set<Record*>(used.begin(), used.end()).size(), used.size());
    for (int i = 0; i < 150; ++i) {
      pool.give_back(*used.back());
      used.pop_back();
    }
  }
  EXPECT_EQ(pool.size(), 400U);
}

}  // namespace

}  // namespace dflockd::locks
