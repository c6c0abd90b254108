// Tells the service manager how the server is doing, from the loop itself: a loop that does not
// turn feeds no watchdog. What cannot be sent is logged, once a second at most. For the loop's
// thread only.
#pragma once

#include <cstddef>
#include <system_error>

#include "locks/types.hpp"
#include "logging/rate_limited.hpp"
#include "systemd/service_manager.hpp"

namespace dflockd::server {

class Supervision {
 public:
  /// What the manager shows a human of the service.
  struct Counts {
    std::size_t connections = 0;
    std::size_t held = 0;
  };

  /// Called at least once in `tick` by the loop. `manager` must outlive this.
  Supervision(systemd::ServiceManager& manager, std::chrono::nanoseconds tick);

  /// Clients are served, at the start and after `reloading`.
  void ready(locks::Instant now) { note(manager_.ready(), now); }
  void reloading(locks::Instant now) { note(manager_.reloading(), now); }
  void stopping(locks::Instant now) { note(manager_.stopping(), now); }

  /// Feeds the watchdog and shows the counts when it is time. To be called at every tick.
  void tick(locks::Instant now, const Counts& counts);

 private:
  void note(std::error_code error, locks::Instant now);

  systemd::ServiceManager& manager_;
  const locks::Instant watchdog_interval_;  ///< `kNever` if none watches
  locks::Instant next_alive_{0};
  locks::Instant next_status_{0};
  logging::RateLimited failures_;
};

}  // namespace dflockd::server
