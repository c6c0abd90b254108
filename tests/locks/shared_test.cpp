// Shared locks: many who hold one shared, or one who holds it alone, in one strict order.
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Terms kShared{.shared = true};

TEST(SharedTest, any_number_hold_it_together_each_with_a_token_and_lease_of_its_own) {
  TestTable t;
  const Token first = t.hold(kJob, {.lease = 10s, .shared = true});
  const Token second = t.hold(kJob, {.lease = 20s, .shared = true});
  EXPECT_LT(first.fence, second.fence);
  EXPECT_NE(first.salt, second.salt);
  EXPECT_EQ(t.info(kJob)->holders, 2U);
  EXPECT_TRUE(t.info(kJob)->shared);
  EXPECT_TRUE(t.renew(kJob, first, 15s));
  t.advance_to(15s);
  EXPECT_EQ(t.info(kJob)->holders, 1U);
  EXPECT_FALSE(t.release(kJob, first));
  EXPECT_TRUE(t.release(kJob, second));
  EXPECT_EQ(t.table.held(), 0U);
}

TEST(SharedTest, exclusive_holder_keeps_shared_requests_out_and_the_reverse) {
  TestTable t;
  const Token exclusive = t.hold(kJob);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s, kShared).outcome, Outcome::kTimeout);
  EXPECT_TRUE(t.release(kJob, exclusive));
  t.hold(kJob, kShared);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s).outcome, Outcome::kTimeout);
}

TEST(SharedTest, waiting_writer_is_overtaken_by_no_reader) {
  TestTable t;
  const Token reader = t.hold(kJob, kShared);
  const OwnerId writer = t.owner();
  EXPECT_EQ(t.acquire(writer, kJob, 60s).outcome, Outcome::kQueued);
  EXPECT_EQ(t.acquire(t.owner(), kJob, 0s, kShared).outcome, Outcome::kTimeout);
  const OwnerId late = t.owner();
  EXPECT_EQ(t.acquire(late, kJob, 60s, kShared).outcome, Outcome::kQueued);
  EXPECT_TRUE(t.release(kJob, reader));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(writer)));
  EXPECT_TRUE(t.release(kJob, t.latest_granted));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(late)));
}

TEST(SharedTest, all_readers_up_to_the_next_writer_are_granted_together_in_order) {
  TestTable t;
  const Token writer = t.hold(kJob);
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  const OwnerId next_writer = t.owner();
  const OwnerId third = t.owner();
  t.acquire(first, kJob, 60s, kShared);
  t.acquire(second, kJob, 60s, kShared);
  t.acquire(next_writer, kJob, 60s);
  t.acquire(third, kJob, 60s, kShared);
  EXPECT_TRUE(t.release(kJob, writer));
  const std::vector<Effect> together = t.heard();
  ASSERT_THAT(together, ElementsAre(Granted(first), Granted(second)));
  EXPECT_LT(together[0].answer.token.fence, together[1].answer.token.fence);
  EXPECT_TRUE(t.release(kJob, together[1].answer.token));
  EXPECT_THAT(t.heard(), IsEmpty()) << "a writer waits for all readers";
  EXPECT_TRUE(t.release(kJob, together[0].answer.token));
  EXPECT_THAT(t.heard(), ElementsAre(Granted(next_writer)));
}

// Whatever takes a writer out of the queue lets the readers behind it in.
using Leave = void (*)(TestTable&, OwnerId writer);
class WriterThatLeaves : public testing::TestWithParam<std::pair<const char*, Leave>> {};

TEST_P(WriterThatLeaves, lets_the_readers_behind_it_in_at_once) {
  TestTable t;
  t.hold(kJob, {.lease = 100s, .shared = true});
  const OwnerId writer = t.owner();
  const std::string how = GetParam().first;
  if (how.starts_with("phase_one")) {
    t.enqueue(writer, kJob);
  } else {
    t.acquire(writer, kJob, 5s);
  }
  const OwnerId reader = t.owner();
  const OwnerId other = t.owner();
  t.now = 2s;
  t.acquire(reader, kJob, 60s, {.lease = 10s, .shared = true});
  t.enqueue(other, kJob, kShared);
  t.now = 5s;
  GetParam().second(t, writer);
  const std::vector<Effect> effects = t.heard();
  ASSERT_FALSE(effects.empty());
  EXPECT_THAT(effects.back(), Granted(reader));
  EXPECT_EQ(t.wait(other, kJob, 0s).outcome, Outcome::kGranted);
  EXPECT_EQ(t.info(kJob)->holders, 3U);
  t.advance_to(15s - 1ns);
  EXPECT_EQ(t.info(kJob)->holders, 3U) << "the lease begins with the grant";
}

std::vector<std::pair<const char*, Leave>> ways_to_leave() {
  return {{"timeout", [](TestTable& t, OwnerId) { t.apply(Advance{}); }},
          {"cancel", [](TestTable& t, OwnerId writer) { t.apply(CancelWait{writer}); }},
          {"cancel_all", [](TestTable& t, OwnerId writer) { t.apply(CancelWaits{writer}); }},
          {"close", [](TestTable& t, OwnerId writer) { t.close(writer); }},
          {"phase_one_close", [](TestTable& t, OwnerId writer) { t.close(writer); }},
          {"phase_one_cancel", [](TestTable& t, OwnerId writer) { t.apply(CancelWaits{writer}); }},
          {"phase_one_place",
           [](TestTable& t, OwnerId writer) {
             t.apply(GiveUpPlace{writer, kJob});
           }},
          {"phase_one_wait", [](TestTable& t, OwnerId writer) { t.wait(writer, kJob, 0s); }}};
}

INSTANTIATE_TEST_SUITE_P(By, WriterThatLeaves, testing::ValuesIn(ways_to_leave()),
                         [](const auto& way) { return std::string(way.param.first); });

TEST(SharedTest, owner_that_leaves_with_places_before_and_behind_a_reader_is_granted_nothing) {
  TestTable t;
  t.hold(kJob, kShared);
  const OwnerId leaver = t.owner();
  t.enqueue(leaver, kJob);                // a writer first
  t.acquire(leaver, kJob, 60s, kShared);  // and a reader behind it
  const OwnerId reader = t.owner();
  t.acquire(reader, kJob, 60s, kShared);
  const std::uint64_t next = t.table.next_fence();
  t.close(leaver);
  EXPECT_THAT(t.heard(), ElementsAre(Granted(reader)));
  EXPECT_EQ(t.table.next_fence(), next + 1);
}

TEST(SharedTest, phase_one_and_two_are_as_those_of_a_lock) {
  TestTable t;
  const OwnerId reader = t.owner();
  t.hold(kJob, kShared);
  EXPECT_EQ(t.enqueue(reader, kJob, kShared).outcome, Outcome::kGranted);
  EXPECT_EQ(t.enqueue(reader, kJob, kShared).outcome, Outcome::kAlreadyEnqueued);
  EXPECT_EQ(t.wait(reader, kJob, 0s).outcome, Outcome::kGranted);
  EXPECT_EQ(t.wait(reader, kJob, 0s).outcome, Outcome::kNotEnqueued);
}

TEST(SharedTest, one_whose_lease_runs_out_leaves_the_others_holding) {
  TestTable t;
  const OwnerId brief = t.owner();
  t.hold(brief, kJob, {.lease = 1s, .shared = true});
  t.hold(kJob, kShared);
  const OwnerId writer = t.owner();
  t.acquire(writer, kJob, 60s);
  t.advance_to(1s);
  EXPECT_THAT(t.heard(), ElementsAre(Expired(brief, kJob)));
  t.advance_to(10s);
  EXPECT_THAT(t.heard(), testing::Contains(Granted(writer)));
}

TEST(SharedTest, without_fences_readers_in_the_queue_are_refused_one_by_one) {
  TestTable t({}, 1);
  const Token writer = t.hold(kJob);
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  t.acquire(first, kJob, 60s, kShared);
  t.acquire(second, kJob, 60s, kShared);
  EXPECT_TRUE(t.release(kJob, writer));
  EXPECT_THAT(t.heard(),
              ElementsAre(WaitOver(first, Outcome::kNoFence), WaitOver(second, Outcome::kNoFence)));
}

TEST(SharedTest, ten_thousand_readers_come_and_go_in_any_order) {
  TestTable t;
  constexpr std::size_t kReaders = 10'000;
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < kReaders; ++i) tokens.push_back(t.hold(kJob, kShared));
  EXPECT_LT(t.table.longest_search(), 200U);
  for (std::size_t i = 0; i < kReaders; i += 2) EXPECT_TRUE(t.release(kJob, tokens[i]));
  for (std::size_t i = 1; i < kReaders; i += 2) EXPECT_TRUE(t.renew(kJob, tokens[i], 5s));
  EXPECT_EQ(t.info(kJob)->holders, kReaders / 2);
  const OwnerId writer = t.owner();
  t.acquire(writer, kJob, 60s);
  t.advance_to(5s);
  EXPECT_THAT(t.heard(), testing::Contains(Granted(writer)));
}

}  // namespace

}  // namespace dflockd::locks
