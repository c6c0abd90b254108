// The floor server in a process of its own, to be put under load.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dflockd::bench {

/// Runs for as long as this lives.
class FloorProcess {
 public:
  FloorProcess() {
    std::array<int, 2> output{};
    if (pipe(output.data()) != 0) throw std::runtime_error("pipe");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(output[1], STDOUT_FILENO);
      execl(DFLOCKD_FLOOR_SERVER, DFLOCKD_FLOOR_SERVER, nullptr);
      _exit(127);
    }
    close(output[1]);
    std::array<char, 16> port{};
    if (read(output[0], port.data(), port.size() - 1) <= 0) throw std::runtime_error("no port");
    close(output[0]);
    port_ = static_cast<std::uint16_t>(std::atoi(port.data()));
  }

  ~FloorProcess() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  FloorProcess(const FloorProcess&) = delete;
  FloorProcess& operator=(const FloorProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  pid_t pid_ = -1;
  std::uint16_t port_ = 0;
};

}  // namespace dflockd::bench
