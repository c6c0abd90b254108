#include "client/fork.hpp"

#include <atomic>

#include <pthread.h>

namespace dflockd::client {
namespace {

std::atomic<unsigned> generation = 0;

}  // namespace

unsigned fork_generation() noexcept {
  [[maybe_unused]] static const int kRegistered =
      ::pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1); });
  return generation.load(std::memory_order_acquire);
}

}  // namespace dflockd::client
