// The processes of this machine, and those among them that descend from one.
//
// Everything here is async-signal-safe: the supervisor, which is a fork of a process with threads,
// may call nothing else. Not thread-safe: there is one table a process.
#pragma once

#include <cstddef>
#include <span>

#include <sys/types.h>

namespace dflockd::ctl {

/// Sends `signal` to all living descendants of `root`, which must be a subreaper (see prctl(2)) so
/// that one that lost its parent, or left its session, still is one. Those in `spared` and their
/// descendants are left alone, and so are those in the process group `skipped`, if it is not 0.
/// @return how many there were that lived, zombies not counted
std::size_t signal_descendants(pid_t root, std::span<const pid_t> spared, int signal,
                               pid_t skipped = 0);

/// Whether anybody but zombies is in the process group.
[[nodiscard]] bool is_group_alive(pid_t group);

/// The children of `parent`, as many as `space` takes. Returns how many.
std::size_t children_of(pid_t parent, std::span<pid_t> space);

/// Waits between two looks at who still lives: ever longer, since what runs as another user, or in
/// the kernel, cannot be killed.
class Nap {
 public:
  void take() noexcept;

 private:
  int milliseconds_ = 1;
};

}  // namespace dflockd::ctl
