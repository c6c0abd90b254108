// What dflockctl says, and how it shows what others have named.
#pragma once

#include <string>

#include "base/text.hpp"

namespace dflockd::ctl {

using base::escaped;
using base::in_quotes;

/// One line on standard error.
void say(const std::string& what);

}  // namespace dflockd::ctl
