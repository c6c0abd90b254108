#include "locks/deadline_heap.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dflockd::locks {

namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

struct Element {
  std::uint32_t heap_place = kNoPlace;
};

using Heap = DeadlineHeap<Element>;

std::vector<std::chrono::nanoseconds> drained(Heap& heap) {
  std::vector<std::chrono::nanoseconds> deadlines;
  while (!heap.empty()) {
    deadlines.push_back(heap.front_deadline());
    heap.remove(heap.front());
    EXPECT_TRUE(heap.consistent());
  }
  return deadlines;
}

TEST(DeadlineHeapTest, is_empty_at_first) {
  const Heap heap;
  EXPECT_TRUE(heap.empty());
  EXPECT_EQ(heap.size(), 0U);
  EXPECT_TRUE(heap.consistent());
}

TEST(DeadlineHeapTest, the_earliest_deadline_is_in_front) {
  Heap heap;
  Element late;
  Element early;
  heap.set(late, 9s);
  EXPECT_EQ(&heap.front(), &late);
  heap.set(early, 3s);
  EXPECT_EQ(&heap.front(), &early);
  EXPECT_EQ(heap.front_deadline(), 3s);
  EXPECT_EQ(heap.size(), 2U);
}

TEST(DeadlineHeapTest, knows_the_deadline_of_each_element) {
  Heap heap;
  std::vector<Element> elements(10);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    heap.set(elements[i], std::chrono::seconds(10 - i));
  }
  for (std::size_t i = 0; i < elements.size(); ++i) {
    EXPECT_EQ(heap.deadline(elements[i]), std::chrono::seconds(10 - i));
  }
}

TEST(DeadlineHeapTest, gives_elements_back_in_the_order_of_their_deadlines) {
  Heap heap;
  std::vector<Element> elements(6);
  const std::vector<std::chrono::nanoseconds> deadlines{4s, 1s, 6s, 3s, 5s, 2s};
  for (std::size_t i = 0; i < elements.size(); ++i) heap.set(elements[i], deadlines[i]);
  EXPECT_THAT(drained(heap), ElementsAre(1s, 2s, 3s, 4s, 5s, 6s));
}

TEST(DeadlineHeapTest, moves_an_element_forward_and_back) {
  Heap heap;
  std::vector<Element> elements(5);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    heap.set(elements[i], std::chrono::seconds(i + 1));
  }
  heap.set(elements[4], 500ms);
  EXPECT_EQ(&heap.front(), &elements[4]);
  heap.set(elements[4], 10s);
  EXPECT_EQ(&heap.front(), &elements[0]);
  EXPECT_EQ(heap.size(), 5U);
  EXPECT_THAT(drained(heap), ElementsAre(1s, 2s, 3s, 4s, 10s));
}

TEST(DeadlineHeapTest, removes_from_anywhere) {
  Heap heap;
  std::vector<Element> elements(6);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    heap.set(elements[i], std::chrono::seconds(i + 1));
  }
  heap.remove(elements[0]);
  heap.remove(elements[5]);
  heap.remove(elements[2]);
  EXPECT_EQ(elements[2].heap_place, kNoPlace);
  EXPECT_THAT(drained(heap), ElementsAre(2s, 4s, 5s));
}

TEST(DeadlineHeapTest, removing_what_is_not_in_it_changes_nothing) {
  Heap heap;
  Element inside;
  Element outside;
  heap.set(inside, 1s);
  heap.remove(outside);
  heap.remove(inside);
  heap.remove(inside);
  EXPECT_TRUE(heap.empty());
}

TEST(DeadlineHeapTest, equal_deadlines_all_come_out) {
  Heap heap;
  std::vector<Element> elements(20);
  for (Element& element : elements) heap.set(element, 7s);
  EXPECT_EQ(drained(heap), std::vector<std::chrono::nanoseconds>(20, 7s));
}

TEST(DeadlineHeapTest, keeps_its_order_under_random_changes) {
  std::mt19937 random(20'240'101);  // NOLINT: the same numbers each time.
  Heap heap;
  std::vector<Element> elements(200);
  std::map<Element*, std::chrono::nanoseconds> expected;
  for (int i = 0; i < 20'000; ++i) {
    Element& element = elements[random() % elements.size()];
    if (random() % 3 == 0) {
      heap.remove(element);
      expected.erase(&element);
    } else {
      const auto deadline = std::chrono::nanoseconds(random() % 500);
      heap.set(element, deadline);
      expected[&element] = deadline;
    }
    ASSERT_EQ(heap.size(), expected.size());
    if (expected.empty()) continue;
    const auto earliest = std::min_element(
        expected.begin(), expected.end(),
        [](const auto& left, const auto& right) { return left.second < right.second; });
    ASSERT_EQ(heap.front_deadline(), earliest->second);
    ASSERT_EQ(expected.at(&heap.front()), earliest->second);
    if (expected.contains(&element)) {
      ASSERT_EQ(heap.deadline(element), expected[&element]);
    }
    if (i % 100 == 0) {
      ASSERT_TRUE(heap.consistent());
    }
  }
  const auto deadlines = drained(heap);
  EXPECT_TRUE(std::is_sorted(deadlines.begin(), deadlines.end()));
  EXPECT_EQ(deadlines.size(), expected.size());
}

}  // namespace

}  // namespace dflockd::locks
