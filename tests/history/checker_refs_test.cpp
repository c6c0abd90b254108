// What the checker must see of locks that are shared and of stable refs, each beside what it must
// not mistake for it.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "written.hpp"

namespace dflockd::history {

namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

// --- Shared locks ---

/// Acquires L:job at once, with this fence, and keeps it for 10 s.
std::string acquires(int at, int fence, const std::string& shared = "") {
  const std::string time = std::to_string(at);
  return connected("I " + time + " 1 1 acquire L:job timeout=0 lease=10 " + shared + "\nR " + time +
                   "1 1 ok token=@" + std::to_string(fence) + " lease=10\nX 90000 1 close");
}

TEST(Shared, readers_hold_together) {
  EXPECT_THAT(violated(written({{"a.1", acquires(100, 1, "shared")},
                                {"b.1", acquires(101, 2, "shared")},
                                {"c.1", acquires(102, 3, "shared")}})),
              IsEmpty());
}

TEST(Shared, a_writer_beside_a_reader) {
  EXPECT_THAT(violated(written({{"a.1", acquires(100, 1, "shared")}, {"b.1", acquires(101, 2)}})),
              ElementsAre("exclusion"));
}

TEST(Shared, a_reader_beside_a_writer) {
  EXPECT_THAT(violated(written({{"a.1", acquires(100, 1)}, {"b.1", acquires(101, 2, "shared")}})),
              ElementsAre("exclusion"));
}

/// a holds until 2000 ms, and b is certainly in the queue when c comes; both get it.
History queue_behind_a_writer(const std::string& b, const std::string& fence_b,
                              const std::string& fence_c) {
  return written({{"a.1", holder("I 2000 2 1 release L:job token=@1\nR 2010 2 ok")},
                  {"b.1", connected("I 100 1 1 acquire L:job timeout=30 lease=1 " + b +
                                    "\nS 110 1\nR 2050 1 ok token=" + fence_b + " lease=1")},
                  {"c.1", connected("I 200 1 1 acquire L:job timeout=30 lease=1 shared\n"
                                    "S 210 1\nR 2051 1 ok token=" +
                                    fence_c + " lease=1")}});
}

TEST(Shared, readers_one_behind_the_other_are_granted_together) {
  EXPECT_THAT(violated(queue_behind_a_writer("shared", "@2", "@3")), IsEmpty());
}

TEST(Shared, a_reader_overtakes_a_writer) {
  EXPECT_THAT(violated(queue_behind_a_writer("", "@3", "@2")), Contains("order"));
}

/// a shares the lock, b waits to do so too, in vain, and c does what it says.
History reader_in_vain(const std::string& c) {
  return written({{"a.1", acquires(10, 1, "shared")},
                  {"b.1", connected("I 1000 1 1 acquire L:job timeout=6 lease=10 shared\n"
                                    "R 7005 1 timeout")},
                  {"c.1", connected(c)}});
}

TEST(Shared, a_reader_waits_beside_readers) {
  EXPECT_THAT(violated(reader_in_vain("")), ElementsAre("wakeup"));
}

TEST(Shared, a_reader_waits_with_a_writer_ahead) {
  EXPECT_THAT(
      violated(reader_in_vain("I 900 1 1 acquire L:job timeout=7 lease=1\nR 7905 1 timeout")),
      IsEmpty());
  EXPECT_THAT(violated(reader_in_vain("I 900 1 1 enqueue L:job lease=1\nR 910 1 queued\n"
                                      "I 920 2 1 wait L:job timeout=7\nR 7930 2 timeout")),
              IsEmpty());
}

TEST(Shared, a_reader_waits_on_when_the_writer_ahead_has_left) {
  EXPECT_THAT(
      violated(reader_in_vain("I 900 1 1 acquire L:job timeout=1 lease=1\nR 1905 1 timeout")),
      ElementsAre("wakeup"));
}

TEST(Shared, a_reader_is_refused_beside_readers) {
  EXPECT_THAT(violated(written({{"a.1", acquires(10, 1, "shared")},
                                {"b.1", connected("I 5000 1 1 acquire L:job timeout=0 lease=1 "
                                                  "shared\nR 5005 1 timeout")}})),
              ElementsAre("wakeup"));
}

// --- Stable refs ---

const Bounds kOrphans{.orphan_ttl = 5 * kSecond};
const Bounds kKept{.auto_release = false, .orphan_ttl = 5 * kSecond};

/// a holds the lock for `lease` seconds under the ref r, and leaves at 2000 ms.
std::string left(const std::string& more = "", const std::string& lease = "20") {
  return "O 0 1 tcp r\nI 10 1 1 acquire L:job timeout=0 lease=" + lease +
         "\nR 20 1 ok token=@1 lease=" + lease + "\nX 2000 1 close\n" + more;
}

/// Somebody comes back under a ref, asks at once whether it can have the lock and hears `reply`.
std::string back(int at, const std::string& reply, const std::string& ref = "r",
                 const std::string& how = "acquire L:job timeout=0 lease=10") {
  const std::string time = std::to_string(at);
  return "O " + time + " 2 tcp " + ref + "\nI " + time + " 8 2 " + how + "\nR " +
         std::to_string(at + 10) + " 8 " + reply + "\n";
}

const std::string kSame = "ok token=@1 lease=10";

/// b asks at 1000 ms and is granted at `answered`.
std::string next_holder(int answered) {
  return connected("I 1000 1 1 acquire L:job timeout=30 lease=10\nR " + std::to_string(answered) +
                   " 1 ok token=@2 lease=10");
}

TEST(Ref, gets_its_grant_back) {
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, kSame))}}), kOrphans), IsEmpty());
  const Report report = check(written({{"a.1", left(back(3200, kSame))}}), kOrphans);
  EXPECT_EQ(report.totals.grants, 1U);
  EXPECT_EQ(report.totals.certain_hand_backs, 1U);
}

TEST(Ref, gets_it_back_in_each_phase) {
  EXPECT_THAT(
      violated(written({{"a.1", left(back(3200, "acquired token=@1 lease=10", "r",
                                          "enqueue L:job lease=10") +
                                     "I 3300 9 2 wait L:job timeout=0\nR 3310 9 " + kSame)}}),
               kOrphans),
      IsEmpty());
  const std::string wait = "wait L:job timeout=0";
  EXPECT_THAT(
      violated(written({{"a.1", left(back(3200, "ok token=@1 lease=20", "r", wait))}}), kOrphans),
      IsEmpty());
  EXPECT_THAT(
      violated(written({{"a.1", left(back(3200, "ok token=@2 lease=20", "", wait))}}), kOrphans),
      Contains("reply"));
}

TEST(Ref, another_gets_the_grant) {
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, kSame, "other"))}}), kOrphans),
              Contains("token"));
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, kSame, ""))}}), kOrphans),
              Contains("token"));
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, kSame))}})), Contains("token"));
}

TEST(Ref, gets_the_grant_of_a_living_owner) {
  EXPECT_THAT(violated(written({{"a.1", left(back(1500, kSame))}}), kOrphans), ElementsAre("ref"));
}

TEST(Ref, gets_its_own_grant_again) {
  EXPECT_THAT(violated(written({{"a.1", R"(
    O 0 1 tcp r
    I 10 1 1 acquire L:job timeout=0 lease=10
    R 20 1 ok token=@1 lease=10
    I 30 2 1 acquire L:job timeout=0 lease=10
    R 40 2 ok token=@1 lease=10)"}}),
                       kOrphans),
              ElementsAre("ref"));
}

TEST(Ref, gets_the_grant_back_after_the_ttl) {
  EXPECT_THAT(violated(written({{"a.1", left(back(8090, kSame))}}), kOrphans), IsEmpty());
  EXPECT_THAT(violated(written({{"a.1", left(back(8110, kSame))}}), kOrphans), ElementsAre("ref"));
}

TEST(Ref, gets_it_back_until_the_lease_is_over_where_grants_outlive_connections) {
  EXPECT_THAT(violated(written({{"a.1", left(back(15000, kSame))}}), kKept), IsEmpty());
  EXPECT_THAT(violated(written({{"a.1", left(back(20200, kSame))}}), kKept), ElementsAre("ref"));
}

TEST(Ref, gets_the_grant_of_a_server_that_is_gone) {
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, kSame))}, {"driver", R"(
    E 2100 server_kill
    E 2105 server_dead
    E 2200 server_up)"}}),
                       kOrphans),
              ElementsAre("ref"));
}

TEST(Ref, does_not_get_its_grant_back) {
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "timeout"))}}), kOrphans),
              ElementsAre("ref"));
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "ok token=@2 lease=10"))}}), kOrphans),
              Contains("ref"));
}

TEST(Ref, need_not_get_it_back_from_an_owner_that_may_be_there) {
  EXPECT_THAT(violated(written({{"a.1", left(back(2900, "timeout"))}}), kOrphans), IsEmpty());
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "timeout"))}, {"b.1", "O 1000 1 tcp r"}}),
                       kOrphans),
              IsEmpty());
}

TEST(Ref, need_not_get_back_what_may_be_over) {
  EXPECT_THAT(violated(written({{"a.1", left(back(7005, "timeout"))}}), kOrphans), IsEmpty());
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "timeout"), "3")}}), kOrphans), IsEmpty());
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "timeout"))},
                                {"b.1", connected("I 3195 1 1 release L:job token=@1\n"
                                                  "R 3215 1 ok")}}),
                       kOrphans),
              IsEmpty());
}

TEST(Ref, asks_in_the_other_mode) {
  const std::string share = "acquire L:job timeout=0 lease=10 shared";
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "error", "r", share))}}), kOrphans),
              IsEmpty());
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "error"))}}), kOrphans),
              ElementsAre("reply"));
}

TEST(Ref, is_given_another_lease_than_it_asked_for) {
  EXPECT_THAT(violated(written({{"a.1", left(back(3200, "ok token=@1 lease=20"))}}), kOrphans),
              ElementsAre("lease"));
}

TEST(Orphan, is_held_until_the_ttl_is_over) {
  const auto granted = [](int at, const Bounds& bounds) {
    return violated(written({{"a.1", left()}, {"b.1", next_holder(at)}}), bounds);
  };
  EXPECT_THAT(granted(6990, kOrphans), ElementsAre("exclusion"));
  EXPECT_THAT(granted(7010, kOrphans), IsEmpty());
  EXPECT_THAT(granted(12000, kOrphans), ElementsAre("wakeup"));
  EXPECT_THAT(granted(2010, Bounds{}), IsEmpty());
}

TEST(Orphan, is_held_no_longer_than_its_lease) {
  const auto granted = [](int at) {
    return violated(written({{"a.1", left("", "3")}, {"b.1", next_holder(at)}}), kOrphans);
  };
  EXPECT_THAT(granted(3000), ElementsAre("exclusion"));
  EXPECT_THAT(granted(3020), IsEmpty());
  EXPECT_THAT(granted(9000), ElementsAre("wakeup"));
}

TEST(Orphan, is_held_by_whoever_it_was_handed_back_to) {
  const auto granted = [](int at, const std::string& more) {
    return violated(written({{"a.1", left(back(3200, kSame) + more)}, {"b.1", next_holder(at)}}),
                    kOrphans);
  };
  EXPECT_THAT(granted(13190, "X 90000 2 close"), ElementsAre("exclusion"));
  EXPECT_THAT(granted(13220, "X 90000 2 close"), IsEmpty());
  EXPECT_THAT(granted(8990, "X 4000 2 close"), ElementsAre("exclusion"));
  EXPECT_THAT(granted(9010, "X 4000 2 close"), IsEmpty());
}

TEST(Orphan, may_have_been_taken_by_a_request_without_a_reply) {
  // And so the lease may have been restarted, to be shorter.
  const auto granted = [](int at) {
    return violated(written({{"a.1", left("O 2100 2 tcp r\n"
                                          "I 2200 8 2 acquire L:job timeout=0 lease=1\n"
                                          "U 2300 8\nX 2300 2 close")},
                             {"b.1", next_holder(at)}}),
                    kOrphans);
  };
  EXPECT_THAT(granted(3190), ElementsAre("exclusion"));
  EXPECT_THAT(granted(3300), IsEmpty());
  EXPECT_THAT(granted(8200), IsEmpty());
}

TEST(Orphan, is_owned_by_whoever_renews_it) {
  const auto granted = [](int at, const std::string& more) {
    return violated(
        written(
            {{"a.1", left()},
             {"b.1", next_holder(at)},
             {"c.1", connected("I 3300 1 1 renew L:job token=@1 lease=20\nR 3310 1 ok lease=20\n" +
                               more)}}),
        kOrphans);
  };
  EXPECT_THAT(granted(7100, "X 90000 1 close"), ElementsAre("exclusion"));
  EXPECT_THAT(granted(3990, "X 4000 1 close"), ElementsAre("exclusion"));
  EXPECT_THAT(granted(4010, "X 4000 1 close"), IsEmpty());
}

TEST(Orphan, is_held_by_a_session_unless_that_was_deleted) {
  const auto granted = [](int at, const std::string& how) {
    std::string session = left();
    session.replace(0, 9, "O 0 1 http");
    session.replace(session.find("close"), 5, how);
    return violated(written({{"a.1", session}, {"b.1", next_holder(at)}}), kOrphans);
  };
  EXPECT_THAT(granted(6990, "close"), ElementsAre("exclusion"));
  EXPECT_THAT(granted(2010, "delete\nY 2005 1"), IsEmpty());
}

/// a is queued under r behind somebody, is lost at 500 ms, and comes back under `ref`, behind b.
History place_of_its_own(const std::string& ref) {
  return written({{"h.1", holder("I 3000 2 1 release L:job token=@1\nR 3010 2 ok")},
                  {"a.1",
                   "O 0 1 tcp r\nI 50 1 1 acquire L:job timeout=30 lease=1\nS 60 1\n"
                   "U 500 1\nX 500 1 close\nO 1600 2 tcp " +
                       ref +
                       "\nI 1610 2 2 acquire L:job timeout=30 lease=1\n"
                       "R 3050 2 ok token=@2 lease=1"},
                  {"b.1", connected("I 200 1 1 acquire L:job timeout=30 lease=1\nS 210 1\n"
                                    "R 4100 1 ok token=@3 lease=1")}});
}

TEST(Orphan, keeps_its_place) {
  EXPECT_THAT(violated(place_of_its_own("r"), kOrphans), IsEmpty());
  EXPECT_THAT(violated(place_of_its_own("other"), kOrphans), ElementsAre("order"));
}

/// a leaves a place to its ref; b is granted something, and then `ref` has what the place became.
History granted_while_away(const std::string& ref, const std::string& driver = "") {
  return written({{"driver", driver},
                  {"a.1",
                   "O 0 1 tcp r\nI 50 1 1 acquire L:job timeout=30 lease=10\n"
                   "U 500 1\nX 500 1 close\n" +
                       back(1600, kSame, ref)},
                  {"b.1", connected("I 600 1 1 acquire L:other timeout=0 lease=1\n"
                                    "R 610 1 ok token=@2 lease=1")}});
}

TEST(Orphan, may_have_been_granted_before_it_was_asked_for) {
  EXPECT_THAT(violated(granted_while_away("r"), kOrphans), IsEmpty());
  EXPECT_THAT(violated(granted_while_away("other"), kOrphans), ElementsAre("fence"));
}

TEST(Orphan, may_be_one_of_a_connection_whose_end_need_not_have_been_seen) {
  const std::string cut = "E 490 network_begin a";
  EXPECT_THAT(violated(granted_while_away("r", cut), kOrphans), IsEmpty());
  EXPECT_THAT(violated(granted_while_away("other", cut), kOrphans), ElementsAre("fence"));
}

TEST(Orphan, that_nobody_knows_of_keeps_others_waiting_for_the_ttl) {
  const auto history = [](int answered) {
    return written({{"a.1",
                     "O 0 1 tcp r\nI 50 1 1 acquire L:job timeout=30 lease=20\nU 500 1\n"
                     "X 500 1 close"},
                    {"b.1", next_holder(answered)}});
  };
  EXPECT_THAT(violated(history(6600), kOrphans), IsEmpty());
  EXPECT_THAT(violated(history(12000), kOrphans), ElementsAre("wakeup"));
}

}  // namespace

}  // namespace dflockd::history
