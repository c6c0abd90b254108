// How the parts of this room say that something given is not acceptable. Internal to the room.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace dflockd::config {

/// Thrown for anything the user has to correct; `load` turns it into an Exit with status 2. Its
/// text is the error line without the leading "dflockd: " and without a newline.
class Refusal : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a file's error says, and who named the file: `cannot read "x": Is a directory (--config)`.
[[nodiscard]] Refusal about_file(std::string_view error, std::string_view source);

/// Stands in an error line for what may be a secret.
inline constexpr char kNotShown[] = "<not shown>";

/// The one of `names`, of which there is one at least, that `name` is most likely a misspelling of.
[[nodiscard]] std::string_view nearest(std::string_view name,
                                       const std::vector<std::string_view>& names);

/// `text` as it is shown in an error line: escaped, in single quotes.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace dflockd::config
