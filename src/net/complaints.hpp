// Warnings about peers: a line a second for each kind at most, so that no peer can fill the log.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "logging/rate_limited.hpp"
#include "net/session.hpp"

namespace dflockd::net {

/// What a peer can be warned about.
enum class Complaint : std::uint8_t {
  kHandshake,  ///< the TLS handshake failed
  kAuth,       ///< it did not authenticate
  kUnread,     ///< it did not read its replies
  kForbidden,  ///< what it asked for is forbidden to browsers
};

class Complaints {
 public:
  /// Warns of a peer that is dropped or refused.
  void warn(Complaint complaint, const Peer& peer, std::string_view reason,
            std::chrono::nanoseconds now);

  /// Counts the peers that no line has named, if it is time, and names the last of them. To be
  /// called once in a while.
  void tick(std::chrono::nanoseconds now);

 private:
  struct OfOneKind {
    logging::RateLimited log{};
    std::string last_peer{};
  };

  std::array<OfOneKind, 4> kinds_;  ///< by `Complaint`
};

}  // namespace dflockd::net
