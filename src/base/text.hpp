// Text as it may be shown to people: on one line, and harmless to a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dflockd::base {

/// With control characters, and bytes that are not UTF-8, escaped: "\x1b".
[[nodiscard]] std::string escaped(std::string_view text);

/// Escaped, in double quotes; quotes and backslashes within get a backslash.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// `text` without the `blanks` at its ends.
[[nodiscard]] std::string_view trim(std::string_view text, std::string_view blanks);

/// The size in bytes of the first character of `text`, which is not empty; 0 if it is not UTF-8.
[[nodiscard]] std::size_t utf8_size(std::string_view text);

/// Whether terminals obey a character of UTF-8: control characters of ASCII, and U+0080 to U+009F.
[[nodiscard]] bool is_control(std::string_view character);

/// Whether a variable's value is what container platforms set for a service, such as
/// "tcp://10.96.3.7:6388": where the service is called dflockd, in variables that look like ours.
[[nodiscard]] bool is_service_address(std::string_view value);

/// What a message says about such a value.
inline constexpr char kServiceAddress[] =
    "tcp:// or udp:// is what a container platform sets for a service";

}  // namespace dflockd::base
