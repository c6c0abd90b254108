// A TCP connection that waits, with a deadline and until it is cancelled.
#pragma once

#include "client/cancellation.hpp"
#include "client/clock.hpp"
#include "client/descriptor.hpp"
#include "client/endpoint.hpp"

namespace dflockd::client {

/// How long a call waits.
struct Limits {
  Clock::time_point deadline;
  const Cancellation* cancellation;  ///< may be null
};

/// Waits until `descriptor` has one of `events` (poll(2)). Throws `Failure`: `errc::timeout`,
/// `errc::canceled`.
void wait_for(int descriptor, short events, const Limits& limits);

/// Resolves the host and connects to the first of its addresses that answers: non-blocking, with
/// TCP_NODELAY and keepalive, closed on exec. Throws `Failure`: `errc::connection`, `timeout`,
/// `canceled`.
[[nodiscard]] Descriptor connect_to(const Endpoint& endpoint, const Limits& limits);

/// Sets what every connection of the library has: TCP_NODELAY, and keepalive that notices within 25
/// s that the peer is gone. A socket that refuses is used as it is.
void set_options(int socket);

}  // namespace dflockd::client
