// Text as JSON has it. Not for the client library, which needs nothing of JSON.
#pragma once

#include <string>
#include <string_view>

namespace dflockd::base {

/// A JSON string with its quotes. What is not UTF-8 shows as U+FFFD. Pure.
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace dflockd::base
