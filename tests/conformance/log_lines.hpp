// What the log of a server says of events that are told once a second with a count.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dflockd::conformance {

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

}  // namespace dflockd::conformance
