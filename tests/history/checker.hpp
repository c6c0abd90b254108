// Decides whether a history can be that of a FIFO lock and semaphore server with leases.
//
//   const Report report = check(history);
//   for (const Violation& violation : report.violations) ...
//
// It never guesses. What a client knows of the server's state it knows by the times at which it
// sent and heard: a grant is certainly held from the reply that named it until the request that
// can have ended it, and certainly over after the reply that confirmed the end. Nothing in between
// is held against the server. Grants, though, come from one counter: a grant with a higher fence
// was made later. So what is known of one grant's time bounds that of all others, once it is clear
// that the fences follow real time.
//
// Of what a connection under a stable ref leaves behind it knows as little: a claim that no reply
// has named may be there until the ttl is over, and whoever comes back under the ref may have it,
// with its place in the queue, although only the reply says so.
//
// O(n log n) for n operations.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "history.hpp"

namespace dflockd::history {

/// What the server is given before it is blamed.
struct Bounds {
  /// For a message and what it causes, where nothing is disturbed.
  Time margin = kSecond;
  /// How long a free slot may be there beside a waiter.
  Time wakeup = kSecond / 2;
  /// How long after its end a lease may still be honoured.
  Time lease_lateness = kSecond / 10;
  /// How long a connection may be silent before the server may take its peer for dead, and by when
  /// it has.
  Time silence = 55 * kSecond;
  Time dead_peer = 65 * kSecond;
  /// The same of an HTTP session: around twice --http-session-idle-timeout.
  Time session_silence = 38 * kSecond;
  Time session_end = 42 * kSecond;
  /// What the server runs with: --auto-release-on-disconnect, --orphan-ttl.
  bool auto_release = true;
  Time orphan_ttl = 0;
};

enum class Rule : std::uint8_t {
  kFormat,      ///< the history itself cannot be
  kExclusion,   ///< more holders than the limit
  kOrder,       ///< a waiter was overtaken
  kFence,       ///< a later grant with a lower fence
  kToken,       ///< two grants with one token or fence, or a token that nobody was granted
  kRelease,     ///< a release refused while held, or accepted afterwards
  kRenewal,     ///< the same of a renewal
  kLease,       ///< another lease than was asked for
  kWakeup,      ///< a waiter beside a free slot
  kEarly,       ///< a timeout before its time
  kLate,        ///< a reply long after its time
  kReply,       ///< a reply that the state does not allow
  kConnection,  ///< a connection that the server ended for no reason
  kRef,         ///< a grant handed back while its owner was there, or not handed back to its ref
};
inline constexpr std::size_t kRules = 14;
std::string_view name_of(Rule rule);

struct Violation {
  Rule rule;
  std::string text;  ///< one line, with the places of all that is involved
};

struct Totals {
  std::size_t operations = 0;
  std::size_t unknown = 0;  ///< operations without a reply
  std::size_t grants = 0;
  std::size_t connections = 0;
  std::size_t keys = 0;
  std::size_t successions = 0;       ///< grants compared with the holders before them
  std::size_t certain_holds = 0;     ///< grants that were certainly held for some time
  std::size_t ordered_pairs = 0;     ///< one certainly in the queue before the other was sent
  std::size_t fence_pairs = 0;       ///< grants that are ordered in real time with another one
  std::size_t waits = 0;             ///< waits looked at for a lost wake-up
  std::size_t token_requests = 0;    ///< releases and renewals
  std::size_t certain_refusals = 0;  ///< of them, those that had to be refused, and were
  std::size_t certain_consents = 0;  ///< of them, those that had to be accepted, and were
  std::size_t shared_grants = 0;
  std::size_t hand_backs = 0;          ///< grants that came back to their refs
  std::size_t certain_hand_backs = 0;  ///< of them, those that had to
  std::array<std::size_t, kEvents> events{};
};

struct Report {
  std::vector<Violation> violations;
  Totals totals;
};

Report check(const History& history, const Bounds& bounds = {});

}  // namespace dflockd::history
