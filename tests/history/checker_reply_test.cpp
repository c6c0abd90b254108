// What the checker must see in single replies and connections, each beside what it must not mistake
// for it.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "written.hpp"

namespace dflockd::history {

namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Time, a_timeout_too_early) {
  const auto history = [](const std::string& answered) {
    return written({{"a.1", holder("X 30000 1 close")},
                    {"b.1", connected("I 100 1 1 acquire L:job timeout=5 lease=10\nR " + answered +
                                      " 1 timeout")}});
  };
  EXPECT_THAT(violated(history("5099")), ElementsAre("early"));
  EXPECT_THAT(violated(history("5100")), IsEmpty());
  EXPECT_THAT(violated(history("9101")), ElementsAre("late"));
}

TEST(Time, no_reply_at_all) {
  EXPECT_THAT(violated_by_holder("I 50 2 1 release L:job token=@1\nU 9000 2\nX 9000 1 close"),
              ElementsAre("late"));
  EXPECT_THAT(violated_by_holder("I 50 2 1 release L:job token=@1\nU 2000 2\nX 2000 1 close"),
              IsEmpty());
}

// --- Replies ---

TEST(Reply, not_enqueued_although_it_was) {
  EXPECT_THAT(violated(written({{"a.1", connected(R"(
    I 100 1 1 enqueue L:job lease=10
    R 110 1 queued
    I 200 2 1 wait L:job timeout=20
    R 210 2 error_not_enqueued)")},
                                {"b.1", holder("X 30000 1 close")}})),
              Contains("reply"));
}

TEST(Reply, enqueued_already_although_it_was_not) {
  EXPECT_THAT(violated(written({{"a.1", connected(R"(
    I 100 1 1 enqueue L:job lease=10
    R 110 1 error_already_enqueued)")}})),
              ElementsAre("reply"));
}

TEST(Reply, enqueued_twice) {
  EXPECT_THAT(violated(written({{"b.1", holder("X 30000 1 close")}, {"a.1", connected(R"(
    I 100 1 1 enqueue L:job lease=10
    R 110 1 queued
    I 200 2 1 enqueue L:job lease=10
    R 210 2 queued)")}})),
              ElementsAre("reply"));
}

TEST(Reply, another_token_in_the_second_phase) {
  EXPECT_THAT(violated(written({{"a.1", connected(R"(
    I 100 1 1 enqueue L:job lease=10
    R 110 1 acquired token=@1 lease=10
    I 200 2 1 wait L:job timeout=20
    R 210 2 ok token=@2 lease=10)")}})),
              ElementsAre("reply"));
}

TEST(Reply, a_lease_that_expired_too_early) {
  const auto history = [](const std::string& answered) {
    return written({{"a.1", connected("I 100 1 1 enqueue L:job lease=10\n"
                                      "R 110 1 acquired token=@1 lease=10\n"
                                      "I 9500 2 1 wait L:job timeout=20\nR " +
                                      answered + " 2 error_lease_expired")}});
  };
  EXPECT_THAT(violated(history("9600")), Contains("reply"));
  EXPECT_THAT(violated(history("10150")), IsEmpty());
}

TEST(Reply, a_limit_that_is_none) {
  EXPECT_THAT(violated(written({{"a.1", connected(R"(
    I 100 1 1 acquire S:pool timeout=0 lease=10 limit=2
    R 110 1 error_limit_mismatch
    I 120 2 1 acquire S:pool timeout=0 lease=10 limit=2
    R 130 2 ok token=@1 lease=10)")}})),
              ElementsAre("reply"));
}

TEST(Reply, a_limit_that_is_another) {
  EXPECT_THAT(violated(written({{"a.1", connected(R"(
    I 100 1 1 acquire S:pool timeout=0 lease=10 limit=2
    R 110 1 ok token=@1 lease=10
    I 120 2 1 acquire S:pool timeout=0 lease=10 limit=2
    R 130 2 ok token=@2 lease=10
    I 140 3 1 acquire S:pool timeout=0 lease=10 limit=3
    R 150 3 ok token=@3 lease=10
    X 160 1 close)")}})),
              Contains("reply"));
}

TEST(Reply, draining_from_a_server_that_does_not) {
  const std::string refused = connected(R"(
    I 100 1 1 acquire L:job timeout=0 lease=10
    R 110 1 error_draining)");
  EXPECT_THAT(violated(written({{"a.1", refused}})), ElementsAre("reply"));
  EXPECT_THAT(
      violated(written({{"a.1", refused}, {"driver", "E 105 server_term\nE 2000 server_dead"}})),
      IsEmpty());
}

TEST(Reply, that_no_client_can_get) {
  EXPECT_THAT(violated(written({{"a.1", connected(R"(
    I 100 1 1 acquire L:job timeout=0 lease=10
    R 110 1 error)")}})),
              ElementsAre("reply"));
}

TEST(Losing, a_connection_without_a_reason) {
  EXPECT_THAT(violated_by_holder("D 500 1 peer"), ElementsAre("connection"));
}

TEST(Losing, a_connection_with_the_server) {
  EXPECT_THAT(violated(written({{"a.1", holder("D 500 1 peer")},
                                {"driver", "E 490 server_kill\nE 495 server_dead"}})),
              IsEmpty());
}

TEST(Format, is_checked) {
  EXPECT_THAT(violated(written({{"a.1", "R 10 1 ok"}})), ElementsAre("format"));
  EXPECT_THAT(violated(written({{"a.1", connected("I 10 1 2 acquire L:job")}})),
              ElementsAre("format"));
}

TEST(Format, a_last_line_that_was_cut_off_is_not_read) {
  Reader reader;
  reader.add("/tmp/a.1.history", "O 0 1 tcp\nI 10 1 1 acquire L:job timeout=0 le");
  const History history = reader.finish();
  EXPECT_THAT(history.malformed, IsEmpty());
  EXPECT_THAT(history.operations, IsEmpty());
  EXPECT_EQ(history.files.at(0).name, "a.1");
  EXPECT_EQ(history.files.at(0).slot, "a");
}

}  // namespace

}  // namespace dflockd::history
