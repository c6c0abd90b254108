// Takes a lock of the server at the given address, and gives it back.
#include <iostream>

#include <dflockd/dflockd.hpp>

int main(int /*argc*/, char** argv) {
  dflockd::LockOptions options;
  options.key = "consumer";
  options.servers = {argv[1]};
  try {
    dflockd::Lock lock(options);
    if (!lock.acquire()) return 1;
    std::cout << "held " << lock.fence() << '\n';
    lock.release();
    options.servers = {"nobody:0"};
    const dflockd::Lock refused(options);
  } catch (const dflockd::Error& error) {  // crosses the library's border
    return error.code() == dflockd::errc::invalid_argument ? 0 : 1;
  }
  return 1;
}
