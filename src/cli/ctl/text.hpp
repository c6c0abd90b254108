// What dflockctl says, and how it shows what others have named.
#pragma once

#include <string>
#include <string_view>

namespace dflockd::ctl {

/// One line on standard error.
void say(const std::string& what);

/// With control characters escaped, so that they do nothing to a terminal: "\x1b". Bytes of UTF-8
/// stay as they are.
[[nodiscard]] std::string escaped(std::string_view text);

/// Escaped, in quotation marks.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace dflockd::ctl
