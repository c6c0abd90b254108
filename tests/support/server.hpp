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

#include "support/process.hpp"

namespace dflockd::test {

/// Whether the server is handed down a listening socket for its HTTP API. `--http-port` knows no
/// "pick a free one", and a port that a test picks may be taken when the server opens it.
enum class Http { kOff, kOn, kOnEveryAddress };

class Server : public Process {
 public:
  /// Starts the server with `--port 0` and these flags, and waits until it listens. Throws
  /// `std::runtime_error` with its log if it does not.
  explicit Server(std::vector<std::string> flags = {}, Http http = Http::kOff);
  explicit Server(Launch launch, Http http = Http::kOff);
  explicit Server(Http http);
  ~Server();

  /// Where it listens, according to its log.
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// The port of the HTTP API: on 127.0.0.1, or on all addresses of both families.
  [[nodiscard]] std::uint16_t http_port() const { return http_port_; }

  /// Ends it with SIGKILL, as a crash would.
  void crash();

 private:
  class HttpSocket;

  Server(Launch launch, const HttpSocket& http);
  void stop();

  std::string address_;
  std::uint16_t port_ = 0;
  std::uint16_t http_port_ = 0;
};

/// Whether this machine has the loopback address of IPv6.
bool has_ipv6();

}  // namespace dflockd::test
