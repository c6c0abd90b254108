// Queueing in two phases: take a place first, inform the user, then wait.
//
//   two_phase [SERVER]
#include <chrono>
#include <iostream>

#include <dflockd/dflockd.hpp>

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  dflockd::LockOptions options;
  options.key = "deploy";
  if (argc > 1) options.servers = {argv[1]};
  options.lease_ttl = 60s;

  try {
    dflockd::Lock lock(options);
    switch (lock.enqueue()) {
      case dflockd::EnqueueStatus::kAcquired:
        std::cout << "nobody else deploys\n";
        break;
      case dflockd::EnqueueStatus::kQueued:
        std::cout << "waiting for another deployment to finish" << std::endl;
        if (!lock.wait(5min)) {
          std::cerr << "it still runs; giving up\n";
          return 1;
        }
        break;
      case dflockd::EnqueueStatus::kFailed:
        return 1;  // only from the overloads that do not throw
    }
    std::cout << "deploying\n";
    lock.release();
  } catch (const dflockd::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
