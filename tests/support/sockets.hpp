// The sockets of this process.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace dflockd::client_test {

/// The IPv4 sockets that are connected to `port`.
inline std::vector<int> sockets_to(std::uint16_t port) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int descriptor = std::stoi(entry.path().filename().string());
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (::getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    if (peer.sin_family == AF_INET && ntohs(peer.sin_port) == port) found.push_back(descriptor);
  }
  return found;
}

/// Whether a child that executes another program has it too.
inline bool is_inherited(int descriptor) {
  return (::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0;
}

}  // namespace dflockd::client_test
