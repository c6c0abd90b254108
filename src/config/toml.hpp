// The part of TOML that a flat list of settings needs: `key = value` lines and comments; strings on
// one line ("..." with escapes, '...' without), integers and booleans. Internal to the room.
//
// CLI11 has a reader of its own, but that one cuts a string at a '#', skips lines that it does not
// understand, and cannot tell a line's number, so that a typing error would go unnoticed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dflockd::config {

struct TomlItem {
  std::string key;
  std::string text;     ///< the string's content, or the integer or boolean as it is written
  bool quoted = false;  ///< whether it is written as a string
  std::string where;    ///< "FILE:LINE: KEY", for error lines
};

/// Reads the file that `source` ("--config") named. Throws Refusal, naming that if the file cannot
/// be read, and the file and line for what is not TOML, or is TOML that no setting needs: sections,
/// dotted keys, arrays, text over several lines.
[[nodiscard]] std::vector<TomlItem> read_toml_file(const std::filesystem::path& file,
                                                   const std::string& source);

/// `text` as a TOML string, quotes included.
[[nodiscard]] std::string to_toml_string(std::string_view text);

}  // namespace dflockd::config
