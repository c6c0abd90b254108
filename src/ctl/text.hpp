// What dflockctl prints, how it quotes names, and durations as people write them:
// 500ms, 10s, 2m, 1h.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/terms.hpp"
#include "base/text.hpp"

namespace dflockd::ctl {

using base::escaped;
using base::in_quotes;

/// One line on standard error.
void say(const std::string& what);

/// A whole number with `ms`, `s`, `m` or `h`, or without for seconds; up to `base::kMaxSeconds`.
/// Nothing if `text` is something else.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// Short, at the cost of precision: "300ms", "12s", "3m05s", "2h04m", "9d03h".
[[nodiscard]] std::string short_text(std::chrono::milliseconds duration);

}  // namespace dflockd::ctl
