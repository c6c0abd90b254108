// What the API shows of the sessions of callers and of the lock table.
#pragma once

#include "http/callers.hpp"
#include "http/message.hpp"

namespace dflockd::http {

/// The sessions, the longest idle first and at most `kMostListed`, without their ids: those let
/// whoever knows them act for a session.
[[nodiscard]] Response list_of(const Callers& callers);

inline constexpr std::size_t kMostListed = 1000;

}  // namespace dflockd::http
