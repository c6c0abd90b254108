// A semaphore that lets at most three workers at a time do something, wherever they run.
//
//   worker_pool [SERVER]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

#include <dflockd/dflockd.hpp>

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  constexpr int kLimit = 3;
  dflockd::SemaphoreOptions options;
  options.key = "encoders";
  options.limit = kLimit;
  if (argc > 1) options.servers = {argv[1]};

  std::atomic<int> working = 0;
  std::atomic<int> most = 0;
  std::atomic<int> failed = 0;
  const auto worker = [&] {
    try {
      dflockd::Semaphore slot(options);
      for (int item = 0; item < 5; ++item) {
        if (!slot.acquire()) {
          ++failed;
          continue;
        }
        const int now = ++working;
        for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) continue;
        std::this_thread::sleep_for(5ms);  // encode
        --working;
        slot.release();
      }
    } catch (const dflockd::Error& error) {
      std::cerr << error.what() << '\n';
      ++failed;
    }
  };

  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 8; ++i) workers.emplace_back(worker);
  }
  std::cout << "eight workers, at most " << most << " at a time\n";
  return failed == 0 && most <= kLimit ? 0 : 1;
}
