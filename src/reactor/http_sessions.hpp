// HTTP sessions: what owns locks where connections come and go. A session is an owner in the lock
// table, like a TCP connection, so both stand in the same queues.
//
//   HttpSessions sessions(context, service, {.idle_timeout = 20s});
//   auto session = sessions.find(id);          // null: gone
//   HttpTurn turn(session, HttpTurn::For::kCaller);   // one at a time, in the order of arrival
//   bool go_on = co_await turn.begin();        // or the session was closed, or the caller left
//   Answer answer = service.acquire(turn.owner(), …);
//   if (answer.outcome == Outcome::kQueued) go_on = co_await turn.wait(answer);
//
// For the loop's thread only.
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

#include <asio/ip/address.hpp>

#include "access/address.hpp"
#include "base/intrusive_list.hpp"
#include "fencing/salt_pool.hpp"
#include "net/net.hpp"
#include "reactor/lock_service.hpp"

namespace dflockd::reactor {

class HttpSession;
class HttpSessions;

/// A request on a session, from its arrival to its answer. Requests that change locks run one at a
/// time. Ends the wait that is left over when it goes.
class HttpTurn {
 public:
  /// Whom a request is for: one for its caller is of no use once the caller has left.
  enum class For : std::uint8_t { kCaller, kSession };

  HttpTurn(std::shared_ptr<HttpSession> session, For whom);
  HttpTurn(const HttpTurn&) = delete;
  HttpTurn& operator=(const HttpTurn&) = delete;
  ~HttpTurn();

  /// Whether the requests that came before are over: then there is nothing to wait for.
  [[nodiscard]] bool is_first() const;
  /// Waits until they are. False if the session was closed or the turn given up.
  net::AwaitableOf<bool> begin();

  /// The lock table has answered `kQueued`. To be told before anything can fail.
  void queued() noexcept { blocked_ = true; }
  /// Waits for the answer to the request that was `queued`. False as `begin`.
  net::AwaitableOf<bool> wait(locks::Answer& answer);

  /// Whether the session was closed.
  [[nodiscard]] bool session_gone() const;
  [[nodiscard]] locks::OwnerId owner() const;

  /// Ends the waiting if it is for the caller, now and from now on.
  void caller_left();
  /// Ends the waiting, now and from now on.
  void give_up();

 private:
  friend class HttpSession;
  friend class HttpSessions;

  void expect_call();
  [[nodiscard]] bool was_called();
  void call();

  [[nodiscard]] bool goes_on() const;

  const std::shared_ptr<HttpSession> session_;
  const For whom_;
  base::Links<HttpTurn> links_;
  std::optional<net::Timer> call_;  ///< while it waits
  std::optional<locks::Answer> answer_;
  bool blocked_ = false;  ///< in the lock table
  bool given_up_ = false;
};

class HttpSession final : private Waiter {
 public:
  /// See `HttpSessions::open`.
  HttpSession(HttpSessions& sessions, std::string id, const asio::ip::address& peer);
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  [[nodiscard]] const std::string& id() const { return id_; }

 private:
  friend class HttpTurn;
  friend class HttpSessions;

  void wait_over(const locks::Answer& answer) noexcept override;

  HttpSessions& sessions_;
  const std::string id_;
  const asio::ip::address peer_;
  const locks::OwnerId owner_;
  base::IntrusiveList<HttpTurn, &HttpTurn::links_> turns_;  ///< the one that runs first
  base::Links<HttpSession> by_activity_;
  locks::Instant active_at_{0};
  bool closed_ = false;
};

class HttpSessions {
 public:
  struct Options {
    std::chrono::seconds idle_timeout{20};  ///< a session idle for twice as long is closed
    std::size_t max_sessions = 0;           ///< 0: no cap
    std::size_t max_sessions_per_ip = 0;    ///< 0: no cap
    std::size_t ipv6_prefix = access::kDefaultIpv6Prefix;  ///< see `access::network_of`
  };
  /// Why there is no further session.
  enum class Refusal : std::uint8_t { kMaxSessions, kMaxSessionsPerIp };

  /// `context` and `service` must outlive the sessions, and these every turn.
  HttpSessions(asio::io_context& context, LockService& service, const Options& options);
  HttpSessions(const HttpSessions&) = delete;
  HttpSessions& operator=(const HttpSessions&) = delete;
  ~HttpSessions();

  /// Opens a session for a client at `peer`. Throws std::bad_alloc.
  [[nodiscard]] std::variant<std::shared_ptr<HttpSession>, Refusal> open(
      const asio::ip::address& peer);

  /// The session with this id, or null.
  [[nodiscard]] std::shared_ptr<HttpSession> find(std::string_view id) const;

  /// The session is in use: its idle time starts again.
  void touch(HttpSession& session);

  /// Ends a session at its client's wish: releases what it holds, cancels its waits, and calls the
  /// requests that are waiting on it.
  void end(HttpSession& session);

  /// The same for a session whose client is gone, as when a TCP client disconnects: what it holds
  /// stays if the service keeps grants.
  void close(HttpSession& session);

  /// Closes what has been idle for too long. To be called some times a second.
  void tick();

  /// Calls every request that is waiting, on any session: the server stops.
  void stop();

  [[nodiscard]] std::size_t size() const { return by_id_.size(); }
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  friend class HttpSession;
  friend class HttpTurn;

  bool forget(HttpSession& session);
  std::string new_id();

  asio::io_context& context_;
  LockService& service_;
  const Options options_;
  fencing::SaltPool random_;
  std::unordered_map<std::string_view, std::shared_ptr<HttpSession>> by_id_;
  std::map<asio::ip::address, std::size_t> per_network_;
  base::IntrusiveList<HttpSession, &HttpSession::by_activity_> by_activity_;  ///< idlest first
};

}  // namespace dflockd::reactor
