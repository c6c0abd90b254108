#include "access/gate.hpp"

#include <algorithm>

#include "logging/logging.hpp"

namespace dflockd::access {

namespace {

bool reached(std::size_t count, std::size_t cap) {
  return cap > 0 && count >= cap;
}

}  // namespace

std::size_t share_of_descriptors(std::uint64_t descriptors, std::uint64_t others) {
  constexpr std::uint64_t kLeast = 64;
  const std::uint64_t usable = descriptors - std::min(descriptors, kReservedDescriptors);
  return std::max(kLeast, others == 0 ? usable / 2 : usable - std::min(usable, others));
}

Gate::Gate(std::string_view listener, const Caps& caps)
    : listener_(listener),
      caps_(caps),
      over_cap_{.cap = "max_connections",
                .limit = caps.max_connections,
                .ipv6_prefix = kWholeIpv6Address,
                .last = {}},
      over_cap_per_ip_{.cap = "max_connections_per_ip",
                       .limit = caps.max_connections_per_ip,
                       .ipv6_prefix = caps.ipv6_prefix,
                       .last = {}} {}

std::optional<Gate::Pass> Gate::admit(const asio::ip::address& peer, std::chrono::nanoseconds now) {
  if (reached(connections_, caps_.max_connections)) return refuse(over_cap_, peer, now);
  auto address = per_address_.end();
  if (caps_.max_connections_per_ip > 0) {
    address = per_address_.try_emplace(network_of(peer, caps_.ipv6_prefix), 0).first;
    if (reached(address->second, caps_.max_connections_per_ip)) {
      return refuse(over_cap_per_ip_, peer, now);
    }
    ++address->second;
  }
  ++connections_;
  return Pass(*this, address);
}

void Gate::tick(std::chrono::nanoseconds now) {
  for (Refusals* refusals : {&over_cap_, &over_cap_per_ip_}) {
    if (const auto count = refusals->log.overdue(now)) warn(*refusals, *count);
  }
}

void Gate::leave(Pass::Count address) {
  --connections_;
  if (address != per_address_.end() && --address->second == 0) per_address_.erase(address);
}

std::nullopt_t Gate::refuse(Refusals& refusals, const asio::ip::address& peer,
                            std::chrono::nanoseconds now) {
  ++refusals.count;
  refusals.last = peer;
  if (const auto count = refusals.log.note(now)) warn(refusals, *count);
  return std::nullopt;
}

void Gate::warn(const Refusals& refusals, std::uint64_t count) const {
  logging::warn("connections_refused",
                {{"listener", listener_},
                 {"reason", refusals.cap},
                 {"limit", refusals.limit},
                 {"last_peer", network_text(refusals.last, refusals.ipv6_prefix)},
                 {"count", count}});
}

}  // namespace dflockd::access
