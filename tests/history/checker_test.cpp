// What the checker must see, each beside what it must not mistake for it.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "written.hpp"

namespace dflockd::history {

namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using namespace std::string_literals;

// --- Holding ---

/// `b.1` asks at 1000 ms and is granted at `answered`.
std::string second_holder(const std::string& answered) {
  return connected(R"(
    I 1000 1 1 acquire L:job timeout=30 lease=10
    R )" + answered +
                   R"( 1 ok token=@2 lease=10
  )");
}

TEST(Exclusion, two_holders_of_a_lock) {
  const auto history = written({{"a.1", holder("X 9000 1 close")}, {"b.1", second_holder("2000")}});
  EXPECT_THAT(violated(history), Contains("exclusion"));
}

TEST(Exclusion, not_after_the_release_was_sent) {
  const auto history = written({{"a.1", holder(R"(
    I 1990 2 1 release L:job token=@1
    R 2010 2 ok
    X 9000 1 close)")},
                                {"b.1", second_holder("2000")}});
  EXPECT_THAT(violated(history), IsEmpty());
}

TEST(Exclusion, not_after_a_release_that_nobody_knows_the_end_of) {
  const auto history = written({{"a.1", holder(R"(
    I 1500 2 1 release L:job token=@1
    U 1600 2
    X 1600 1 close)")},
                                {"b.1", second_holder("2000")}});
  EXPECT_THAT(violated(history), IsEmpty());
}

TEST(Exclusion, not_after_the_connection_was_closed) {
  const auto history = written({{"a.1", holder("X 1990 1 close")}, {"b.1", second_holder("2000")}});
  EXPECT_THAT(violated(history), IsEmpty());
}

/// A server that runs with --auto-release-on-disconnect=false.
const Bounds kKeeping{.auto_release = false};

TEST(Exclusion, after_the_connection_was_closed_where_grants_outlive_it) {
  const auto history = [](const std::string& answered) {
    return written({{"a.1", holder("X 1990 1 close")}, {"b.1", second_holder(answered)}});
  };
  EXPECT_THAT(violated(history("2000"), kKeeping), Contains("exclusion"));
  EXPECT_THAT(violated(history("10011"), kKeeping), IsEmpty());
}

TEST(Exclusion, not_after_the_session_was_deleted_even_where_grants_outlive_it) {
  std::string session = holder("X 1990 1 delete");
  session.replace(0, 9, "O 0 1 http");
  EXPECT_THAT(violated(written({{"a.1", session}, {"b.1", second_holder("2000")}}), kKeeping),
              IsEmpty());
}

TEST(Exclusion, not_after_the_process_was_killed) {
  const auto history = written(
      {{"a.1", holder()}, {"b.1", second_holder("2000")}, {"driver", "E 1990 client_kill a.1"}});
  EXPECT_THAT(violated(history), IsEmpty());
}

TEST(Exclusion, a_session_outlives_its_process) {
  std::string session = holder();
  session.replace(0, 9, "O 0 1 http");
  const auto history = written(
      {{"a.1", session}, {"b.1", second_holder("2000")}, {"driver", "E 1990 client_kill a.1"}});
  EXPECT_THAT(violated(history), Contains("exclusion"));
}

TEST(Exclusion, not_after_the_server_was_killed) {
  const auto history = written({{"a.1", holder("D 1100 1 peer")},
                                {"b.1", connected(R"(
    I 1300 1 1 acquire L:job timeout=30 lease=10
    R 1400 1 ok token=@2 lease=10)")},
                                {"driver", R"(
    E 1090 server_kill
    E 1095 server_dead
    E 1200 server_up)"}});
  EXPECT_THAT(violated(history), IsEmpty());
}

TEST(Exclusion, until_the_lease_can_have_ended) {
  const std::string open = holder("X 30000 1 close");
  EXPECT_THAT(violated(written({{"a.1", open}, {"b.1", second_holder("10009")}})),
              Contains("exclusion"));
  EXPECT_THAT(violated(written({{"a.1", open}, {"b.1", second_holder("10011")}})), IsEmpty());
}

TEST(Exclusion, until_the_renewed_lease_can_have_ended) {
  const std::string renewed = holder(R"(
    I 5000 2 1 renew L:job token=@1 lease=8
    R 5010 2 ok lease=8
    X 30000 1 close)");
  EXPECT_THAT(violated(written({{"a.1", renewed}, {"b.1", second_holder("12999")}})),
              Contains("exclusion"));
  EXPECT_THAT(violated(written({{"a.1", renewed}, {"b.1", second_holder("13001")}})), IsEmpty());
}

TEST(Exclusion, a_renewal_without_an_end_may_have_shortened_the_lease) {
  const std::string renewed = holder(R"(
    I 5000 2 1 renew L:job token=@1 lease=1
    U 5500 2
    X 30000 1 close)");
  EXPECT_THAT(violated(written({{"a.1", renewed}, {"b.1", second_holder("6001")}})), IsEmpty());
  EXPECT_THAT(violated(written({{"a.1", renewed}, {"b.1", second_holder("5999")}})),
              Contains("exclusion"));
}

TEST(Exclusion, a_semaphore_over_its_limit) {
  const auto acquire = [](int time, int fence) {
    const std::string at = std::to_string(time);
    return connected("I " + at + " 1 1 acquire S:pool timeout=0 lease=10 limit=2\nR " + at +
                     "1 1 ok token=@" + std::to_string(fence) + " lease=10\nX 90000 1 close");
  };
  EXPECT_THAT(violated(written({{"a.1", acquire(100, 1)}, {"b.1", acquire(110, 2)}})), IsEmpty());
  EXPECT_THAT(violated(written(
                  {{"a.1", acquire(100, 1)}, {"b.1", acquire(110, 2)}, {"c.1", acquire(120, 3)}})),
              ElementsAre("exclusion"));
}

TEST(Exclusion, is_seen_through_a_later_grant) {
  // b's reply comes late, but c was granted after it and answered before a let go.
  const auto history = written({{"a.1", holder(R"(
    I 3000 2 1 release L:job token=@1
    R 3010 2 ok
    X 9000 1 close)")},
                                {"b.1", connected(R"(
    I 1000 1 1 acquire L:job timeout=30 lease=10
    R 3500 1 ok token=@2 lease=10)")},
                                {"c.1", connected(R"(
    I 1000 1 1 acquire L:other timeout=30 lease=10
    R 2500 1 ok token=@3 lease=10)")}});
  EXPECT_THAT(violated(history), Contains("exclusion"));
}

// --- The queue ---

/// a holds; b is queued by 100 ms, c asks at `asked`, and they get these fences.
History queue_of_two(const std::string& asked, int fence_b, int fence_c) {
  const int answered_b = 3000 + fence_b * 1000;
  const int answered_c = 3000 + fence_c * 1000;
  const auto granted = [](int answered, int fence) {
    return " ok token=@" + std::to_string(fence) + " lease=10\nI " +
           std::to_string(answered + 500) + " 9 1 release L:job token=@" + std::to_string(fence) +
           "\nR " + std::to_string(answered + 510) + " 9 ok\n";
  };
  return written(
      {{"a.1", holder(R"(
    I 4900 2 1 release L:job token=@1
    R 4910 2 ok)")},
       {"b.1", connected("I 50 1 1 enqueue L:job lease=10\nR 100 1 queued\n"
                         "I 2000 2 1 wait L:job timeout=30\nR " +
                         std::to_string(answered_b) + " 2" + granted(answered_b, fence_b))},
       {"c.1", connected("I " + asked + " 1 1 acquire L:job timeout=30 lease=10\nR " +
                         std::to_string(answered_c) + " 1" + granted(answered_c, fence_c))}});
}

TEST(Order, a_waiter_that_was_overtaken) {
  EXPECT_THAT(violated(queue_of_two("101", 3, 2)), Contains("order"));
}

TEST(Order, is_free_among_those_who_came_at_once) {
  EXPECT_THAT(violated(queue_of_two("99", 3, 2)), IsEmpty());
  EXPECT_THAT(violated(queue_of_two("101", 2, 3)), IsEmpty());
}

TEST(Order, a_request_that_is_known_to_have_been_read) {
  const auto history = [](const std::string& seen) {
    return written({{"a.1", holder("I 1500 2 1 release L:job token=@1\nR 1510 2 ok")},
                    {"b.1", connected("I 50 1 1 acquire L:job timeout=30 lease=10\n" + seen +
                                      "R 2600 1 ok token=@3 lease=10")},
                    {"c.1", connected(R"(
      I 200 1 1 acquire L:job timeout=30 lease=10
      R 1600 1 ok token=@2 lease=10
      I 2500 2 1 release L:job token=@2
      R 2510 2 ok)")}});
  };
  EXPECT_THAT(violated(history("S 100 1\n")), ElementsAre("order"));
  EXPECT_THAT(violated(history("")), IsEmpty());
  EXPECT_THAT(violated(history("S 201 1\n")), IsEmpty());
}

TEST(Order, a_waiter_that_got_nothing_while_another_did) {
  const auto history = [](const std::string& timeout, const std::string& timed_out) {
    return written({{"a.1", holder("I 1500 2 1 release L:job token=@1\nR 1510 2 ok")},
                    {"b.1", connected("I 50 1 1 acquire L:job timeout=" + timeout +
                                      " lease=10\nS 100 1\nR " + timed_out + " 1 timeout")},
                    {"c.1", connected(R"(
      I 200 1 1 acquire L:job timeout=30 lease=10
      R 1600 1 ok token=@2 lease=10)")}});
  };
  EXPECT_THAT(violated(history("3", "3051")), ElementsAre("order"));
  EXPECT_THAT(violated(history("1", "1051")), IsEmpty());
}

// --- Fences and tokens ---

/// a is granted and releases; then b is granted.
History one_after_the_other(const std::string& first, const std::string& second,
                            const std::string& key = "L:job") {
  return written(
      {{"a.1", connected("I 10 1 1 acquire L:job timeout=0 lease=10\nR 20 1 ok token=" + first +
                         " lease=10\nI 30 2 1 release L:job token=" + first + "\nR 40 2 ok")},
       {"b.1", connected("I 50 1 1 acquire " + key +
                         " timeout=0 lease=10\nR 60 1 ok token=" + second + " lease=10")}});
}

TEST(Fence, a_later_grant_has_a_lower_one) {
  EXPECT_THAT(violated(one_after_the_other("@7", "@6")), Contains("fence"));
  EXPECT_THAT(violated(one_after_the_other("@7", "@6", "L:other")), Contains("fence"));
  EXPECT_THAT(violated(one_after_the_other("@7", "@8")), IsEmpty());
}

TEST(Fence, also_over_a_restart_of_the_server) {
  const auto history = written({{"a.1", holder("D 1100 1 peer")},
                                {"b.1", connected(R"(
    I 3000 1 1 acquire L:job timeout=0 lease=10
    R 3010 1 ok token=@0 lease=10)")},
                                {"driver", R"(
    E 1090 server_kill
    E 1095 server_dead
    E 1200 server_up)"}});
  EXPECT_THAT(violated(history), Contains("fence"));
}

TEST(Token, of_two_grants) {
  EXPECT_THAT(violated(one_after_the_other("@7", "@7")), Contains("token"));
}

TEST(Token, of_two_grants_with_one_fence) {
  EXPECT_THAT(violated(one_after_the_other("@7", "00000000000000070000000000000008")),
              Contains("token"));
}

TEST(Token, that_nobody_was_granted) {
  EXPECT_THAT(violated(written({{"a.1", holder(R"(
    I 30 2 1 release L:job token=@99
    R 40 2 ok)")}})),
              ElementsAre("token"));
  EXPECT_THAT(violated(written({{"a.1", holder(R"(
    I 30 2 1 release L:job token=@99
    R 40 2 error)")}})),
              IsEmpty());
}

// --- Releases and renewals ---

TEST(Release, refused_while_held) {
  EXPECT_THAT(violated_by_holder("I 5000 2 1 release L:job token=@1\nR 5010 2 error"),
              ElementsAre("release"));
  EXPECT_THAT(violated_by_holder("I 9995 2 1 release L:job token=@1\nR 10015 2 error"), IsEmpty());
}

TEST(Release, accepted_twice) {
  EXPECT_THAT(violated_by_holder("I 50 2 1 release L:job token=@1\nR 60 2 ok\n"
                                 "I 55 3 1 release L:job token=@1\nR 70 3 ok"),
              ElementsAre("release"));
  EXPECT_THAT(violated_by_holder("I 50 2 1 release L:job token=@1\nR 60 2 ok\n"
                                 "I 55 3 1 release L:job token=@1\nR 70 3 error"),
              IsEmpty());
}

TEST(Release, accepted_after_the_lease) {
  EXPECT_THAT(violated_by_holder("I 10200 2 1 release L:job token=@1\nR 10210 2 ok"),
              ElementsAre("release"));
  EXPECT_THAT(violated_by_holder("I 10015 2 1 release L:job token=@1\nR 10025 2 ok"), IsEmpty());
}

TEST(Release, accepted_long_after_the_holder_left) {
  const auto by_another = [](const std::string& at) {
    return violated(written(
        {{"a.1", holder("X 100 1 close")},
         {"b.1", connected("I " + at + " 2 1 release L:job token=@1\nR " + at + "1 2 ok")}}));
  };
  EXPECT_THAT(by_another("3000"), Contains("release"));
  EXPECT_THAT(by_another("1000"), Not(Contains("release")));
}

TEST(Renewal, accepted_after_the_release) {
  EXPECT_THAT(violated_by_holder("I 50 2 1 release L:job token=@1\nR 60 2 ok\n"
                                 "I 70 3 1 renew L:job token=@1 lease=5\nR 80 3 ok lease=5"),
              ElementsAre("renewal"));
  EXPECT_THAT(violated_by_holder("I 50 2 1 release L:job token=@1\nR 60 2 ok\n"
                                 "I 70 3 1 renew L:job token=@1 lease=5\nR 80 3 error"),
              IsEmpty());
}

TEST(Renewal, refused_while_held) {
  EXPECT_THAT(violated_by_holder("I 50 2 1 renew L:job token=@1 lease=5\nR 60 2 error"),
              ElementsAre("renewal"));
}

TEST(Renewal, refused_after_the_server_was_restarted) {
  EXPECT_THAT(violated(written({{"a.1", holder(R"(
    D 1100 1 peer
    O 1300 2 tcp
    I 1400 2 2 renew L:job token=@1 lease=5
    R 1410 2 error)")},
                                {"driver", R"(
    E 1090 server_kill
    E 1095 server_dead
    E 1200 server_up)"}})),
              IsEmpty());
}

TEST(Renewal, accepted_after_the_server_was_restarted) {
  EXPECT_THAT(violated(written({{"a.1", holder(R"(
    D 1100 1 peer
    O 1300 2 tcp
    I 1400 2 2 renew L:job token=@1 lease=5
    R 1410 2 ok lease=5)")},
                                {"driver", R"(
    E 1090 server_kill
    E 1095 server_dead
    E 1200 server_up)"}})),
              ElementsAre("renewal"));
}

TEST(Lease, other_than_asked_for) {
  EXPECT_THAT(violated(written({{"a.1", connected(R"(
    I 10 1 1 acquire L:job timeout=0 lease=10
    R 20 1 ok token=@1 lease=11)")}})),
              ElementsAre("lease"));
  EXPECT_THAT(violated_by_holder("I 50 2 1 renew L:job token=@1 lease=5\nR 60 2 ok lease=6"),
              ElementsAre("lease"));
}

// --- Waiting ---

/// a releases at 1000 ms, but b, who has waited since 100 ms, hears `reply` at `answered` ms.
History waiter(const std::string& reply, const std::string& answered,
               const std::string& driver = "") {
  return written({{"a.1", holder("I 1000 2 1 release L:job token=@1\nR 1010 2 ok")},
                  {"b.1", connected("I 100 1 1 acquire L:job timeout=20 lease=10\nR " + answered +
                                    " 1 " + reply)},
                  {"driver", driver}});
}

TEST(WakeUp, that_was_lost) {
  EXPECT_THAT(violated(waiter("timeout", "20100")), ElementsAre("wakeup"));
}

TEST(WakeUp, that_was_late) {
  EXPECT_THAT(violated(waiter("ok token=@2 lease=10", "8000")), ElementsAre("wakeup"));
  EXPECT_THAT(violated(waiter("ok token=@2 lease=10", "1050")), IsEmpty());
}

TEST(WakeUp, that_was_late_because_the_server_was_stopped) {
  EXPECT_THAT(
      violated(waiter("ok token=@2 lease=10", "8000", "E 900 server_stop\nE 7900 server_cont")),
      IsEmpty());
}

TEST(WakeUp, that_was_late_because_the_client_was_stopped) {
  EXPECT_THAT(
      violated(waiter("ok token=@2 lease=10", "8000", "E 900 client_stop b\nE 7900 client_cont b")),
      IsEmpty());
}

TEST(WakeUp, that_was_late_because_of_the_network) {
  EXPECT_THAT(violated(waiter("ok token=@2 lease=10", "8000",
                              "E 900 network_begin b\nE 5000 network_end b")),
              IsEmpty());
}

TEST(WakeUp, that_was_late_because_the_network_was_cut_again_before_it_was_noticed) {
  const auto cut_twice = [](const std::string& second) {
    return violated(waiter("ok token=@2 lease=10", "8000",
                           "E 900 network_begin b\nE 2900 network_end b\n" + second));
  };
  EXPECT_THAT(cut_twice("E 4000 network_begin b\nE 4300 network_end b"), IsEmpty());
  EXPECT_THAT(cut_twice(""), ElementsAre("wakeup"));
}

TEST(WakeUp, is_not_due_while_somebody_may_hold) {
  // c vanished without a reply: it may have been granted, until its lease is over.
  const auto history = [](const std::string& answered) {
    return written({{"a.1", holder("I 1000 2 1 release L:job token=@1\nR 1010 2 ok")},
                    {"c.1", connected("I 90 1 1 acquire L:job timeout=3 lease=10")},
                    {"b.1", connected("I 100 1 1 acquire L:job timeout=40 lease=10\nR " + answered +
                                      " 1 ok token=@2 lease=10")}});
  };
  EXPECT_THAT(violated(history("13000")), IsEmpty());
  EXPECT_THAT(violated(history("25000")), ElementsAre("wakeup"));
}

TEST(WakeUp, is_not_due_beside_a_grant_that_outlives_its_owner) {
  // c vanished as it was granted, and holds until its lease is over.
  const auto history = written({{"c.1", connected("I 90 1 1 acquire L:job timeout=3 lease=5")},
                                {"b.1", connected("I 100 1 1 acquire L:job timeout=40 lease=10\n"
                                                  "R 5100 1 ok token=@2 lease=10")},
                                {"driver", "E 95 client_kill c.1"}});
  EXPECT_THAT(violated(history), ElementsAre("wakeup"));
  EXPECT_THAT(violated(history, kKeeping), IsEmpty());
}

TEST(WakeUp, is_not_due_while_a_grant_of_a_lost_answer_may_be_held) {
  // The answer to the second phase does not arrive. Whether there was one shows the next request.
  const auto history = [](const std::string& next) {
    return written({{"a.1", "O 0 1 http\n" + R"(
    I 10 1 1 acquire L:job timeout=0 lease=10
    R 20 1 ok token=@1 lease=10
    I 1000 2 1 release L:job token=@1
    R 1010 2 ok)"s},
                    {"b.1", "O 0 1 http\n" + R"(
    I 100 1 1 enqueue L:job lease=10
    R 110 1 queued
    I 200 2 1 wait L:job timeout=20
    U 1100 2
    )"s + next}});
  };
  const std::string again = "I 2000 3 1 enqueue L:job lease=10\nR 2010 3 queued\n";
  const auto granted = [&](const std::string& at) {
    return again + "I 2020 4 1 wait L:job timeout=30\nR " + at + " 4 ok token=@2 lease=10";
  };
  EXPECT_THAT(violated(history(granted("12000"))), IsEmpty());
  EXPECT_THAT(violated(history(granted("15000"))), ElementsAre("wakeup"));
  const auto gone = [&](const std::string& at) {
    return "I 1200 3 1 wait L:job timeout=20\nR 1210 3 error_not_enqueued\n"
           "I 1300 4 1 acquire L:job timeout=30 lease=10\nR " +
           at + " 4 ok token=@2 lease=10";
  };
  EXPECT_THAT(violated(history(gone("12000"))), IsEmpty());
  EXPECT_THAT(violated(history(gone("15000"))), ElementsAre("wakeup"));
}

TEST(WakeUp, is_due_while_another_still_waits) {
  // c was killed much later: had it been granted anything before, it would have said so.
  EXPECT_THAT(violated(written({{"a.1", holder("I 1000 2 1 release L:job token=@1\nR 1010 2 ok")},
                                {"c.1", connected("I 90 1 1 acquire L:job timeout=30 lease=10")},
                                {"b.1", connected("I 100 1 1 acquire L:job timeout=10 lease=10\n"
                                                  "R 10100 1 timeout")},
                                {"driver", "E 20000 client_kill c.1"}})),
              ElementsAre("wakeup"));
}

TEST(WakeUp, of_two_phases_is_due_only_while_it_is_waited_for) {
  // Both slots are free from 210 ms on; b, in the queue since 110 ms, asks for its own at `asked`.
  const auto history = [](const std::string& asked, const std::string& answered) {
    return written(
        {{"a.1", connected(R"(
    I 10 1 1 acquire S:pool timeout=0 lease=20 limit=2
    R 20 1 ok token=@1 lease=20
    I 30 2 1 acquire S:pool timeout=0 lease=20 limit=2
    R 40 2 ok token=@2 lease=20
    I 200 3 1 release S:pool token=@1
    R 205 3 ok
    I 206 4 1 release S:pool token=@2
    R 210 4 ok)")},
         {"b.1",
          connected("I 100 1 1 enqueue S:pool lease=10 limit=2\nR 110 1 queued\nI " + asked +
                    " 2 1 wait S:pool timeout=20\nR " + answered + " 2 ok token=@3 lease=10")}});
  };
  EXPECT_THAT(violated(history("8000", "8010")), IsEmpty());
  EXPECT_THAT(violated(history("150", "8010")), ElementsAre("wakeup"));
}

TEST(WakeUp, that_two_phases_lost) {
  EXPECT_THAT(violated(written({{"a.1", holder("I 1000 2 1 release L:job token=@1\nR 1010 2 ok")},
                                {"b.1", connected(R"(
    I 100 1 1 enqueue L:job lease=10
    R 110 1 queued
    I 200 2 1 wait L:job timeout=20
    R 20300 2 timeout)")}})),
              ElementsAre("wakeup"));
}

TEST(WakeUp, a_free_slot_that_was_refused) {
  const auto history = [](const std::string& at) {
    return written({{"a.1", holder("I 1000 2 1 release L:job token=@1\nR 1010 2 ok")},
                    {"b.1", connected("I " + at + "00 1 1 acquire L:job timeout=0 lease=10\nR " +
                                      at + "10 1 timeout")}});
  };
  EXPECT_THAT(violated(history("50")), ElementsAre("wakeup"));
  EXPECT_THAT(violated(history("10")), IsEmpty());
}

}  // namespace

}  // namespace dflockd::history
