// What a client sees of --max-connections-per-ip: a connection over the cap is closed, and the
// others are not disturbed.
//
//   per_ip_limits SERVER
#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

#include <dflockd/dflockd.hpp>

constexpr std::size_t kMost = 200;

int main(int argc, char** argv) {
  dflockd::ConnectionOptions options;
  if (argc > 1) options.server = argv[1];

  std::vector<dflockd::Connection> connections;
  try {
    while (connections.size() < kMost) {
      dflockd::Connection connection(options);
      connection.ping();  // a connection over the cap is accepted, and closed at once
      connections.push_back(std::move(connection));
    }
    std::cerr << kMost
              << " connections, and none refused: set --max-connections-per-ip below that\n";
    return 1;
  } catch (const dflockd::Error& error) {
    std::cout << "refused after " << connections.size() << " connections: " << error.what() << '\n';
    if (error.code() != dflockd::errc::connection) return 1;
  }

  std::error_code error;
  for (dflockd::Connection& connection : connections) {
    connection.ping(error);
    if (error) return 1;
  }
  connections.pop_back();  // makes room for another
  for (int attempt = 0; attempt < 100; ++attempt) {
    try {
      dflockd::Connection(options).ping();
      std::cout << "and one is accepted again when another has left\n";
      return 0;
    } catch (const dflockd::Error&) {
      // The server notices within 100 ms that the other has left.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  return 1;
}
