// What the log of a server says: of events that are logged once a second with a count, and of a
// reload.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support/server.hpp"

namespace dflockd::test {

/// The complete lines of a log that contain `text`, without line ends.
inline std::vector<std::string> lines_with(const std::string& log, std::string_view text) {
  std::vector<std::string> found;
  std::size_t start = 0;
  for (std::size_t end; (end = log.find('\n', start)) != std::string::npos; start = end + 1) {
    const std::string_view line = std::string_view(log).substr(start, end - start);
    if (line.find(text) != std::string_view::npos) found.emplace_back(line);
  }
  return found;
}

/// Of how many events the lines tell that contain `text`: the sum of their fields `count`.
inline std::uint64_t told(const std::string& log, std::string_view text) {
  constexpr std::string_view kField = " count=";
  std::uint64_t sum = 0;
  for (const std::string& line : lines_with(log, text)) {
    const std::size_t field = line.find(kField);
    if (field != std::string::npos) sum += std::stoull(line.substr(field + kField.size()));
  }
  return sum;
}

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

}  // namespace dflockd::test
