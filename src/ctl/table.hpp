// A server's `stats` as a table for people.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dflockd::ctl {

/// Makes lines of the JSON that a server answered to `stats`: its name and connections, and what is
/// held, locks before semaphores, by key.
/// @param width  how wide a line may be; long keys are cut. 0: as wide as they are
/// Throws `std::runtime_error` if `json` is something else.
[[nodiscard]] std::vector<std::string> stats_table(std::string_view server, std::string_view json,
                                                   std::size_t width);

}  // namespace dflockd::ctl
