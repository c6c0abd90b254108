// The fence file's disk hangs: fsync(2) lasts as long as the test wants, or it is only slow; or the
// slot to be written has no checksum. (tests/conformance has the disks that are full or broken.)

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/fences.hpp"
#include "support/files.hpp"
#include "support/http_client.hpp"
#include "support/log.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

/// The least that is left when more is asked for.
constexpr std::uint64_t kReserve = 1U << 19U;

class HangingDisk : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
    server_.emplace(Launch{.flags = {"--fence-state-file", file_, "--max-locks", "0"},
                           .environment = world_of_faults(file_, flag_)},
                    Http::kOn);
  }

  /// Lets the disk hang, and takes all fences that there are.
  Taken use_up() {
    write_file(flag_, "hang");
    const Taken taken = take_fences(*server_, kMoreThanAreReserved);
    EXPECT_EQ(taken.refusal, "error");
    return taken;
  }

  TemporaryDirectory directory_;
  const std::string file_ = directory_.file("fence");
  const std::string flag_ = directory_.file("fail");
  std::optional<Server> server_;
};

TEST_F(HangingDisk, costs_nothing_until_the_reserve_is_used_up_and_stops_grants_only_then) {
  Client holder(*server_);
  Client waiting(*server_);
  HttpClient http(*server_);
  const std::string session = http.open_session();
  const Grant grant = holder.hold(lock("held"), 3'600);
  const Taken taken = use_up();
  EXPECT_GT(taken.last_fence - grant.fence(), kReserve);

  // Nothing is half-granted.
  EXPECT_EQ(holder.acquire(lock("free"), 60), "error");
  EXPECT_EQ(holder.enqueue(semaphore("free", 2)), "error");
  EXPECT_EQ(holder.wait(semaphore("free", 2), 0), "error_not_enqueued");
  EXPECT_EQ(http.acquire(session, lock("free"), 60).summary(), "503 fence_persistence");
  EXPECT_TRUE(held(holder, lock("free")).is_null());
  waiting.begin_acquire(lock("held"));
  await_waiters(holder, lock("held"), 1);
  EXPECT_EQ(holder.renew(lock("held"), grant.token, 3'600), "ok 3600");

  // The loop does not wait for the disk.
  const Duration longest = best_measured(within(50ms), [&] {
    Duration slowest{0};
    for (int i = 0; i < 200; ++i) {
      const auto asked = Clock::now();
      EXPECT_EQ(holder.ping(), "ok");
      slowest = std::max(slowest, Clock::now() - asked);
    }
    return slowest;
  });
  EXPECT_LT(longest, within(50ms));

  EXPECT_EQ(holder.release(lock("held"), grant.token), "ok");
  EXPECT_EQ(waiting.read_line(), "error");

  // What was hanging fails in the end, and once it works again there are grants again.
  write_file(flag_, "EIO");
  EXPECT_TRUE(server_->wait_for_log_line("fence_reservation_failed error=\"Input/output error\""))
      << server_->log();
  EXPECT_EQ(holder.acquire(lock("free"), 60), "error");
  std::filesystem::remove(flag_);
  std::string reply;
  ASSERT_TRUE(eventually([&] { return (reply = waiting.acquire(lock("held"), 0)) != "error"; }));
  EXPECT_GT(granted(reply).fence(), taken.last_fence);
  EXPECT_EQ(http.acquire(session, lock("free"), 0).status, 200);
}

TEST_F(HangingDisk, does_not_hold_up_a_reload_or_a_drain) {
  Client holder(*server_);
  const Grant grant = holder.hold(lock("held"), 3'600);
  use_up();
  server_->signal(SIGHUP);
  EXPECT_TRUE(server_->wait_for_log_line("reloaded changed=nothing"));
  server_->signal(SIGTERM);
  EXPECT_TRUE(server_->wait_for_log_line("draining"));
  EXPECT_EQ(holder.renew(lock("held"), grant.token, 3'600), "ok 3600");
  EXPECT_EQ(holder.release(lock("held"), grant.token), "ok");
  EXPECT_EQ(server_->wait_for_exit(), 0);
}

TEST_F(HangingDisk, does_not_keep_a_second_signal_from_ending_the_server_at_once) {
  Client holder(*server_);
  holder.hold(lock("held"), 3'600);
  use_up();
  server_->signal(SIGTERM);
  EXPECT_TRUE(server_->wait_for_log_line("draining"));
  server_->signal(SIGTERM);
  EXPECT_EQ(server_->wait_for_exit(), 128 + SIGTERM);
}

TEST_F(HangingDisk, is_reported_once_when_no_fences_are_left_and_once_when_there_are_some_again) {
  Client client(*server_);
  const auto reported = [&](const char* event) { return lines_with(server_->log(), event).size(); };
  use_up();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(client.acquire(lock("job"), 0), "error");
  EXPECT_TRUE(server_->wait_for_log_line("error fences_ran_out reserving=true reserving_for_s="));
  std::filesystem::remove(flag_);
  ASSERT_TRUE(eventually([&] { return client.acquire(lock("job"), 0) != "error"; }));
  EXPECT_TRUE(server_->wait_for_log_line("info fences_available refused_for_s="));
  EXPECT_EQ(reported("fences_ran_out"), 1U);
  EXPECT_EQ(reported("fences_available"), 1U);
  EXPECT_EQ(reported("fence_reservation_failed"), 0U);
}

// An fsync(2) of four seconds and 200,000 grants a second: harder than 1.5 s and 700,000 a second
// were for a reserve of a fixed size, and what a busy machine can do.
TEST_F(HangingDisk, that_is_only_slow_refuses_no_grant) {
  write_file(flag_, "4000");
  Client client(*server_);
  constexpr int kBatch = 10'000;
  std::string requests;
  for (int i = 0; i < kBatch; ++i) requests += request_bytes("sl", "many", "0 1048576 1");
  const auto begun = Clock::now();
  for (int batch = 0; batch < 130; ++batch) {
    std::this_thread::sleep_until(begun + batch * 50ms);
    client.send(requests);
    for (int i = 0; i < kBatch; ++i) {
      const std::string reply = client.read_line();
      ASSERT_TRUE(reply.starts_with("ok ")) << reply << " after " << batch * kBatch + i;
    }
  }
  EXPECT_TRUE(lines_with(server_->log(), "fences_ran_out").empty());
}

TEST_F(HangingDisk, or_none_without_checksums_refuses_grants_until_there_are_some_again) {
  Client holder(*server_);
  const Grant grant = holder.hold(lock("held"), 3'600);
  write_file(flag_, "hash");
  const Taken taken = take_fences(*server_, kMoreThanAreReserved);
  EXPECT_EQ(taken.refusal, "error");
  EXPECT_TRUE(server_->wait_for_log_line(
      "fence_reservation_failed error=\"OpenSSL cannot compute SHA-256"));
  EXPECT_EQ(holder.renew(lock("held"), grant.token, 3'600), "ok 3600");
  EXPECT_EQ(holder.acquire(lock("free"), 0), "error");
  std::filesystem::remove(flag_);
  std::string reply;
  ASSERT_TRUE(eventually([&] { return (reply = holder.acquire(lock("free"), 0)) != "error"; }));
  EXPECT_GT(granted(reply).fence(), taken.last_fence);
}

}  // namespace

}  // namespace dflockd::test
