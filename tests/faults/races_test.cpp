// Things that happen at the same moment. The server stands still (SIGSTOP) until all of them have.

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

class Races : public testing::Test {
 protected:
  Server server_;
  Client holder_{server_};
  Client observer_{server_};
};

TEST_F(Races, token_that_two_release_at_once_is_released_once) {
  Client other(server_);
  Client next(server_);
  Client last(server_);
  EXPECT_EQ(other.ping(), "ok");
  for (int round = 0; round < 20; ++round) {
    const Grant grant = holder_.hold(lock("job"));
    next.begin_acquire(lock("job"));
    await_waiters(observer_, lock("job"), 1);
    last.begin_acquire(lock("job"));
    await_waiters(observer_, lock("job"), 2);
    server_.signal(SIGSTOP);
    holder_.request("r", "job", grant.token);
    other.request("r", "job", grant.token);
    server_.signal(SIGCONT);
    const std::vector<std::string> replies{holder_.read_line(), other.read_line()};
    ASSERT_THAT(replies, testing::UnorderedElementsAre("ok", "error"));
    const Grant second = next.read_grant();
    ASSERT_FALSE(last.has_input()) << "two slots of one";
    ASSERT_EQ(next.release(lock("job"), second.token), "ok");
    const Grant third = last.read_grant();
    ASSERT_EQ(last.release(lock("job"), third.token), "ok");
  }
}

TEST_F(Races, token_that_is_released_and_renewed_at_once_is_renewed_first_or_not_at_all) {
  Client other(server_);
  EXPECT_EQ(other.ping(), "ok");
  for (int round = 0; round < 20; ++round) {
    const Grant grant = holder_.hold(lock("job"));
    server_.signal(SIGSTOP);
    holder_.request("r", "job", grant.token);
    other.request("n", "job", grant.token + " 44");
    server_.signal(SIGCONT);
    ASSERT_EQ(holder_.read_line(), "ok");
    ASSERT_THAT(other.read_line(), testing::AnyOf("ok 44", "error"));
    ASSERT_EQ(other.renew(lock("job"), grant.token), "error");
  }
}

// The lease of the holder and the patience of the first waiter are over when the server looks
// again.
TEST_F(Races, grant_and_timeout_that_fall_together_are_one_answer_and_no_slot_is_lost) {
  constexpr int kKeys = 40;
  struct Contest {
    Key key;
    Client first;
    Client second;
  };
  std::vector<Contest> contests;
  for (int i = 0; i < kKeys; ++i) {
    const Key key = lock("job-" + std::to_string(i));
    holder_.hold(key, 1);
    contests.push_back({key, Client(server_), Client(server_)});
    contests.back().first.begin_acquire(key, 1);
    await_waiters(observer_, key, 1);
    contests.back().second.begin_acquire(key);
    await_waiters(observer_, key, 2);
  }
  for (Contest& contest : contests) {
    const std::string reply = contest.first.read_line();
    if (reply != "timeout") {
      const Grant grant = granted(reply);
      ASSERT_FALSE(contest.second.has_input()) << contest.key.name << " has two holders";
      ASSERT_EQ(contest.first.release(contest.key, grant.token), "ok");
    }
    const Grant grant = contest.second.read_grant();
    ASSERT_EQ(contest.first.ping(), "ok") << "a second answer";
    ASSERT_EQ(contest.second.release(contest.key, grant.token), "ok");
  }
}

// What was due first has happened first, however late the server is.
TEST_F(Races, grant_that_was_due_before_the_timeout_is_given_though_both_are_over) {
  Client waiting(server_);
  holder_.hold(lock("job"), 1);
  const auto held = Clock::now();
  std::this_thread::sleep_until(held + 300ms);  // the waiter's time is over later than the lease
  waiting.begin_acquire(lock("job"), 1);
  await_waiters(observer_, lock("job"), 1);
  server_.signal(SIGSTOP);
  std::this_thread::sleep_until(held + 1'500ms);  // both are over
  server_.signal(SIGCONT);
  waiting.read_grant();
}

}  // namespace

}  // namespace dflockd::test
