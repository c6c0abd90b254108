#include "ctl/text.hpp"

#include <iostream>

namespace dflockd::ctl {

void say(const std::string& what) {
  std::cerr << "dflockctl: " + what + '\n' << std::flush;
}

}  // namespace dflockd::ctl
