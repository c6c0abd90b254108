// The shared secret, read from a file: on the command line, `ps` would show it.
//
//   auth SERVER TOKEN_FILE
#include <fstream>
#include <iostream>

#include <dflockd/dflockd.hpp>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: auth SERVER TOKEN_FILE\n";
    return 2;
  }
  dflockd::LockOptions options;
  options.key = "k";
  options.servers = {argv[1]};
  if (!(std::ifstream(argv[2]) >> options.auth_token)) {
    std::cerr << argv[2] << ": no secret in it\n";
    return 2;
  }

  try {
    dflockd::Lock lock(options);
    if (!lock.acquire()) return 1;
    std::cout << "held\n";
  } catch (const dflockd::Error& error) {
    std::cerr << error.what() << '\n';  // never shows the secret
    return error.code() == dflockd::errc::auth ? 3 : 1;
  }
}
