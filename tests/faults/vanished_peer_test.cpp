// A peer whose machine is gone: no end of file and no reset tells of it, and nothing answers.

#include <string>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

TEST(VanishedPeer, that_holds_a_lock_is_replaced_when_the_lease_runs_out) {
  const Server server;
  Client vanished(server);
  Client next(server);
  const auto asked = Clock::now();
  vanished.hold(lock("job"), 1);
  vanished.vanish();
  next.begin_acquire(lock("job"));
  next.read_grant();
  EXPECT_GE(Clock::now() - asked, 1s);
}

TEST(VanishedPeer, that_is_granted_what_it_waited_for_is_replaced_when_the_lease_runs_out) {
  const Server server;
  Client holder(server);
  Client vanished(server);
  Client next(server);
  const Grant grant = holder.hold(lock("job"));
  vanished.begin_acquire(lock("job"), 60, 1);
  await_waiters(holder, lock("job"), 1);
  next.begin_acquire(lock("job"));
  await_waiters(holder, lock("job"), 2);
  vanished.vanish();
  const auto asked = Clock::now();
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  next.read_grant();
  EXPECT_GE(Clock::now() - asked, 1s);
}

TEST(VanishedPeer, that_holds_nothing_is_closed_after_the_timeouts) {
  const Server server({"--idle-timeout", "1", "--write-timeout", "1"});
  Client vanished(server);
  Client observer(server);
  EXPECT_EQ(vanished.ping(), "ok");
  vanished.vanish();
  EXPECT_TRUE(eventually([&] { return stats(observer).at("connections") == 1; }));
}

// "finds peers that vanished without a word ...: after half a minute of silence, within another
// half": here within as many tenths of a second, or nearly: the system counts in whole ones.
TEST(VanishedPeer, that_waits_loses_its_place_within_a_minute) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
  constexpr Duration kTenthOfAMinute = 6s;
  const Server server(
      Launch{.flags = {"--read-timeout", "60"},
             .environment = {{"LD_PRELOAD", DFLOCKD_FAULT_SHIM}, {"DFLOCKD_SHIM_HASTE", "10"}}},
      Http::kOn);
  Client holder(server);
  Client vanished(server);
  HttpClient polling(server);
  const std::string session = polling.open_session();
  const Grant own = vanished.hold(lock("own"), 3'600);
  holder.hold(lock("job"), 3'600);
  const auto last_heard_of = Clock::now();
  vanished.begin_acquire(lock("job"), 3'600);
  polling.begin_acquire(session, lock("job"), 3'600);
  await_waiters(holder, lock("job"), 2);
  vanished.vanish();
  polling.connection().vanish();
  Client next(server);
  next.begin_acquire(lock("own"), 3'600);
  next.read_grant();  // which the end of the connection brings, not the lease
  EXPECT_GE(Clock::now() - last_heard_of, kTenthOfAMinute / 2);
  EXPECT_LE(Clock::now() - last_heard_of, kTenthOfAMinute + within(2s));
  await_waiters(holder, lock("job"), 0);
}

}  // namespace

}  // namespace dflockd::test
