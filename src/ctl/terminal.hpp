// The controlling terminal, and whose it is now.
//
// A terminal sends its signals (Ctrl-C, Ctrl-Z) to the process group in the foreground, and only
// that one may read from it. The shell puts dflockctl's group there; the command, which has a group
// of its own, is given the terminal by dflockctl, as sudo(8) does.
//
// Not thread-safe. SIGTTOU must be blocked or ignored.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/descriptor.hpp"

namespace dflockd::ctl {

class Terminal {
 public:
  /// The process's, if it has one.
  Terminal() : descriptor_(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {}

  [[nodiscard]] bool exists() const { return descriptor_.is_open(); }
  [[nodiscard]] int descriptor() const { return descriptor_.get(); }
  /// Whether this process's group is in the foreground.
  [[nodiscard]] bool is_ours() const {
    return exists() && ::tcgetpgrp(descriptor_.get()) == ::getpgrp();
  }
  void give(pid_t group) const { ::tcsetpgrp(descriptor_.get(), group); }
  /// Undoes `give`, unless somebody else has the terminal by now.
  void take_back(pid_t group) const {
    if (exists() && ::tcgetpgrp(descriptor_.get()) == group) give(::getpgrp());
  }

 private:
  const base::Descriptor descriptor_;
};

}  // namespace dflockd::ctl
