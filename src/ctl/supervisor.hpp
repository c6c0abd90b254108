// The process between dflockctl and its command, which ends the command and all its descendants
// when it is time.
//
//   dflockctl ── holds the lock, renews it, forwards signals, owns the job
//    └ supervisor ── a fork of it: enforces the lease, whatever becomes of dflockctl
//       └ COMMAND ── in a process group of its own
//          └ ...
//
// Who dies by SIGKILL, and what follows:
// - dflockctl: the supervisor reads the end of their socket, kills everybody and exits. It is
//   a fork without exec, so it has the connection open that the lock was granted over: the server
//   sees it end only then, and does not grant the lock to another client before. If dflockctl is
//   stopped instead, the supervisor does the same shortly before the lease runs out.
// - the supervisor: the command is killed by the kernel (PR_SET_PDEATHSIG), and what it left is
//   adopted by dflockctl, a subreaper, who reads the end of the socket and kills it.
// - the command: the supervisor ends the rest of its process group.
// Two of the three at once, dflockctl and the supervisor, leave nobody to kill the grandchildren:
// the command dies, they do not.
//
// Not thread-safe, and only for a process that does nothing else.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include <signal.h>
#include <sys/types.h>

#include "client/process.hpp"

namespace dflockd::ctl {

/// Until when the lock is held for certain, in memory that dflockctl and the supervisor share. It
/// moves on as the lease is renewed; there is no message for it.
class Deadline {
 public:
  [[nodiscard]] client::Clock::time_point get() const noexcept {
    return client::Clock::time_point(
        client::Clock::duration(time_.load(std::memory_order_acquire)));
  }
  void set(client::Clock::time_point time) noexcept {
    time_.store(time.time_since_epoch().count(), std::memory_order_release);
  }

 private:
  static_assert(std::atomic<client::Clock::rep>::is_always_lock_free);
  std::atomic<client::Clock::rep> time_ = 0;
};

/// What dflockctl orders the supervisor to do. When the socket ends: kill everybody.
struct Order {
  enum class Kind : std::int32_t {
    kSignal,  ///< send the command's group the signal `value`
    kFreeze,  ///< stop everybody: it is not known whether the lock is held
    kThaw,    ///< it is
    kKill,    ///< kill everybody: it is not
  };
  Kind kind = Kind::kSignal;
  std::int32_t value = 0;
};

/// What the supervisor reports to dflockctl. If the socket ends before `kEnded`, the supervisor is
/// dead.
struct Event {
  enum class Kind : std::int32_t {
    kStarted,     ///< the command's process, and group, is `value`
    kExecFailed,  ///< with the error `value`
    kStopped,     ///< the command was stopped by the signal `value`
    kEnforced,    ///< the lease is about to run out, so everybody is sent the signal `value`
    kEnded,       ///< the command has, with the wait status `value`, and so have all others
  };
  Kind kind = Kind::kStarted;
  std::int32_t value = 0;
};

/// When a lease of some length is enforced, before its end.
struct Margins {
  std::chrono::milliseconds terminate{0};
  std::chrono::milliseconds kill{0};

  /// A third of the lease, at most 10 s; and a tenth, at most 1 s.
  [[nodiscard]] static Margins of(std::chrono::seconds lease);
};

/// What the supervisor is made with, all of it prepared before the fork.
struct Supervision {
  char* const* arguments = nullptr;
  char* const* environment = nullptr;
  sigset_t signal_mask{};                 ///< the command's
  struct sigaction child_disposition {};  ///< the command's, of SIGCHLD
  int terminal = -1;                      ///< becomes the command's, if not negative
  int socket = -1;                        ///< to dflockctl: SOCK_SEQPACKET, which does not block
  const Deadline* deadline = nullptr;
  Margins margins;
};

/// Runs the command, and exits when it and all others are dead. Calls async-signal-safe functions
/// only. The caller is a new child of dflockctl in which all signals are blocked and the other end
/// of the socket is closed.
[[noreturn]] void supervise(const Supervision& supervision);

}  // namespace dflockd::ctl
