// Where values come from besides the defaults, the command line, the environment and the file, and
// how something that is not acceptable there is refused. Internal to the room.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.hpp"
#include "config/config.hpp"
#include "config/rows.hpp"

namespace dflockd::config {

/// Thrown for anything the user has to correct; `load` turns it into an Exit with status 2. Its
/// text is the error line without the leading "dflockd: " and without a newline.
class Refusal : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a file's error says, and who named the file: `cannot read "x": Is a directory (--config)`.
[[nodiscard]] Refusal about_file(std::string_view error, std::string_view source);

/// Replaces what may be a secret in an error line.
inline constexpr char kNotShown[] = "<not shown>";

/// Why `read` returns false for `text`; follows the place in the error line, and shows no secret.
[[nodiscard]] std::string why_refused(const Value& value, std::string_view text);

/// The one of `names`, which are not empty, that `name` is most likely a misspelling of.
[[nodiscard]] std::string_view nearest(std::string_view name,
                                       const std::vector<std::string_view>& names);

/// `text` as it is shown in an error line: escaped, in single quotes.
[[nodiscard]] std::string in_quotes(std::string_view text);

// The command line: flags in, and --help out.

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

// The environment: the variables that begin with DFLOCKD_.

/// Reads from an environment, which must outlive it. If a variable is there twice, the first
/// counts; one that is empty counts as not set.
class OwnVariables {
 public:
  explicit OwnVariables(Environment environment);

  /// The value of a variable; nullptr if it is not set, or holds what a container platform sets.
  /// Such a one is warned of. Call it at most once for each name.
  const char* take(std::string_view name);

  /// About the variables that were taken, and about others, which nothing reads. `names` are
  /// those of the server's variables.
  [[nodiscard]] std::vector<std::string> warnings(const std::vector<std::string_view>& names) const;

 private:
  struct Variable {
    std::string_view name;
    const char* value;
    bool taken = false;
  };
  std::vector<Variable> variables_;
};

// The file: a flat list of TOML's strings, integers and booleans.

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
