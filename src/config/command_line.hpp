// The command line: flags in, and --help out. Internal to the room.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "config/rows.hpp"

namespace dflockd::config {

/// A flag as it was given; its value is not checked yet.
struct Flag {
  const Row* row;
  std::string where;  ///< "--name", for error lines
  std::string text;
};

struct CommandLine {
  std::vector<Flag> flags;
  std::vector<std::string> unknown;  ///< arguments that are no flag or value of ours

  /// Whether --help is among the flags. It answers whatever is wrong with the rest of the line: it
  /// may be what the user looks for.
  [[nodiscard]] bool asks_for_help() const;
};

/// Takes the arguments apart. Throws Refusal for a flag without its value.
[[nodiscard]] CommandLine parse_command_line(std::span<const char* const> arguments);

/// The text of --help, at most 100 columns wide.
[[nodiscard]] std::string help_text();

}  // namespace dflockd::config
