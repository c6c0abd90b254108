// What the tests of whole loads share: starting one, the floor server, and servers that misbehave.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bench/load.hpp"
#include "support/process.hpp"
#include "support/small_server.hpp"

namespace dflockd::bench {

inline Options load_of(std::uint16_t port, std::size_t connections = 3, std::uint64_t count = 100) {
  Options options;
  options.port = port;
  options.connections = connections;
  options.count = count;
  options.quiet = true;
  return options;
}

inline Result measured(const Options& options) {
  return Load(options).run();
}

inline std::string failure_of(const Options& options) {
  try {
    measured(options);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

/// The floor server in a process of its own, to be put under load.
class FloorProcess : public test::Process {
 public:
  FloorProcess() : Process({.program = DFLOCKD_FLOOR_SERVER}) {
    port_ = static_cast<std::uint16_t>(std::stoi(wait_for_output_line("").value()));
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  std::uint16_t port_ = 0;
};

using test::SmallServer;

}  // namespace dflockd::bench
