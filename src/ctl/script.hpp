// What scripts ask for: acquire, release, renew, ping.
#pragma once

#include <iosfwd>

#include "ctl/options.hpp"

namespace dflockd::ctl {

/// Each returns what to exit with, and throws `Error`.
int acquire(const Options& options, std::ostream& out);
int release(const Options& options, std::istream& in);
int renew(const Options& options, std::istream& in, std::ostream& out);
int ping(const Options& options, std::ostream& out);

}  // namespace dflockd::ctl
