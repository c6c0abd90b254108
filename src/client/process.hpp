// What a library has to know of the process that it is a part of: the clock that leases go by,
// which is the server's too, forks, and how to have threads that the program need not know of.
#pragma once

#include <atomic>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include <pthread.h>

#include "base/boot_clock.hpp"

namespace dflockd::client {

using Clock = base::BootClock;
using base::later;

/// For what the whole process has once. It is held across fork(2), so that it is free in the child.
[[nodiscard]] inline std::mutex& process_mutex() noexcept {
  static constinit std::mutex mutex;
  return mutex;
}

/// How many times the process has become another one by fork(2) since the library was first used,
/// counted in the child. Thread-safe and cheap.
[[nodiscard]] inline unsigned fork_generation() noexcept {
  static constinit std::atomic<unsigned> generation = 0;
  [[maybe_unused]] static const int kRegistered =
      ::pthread_atfork([] { process_mutex().lock(); }, [] { process_mutex().unlock(); },
                       [] {
                         process_mutex().unlock();
                         generation.fetch_add(1);
                       });
  return generation.load(std::memory_order_acquire);
}

/// A thread that runs `work` and is sent no signal: they are for the program's own threads.
template <class Work>
[[nodiscard]] std::thread start_quiet_thread(Work work) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(std::move(work));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace dflockd::client
