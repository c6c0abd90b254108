// Admits connections or refuses them, by caps on their number in all and from one address. A
// listener has one gate; a connection holds its pass for as long as it lives, from before its TLS
// handshake on.
//
//   Gate gate("tcp", {.max_connections = 1000, .max_connections_per_ip = 50});
//   if (std::optional<Gate::Pass> pass = gate.admit(peer.address(), now)) { … }
//
// Refusals are logged here, a line a second for each kind with the number of them. For the loop's
// thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <asio/ip/address.hpp>

#include "access/address.hpp"
#include "logging/rate_limited.hpp"

namespace dflockd::access {

/// The descriptors that the process needs besides those of connections: files, timers, files that a
/// reload opens, and a connection that is accepted to be closed.
inline constexpr std::uint64_t kReservedDescriptors = 32;

/// How many connections a listener may have in a process with so many descriptors, beside another
/// listener that may have `others` (0: any number): what the other leaves, or half, so that clients
/// of one cannot take the descriptors of the other; 64 at least.
[[nodiscard]] std::size_t share_of_descriptors(std::uint64_t descriptors, std::uint64_t others);

class Gate {
 public:
  struct Caps {
    std::size_t max_connections = 0;               ///< 0: no cap
    std::size_t max_connections_per_ip = 0;        ///< 0: no cap, and addresses are not counted
    std::size_t ipv6_prefix = kDefaultIpv6Prefix;  ///< see `network_of`
  };

  /// The right to be connected. The gate must outlive it.
  class Pass {
   public:
    Pass(Pass&& other) noexcept
        : gate_(std::exchange(other.gate_, nullptr)), address_(other.address_) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr) gate_->leave(address_);
    }

   private:
    friend class Gate;
    using Count = std::map<asio::ip::address, std::size_t>::iterator;

    Pass(Gate& gate, Count address) : gate_(&gate), address_(address) {}

    Gate* gate_;
    Count address_;  ///< where it is counted; the end if it is not
  };

  /// `listener` names the gate's listener in the log; it must be a literal.
  Gate(std::string_view listener, const Caps& caps);
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// Admits a connection from `peer`, or notes a refusal. `now` is a steady clock's.
  [[nodiscard]] std::optional<Pass> admit(const asio::ip::address& peer,
                                          std::chrono::nanoseconds now);

  /// Logs unreported refusals, if it is time. Call it regularly.
  void tick(std::chrono::nanoseconds now);

  /// How many connections each cap has refused so far.
  struct Refused {
    std::uint64_t max_connections;
    std::uint64_t max_connections_per_ip;
  };
  [[nodiscard]] Refused refused() const { return {over_cap_.count, over_cap_per_ip_.count}; }

  /// The number of passes.
  [[nodiscard]] std::size_t connections() const { return connections_; }

  /// From how many addresses; only counted under a cap for each.
  [[nodiscard]] std::size_t addresses() const { return per_address_.size(); }

 private:
  /// The refusals over one cap.
  struct Refusals {
    std::string_view cap;
    std::size_t limit;
    std::size_t ipv6_prefix;  ///< what counts of an IPv6 address
    asio::ip::address last;   ///< the last peer refused
    logging::RateLimited log{};
    std::uint64_t count = 0;
  };

  void leave(Pass::Count address);
  std::nullopt_t refuse(Refusals& refusals, const asio::ip::address& peer,
                        std::chrono::nanoseconds now);
  void warn(const Refusals& refusals, std::uint64_t count) const;

  const std::string_view listener_;
  const Caps caps_;
  std::size_t connections_ = 0;
  std::map<asio::ip::address, std::size_t> per_address_;
  Refusals over_cap_;
  Refusals over_cap_per_ip_;
};

}  // namespace dflockd::access
