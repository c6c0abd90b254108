// Signals, received as data. Those that dflockctl was started to ignore, as by nohup(1), stay
// ignored, by it and by its command.
//
// Not thread-safe; for the main thread. The client library's threads are sent no signals.
#pragma once

#include <initializer_list>
#include <stop_token>
#include <thread>

#include <signal.h>

#include "base/descriptor.hpp"

namespace dflockd::ctl {

/// Blocks those of the signals that are not ignored, and returns the mask as it was before.
sigset_t block_signals(std::initializer_list<int> signals);

/// Unblocks the signals that end a process, which may have been started with them blocked.
void unblock_ending_signals();

/// What reads signals that are blocked: those of the given that are not ignored.
[[nodiscard]] base::Descriptor open_signals(std::initializer_list<int> signals);

/// Ends a wait when a signal comes that would end the process.
///
///   Interruption interruption;
///   lock.acquire_for(timeout, interruption.token(), error);
///   if (interruption.signal() != 0) ...
///
/// SIGTERM, SIGINT, SIGHUP and SIGQUIT stay blocked after its end.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  [[nodiscard]] std::stop_token token() const { return stop_.get_token(); }
  /// The mask before.
  [[nodiscard]] const sigset_t& mask() const { return mask_; }
  /// Stops listening and returns the signal that came, or 0.
  int end();

 private:
  void listen();

  const sigset_t mask_;
  const base::Descriptor signals_;
  const base::Descriptor done_;
  std::stop_source stop_;
  int signal_ = 0;
  std::thread thread_;
};

}  // namespace dflockd::ctl
