// The clock that leases are counted by, which is the server's.
#pragma once

#include "base/boot_clock.hpp"

namespace dflockd::client {

using Clock = base::BootClock;
using base::later;

}  // namespace dflockd::client
