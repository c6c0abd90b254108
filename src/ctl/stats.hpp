// `dflockctl stats`: what the servers hold, once or again and again.
#pragma once

#include <iosfwd>

#include "ctl/options.hpp"

namespace dflockd::ctl {

/// Returns what to exit with. Throws `Error` if the first look fails; later ones tell and go on.
int show_stats(const Options& options, std::ostream& out);

}  // namespace dflockd::ctl
