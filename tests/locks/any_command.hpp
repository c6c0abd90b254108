// RapidCheck's generators of what is done to a table.
#pragma once

#include <vector>

#include <rapidcheck.h>

#include "table_command.hpp"

namespace dflockd::locks {

[[nodiscard]] rc::Gen<Setup> any_setup();
[[nodiscard]] rc::Gen<std::vector<Draft>> any_commands();

}  // namespace dflockd::locks
