// What the API shows of the sessions of callers and of the lock table.
#pragma once

#include <optional>
#include <string_view>
#include <variant>

#include "http/callers.hpp"
#include "http/message.hpp"
#include "service/stats_report.hpp"

namespace dflockd::http {

/// The sessions, the longest idle first and at most `kMostListed`, without their ids: those let
/// whoever knows them act for a session.
[[nodiscard]] Response list_of(const Callers& callers);

inline constexpr std::size_t kMostListed = 1000;

/// Which keys a request for `stats` is about, by the query of its target, still percent-encoded:
/// all if that is empty. A parameter that is unknown, or has a value that it may not have, fails.
[[nodiscard]] std::variant<std::optional<service::StatsQuery>, Failure> read_stats_query(
    std::string_view query);

}  // namespace dflockd::http
