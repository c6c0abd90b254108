// A process that is started with sockets handed down, as a service manager starts one.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dflockd::systemd {

struct HandedDown {
  std::string name;
  int descriptor;
};

/// What the variables are to be instead, or that they are missing.
using Variables = std::map<std::string, std::optional<std::string>>;

/// Runs `body` in a child whose descriptors from 3 on are `sockets`, as LISTEN_FDS, LISTEN_FDNAMES
/// and LISTEN_PID tell it. Returns what `body` has returned, or what the exception says that it has
/// thrown. `body` must leave descriptors from 100 on alone.
std::string run_activated(const std::vector<HandedDown>& sockets,
                          const std::function<std::string()>& body,
                          const Variables& variables = {});

}  // namespace dflockd::systemd
