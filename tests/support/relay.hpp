// A network between a client and a server that a test can break: it passes bytes on until told
// otherwise.
//
//   Relay relay(server.port());
//   options.servers = {relay.address()};
//   relay.reset_all();
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace dflockd::client_test {

class Relay {
 public:
  /// Passes connections to a free port of its own on to `port`, both on 127.0.0.1.
  explicit Relay(std::uint16_t port);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  /// `127.0.0.1:` and its port.
  [[nodiscard]] std::string address() const;
  [[nodiscard]] std::uint16_t port() const;

  /// Where connections made from now on lead to.
  void lead_to(std::uint16_t port);
  /// Resets the clients' ends of all connections, and the servers' too.
  void reset_all();
  /// Resets the clients' ends only: the server does not notice.
  void reset_clients();
  /// Passes nothing on, in neither direction, and accepts nobody, until `thaw`.
  void freeze();
  /// Passes nothing more on over the connections that there are; new ones work.
  void freeze_present();
  void thaw();
  /// Refuses new connections, by resetting them, until told otherwise.
  void refuse(bool refused);
  /// How many connections were made to it.
  [[nodiscard]] std::size_t accepted() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dflockd::client_test
