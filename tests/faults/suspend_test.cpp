// The machine is suspended and resumes: the clock of leases has gone on, that of the system's
// timers has not.

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

class Suspend : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
    server_.emplace(Launch{.flags = {"--lease-sweep-interval", "3600", "--read-timeout", "5"},
                           .environment = {{"LD_PRELOAD", DFLOCKD_FAULT_SHIM},
                                           {"DFLOCKD_SHIM_SUSPENDED", slept_}}},
                    Http::kOn);
  }

  /// The machine is suspended for so many seconds, in no time.
  void suspend(int seconds) {
    write_file(slept_ + ".new", std::to_string(total_ += seconds));
    std::filesystem::rename(slept_ + ".new", slept_);  // never half written
  }

  TemporaryDirectory directory_;
  const std::string slept_ = directory_.file("suspended");
  int total_ = 0;
  std::optional<Server> server_;
};

TEST_F(Suspend, lease_that_ended_meanwhile_is_passed_on_within_100_ms) {
  int round = 0;
  const Duration late = best_measured(100ms, [&] {
    const Key job = lock("job-" + std::to_string(round++));
    Client holder(*server_);
    Client waiting(*server_);
    const Grant grant = holder.hold(job, 60);
    waiting.begin_acquire(job, 3'600);
    await_waiters(holder, job, 1);
    const auto resumed = Clock::now();
    suspend(61);
    waiting.read_grant();
    const Duration taken = Clock::now() - resumed;
    EXPECT_EQ(holder.renew(job, grant.token), "error");
    return taken;
  });
  EXPECT_LE(late, 100ms);
}

TEST_F(Suspend, lease_that_has_not_ended_goes_on_with_what_is_left_of_it) {
  Client holder(*server_);
  const Grant grant = holder.hold(lock("job"), 60);
  suspend(30);
  ASSERT_TRUE(eventually(
      [&] { return held(holder, lock("job")).at("lease_expires_in_s").get<double>() <= 30; }));
  EXPECT_EQ(holder.renew(lock("job"), grant.token, 60), "ok 60");
}

TEST_F(Suspend, request_that_arrives_first_finds_the_lease_ended) {
  Client holder(*server_);
  Client other(*server_);
  const Grant grant = holder.hold(lock("job"), 60);
  suspend(61);
  other.hold(lock("job"));
  EXPECT_EQ(holder.release(lock("job"), grant.token), "error");
}

TEST_F(Suspend, wait_whose_timeout_is_over_ends) {
  Client holder(*server_);
  Client waiting(*server_);
  holder.hold(lock("job"), 3'600);
  waiting.begin_acquire(lock("job"), 60);
  await_waiters(holder, lock("job"), 1);
  suspend(61);
  EXPECT_EQ(waiting.read_line(), "timeout");
}

TEST_F(Suspend, session_that_nobody_used_for_so_long_is_gone) {
  HttpClient http(*server_);
  const std::string session = http.open_session();
  EXPECT_EQ(http.acquire(session, lock("job"), 0, 3'600).status, 200);
  Client other(*server_);
  other.begin_acquire(lock("job"));
  suspend(41);
  other.read_grant();
  EXPECT_EQ(http.acquire(session, lock("job"), 0).summary(), "410 session_gone");
}

TEST_F(Suspend, clients_who_could_not_speak_meanwhile_are_not_taken_for_silent) {
  Client in_a_request(*server_);
  Client idle(*server_);
  EXPECT_EQ(idle.ping(), "ok");
  in_a_request.send("ping\n");
  EXPECT_EQ(idle.ping(), "ok");  // the server has read all that
  suspend(3'600);
  // Until the end of a lease shows that the tick after the resume has been.
  Client holder(*server_);
  holder.hold(lock("job"), 60);
  idle.begin_acquire(lock("job"));
  await_waiters(holder, lock("job"), 1);
  suspend(61);
  idle.read_grant();
  in_a_request.send("_\n_\n");
  EXPECT_EQ(in_a_request.read_line(), "ok");
}

}  // namespace

}  // namespace dflockd::test
