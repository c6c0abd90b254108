#include "base/batches.hpp"

#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::base {

namespace {

class Reply final : public Batches::Waiter {
 public:
  Reply(Batches& batches, std::vector<int>& sent, int number)
      : Waiter(batches), sent_(sent), number_(number) {}

 private:
  void on_committed() noexcept override { sent_.push_back(number_); }

  std::vector<int>& sent_;
  int number_;
};

}  // namespace

TEST(Batches, nothing_waits_while_there_are_no_commands) {
  Batches batches;
  EXPECT_TRUE(batches.all_committed());
  EXPECT_EQ(batches.seal(), 0U);
  EXPECT_TRUE(batches.all_committed());
}

TEST(Batches, a_reply_waits_for_the_batch_of_the_command_before_it) {
  Batches batches;
  batches.add_command();
  batches.add_command();
  EXPECT_FALSE(batches.all_committed());
  EXPECT_EQ(batches.seal(), 1U);
  EXPECT_EQ(batches.seal(), 1U) << "of nothing there is no batch";
  EXPECT_FALSE(batches.all_committed());
  batches.commit(1);
  EXPECT_TRUE(batches.all_committed());
}

TEST(Batches, replies_leave_in_order_and_not_before_their_own_batch) {
  Batches batches;
  std::vector<int> sent;
  batches.add_command();
  const Reply first(batches, sent, 1);
  const Reply second(batches, sent, 2);
  ASSERT_EQ(batches.seal(), 1U);
  batches.add_command();
  const Reply third(batches, sent, 3);
  batches.commit(1);
  EXPECT_EQ(sent, (std::vector{1, 2}));
  EXPECT_TRUE(second.over());
  EXPECT_FALSE(third.over());
  batches.commit(batches.seal());
  EXPECT_TRUE(third.over());
  EXPECT_TRUE(batches.all_committed());
}

TEST(Batches, who_gives_up_is_not_called) {
  Batches batches;
  std::vector<int> sent;
  batches.add_command();
  std::optional<Reply> gone(std::in_place, batches, sent, 1);
  const Reply stays(batches, sent, 2);
  gone.reset();
  batches.commit(batches.seal());
  EXPECT_EQ(sent, std::vector{2});
}

}  // namespace dflockd::base
