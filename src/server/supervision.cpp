#include "server/supervision.hpp"

#include <chrono>
#include <string>

#include "logging/logging.hpp"

namespace dflockd::server {

namespace {

constexpr auto kStatusInterval = std::chrono::seconds(1);

/// Early by two ticks, since a tick may be late.
locks::Instant interval_of(const systemd::ServiceManager& manager, std::chrono::nanoseconds tick) {
  const auto interval = manager.watchdog_interval();
  return interval ? std::chrono::nanoseconds(*interval) - 2 * tick : locks::kNever;
}

}  // namespace

Supervision::Supervision(systemd::ServiceManager& manager, std::chrono::nanoseconds tick)
    : manager_(manager), watchdog_interval_(interval_of(manager, tick)) {}

void Supervision::tick(locks::Instant now, const Counts& counts) {
  if (watchdog_interval_ != locks::kNever && now >= next_alive_) {
    next_alive_ = now + watchdog_interval_;
    note(manager_.alive(), now);
  }
  if (now >= next_status_) {
    next_status_ = now + kStatusInterval;
    note(manager_.status(std::to_string(counts.connections) + " connections, " +
                         std::to_string(counts.held) + " locks and slots held"),
         now);
  }
}

void Supervision::note(std::error_code error, locks::Instant now) {
  if (!error) return;
  if (const auto count = failures_.note(now)) {
    logging::warn("cannot_notify", {{"error", error.message()}, {"count", *count}});
  }
}

}  // namespace dflockd::server
