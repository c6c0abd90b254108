// What all HTTP sessions of a server share: the sessions of callers, what clients may ask for and
// how often. For the loop's thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <asio/ip/address.hpp>

#include "access/authenticator.hpp"
#include "access/rate_limiter.hpp"
#include "base/loop_clock.hpp"
#include "http/browser_guard.hpp"
#include "http/callers.hpp"
#include "http/message.hpp"
#include "http/routes.hpp"
#include "metrics/metrics.hpp"
#include "net/complaints.hpp"
#include "service/service.hpp"
#include "service/stats_reporter.hpp"

namespace dflockd::http {

struct DoorOptions {
  access::RateLimiter::Rate rate;
  Callers::Options sessions;
  std::vector<std::string> allowed_hosts;    ///< without ports
  std::vector<std::string> allowed_origins;  ///< "*" for any; none: no CORS
};

/// The rest of the server, as far as HTTP needs it. All of it must outlive the door; the secret may
/// be replaced meanwhile.
struct Surroundings {
  service::Service& service;
  base::LoopClock& clock;
  service::StatsReporter& stats;
  const access::Authenticator& authenticator;
  metrics::Metrics& metrics;
  net::Complaints& complaints;
  std::function<std::string()> metrics_text;
  std::uint64_t& last_connection_id;  ///< sessions are numbered together with connections
  const bool& draining;
};

struct HttpDoor : Surroundings {
  // cppcheck-suppress uninitDerivedMemberVar ; the base is moved into as a whole
  HttpDoor(Surroundings surroundings, const DoorOptions& options)
      : Surroundings(std::move(surroundings)),
        callers(service, clock, options.sessions),
        common_limiter(options.rate),
        holding_limiter(options.rate),
        guard(options.allowed_hosts, options.allowed_origins) {}

  /// To be called at every tick.
  void tick() {
    common_limiter.tick(clock.now());
    holding_limiter.tick(clock.now());
    callers.tick();
  }

  /// Takes from one of the buckets of an address: see `access::RateLimiter::take`.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> take(Bucket bucket,
                                                             const asio::ip::address& peer) {
    if (bucket == Bucket::kNone) return std::nullopt;
    return (bucket == Bucket::kCommon ? common_limiter : holding_limiter).take(peer, clock.now());
  }

  Callers callers;
  access::RateLimiter common_limiter;
  access::RateLimiter holding_limiter;
  const BrowserGuard guard;
  DateLine date_line{};
};

}  // namespace dflockd::http
