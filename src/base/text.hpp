// Text as it may be shown to people: on one line, and harmless to a terminal.
#pragma once

#include <string>
#include <string_view>

namespace dflockd::base {

/// With control characters escaped: "\x1b". Other bytes of UTF-8 stay as they are.
[[nodiscard]] std::string escaped(std::string_view text);

/// Escaped, in double quotes.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace dflockd::base
