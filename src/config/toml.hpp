// The part of TOML that a flat list of settings needs: `key = value` lines and comments; strings on
// one line ("..." with escapes, '...' without), integers and booleans. Internal to the room.
//
// CLI11 has a reader of its own, but that one cuts a string at a '#', skips lines that it does not
// understand, and cannot tell a line's number, so that a typing error would go unnoticed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/secret.hpp"

namespace dflockd::config {

struct TomlItem {
  std::string key;
  WipedBytes text;      ///< the string's content, or the integer or boolean as it is written
  bool quoted = false;  ///< whether it is written as a string
  std::string where;    ///< "FILE:LINE: KEY", for error lines
};

/// Reads the file that `source` ("--config") named. Throws Refusal, naming that if the file cannot
/// be read, and the file and line for what is not TOML, or is TOML that no setting needs: sections,
/// dotted keys, arrays, text over several lines. It quotes the line only if `may_show` says that
/// the value of its key is no secret.
[[nodiscard]] std::vector<TomlItem> read_toml_file(
    const std::filesystem::path& file, const std::string& source,
    const std::function<bool(std::string_view key)>& may_show);

/// `text` as a TOML string, quotes included.
[[nodiscard]] std::string to_toml_string(std::string_view text);

}  // namespace dflockd::config
