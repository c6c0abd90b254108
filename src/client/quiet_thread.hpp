// Threads that a program which uses the library need not know of.
#pragma once

#include <csignal>
#include <thread>
#include <utility>

namespace dflockd::client {

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
