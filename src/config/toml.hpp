// The configuration file: TOML, of which a flat list of settings needs strings, integers and
// booleans. Internal to the room.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.hpp"

namespace dflockd::config {

enum class TomlType { kString, kInteger, kBoolean, kSection, kOther };

struct TomlItem {
  std::string key;
  TomlType type = TomlType::kOther;
  std::string_view type_name;  ///< for error lines, such as "an array"
  base::WipedBytes text;       ///< the string, or the integer or boolean as TOML has it
  std::string where;           ///< "FILE:LINE:COLUMN: KEY", for error lines
};

/// Reads the items at the top of the file, in their order there. Throws base::FileError if it
/// cannot be read, and Refusal for what is not TOML, with file, line and column. That error quotes
/// the line only if `may_show` says that the value of its key is no secret.
[[nodiscard]] std::vector<TomlItem> read_toml_file(
    const std::filesystem::path& file, const std::function<bool(std::string_view key)>& may_show);

/// `text` as a TOML string, quotes included.
[[nodiscard]] std::string to_toml_string(std::string_view text);

}  // namespace dflockd::config
