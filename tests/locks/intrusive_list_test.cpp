#include "base/intrusive_list.hpp"

#include <array>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Element {
  int number = 0;
  base::Links<Element> links;
  base::Links<Element> other_links;
};

using List = base::IntrusiveList<Element, &Element::links>;
using OtherList = base::IntrusiveList<Element, &Element::other_links>;

struct IntrusiveListTest : ::testing::Test {
  std::array<Element, 4> elements{{{1, {}, {}}, {2, {}, {}}, {3, {}, {}}, {4, {}, {}}}};
  List list;

  void SetUp() override {
    for (Element& element : elements) list.push_back(element);
  }

  [[nodiscard]] std::vector<int> numbers() const {
    std::vector<int> found;
    for (const Element* element = list.front(); element != nullptr;
         element = List::next(*element)) {
      found.push_back(element->number);
    }
    return found;
  }
};

TEST_F(IntrusiveListTest, is_empty_at_first) {
  const List fresh;
  EXPECT_TRUE(fresh.empty());
  EXPECT_EQ(fresh.front(), nullptr);
}

TEST_F(IntrusiveListTest, keeps_the_order_of_insertion) {
  EXPECT_FALSE(list.empty());
  EXPECT_THAT(numbers(), ElementsAre(1, 2, 3, 4));
}

TEST_F(IntrusiveListTest, gives_up_its_first_element) {
  list.remove(elements[0]);
  EXPECT_THAT(numbers(), ElementsAre(2, 3, 4));
}

TEST_F(IntrusiveListTest, gives_up_an_element_in_the_middle) {
  list.remove(elements[1]);
  list.remove(elements[2]);
  EXPECT_THAT(numbers(), ElementsAre(1, 4));
}

TEST_F(IntrusiveListTest, gives_up_its_last_element_and_goes_on_from_the_one_before) {
  list.remove(elements[3]);
  EXPECT_THAT(numbers(), ElementsAre(1, 2, 3));
  list.push_back(elements[3]);
  EXPECT_THAT(numbers(), ElementsAre(1, 2, 3, 4));
}

TEST_F(IntrusiveListTest, takes_back_an_element_at_the_end) {
  list.remove(elements[0]);
  list.push_back(elements[0]);
  EXPECT_THAT(numbers(), ElementsAre(2, 3, 4, 1));
}

TEST_F(IntrusiveListTest, empties_and_fills_again) {
  for (Element& element : elements) list.remove(element);
  EXPECT_TRUE(list.empty());
  EXPECT_THAT(numbers(), IsEmpty());
  list.push_back(elements[2]);
  EXPECT_THAT(numbers(), ElementsAre(3));
}

TEST_F(IntrusiveListTest, leaves_no_links_in_what_it_gives_up) {
  list.remove(elements[1]);
  EXPECT_EQ(elements[1].links.previous, nullptr);
  EXPECT_EQ(elements[1].links.next, nullptr);
}

TEST_F(IntrusiveListTest, an_element_can_be_in_one_list_for_each_of_its_links) {
  OtherList other;
  other.push_back(elements[3]);
  other.push_back(elements[0]);
  list.remove(elements[0]);
  EXPECT_THAT(numbers(), ElementsAre(2, 3, 4));
  EXPECT_EQ(other.front(), &elements[3]);
  EXPECT_EQ(OtherList::next(elements[3]), &elements[0]);
  EXPECT_EQ(OtherList::next(elements[0]), nullptr);
}

}  // namespace

}  // namespace dflockd::locks
