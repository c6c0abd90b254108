// A TCP connection that waits, with a deadline and until it is cancelled.
#pragma once

#include <atomic>
#include <memory>

#include <netdb.h>

#include "base/descriptor.hpp"
#include "client/arguments.hpp"
#include "client/cancellation.hpp"
#include "client/process.hpp"

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
[[nodiscard]] base::Descriptor connect_to(const Endpoint& endpoint, const Limits& limits);

/// A look-up of a host on a thread of its own, since getaddrinfo(3) takes as long as it likes and
/// cannot be stopped. A caller that has lost patience abandons it.
class LookUp {
 public:
  /// Begins. Throws `Failure` if it cannot.
  [[nodiscard]] static std::shared_ptr<LookUp> begin(const Endpoint& endpoint);

  /// Becomes readable when it is done.
  [[nodiscard]] int descriptor() const noexcept { return done_.get(); }
  [[nodiscard]] bool is_done() const noexcept { return finished_.load(std::memory_order_acquire); }
  /// The addresses, at least one, when it is done; they live as long as the look-up. Throws
  /// `Failure` (`errc::connection`) if there are none.
  [[nodiscard]] const addrinfo* addresses() const;

 private:
  explicit LookUp(Endpoint endpoint);
  struct Free {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
  };

  const Endpoint endpoint_;
  const base::Descriptor done_;
  int status_ = 0;
  std::unique_ptr<addrinfo, Free> found_;
  std::atomic<bool> finished_ = false;
};

/// A TCP socket for a connection of the library: non-blocking, closed on exec, with TCP_NODELAY and
/// a keepalive that notices within 25 s that the peer is gone. A socket that refuses these is used
/// as it is. `family` is AF_INET or AF_INET6. Throws `Failure`
/// (`errc::connection`).
[[nodiscard]] base::Descriptor open_socket(int family);

}  // namespace dflockd::client
