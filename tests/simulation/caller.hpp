// Callers of the HTTP API: what they send next, and what they take from responses. They check
// nothing, that is the oracle's part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client.hpp"
#include "locks/command.hpp"
#include "random.hpp"
#include "recorder.hpp"
#include "sight.hpp"

namespace dflockd::simulation {

/// A request, as its caller means it.
struct Asked {
  enum class What : std::uint8_t { kHealth, kNowhere, kOpen, kPing, kClose, kLocks };

  What what = What::kHealth;
  bool authorized = true;
  bool half = false;  ///< its end never comes
  /// The session that it opens or names, by a number that no other has; 0 if there is none.
  std::uint64_t session = 0;
  locks::Command command{};  ///< for `kLocks`, without its owner
  std::string ref{};         ///< for `kOpen`, if it names one
  std::string name{};        ///< the same
  std::size_t size = 0;      ///< of the request in bytes
};

/// A response, but for its fields.
struct Response {
  int status = 0;
  std::string body;
};

/// Takes a whole response from the front of `bytes`. Nothing if there is none yet.
[[nodiscard]] std::optional<Response> take_response(std::string& bytes);

/// The sessions that callers know of.
struct KnownSession {
  std::uint64_t number = 0;
  std::string id;
};

class Caller {
 public:
  /// `ref`: under which its sessions own their claims; none if it is empty.
  explicit Caller(std::string ref) : ref_(std::move(ref)) {}

  /// The connection that it uses, or 0.
  ConnectionId connection = 0;

  [[nodiscard]] bool waits() const { return !asked_.empty() || is_stuck_; }

  /// What it may send next, and in `asked` what that means.
  std::string move(Random& random, const Neighbourhood& neighbourhood,
                   std::vector<KnownSession>& sessions, std::string_view secret, Asked& asked);
  /// It does.
  void sends(const Asked& asked);
  /// Takes in what was sent to it. True if that is a grant.
  bool hear(std::string_view bytes, std::vector<KnownSession>& sessions, Random& random);
  void disconnected();

 private:
  [[nodiscard]] std::string body_of(Random& random, const Neighbourhood& neighbourhood,
                                    Asked& asked, std::string& path);

  /// Draws a session to open: the body.
  [[nodiscard]] std::string open(Random& random, Asked& asked) const;
  [[nodiscard]] KnownToken some_key(Random& random, const Neighbourhood& neighbourhood) const;

  std::string ref_;
  std::deque<Asked> asked_;
  std::optional<KnownSession> session_;
  std::vector<KnownToken> held_;
  std::vector<KnownToken> enqueued_;
  std::vector<KnownToken> left_behind_;  ///< by sessions that are over, and may be asked for again
  std::string unread_;
  bool is_stuck_ = false;  ///< in the middle of a request
};

}  // namespace dflockd::simulation
