// SIGHUP, and what the log says came of it.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include "server.hpp"

namespace dflockd::conformance {

inline std::size_t occurrences(const std::string& text, std::string_view what) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++count;
  return count;
}

/// Asks the server to reload, and returns the line that says what came of it, from the event on.
inline std::string reload(Server& server) {
  const auto outcomes = [](const std::string& log) {
    return occurrences(log, " info reloaded ") + occurrences(log, " error reload_failed ");
  };
  const std::string before = server.log();
  server.signal(SIGHUP);
  std::string log;
  const bool done = eventually([&] {
    log = server.log();
    return outcomes(log) > outcomes(before) && log.ends_with('\n');
  });
  if (!done) throw std::runtime_error("nothing came of the reload");
  log.erase(0, before.size());
  const std::size_t event = std::min(log.find("reloaded "), log.find("reload_failed "));
  return log.substr(event, log.find('\n', event) - event);
}

}  // namespace dflockd::conformance
