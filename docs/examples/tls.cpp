// A lock over TLS. The server's certificate must be signed by the authority and be for the name.
//
//   tls SERVER CA_FILE SERVER_NAME
#include <iostream>

#include <dflockd/dflockd.hpp>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: tls SERVER CA_FILE SERVER_NAME\n";
    return 2;
  }
  dflockd::LockOptions options;
  options.key = "k";
  options.servers = {argv[1]};
  options.tls = dflockd::TlsOptions{.ca_file = argv[2], .server_name = argv[3]};

  try {
    dflockd::Lock lock(options);
    if (!lock.acquire()) return 1;
    std::cout << "held over TLS, fence " << lock.fence() << '\n';
  } catch (const dflockd::Error& error) {
    std::cerr << error.what() << '\n';
    return error.code() == dflockd::errc::tls ? 3 : 1;
  }
}
