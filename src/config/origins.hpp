// Which web pages may use the HTTP API. A browser names the site of a page by its origin: scheme,
// host and port. Internal to the room.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dflockd::config {

/// Takes a list apart: origins separated by commas, with blanks around them or without, none if it
/// is empty. Each is "*" for any, or "scheme://host[:port]" with nothing behind it; returns nothing
/// if one is neither.
[[nodiscard]] std::optional<std::vector<std::string>> read_origins(std::string_view text);

/// The origins in the form that `read_origins` takes.
[[nodiscard]] std::string show_origins(const std::vector<std::string>& origins);

}  // namespace dflockd::config
