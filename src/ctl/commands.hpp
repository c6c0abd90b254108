// The subcommands. Each returns what to exit with, and throws `Error`.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/options.hpp"

namespace dflockd::ctl {

/// `lock` and `semaphore`: waits for the lock, and has the command run. Throws `std::system_error`
/// too.
int run_command(const Options& options);

int acquire(const Options& options, std::ostream& out);
int release(const Options& options, std::istream& in);
int renew(const Options& options, std::istream& in, std::ostream& out);
int ping(const Options& options, std::ostream& out);

/// `stats`: what the servers hold, once or again and again. Throws if the first look fails; a later
/// one that fails is reported, and the next one made.
int show_stats(const Options& options, std::ostream& out);

/// Makes lines of the JSON that a server answered to `stats`: its name and connections, and what is
/// held, locks before semaphores, by key.
/// @param width  how wide a line may be; long keys are cut. 0: as wide as they are
/// Throws `std::runtime_error` if `json` is something else.
[[nodiscard]] std::vector<std::string> stats_table(std::string_view server, std::string_view json,
                                                   std::size_t width);

}  // namespace dflockd::ctl
