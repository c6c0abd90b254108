// Runs a command while a lock is held: `dflockctl lock` and `dflockctl semaphore`.
//
// supervisor.hpp lists the processes and what happens when one of them is killed.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <dflockd/contender.hpp>
#include <dflockd/error.hpp>

#include "base/descriptor.hpp"
#include "ctl/supervisor.hpp"

namespace dflockd::ctl {

/// The controlling terminal, and whose it is now.
///
/// A terminal sends its signals (Ctrl-C, Ctrl-Z) to the process group in the foreground, and only
/// that one may read from it. The shell puts dflockctl's group there; the command, which has a
/// group of its own, is given the terminal by dflockctl, as sudo(8) does. SIGTTOU must be blocked
/// or ignored.
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

/// That a lock was lost, reported by the thread that renews it. Thread-safe.
class Loss {
 public:
  Loss();

  /// For `LockOptions::on_renew_error`.
  void report(const Error& error);
  /// Why it was lost; nothing if it was not.
  [[nodiscard]] std::optional<std::string> reason() const;
  /// Readable once it was lost.
  [[nodiscard]] int descriptor() const { return descriptor_.get(); }

 private:
  const base::Descriptor descriptor_;
  mutable std::mutex mutex_;
  std::optional<std::string> reason_;
};

/// One command under one lock. Not thread-safe.
class Runner {
 public:
  /// @param lock  held
  /// @param mask  the signals that were blocked when dflockctl was started
  Runner(Contender& lock, const Loss& loss, std::vector<std::string> command, const sigset_t& mask);

  /// Runs the command and releases the lock when it and all others are dead. Returns what to exit
  /// with. Throws `std::system_error` if the command cannot be started for want of memory,
  /// processes or descriptors.
  int run();
  /// Whether the lock was left to the end of its lease, because the server did not renew it.
  [[nodiscard]] bool left_lock() const { return left_lock_; }

 private:
  void start();
  void publish_deadline();
  void watch_lock();
  void forward_signals();
  void read_events();
  void take_note(const Event& event);
  void note_enforcement(int signal);
  void job_stopped(int signal);
  void job_continued();
  void order(Order::Kind kind, int value = 0) const;
  void end_all();
  int finish();
  int release();

  Contender& lock_;
  const Loss& loss_;
  std::vector<std::string> command_;
  std::vector<std::string> environment_;
  const sigset_t mask_;
  const Margins margins_;
  const Terminal terminal_;
  base::Descriptor signals_;
  base::Descriptor socket_;  ///< to the supervisor
  struct sigaction child_disposition_ {};
  std::vector<pid_t> spared_;  ///< children of the program that became dflockctl by exec
  Deadline* deadline_ = nullptr;
  pid_t supervisor_ = -1;
  pid_t group_ = -1;  ///< the command's
  bool wants_terminal_ = false;
  bool frozen_ = false;
  bool killing_ = false;
  client::Clock::time_point patience_end_ = client::Clock::time_point::max();
  bool enforced_ = false;  ///< ended because the lease was about to run out
  bool left_lock_ = false;
  bool broken_ = false;  ///< the supervisor was killed
  bool ended_ = false;
  int exec_error_ = 0;
  int status_ = 0;  ///< as waitpid(2) has it
};

}  // namespace dflockd::ctl
