#include "net/complaints.hpp"

#include "logging/logging.hpp"

namespace dflockd::net {

namespace {

/// What the log calls each `Complaint`.
constexpr std::array kEvents{"tls_handshake_failed", "auth_failed", "write_timeout",
                             "request_forbidden"};

}  // namespace

void Complaints::warn(Complaint complaint, const Peer& peer, std::string_view reason,
                      std::chrono::nanoseconds now) {
  const auto kind = static_cast<std::size_t>(complaint);
  kinds_[kind].last_peer = peer.address;
  if (const auto count = kinds_[kind].log.note(now)) {
    logging::warn(kEvents[kind], {{"connection", peer.connection_id},
                                  {"peer", peer.address},
                                  {"reason", reason},
                                  {"count", *count}});
  }
}

void Complaints::tick(std::chrono::nanoseconds now) {
  for (std::size_t kind = 0; kind < kinds_.size(); ++kind) {
    if (const auto count = kinds_[kind].log.overdue(now)) {
      logging::warn(
          kEvents[kind],
          {{"peer", kinds_[kind].last_peer}, {"reason", "more_of_them"}, {"count", *count}});
    }
  }
}

}  // namespace dflockd::net
