#include "fencing/fence_reserver.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <gtest/gtest.h>

#include "fencing/file_ops.hpp"
#include "state_directory.hpp"

namespace dflockd::fencing {
namespace {

constexpr std::uint64_t kNow = 1'700'000'000'000'000'000;
constexpr std::uint64_t kStep = 1000;
constexpr FenceSteps kSteps{.first = kStep, .most = kStep};

/// Operations whose fsync(2) is what the test makes of it. Set before the reserver starts.
class OpsWithSync : public FileOps {
 public:
  std::function<int()> on_sync = [] { return 0; };
  int fsync(int /*fd*/) override { return on_sync(); }
};

class FenceReserverTest : public testing::Test {
 protected:
  /// A reserver on a new file; `on_sync` is for its reservations, not for opening the file.
  std::unique_ptr<FenceReserver> start(std::function<int()> on_sync = [] { return 0; }) {
    FenceFile file = FenceFile::open(directory_.file(), kNow, kSteps, ops_);
    end_ = file.range().end;
    ops_.on_sync = std::move(on_sync);
    return std::make_unique<FenceReserver>(std::move(file));
  }

  StateDirectory directory_;
  OpsWithSync ops_;
  std::uint64_t end_ = 0;
};

/// Whether the reserver has a result to take, now or within so many milliseconds.
bool readable(const FenceReserver& reserver, int timeout_ms = 0) {
  pollfd poll{.fd = reserver.notify_fd(), .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, timeout_ms) == 1 && poll.revents == POLLIN;
}

FenceReserver::Result await_result(FenceReserver& reserver) {
  EXPECT_TRUE(readable(reserver, 60'000));
  const auto result = reserver.take_result();
  EXPECT_TRUE(result.has_value());
  return result.value_or(FenceReserver::Result{});
}

TEST_F(FenceReserverTest, nothing_happens_unasked) {
  const auto reserver = start([] { return ADD_FAILURE(), 0; });
  EXPECT_FALSE(reserver->busy());
  EXPECT_FALSE(readable(*reserver));
  EXPECT_FALSE(reserver->take_result());
}

TEST_F(FenceReserverTest, a_result_arrives_once_through_the_descriptor) {
  const auto reserver = start();
  for (std::uint64_t i = 1; i <= 100; ++i) {
    reserver->request(kStep);
    EXPECT_TRUE(reserver->busy());
    const auto result = await_result(*reserver);
    EXPECT_FALSE(result.error);
    EXPECT_EQ(result.end, end_ + i * kStep);
    EXPECT_FALSE(reserver->busy());
    EXPECT_FALSE(readable(*reserver));
    EXPECT_FALSE(reserver->take_result());
  }
}

TEST_F(FenceReserverTest, requests_while_busy_are_one_request) {
  std::promise<void> release;
  std::atomic<int> syncs = 0;
  const auto reserver = start([&, released = release.get_future().share()] {
    released.wait();
    return ++syncs, 0;
  });
  for (int i = 0; i < 10; ++i) reserver->request(kStep);
  EXPECT_TRUE(reserver->busy());
  EXPECT_FALSE(reserver->take_result());
  release.set_value();
  EXPECT_TRUE(readable(*reserver, 60'000));
  reserver->request(kStep);  // still busy: the result has not been taken
  EXPECT_EQ(await_result(*reserver).end, end_ + kStep);
  EXPECT_EQ(syncs, 1);
  EXPECT_FALSE(reserver->busy());
}

TEST_F(FenceReserverTest, a_slow_disk_does_not_hold_up_the_caller) {
  std::promise<void> syncing;
  std::promise<void> release;
  const auto reserver = start([&] {
    syncing.set_value();
    release.get_future().wait();
    return 0;
  });
  reserver->request(kStep);
  syncing.get_future().wait();
  EXPECT_TRUE(reserver->busy());
  reserver->request(kStep);
  EXPECT_FALSE(reserver->take_result());
  EXPECT_FALSE(readable(*reserver));
  release.set_value();
  EXPECT_FALSE(await_result(*reserver).error);
}

TEST_F(FenceReserverTest, a_failure_is_reported_and_the_next_request_tries_again) {
  std::atomic<int> error = EIO;
  const auto reserver = start([&] { return (errno = error) == 0 ? 0 : -1; });
  for (const int failure : {EIO, ENOSPC}) {
    error = failure;
    reserver->request(kStep);
    const auto result = await_result(*reserver);
    EXPECT_EQ(result.error, std::error_code(failure, std::generic_category()));
    EXPECT_EQ(result.end, end_);
    EXPECT_FALSE(reserver->busy());
  }
  error = 0;
  reserver->request(kStep);
  const auto result = await_result(*reserver);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(result.end, end_ + kStep);
}

TEST_F(FenceReserverTest, an_exception_is_an_error_of_that_reservation_only) {
  std::function<void()> fail;
  const auto reserver = start([&] { return fail(), 0; });
  const std::array<std::pair<std::function<void()>, std::error_code>, 2> failures{{
      {[] { throw std::system_error(EIO, std::generic_category()); },
       std::error_code(EIO, std::generic_category())},
      {[] { throw std::runtime_error("something else"); },
       std::make_error_code(std::errc::state_not_recoverable)},
  }};
  for (const auto& [failure, error] : failures) {
    fail = failure;
    reserver->request(kStep);
    const auto result = await_result(*reserver);
    EXPECT_EQ(result.error, error);
    EXPECT_EQ(result.end, end_);
  }
  fail = [] {};
  reserver->request(kStep);
  const auto result = await_result(*reserver);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(result.end, end_ + kStep);
}

TEST_F(FenceReserverTest, each_request_says_how_many) {
  const auto reserver = start();
  for (const std::uint64_t step : {std::uint64_t{1}, kStep, std::uint64_t{5}}) {
    reserver->request(step);
    end_ += step;
    EXPECT_EQ(await_result(*reserver).end, end_);
  }
}

TEST_F(FenceReserverTest, destruction_waits_for_a_sync_under_way) {
  std::promise<void> syncing;
  std::promise<void> release;
  std::atomic<bool> synced = false;
  auto reserver = start([&] {
    syncing.set_value();
    release.get_future().wait();
    synced = true;
    return 0;
  });
  reserver->request(kStep);
  syncing.get_future().wait();
  std::thread disk([&] { release.set_value(); });
  reserver.reset();
  EXPECT_TRUE(synced);
  disk.join();
  ops_.on_sync = [] { return 0; };
  EXPECT_EQ(FenceFile::open(directory_.file(), 0, kSteps, ops_).range().first, end_ + kStep);
}

TEST_F(FenceReserverTest, destruction_at_any_moment_finishes_what_was_asked_for) {
  std::uint64_t reserved = kNow;
  for (int i = 0; i < 200; ++i) {
    auto reserver = start();
    ASSERT_EQ(end_, reserved + kStep);
    const int requests = i % 3;
    if (requests > 1) {
      reserver->request(kStep);
      std::ignore = await_result(*reserver);
    }
    if (requests > 0) reserver->request(kStep);
    reserved = end_ + static_cast<std::uint64_t>(requests) * kStep;
  }
}

TEST_F(FenceReserverTest, the_thread_leaves_signals_to_others) {
  std::atomic<int> open_signals = 0;
  const auto reserver = start([&] {
    sigset_t blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGALRM, SIGCHLD}) {
      open_signals += ::sigismember(&blocked, signal) == 1 ? 0 : 1;
    }
    return 0;
  });
  reserver->request(kStep);
  EXPECT_FALSE(await_result(*reserver).error);
  EXPECT_EQ(open_signals, 0);
  sigset_t mine;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(::sigismember(&mine, SIGTERM), 0);
}

TEST_F(FenceReserverTest, the_descriptor_does_not_block_and_passes_to_no_program) {
  const auto reserver = start();
  EXPECT_TRUE(::fcntl(reserver->notify_fd(), F_GETFD) & FD_CLOEXEC);
  EXPECT_TRUE(::fcntl(reserver->notify_fd(), F_GETFL) & O_NONBLOCK);
}

}  // namespace
}  // namespace dflockd::fencing
