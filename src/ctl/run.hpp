// `dflockctl lock` and `dflockctl semaphore`: waits for the lock, and has the command run.
#pragma once

#include "ctl/options.hpp"

namespace dflockd::ctl {

/// Returns what to exit with. Throws `Error` and `std::system_error`.
int run_command(const Options& options);

}  // namespace dflockd::ctl
