// Keys spread over several servers. Give every client the same servers in the same order.
//
//   sharding SERVER...
#include <iostream>
#include <string>
#include <vector>

#include <dflockd/dflockd.hpp>

int main(int argc, char** argv) {
  dflockd::LockOptions options;
  if (argc > 1) options.servers = std::vector<std::string>(argv + 1, argv + argc);
  options.shard = dflockd::crc32_shard;  // the default, and what the other clients do

  try {
    for (const char* const key : {"user:42:profile", "deploy", "etl-job", "nightly"}) {
      options.key = key;
      dflockd::Lock lock(options);
      if (!lock.acquire()) return 1;
      std::cout << key << " is locked at " << lock.server() << '\n';
    }

    // A mapping of your own: the part of the key before the first colon chooses.
    options.shard = [](std::string_view key, int servers) {
      return dflockd::crc32_shard(key.substr(0, key.find(':')), servers);
    };
    options.key = "user:1";
    const dflockd::Lock one(options);
    options.key = "user:2";
    const dflockd::Lock two(options);
    std::cout << "all users are at one server: " << std::boolalpha << (one.server() == two.server())
              << '\n';
  } catch (const dflockd::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
