// How the parts of this room say that something given is not acceptable. Internal to the room.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace dflockd::config {

/// Thrown for anything the user has to correct; `load` turns it into an Exit with status 2. Its
/// text is the error line without the leading "dflockd: " and without a newline.
class Refusal : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Stands in an error line for what may be a secret.
inline constexpr char kNotShown[] = "<not shown>";

/// `text` with what would break the line or confuse a terminal written as \xNN.
[[nodiscard]] std::string printable(std::string_view text);

/// `text` as it is shown in an error line: printable, in single quotes.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace dflockd::config
