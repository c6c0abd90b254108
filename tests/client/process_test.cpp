// Several processes: mutual exclusion between them, and what a child may do with its parent's
// locks.

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.hpp"
#include "support/certificates.hpp"
#include "support/relay.hpp"
#include "support/sockets.hpp"

namespace dflockd::client_test {
namespace {

/// Runs `work` in a child, which exits with what it returns, and returns a way to wait for that.
template <class Work>
pid_t in_child(const Work& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in the child: %s\n", error.what());
    }
    ::_exit(status);
  }
  return child;
}

int exit_status(pid_t child) {
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Processes, that_contend_exclude_each_other) {
  Server server;
  const test::TemporaryDirectory directory;
  const std::string file = directory.write("count", "0");
  const std::string address = address_of(server);
  constexpr int kRounds = 200;
  const auto count_up = [&] {
    Lock lock(lock_options(address, "file"));
    for (int i = 0; i < kRounds; ++i) {
      lock.lock();
      // Not atomic at all: two at a time would lose counts.
      int count = -1;
      std::ifstream(file) >> count;
      std::ofstream(file) << count + 1;
      lock.unlock();
    }
    return 0;
  };
  const pid_t first = in_child(count_up);
  const pid_t second = in_child(count_up);
  EXPECT_EQ(exit_status(first), 0);
  EXPECT_EQ(exit_status(second), 0);
  int count = -1;
  std::ifstream(file) >> count;
  EXPECT_EQ(count, 2 * kRounds);
}

TEST(Processes, child_does_not_release_what_its_parent_holds) {
  Server server;
  auto lock = std::make_unique<Lock>(lock_options(address_of(server)));
  ASSERT_TRUE(lock->acquire());
  const pid_t child = in_child([&] {
    if (lock->held()) return 1;
    std::error_code error;
    lock->release(error);
    if (error != errc::not_held) return 2;
    lock->acquire(error);
    if (error != errc::invalid_argument) return 3;
    lock->close();
    lock.reset();
    return 0;
  });
  EXPECT_EQ(exit_status(child), 0);
  EXPECT_TRUE(lock->held());
  EXPECT_FALSE(Lock(lock_options(address_of(server))).try_acquire());
  lock->release();
}

TEST(Processes, child_has_locks_of_its_own) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "a child may be caught in AddressSanitizer's own locks";
#endif
  Server server;
  Lock parents(lock_options(address_of(server), "parents"));
  ASSERT_TRUE(parents.acquire());
  const std::string address = address_of(server);
  const pid_t child = in_child([&] {
    LockOptions options = lock_options(address, "childs");
    options.lease_ttl = 1s;
    Lock lock(options);
    if (!lock.acquire()) return 1;
    Lock other(options);
    if (other.acquire_for(2s)) return 2;  // renewed in the child, too
    return lock.held() ? 0 : 3;
  });
  EXPECT_EQ(exit_status(child), 0);
  EXPECT_TRUE(parents.held());
}

TEST(Processes, that_are_executed_inherit_no_connection) {
  Server server;
  Relay relay(server.port());
  LockOptions options = lock_options(relay.address());
  options.lease_ttl = 1s;
  Lock job(options);
  ASSERT_TRUE(job.acquire());
  ASSERT_TRUE(eventually([&] { return relay.accepted() == 2; })) << "for the first renewal";
  const std::vector<int> sockets = sockets_to(relay.port());
  ASSERT_EQ(sockets.size(), 2U);
  EXPECT_TRUE(std::none_of(sockets.begin(), sockets.end(), is_inherited));
}

TEST(Processes, lock_with_static_storage_is_released_at_exit) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer does not survive that a child starts a thread and exits";
#endif
  Server server;
  const std::string address = address_of(server);
  const pid_t child = in_child([&]() -> int {
    static Lock lock(lock_options(address));
    if (!lock.acquire()) return 1;
    std::exit(0);
  });
  EXPECT_EQ(exit_status(child), 0);
  EXPECT_TRUE(Lock(lock_options(address)).try_acquire());
}

TEST(Processes, child_is_not_caught_in_what_threads_of_its_parent_do) {
#ifdef __SANITIZE_ADDRESS__
  // This compiler's library has no handlers for fork(2), as libc and ThreadSanitizer have them.
  GTEST_SKIP() << "a child may be caught in AddressSanitizer's own locks";
#endif
  Server server;
  const std::string address = address_of(server);
  Lock held(lock_options(address, "held"));
  ASSERT_TRUE(held.acquire());
  std::jthread busy([&](const std::stop_token& done) {
    while (!done.stop_requested()) Lock(lock_options(address, "busy")).acquire();
  });
  std::jthread waiting([&](const std::stop_token& done) {
    std::error_code error;
    while (!done.stop_requested()) held.acquire_for(100ms, error);
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = in_child([&] {
      Lock own(lock_options(address, "own"));
      if (!own.acquire()) return 1;
      own.release();
      const Lock copy(std::move(held));  // destroyed here, and not there
      return 0;
    });
    EXPECT_EQ(exit_status(child), 0);
  }
  EXPECT_TRUE(held.held());
}

TEST(Processes, killed_holder_is_replaced_at_once) {
  Server server;
  test::Client observer(server);
  const std::string address = address_of(server);
  const pid_t child = in_child([&] {
    Lock lock(lock_options(address));
    lock.lock();
    ::pause();
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return !test::held(observer, test::lock("job")).is_null(); }));
  ::kill(child, SIGKILL);
  exit_status(child);
  EXPECT_TRUE(Lock(lock_options(address)).acquire());
}

}  // namespace
}  // namespace dflockd::client_test
