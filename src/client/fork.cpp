#include "client/fork.hpp"

#include <atomic>

#include <pthread.h>

namespace dflockd::client {
namespace {

std::atomic<unsigned> generation = 0;

}  // namespace

unsigned fork_generation() noexcept {
  [[maybe_unused]] static const int kRegistered =
      ::pthread_atfork([] { process_mutex().lock(); }, [] { process_mutex().unlock(); },
                       [] {
                         process_mutex().unlock();
                         generation.fetch_add(1);
                       });
  return generation.load(std::memory_order_acquire);
}

std::mutex& process_mutex() noexcept {
  static constinit std::mutex mutex;
  return mutex;
}

}  // namespace dflockd::client
