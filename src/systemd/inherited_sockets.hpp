// The listening sockets that a service manager opened before it started the daemon, by the names
// that it gave them ("socket activation", sd_listen_fds(3)): `tcp` for the line protocol, `http`
// for HTTP.
//
//   InheritedSockets sockets;                                  // at the start
//   if (const auto descriptor = sockets.take("tcp")) …         // ours now: accept from it
//
// One object a process: the variables LISTEN_* stay in the environment, which other threads may be
// reading, so a second one would take over the same descriptors. Not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.hpp"

namespace dflockd::systemd {

class InheritedSockets {
 public:
  /// Takes over the sockets that LISTEN_FDS and LISTEN_FDNAMES name, none if LISTEN_PID is not this
  /// process, and sets close-on-exec. Throws `std::runtime_error`, whose text names the descriptor
  /// and what is wrong with it, if one is not a listening IPv4 or IPv6 stream socket with a name of
  /// its own, `tcp` or `http`; the descriptors then stay open, since the process is about to end.
  InheritedSockets();
  InheritedSockets(const InheritedSockets&) = delete;
  InheritedSockets& operator=(const InheritedSockets&) = delete;

  /// Gives the descriptor of that name away: from now on the caller has to close it. Nothing if
  /// there is none, or if it was taken already.
  [[nodiscard]] std::optional<int> take(std::string_view name);

 private:
  struct Inherited {
    std::string name;
    base::Descriptor descriptor;
  };

  void add(std::string name, int descriptor);

  std::vector<Inherited> inherited_;
};

}  // namespace dflockd::systemd
