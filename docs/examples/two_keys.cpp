// Two locks at once with `std::scoped_lock`, which does not deadlock whatever the order.
//
//   two_keys [SERVER]
#include <iostream>
#include <mutex>
#include <string>
#include <thread>

#include <dflockd/dflockd.hpp>

namespace {

dflockd::LockOptions account(const std::string& name, const std::string& server) {
  dflockd::LockOptions options;
  options.key = "account:" + name;
  options.servers = {server};
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string server = argc > 1 ? argv[1] : "127.0.0.1:6388";
  int alice = 100;
  int bob = 100;

  const auto transfer = [&](const std::string& from, const std::string& to, int& source,
                            int& target) {
    dflockd::Lock source_lock(account(from, server));
    dflockd::Lock target_lock(account(to, server));
    for (int i = 0; i < 10; ++i) {
      const std::scoped_lock both(source_lock, target_lock);
      source -= 1;
      target += 1;
    }
  };

  try {
    std::jthread there([&] { transfer("alice", "bob", alice, bob); });
    transfer("bob", "alice", bob, alice);
  } catch (const dflockd::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  std::cout << "alice has " << alice << ", bob has " << bob << '\n';
  return alice + bob == 200 ? 0 : 1;
}
