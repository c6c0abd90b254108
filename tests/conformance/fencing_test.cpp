// Fences: without a file they start from the wall clock; with --fence-state-file "no restart,
// crash, power cut or clock step ever repeats or lowers a fence".

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/fences.hpp"
#include "support/files.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

namespace fs = std::filesystem;

/// The fence of one more grant.
std::uint64_t next_fence(const Server& server) {
  return Client(server).hold(lock("job")).fence();
}

std::uint64_t wall_clock() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

// "Without --fence-state-file the fence starts from the wall clock in nanoseconds."
TEST(FencesWithoutFile, start_from_the_wall_clock) {
  const std::uint64_t before = wall_clock();
  const Server server;
  const std::uint64_t fence = next_fence(server);
  EXPECT_GE(fence, before);
  EXPECT_LE(fence, wall_clock() + 1'000'000'000);
}

TEST(FencesWithoutFile, increase_across_restarts) {
  std::uint64_t last_fence = 0;
  for (int restart = 0; restart < 3; ++restart) {
    const Server server;
    for (int grant = 0; grant < 10; ++grant) {
      const Grant next = Client(server).hold(lock("job-" + std::to_string(grant)));
      EXPECT_GT(next.fence(), last_fence);
      last_fence = next.fence();
    }
  }
}

class FenceFile : public testing::Test {
 protected:
  [[nodiscard]] Launch launch() const {
    return {.flags = {"--fence-state-file", file_, "--max-locks", "0"}};
  }

  /// Starts a server on the file and expects its fences to be greater than any before.
  void expect_greater_fences() {
    const Server server(launch());
    const std::uint64_t fence = next_fence(server);
    EXPECT_GT(fence, last_fence_);
    last_fence_ = std::max(last_fence_, fence);
  }

  /// Starts a server, which must refuse with a line that names the file.
  void expect_refusal(const Launch& how) const {
    Process process(how);
    EXPECT_NE(process.wait_for_exit(), 0);
    EXPECT_TRUE(process.wait_for_log_line(file_)) << process.log();
    EXPECT_FALSE(process.wait_for_log_line("listening")) << process.log();
  }
  void expect_refusal() const { expect_refusal(on_free_port(launch())); }

  static Launch on_free_port(Launch how) {
    how.flags.insert(how.flags.end(), {"--port", "0"});
    return how;
  }

  TemporaryDirectory directory_;
  std::string file_ = directory_.file("fence");
  std::uint64_t last_fence_ = 0;
};

TEST_F(FenceFile, fences_increase_across_restarts) {
  for (int restart = 0; restart < 4; ++restart) expect_greater_fences();
}

TEST_F(FenceFile, fences_increase_across_crashes) {
  for (int crash = 0; crash < 8; ++crash) {
    Server server(launch());
    Client client(server);
    for (int grant = 0; grant < 20; ++grant) {
      const std::uint64_t fence = client.hold(lock("job-" + std::to_string(grant))).fence();
      ASSERT_GT(fence, last_fence_);
      last_fence_ = fence;
    }
    server.crash();
  }
}

TEST_F(FenceFile, fences_increase_across_a_crash_at_start_up) {
  expect_greater_fences();
  for (int crash = 0; crash < 8; ++crash) {
    Launch how = on_free_port(launch());
    Process process(how);
    std::this_thread::sleep_until(Clock::now() + std::chrono::milliseconds(crash));
    process.signal(SIGKILL);
    process.wait_for_exit();
  }
  expect_greater_fences();
}

// "created with mode 0600"
TEST_F(FenceFile, is_private_to_its_owner) {
  const mode_t mask = ::umask(0);
  { const Server server(launch()); }
  ::umask(mask);
  struct stat status {};
  ASSERT_EQ(::stat(file_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

// What is opened first takes the place of a standard stream that is closed, and the log goes there.
TEST_F(FenceFile, is_not_written_over_by_the_log_when_standard_error_is_closed) {
  expect_greater_fences();
  const std::string before = read_file(file_);
  Launch how = launch();
  how.flags.insert(how.flags.end(), {"--port", "0", "--debug"});
  how.close_standard_error = true;
  Process process(how);
  ASSERT_TRUE(eventually([&] { return read_file(file_) != before; })) << "it was not opened";
  const fs::path log = "/proc/" + std::to_string(process.pid()) + "/fd/2";
  EXPECT_EQ(fs::read_symlink(log), "/dev/null");
  process.signal(SIGTERM);
  process.wait_for_exit();
  expect_greater_fences();
}

// "the file is locked exclusively (flock), and a second server on the same file refuses to start"
TEST_F(FenceFile, second_server_on_it_refuses_to_start) {
  Server first(launch());
  const std::uint64_t fence = next_fence(first);
  expect_refusal();
  EXPECT_GT(next_fence(first), fence) << "the first server is unharmed";
  first.crash();
  last_fence_ = fence;
  expect_greater_fences();
}

// --- "two checksummed slots written alternately; a torn or corrupt slot is ignored in favour of
// the other; both bad is a refusal to start that names the file, never a silent reset" ---

/// What a storage fault leaves of a file.
std::string with_flipped_byte(std::string bytes, std::size_t position) {
  bytes.at(position) = static_cast<char>(~bytes.at(position));
  return bytes;
}

TEST_F(FenceFile, with_any_byte_changed_still_serves_and_repeats_no_fence) {
  for (int restart = 0; restart < 3; ++restart) expect_greater_fences();
  const std::size_t size = read_file(file_).size();
  const std::size_t step = std::max<std::size_t>(1, size / 12);
  for (std::size_t position = 0; position < size; position += step) {
    SCOPED_TRACE("byte " + std::to_string(position) + " of " + std::to_string(size));
    write_file(file_, with_flipped_byte(read_file(file_), position));
    expect_greater_fences();
    expect_greater_fences();  // which mends the slot before the next one is hit
  }
}

TEST_F(FenceFile, with_one_slot_lost_still_serves_and_repeats_no_fence) {
  for (int round = 0; round < 4; ++round) {
    expect_greater_fences();
    std::string bytes = read_file(file_);
    const std::size_t half = bytes.size() / 2;
    const std::size_t start = round % 2 == 0 ? 0 : half;
    bytes.replace(start, half, half, round < 2 ? '\0' : '\xa5');
    write_file(file_, bytes);
    SCOPED_TRACE("round " + std::to_string(round));
    {
      const Server server(launch());
      EXPECT_NE(server.log().find("warn fence_slot_repaired"), std::string::npos);
    }
    expect_greater_fences();
    const Server server(launch());
    EXPECT_EQ(server.log().find("warn fence_slot_repaired"), std::string::npos);
  }
}

TEST_F(FenceFile, with_both_slots_corrupt_is_refused_and_left_alone) {
  expect_greater_fences();
  expect_greater_fences();
  const std::size_t size = read_file(file_).size();
  for (const std::string& bytes : {std::string(size, '\0'), std::string(size, '\xa5')}) {
    write_file(file_, bytes);
    expect_refusal();
    EXPECT_EQ(read_file(file_), bytes);
  }
}

TEST_F(FenceFile, that_is_empty_or_something_else_is_refused_and_left_alone) {
  for (const std::string& bytes :
       {std::string(), std::string("x"), std::string("[server]\nport = 6388\n"),
        std::string(100'000, 'x')}) {
    write_file(file_, bytes);
    expect_refusal();
    EXPECT_EQ(read_file(file_), bytes);
  }
}

// As `touch` leaves it, or a container's mount of a file that was not there.
TEST_F(FenceFile, that_is_empty_is_recognised_at_the_start_and_by_the_check) {
  write_file(file_, "");
  for (const bool checks : {false, true}) {
    Launch launched = launch();
    if (checks) launched.flags.emplace_back("--check-config");
    Process refused(launched);
    EXPECT_NE(refused.wait_for_exit(), 0);
    for (const char* const said : {file_.c_str(), "is empty", "remove it", "mount"}) {
      EXPECT_NE(refused.log().find(said), std::string::npos) << said << ": " << refused.log();
    }
    EXPECT_EQ(read_file(file_), "");
  }
}

// "--check-config validates everything (files too)"
TEST_F(FenceFile, is_looked_at_by_the_check_and_left_alone) {
  Launch check = launch();
  check.flags.emplace_back("--check-config");
  EXPECT_EQ(Process(check).wait_for_exit(), 0) << "there is none yet";
  EXPECT_FALSE(fs::exists(file_));
  expect_greater_fences();
  const std::string bytes = read_file(file_);
  EXPECT_EQ(Process(check).wait_for_exit(), 0);
  EXPECT_EQ(read_file(file_), bytes);
  write_file(file_, "not a fence file");
  Process refused(check);
  EXPECT_EQ(refused.wait_for_exit(), 2);
  EXPECT_NE(refused.log().find("--fence-state-file"), std::string::npos) << refused.log();
}

TEST_F(FenceFile, that_is_none_or_cannot_be_created_is_refused) {
  fs::create_directory(directory_.file("directory"));
  for (const std::string& file : {directory_.file("missing/fence"), directory_.file("directory"),
                                  std::string("/proc/fence")}) {
    file_ = file;
    expect_refusal();
  }
}

TEST_F(FenceFile, on_a_full_disk_is_refused_and_started_with_once_there_is_room) {
  Launch full = on_free_port(launch());
  full.max_file_size = 0;
  expect_refusal(full);
  expect_greater_fences();
}

TEST_F(FenceFile, on_a_disk_that_filled_up_later_is_refused_and_repeats_no_fence) {
  expect_greater_fences();
  Launch full = on_free_port(launch());
  full.max_file_size = 0;
  expect_refusal(full);
  expect_greater_fences();
}

// "reserves fences on disk ahead of use (about a million at a time ...)"
TEST_F(FenceFile, fences_go_on_increasing_when_a_reservation_is_used_up) {
  {
    const Server server(launch());
    const Taken taken = take_fences(server, kSanitized ? 100'000 : 2'300'000);
    ASSERT_EQ(taken.refusal, "");
    last_fence_ = taken.last_fence;
  }
  expect_greater_fences();
}

// --- With the server's world made worse by a preloaded library ---

class FaultyFenceFile : public FenceFile {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
  }

  [[nodiscard]] Launch faulty_launch(int clock_offset = 0) const {
    Launch faulty = launch();
    faulty.environment = world_of_faults(file_, flag_);
    faulty.environment["DFLOCKD_SHIM_CLOCK_OFFSET"] = std::to_string(clock_offset);
    return faulty;
  }

  std::string flag_ = directory_.file("fail");
};

TEST_F(FaultyFenceFile, fences_survive_a_clock_that_steps_back) {
  expect_greater_fences();
  constexpr int kDay = 24 * 60 * 60;
  for (const int offset : {-kDay, -365 * kDay, 0, 365 * kDay, 0}) {
    const Server server(faulty_launch(offset));
    const std::uint64_t fence = next_fence(server);
    EXPECT_GT(fence, last_fence_) << "the clock is off by " << offset << " s";
    last_fence_ = fence;
  }
}

TEST_F(FaultyFenceFile, failing_sync_at_creation_is_refused) {
  write_file(flag_, "EIO");
  Launch faulty = on_free_port(faulty_launch());
  expect_refusal(faulty);
  fs::remove(flag_);
  expect_greater_fences();
}

// "if a reservation fails (disk full, I/O error), the grant is refused with error ..., nothing is
// half-granted, and a later request tries again."
TEST_F(FaultyFenceFile, failing_reservation_refuses_grants_until_it_succeeds_again) {
  Server server(faulty_launch());
  Client holder(server);
  Client waiting(server);
  const Grant grant = holder.hold(lock("held"), 3'600);
  const Grant renewed = holder.hold(lock("renewed"), 3'600);
  write_file(flag_, "");
  const Taken taken = take_fences(server, kMoreThanAreReserved);
  ASSERT_EQ(taken.refusal, "error");

  EXPECT_EQ(holder.acquire(lock("free"), 60), "error");
  EXPECT_EQ(holder.acquire(lock("free"), 0), "error");
  EXPECT_EQ(holder.acquire(semaphore("free", 2), 60), "error");
  EXPECT_EQ(holder.enqueue(lock("free")), "error");
  EXPECT_EQ(holder.wait(lock("free"), 0), "error_not_enqueued") << "something is half-granted";
  EXPECT_TRUE(held(holder, lock("free")).is_null());
  EXPECT_TRUE(held(holder, semaphore("free", 2)).is_null());

  EXPECT_EQ(holder.ping(), "ok");
  EXPECT_EQ(holder.renew(lock("renewed"), renewed.token, 3'600), "ok 3600");
  waiting.begin_acquire(lock("held"));
  await_waiters(holder, lock("held"), 1);
  EXPECT_EQ(holder.release(lock("held"), grant.token), "ok");
  EXPECT_EQ(waiting.read_line(), "error");
  EXPECT_TRUE(held(holder, lock("held")).is_null());

  fs::remove(flag_);
  std::string reply;
  ASSERT_TRUE(eventually([&] { return (reply = waiting.acquire(lock("held"), 0)) != "error"; }));
  EXPECT_GT(granted(reply).fence(), taken.last_fence);
  EXPECT_GT(holder.hold(lock("free")).fence(), granted(reply).fence());
}

}  // namespace

}  // namespace dflockd::test
