// What the client library costs its program, as JSON, for tests/bench/compare.
//
//   dflockd-bench-client cycles SERVER SECONDS
//   dflockd-bench-client renewals SERVER LOCKS LEASE_S SECONDS
//
// `cycles` acquires and releases one warm lock for so long and prints cycles per second. `renewals`
// holds so many locks, waits until each has been renewed once, and prints which part of a core the
// process uses in the seconds that follow, with how many locks were lost.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include <dflockd/dflockd.hpp>

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

/// The processor time of this process.
Seconds cpu_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

dflockd::LockOptions options(const std::string& server, const std::string& key) {
  dflockd::LockOptions options;
  options.key = key;
  options.servers = {server};
  return options;
}

void cycles(const std::string& server, double seconds) {
  dflockd::Lock lock(options(server, "job"));
  const auto run = [&lock](Seconds length) {
    int count = 0;
    const auto begun = Clock::now();
    while (Clock::now() - begun < length) {
      lock.lock();
      lock.unlock();
      ++count;
    }
    return count / Seconds(Clock::now() - begun).count();
  };
  run(Seconds(seconds / 10));
  std::printf("{\"cycles_per_s\":%.0f}\n", run(Seconds(seconds)));
}

void renewals(const std::string& server, int locks, int lease_s, double seconds) {
  std::atomic<int> lost = 0;
  std::vector<dflockd::Lock> held;
  held.reserve(static_cast<std::size_t>(locks));
  for (int i = 0; i < locks; ++i) {
    dflockd::LockOptions one = options(server, "lock-" + std::to_string(i));
    one.lease_ttl = std::chrono::seconds(lease_s);
    one.on_renew_error = [&lost](const dflockd::Error&) { ++lost; };
    held.emplace_back(one);
    if (!held.back().try_acquire()) throw std::runtime_error("a lock is not free");
  }
  std::this_thread::sleep_for(std::chrono::seconds(lease_s));
  const Seconds before = cpu_time();
  std::this_thread::sleep_for(Seconds(seconds));
  const double part = (cpu_time() - before).count() / seconds;
  for (dflockd::Lock& lock : held) lost += lock.held() ? 0 : 1;
  std::printf("{\"core_percent\":%.3f,\"lost\":%d}\n", 100 * part, lost.load());
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 3 && arguments[0] == "cycles") {
      cycles(arguments[1], std::stod(arguments[2]));
    } else if (arguments.size() == 5 && arguments[0] == "renewals") {
      renewals(arguments[1], std::stoi(arguments[2]), std::stoi(arguments[3]),
               std::stod(arguments[4]));
    } else {
      std::fputs(
          "usage: dflockd-bench-client cycles SERVER SECONDS\n"
          "       dflockd-bench-client renewals SERVER LOCKS LEASE_S SECONDS\n",
          stderr);
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dflockd-bench-client: %s\n", error.what());
    return 1;
  }
  return 0;
}
