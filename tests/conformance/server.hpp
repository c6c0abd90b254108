// The real server, started for one test on a free port and stopped at its end.
//
//   Server server({"--max-locks", "2"});
//   Client client(server);
//
// Declare the server before its clients: they leave first, so that nothing is held when it stops.
// At the end of the test the server is sent SIGTERM and must exit with status 0, which under
// sanitizers also says that it leaked nothing. If the test has failed, the server's log is shown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "process.hpp"

namespace dflockd::conformance {

class Server : public Process {
 public:
  /// Starts the server with `--port 0` and these flags, and waits until it listens. Throws
  /// `std::runtime_error` with its log if it does not.
  explicit Server(std::vector<std::string> flags = {});
  explicit Server(Launch launch);
  ~Server();

  /// Where it listens, according to its log.
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }

  /// Ends it with SIGKILL, as a crash would.
  void crash();

 private:
  void stop();

  std::string address_;
  std::uint16_t port_ = 0;
};

}  // namespace dflockd::conformance
