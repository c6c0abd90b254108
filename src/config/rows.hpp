// The rows of the configuration as data: one declaration a row, in rows.cpp. It drives the command
// line, the environment, the file, --help, --check-config, and what the build generates: manual
// pages, the example file and completions (packaging/documents).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.hpp"

namespace dflockd::config {

/// What the rows are read into: the configuration, and what only matters while it is read.
struct Settings : Config {
  Secret auth_token_text;  ///< given as such; `auth_token` may come from a file instead
  bool debug = false;
  std::filesystem::path config_file;
  bool check_config = false;
  bool version = false;
  bool help = false;
};

// The kinds of values. Each names the field that it is read into.

struct Seconds {
  std::chrono::seconds Settings::*field;
  std::uint64_t least;
};

struct Count {
  std::size_t Settings::*field;
  std::uint64_t least = 0;
  std::uint64_t most = std::numeric_limits<std::int64_t>::max();
};

struct Port {
  std::uint16_t Settings::*field;
};

/// Where to listen: an IPv4 or IPv6 address or a host name, without a port.
struct Host {
  std::string Settings::*field;
  bool may_be_empty = false;
};

/// The path of a file; empty for none.
struct Path {
  std::filesystem::path Settings::*field;
};

/// A secret, which is never shown; empty for none.
struct Token {
  Secret Settings::*field;
};

/// Origins of web pages in a list with commas; empty for none.
struct Origins {
  std::vector<std::string> Settings::*field;
};

/// Host names and addresses in a list with commas; empty for none.
struct Hosts {
  std::vector<std::string> Settings::*field;
};

/// On or off. On the command line --name, --name=VALUE and --no-name all work.
struct Boolean {
  bool Settings::*field;
};

/// Off unless given. On the command line --name and --name=VALUE work.
struct Switch {
  bool Settings::*field;
};

struct Level {
  LogLevel Settings::*field;
};

struct Format {
  LogFormat Settings::*field;
};

using Value = std::variant<Seconds, Count, Port, Host, Path, Token, Origins, Hosts, Boolean, Switch,
                           Level, Format>;

enum class Scope {
  kSetting,      ///< part of the effective configuration, from any source
  kShorthand,    ///< from any source, but only a way of saying something about another row
  kCommandLine,  ///< not allowed in the file
};

struct Row {
  std::string_view name;   ///< the flag without its dashes, and the key in the file
  std::string_view group;  ///< the heading in --help and --check-config
  Value value;
  std::string_view help;              ///< one line of at most 62 columns
  const char* environment = nullptr;  ///< the variable's name; nullptr for none
  /// What manual pages and the example file add to `help`: sentences, with `literals` in
  /// backquotes.
  std::string_view details = {};
  const char* old_environment = nullptr;  ///< its old name; accepted with a warning
  Scope scope = Scope::kSetting;
  char letter = '\0';  ///< the short flag: 'h' for -h
};

/// Every row, in the order of --help.
[[nodiscard]] std::span<const Row> rows();

/// Reads `text` into the row's field. Returns false, leaving `settings` alone, if `text` is not
/// what `allowed` says.
[[nodiscard]] bool read(const Value& value, std::string_view text, Settings& settings);

/// What a value of this kind may be; follows the word "expected".
[[nodiscard]] std::string allowed(const Value& value);

/// What --check-config shows instead of a secret.
inline constexpr std::string_view kMask = "***";

/// The value in `settings` in the form that `read` takes; `kMask`, which it refuses, for a secret.
[[nodiscard]] std::string show(const Value& value, const Settings& settings);

/// Whether the value is text, which TOML wants in quotes.
[[nodiscard]] bool is_text(const Value& value);

/// Whether the value is on or off.
[[nodiscard]] bool is_boolean(const Value& value);

/// Whether the value must not be shown.
[[nodiscard]] bool is_secret(const Value& value);

/// What stands for the value in --help, such as "SECONDS" or "text|json"; empty where none is
/// needed.
[[nodiscard]] std::string placeholder(const Value& value);

}  // namespace dflockd::config
