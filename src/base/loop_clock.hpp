// What time it is for an event loop. The clock is read once for each batch of requests: all of them
// happen at that time.
//
// Nobody is judged by the time in which the loop could not serve them. Leases are the exception:
// they go by `now`. Not thread-safe.
#pragma once

#include <chrono>

#include "base/boot_clock.hpp"

namespace dflockd::base {

/// A time on `BootClock`, as far as it says how long something takes.
using Instant = std::chrono::nanoseconds;

class LoopClock {
 public:
  /// The loop turns at least as often, if it is not held up.
  static constexpr Instant kBeat = std::chrono::milliseconds(50);

  LoopClock() { compare_clocks(); }
  /// A clock for simulated time: it stands still at `now`, and only `set` moves it.
  explicit LoopClock(Instant now) : now_(now), simulated_(true) {}

  /// Reads the clock for the requests to come.
  void refresh() {
    if (simulated_) return;
    const Instant last = now_;
    now_ = BootClock::now().time_since_epoch();
    if (now_ - last >= kPause) after_pause(last);
  }
  void set(Instant now) { now_ = now; }

  /// The time of the current batch.
  [[nodiscard]] Instant now() const { return now_; }

  /// The same without the time for which the loop was held up, be it that the process was stopped
  /// or that a turn took long: by it those are judged who are heard through the loop.
  [[nodiscard]] Instant heard_now() const { return now_ - held_up_; }

  /// The same without the time for which the machine was suspended, either: by it those are judged
  /// who may have been suspended with it.
  [[nodiscard]] Instant awake_now() const { return now_ - held_up_ - suspended_; }

 private:
  /// What is shorter goes unnoticed until there is such a pause, as there is whenever nobody
  /// speaks.
  static constexpr Instant kPause = std::chrono::milliseconds(20);

  /// Sees how far the two clocks are apart. In this order, so that `awake_now` is never ahead.
  void compare_clocks() {
    const Instant awake = std::chrono::steady_clock::now().time_since_epoch();
    now_ = BootClock::now().time_since_epoch();
    suspended_ = now_ - awake;
  }

  void after_pause(Instant last) {
    const Instant last_awake = last - suspended_;
    compare_clocks();
    const Instant pause = now_ - suspended_ - last_awake;
    if (pause > 2 * kBeat) held_up_ += pause - kBeat;
  }

  Instant now_{0};
  bool simulated_ = false;
  Instant suspended_{0};  ///< how long the machine was, since it started
  Instant held_up_{0};    ///< how long the loop was
};

}  // namespace dflockd::base
