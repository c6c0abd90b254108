// The TCP server: listens, starts a coroutine for each connection, watches over timeouts with one
// coarse tick, and drains on SIGTERM and SIGINT.
//
//   asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
//   LockService service(context, …);
//   Server server(context, options, service);     // binds; throws if it cannot
//   const int status = server.run();
//
// Everything happens on the thread that calls `run`.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <asio/signal_set.hpp>

#include "locks/intrusive_list.hpp"
#include "logging/rate_limited.hpp"
#include "reactor/connection.hpp"
#include "reactor/hangup_watch.hpp"
#include "reactor/lock_service.hpp"
#include "reactor/net.hpp"
#include "reactor/stats_reporter.hpp"

namespace dflockd::reactor {

struct ServerOptions {
  std::string host = "127.0.0.1";  ///< an address, or a name: IPv4 is preferred
  std::uint16_t port = 6388;       ///< 0 picks a free one
  std::chrono::seconds read_timeout{23};
  std::chrono::seconds write_timeout{5};
  std::chrono::seconds shutdown_timeout{30};  ///< 0: no limit
  std::size_t max_connections = 0;            ///< 0: no cap
};

class Server {
 public:
  /// Binds and listens. Throws `std::system_error`, whose text names host and port, if that fails.
  /// `context` and `service` must outlive the server.
  Server(asio::io_context& context, ServerOptions options, LockService& service);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Where the server listens.
  [[nodiscard]] asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  /// Serves until a drain is over (returns 0) or a second signal cuts it short (returns 128 and the
  /// signal's number, as a shell reports a process that a signal ended).
  int run();

  // --- For connections ---

  [[nodiscard]] LockService& service() { return service_; }
  [[nodiscard]] bool draining() const { return draining_; }
  [[nodiscard]] std::size_t connections() const { return connections_; }
  /// Where replies are gathered while a batch of requests is carried out; empty in between. Shared
  /// by all connections, so that one at rest needs none of its own.
  [[nodiscard]] std::string& replies() { return replies_; }
  /// The same for the reply to a request that blocked, which may come in the middle of such a
  /// batch.
  [[nodiscard]] std::string& late_reply() { return late_reply_; }

  [[nodiscard]] StatsReporter& stats_reporter() { return stats_reporter_; }

  /// Warns of a peer that does not read its replies and is dropped for it.
  void warn_of_unread(const OwnerInfo& peer);

  void add(Connection& connection);
  void remove(Connection& connection);
  /// The connection has received something: its read timeout starts again.
  void touch(Connection& connection);
  /// From now on the connection is under the write timeout instead of the read timeout.
  void watch_sending(Connection& connection);
  /// And from now on under the read timeout again.
  void watch_receiving(Connection& connection);

 private:
  using ByActivity = locks::IntrusiveList<Connection, &Connection::by_activity_>;

  void listen();
  Awaitable accept();
  void welcome_or_warn(Socket socket);
  void welcome(Socket socket);
  void warn_of_accept(std::string_view error);
  void warn_of_refusals(std::uint64_t count) const;
  Awaitable tick();
  Awaitable handle_signals();
  void end_overdue();
  void start_draining(int signal);
  void continue_draining();
  void stop();
  void move(Connection& connection, ByActivity& from, ByActivity& to);
  ByActivity& list_of(const Connection& connection);

  asio::io_context& context_;
  const ServerOptions options_;
  LockService& service_;
  Acceptor acceptor_;
  Timer accept_timer_;
  asio::basic_signal_set<Executor> signals_;
  Timer tick_timer_;
  HangupWatch hangups_;
  StatsReporter stats_reporter_;
  std::string replies_;
  std::string late_reply_;

  locks::IntrusiveList<Connection, &Connection::in_server_> all_;
  ByActivity receiving_;  ///< the longest silent first
  ByActivity sending_;    ///< the longest stuck first
  std::size_t connections_ = 0;
  std::uint64_t last_connection_id_ = 0;

  bool draining_ = false;
  bool stopped_ = false;
  locks::Instant drain_deadline_ = locks::kNever;
  int exit_status_ = 0;
  logging::RateLimited accept_failures_;
  logging::RateLimited refusals_;  ///< over the cap on connections
  logging::RateLimited unread_;    ///< peers that do not read
};

}  // namespace dflockd::reactor
