#include "server.hpp"

#include <csignal>
#include <iostream>
#include <stdexcept>
#include <utility>

#include <gtest/gtest.h>

namespace dflockd::conformance {

namespace {

Launch on_free_port(Launch launch) {
  launch.flags.insert(launch.flags.end(), {"--port", "0"});
  return launch;
}

/// A field of a log line, `name=value` in the text format or `"name":"value"` in JSON.
std::string field(const std::string& line, const std::string& name) {
  for (const std::string& before : {" " + name + "=", "\"" + name + "\":"}) {
    const std::size_t found = line.find(before);
    if (found == std::string::npos) continue;
    const std::size_t start = line.find_first_not_of('"', found + before.size());
    return line.substr(start, line.find_first_of("\" ,}", start) - start);
  }
  throw std::runtime_error("no field '" + name + "' in the log line: " + line);
}

}  // namespace

Server::Server(std::vector<std::string> flags) : Server(Launch{.flags = std::move(flags)}) {}

Server::Server(Launch launch) : Process(on_free_port(std::move(launch))) {
  const auto listening = wait_for_log_line("listening");
  if (!listening) throw std::runtime_error("the server does not listen; its log:\n" + log());
  address_ = field(*listening, "address");
  port_ = static_cast<std::uint16_t>(std::stoi(field(*listening, "port")));
}

Server::~Server() {
  try {
    stop();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  if (testing::Test::HasFailure()) {
    std::cerr << "The log of the server " << pid() << ":\n" << log() << std::flush;
  }
}

void Server::crash() {
  signal(SIGKILL);
  wait_for_exit();
}

void Server::stop() {
  if (!running()) return;
  signal(SIGTERM);
  if (eventually([this] { return !running(); }, 500ms)) {
    EXPECT_EQ(wait_for_exit(), 0) << "the server did not exit cleanly";
    return;
  }
  // A test may leave grants that outlive their connections. The second signal exits at once.
  signal(SIGTERM);
  wait_for_exit();
}

}  // namespace dflockd::conformance
