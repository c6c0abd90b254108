// The sessions of callers: what owns locks where connections come and go. A session is an owner in
// the lock table, as a connection of the line protocol is, so both stand in the same queues.
//
//   Callers callers(service, clock, {.idle_timeout = 20s});
//   auto session = callers.find(id);             // null: gone
//   Turn turn(session, outlet);                  // one at a time, in the order of arrival
//   if (turn.is_first()) {
//     Answer answer = service.acquire(turn.owner(), …);
//     if (answer.outcome == Outcome::kQueued) turn.queued();
//   }
//
// A turn wakes the outlet of its connection when something has happened to it: it has become the
// first, has its answer, or its session was closed. For the loop's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include <asio/ip/address.hpp>

#include "access/address.hpp"
#include "base/intrusive_list.hpp"
#include "base/loop_clock.hpp"
#include "fencing/salt_pool.hpp"
#include "http/body.hpp"
#include "net/session.hpp"
#include "service/service.hpp"

namespace dflockd::http {

class Callers;
class CallerSession;

/// A request that changes locks, on its session, until it is answered. Its end cancels the wait
/// that is left over.
class Turn {
 public:
  Turn(std::shared_ptr<CallerSession> session, net::Outlet& outlet);
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn();

  /// Whether the requests that came before are over.
  [[nodiscard]] bool is_first() const;
  /// The lock table has answered `kQueued`.
  void queued() noexcept { blocked_ = true; }
  /// The answer to the request that was `queued`, once there is one.
  [[nodiscard]] const std::optional<locks::Answer>& answer() const { return answer_; }

  /// Whether the session was closed.
  [[nodiscard]] bool session_gone() const;
  [[nodiscard]] locks::OwnerId owner() const;

 private:
  friend class CallerSession;
  friend class Callers;

  const std::shared_ptr<CallerSession> session_;
  net::Outlet& outlet_;
  base::Links<Turn> links_;
  std::optional<locks::Answer> answer_;
  bool blocked_ = false;  ///< in the lock table
};

class CallerSession final : private service::Waiter {
 public:
  /// See `Callers::open`.
  CallerSession(Callers& callers, std::string id, std::uint64_t number,
                const asio::ip::address& peer, const Identity& identity);
  CallerSession(const CallerSession&) = delete;
  CallerSession& operator=(const CallerSession&) = delete;

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] bool is_closed() const { return closed_; }

 private:
  friend class Turn;
  friend class Callers;

  void wait_over(const locks::Answer& answer) noexcept override;

  Callers& callers_;
  const std::string id_;
  const asio::ip::address peer_;
  const locks::OwnerId owner_;
  base::IntrusiveList<Turn, &Turn::links_> turns_;  ///< the one that runs first
  base::Links<CallerSession> by_activity_;
  base::Instant active_at_{0};
  bool closed_ = false;
};

class Callers {
 public:
  struct Options {
    std::chrono::seconds idle_timeout{20};  ///< a session idle for twice as long is closed
    std::size_t max_sessions = 0;           ///< 0: no cap
    std::size_t max_sessions_per_ip = 0;    ///< 0: no cap
    std::size_t ipv6_prefix = access::kDefaultIpv6Prefix;  ///< see `access::network_of`
  };
  /// How many sessions are ended at one tick, about a millisecond's work, should thousands of
  /// clients be killed at one instant.
  static constexpr int kJudgedATick = 512;
  /// Why there is no further session.
  enum class Refusal : std::uint8_t { kMaxSessions, kMaxSessionsPerIp };

  /// `service` and `clock` must outlive the sessions, and these every turn.
  Callers(service::Service& service, const base::LoopClock& clock, const Options& options);
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;
  ~Callers();

  /// Opens a session for a client at `peer`; `number` is its `owner_conn_id` in `stats`, never 0.
  [[nodiscard]] std::variant<std::shared_ptr<CallerSession>, Refusal> open(
      const asio::ip::address& peer, std::uint64_t number, const Identity& identity);

  /// The session with this id, or null.
  [[nodiscard]] std::shared_ptr<CallerSession> find(std::string_view id) const;

  /// The session is in use: its idle time starts again.
  void touch(CallerSession& session);

  /// Ends a session at its client's wish: releases what it holds, cancels its waits, and wakes the
  /// requests that are waiting on it.
  void end(CallerSession& session);

  /// Ends the sessions that have been idle for too long, as a connection of the line protocol that
  /// its client leaves: what they have is orphaned if they have a stable ref, and what they hold
  /// stays if the service keeps grants. To be called at every
  /// tick. Sessions are judged by the tick before, because what lay in the sockets then has been
  /// read since.
  void tick();

  [[nodiscard]] std::size_t size() const { return by_id_.size(); }

  /// What is to be seen of a session: all but its id.
  struct Info {
    const service::OwnerInfo& owner;
    std::string address;
    base::Instant idle;  ///< 0 while a request is in flight
    locks::OwnerClaims claims;
  };
  /// The sessions, the longest idle first and at most `most` of them. O(`most`).
  [[nodiscard]] std::vector<Info> list(std::size_t most) const;

  [[nodiscard]] const Options& options() const { return options_; }

 private:
  friend class CallerSession;
  friend class Turn;

  void close(CallerSession& session);
  bool forget(CallerSession& session);
  std::string new_id();

  service::Service& service_;
  const base::LoopClock& clock_;
  const Options options_;
  fencing::SaltPool random_;
  base::Instant last_tick_;
  std::unordered_map<std::string_view, std::shared_ptr<CallerSession>> by_id_;
  std::map<asio::ip::address, std::size_t> per_network_;
  base::IntrusiveList<CallerSession, &CallerSession::by_activity_> by_activity_;  ///< idlest first
};

}  // namespace dflockd::http
