// The program as a whole: what it prints where, and the status it ends with.
#include <cstdlib>
#include <string>

#include <sys/wait.h>

#include <gtest/gtest.h>

#include "fixture.hpp"

namespace dflockd::bench {
namespace {

/// Runs the program in a shell, and returns its exit status.
int run(const std::string& arguments) {
  const std::string command = std::string("exec ") + DFLOCKD_BENCH + " " + arguments;
  const int status = std::system(command.c_str());  // NOLINT(cert-env33-c): our own words
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string port_of(const FloorProcess& server) {
  return " --port " + std::to_string(server.port());
}

TEST(Program, that_has_measured_ends_with_status_0) {
  const FloorProcess server;
  EXPECT_EQ(run("--count 10 >/dev/null" + port_of(server)), 0);
  EXPECT_EQ(run("--count 10 --json >/dev/null" + port_of(server)), 0);
}

TEST(Program, that_was_used_wrongly_ends_with_status_2) {
  EXPECT_EQ(run("--count 0 2>/dev/null"), 2);
}

TEST(Program, that_completed_no_cycle_ends_with_status_1) {
  const FloorProcess server;
  EXPECT_EQ(run("--duration 0.05 --hold 60000 >/dev/null 2>&1" + port_of(server)), 1);
}

TEST(Program, that_cannot_write_its_result_ends_with_status_1) {
  const FloorProcess server;
  EXPECT_EQ(run("--count 10 >/dev/full 2>/dev/null" + port_of(server)), 1);
}

}  // namespace
}  // namespace dflockd::bench
