// Text as it may be shown to people: on one line, and harmless to a terminal.
#pragma once

#include <string>
#include <string_view>

namespace dflockd::base {

/// With control characters, and bytes that are not UTF-8, escaped: "\x1b".
[[nodiscard]] std::string escaped(std::string_view text);

/// Escaped, in double quotes.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// Whether a variable's value is what container platforms set for a service, such as
/// "tcp://10.96.3.7:6388": where the service is called dflockd, in variables that look like ours.
[[nodiscard]] bool is_service_address(std::string_view value);

/// What is said of one.
inline constexpr char kServiceAddress[] =
    "tcp:// or udp:// is what a container platform sets for a service";

}  // namespace dflockd::base
