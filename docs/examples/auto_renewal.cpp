// A lock with auto-renewal and a handler for its loss.
//
//   auto_renewal [SERVER]
//
// Works in small steps for as long as the lock is held. The lease is two seconds and the job takes
// three, so it needs a renewal.
#include <chrono>
#include <iostream>
#include <stop_token>
#include <thread>

#include <dflockd/dflockd.hpp>

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  std::stop_source lost;

  dflockd::LockOptions options;
  options.key = "etl-job";
  if (argc > 1) options.servers = {argv[1]};
  options.lease_ttl = 2s;
  options.renew_ratio = 0.5;  // renew after a second
  options.on_renew_error = [&lost](const dflockd::Error& error) {
    std::cerr << "lost the lock: " << error.what() << '\n';
    lost.request_stop();  // stop the work; no more than that
  };

  try {
    dflockd::Lock lock(options);
    if (!lock.acquire()) {
      std::cout << "somebody else runs the job\n";
      return 0;
    }
    for (int step = 1; step <= 30; ++step) {
      if (lost.stop_requested()) return 1;
      std::this_thread::sleep_for(100ms);  // a step of the work
    }
    std::cout << "done, and still held: " << std::boolalpha << lock.held() << '\n';
    lock.release();
  } catch (const dflockd::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
