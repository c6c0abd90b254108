#include "reactor/server.hpp"

#include <csignal>
#include <exception>
#include <memory>
#include <utility>

#include <asio/co_spawn.hpp>
#include <asio/post.hpp>

#include "access/address.hpp"
#include "logging/logging.hpp"
#include "net/plain_stream.hpp"
#include "protocol/reply.hpp"
#include "protocol/request.hpp"
#include "reactor/connection.hpp"
#include "reactor/http_connection.hpp"

namespace dflockd::reactor {

namespace {

using asio::ip::tcp;

/// How often timeouts, leases and idle keys are looked after.
constexpr auto kTick = std::chrono::milliseconds(50);

/// How long an HTTP connection may be idle between two requests.
constexpr auto kHttpIdle = std::chrono::seconds(120);

/// What the log calls each `Complaint`.
constexpr std::array kEvents{"tls_handshake_failed", "auth_failed", "write_timeout",
                             "request_forbidden"};

/// The longest text of an address and a port, with a zone.
constexpr std::size_t kLongestPeer = 64;

/// How long sessions can be resumed by tickets under one key.
constexpr auto kTicketKeyLifetime = std::chrono::hours(1);

/// Says why a connection's coroutine ended in an exception, such as a failed allocation.
void report_failure(std::uint64_t connection_id, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    logging::warn("connection_failed", {{"connection", connection_id}, {"error", error.what()}});
  }
}

}  // namespace

Server::Server(asio::io_context& context, ServerOptions options, reactor::Credentials& credentials,
               LockService& service, systemd::ServiceManager& manager)
    : context_(context),
      options_(std::move(options)),
      credentials_(credentials),
      service_(service),
      signals_(context.get_executor(), SIGTERM, SIGINT, SIGHUP),
      watch_(context, {.read = options_.read_timeout, .write = options_.write_timeout}),
      gate_("tcp", options_.caps),
      listener_(context, "tcp", options_.address, gate_, welcome_to(Protocol::kLines)),
      metrics_(protocol::labels(), protocol::status_names()),
      started_at_(service.now()),
      tick_timer_(context.get_executor()),
      stats_reporter_(context, service, [this] { return clients(); }),
      supervision_(manager, kTick) {
  for (Complaints& complaints : complaints_) complaints.last_peer.reserve(kLongestPeer);
  if (!options_.http) return;
  http_.emplace(
      context, *options_.http,
      ConnectionWatch::Timeouts{
          .read = options_.read_timeout, .write = options_.write_timeout, .idle = kHttpIdle},
      *this, welcome_to(Protocol::kHttp));
}

int Server::run() {
  service_.refresh_clock();
  next_ticket_keys_ = locks::later(service_.now(), kTicketKeyLifetime);  // the first are new
  net::spawn(context_, listener_.run());
  net::spawn(context_, watch_.run());
  net::spawn(context_, tick());
  net::spawn(context_, handle_signals());
  net::spawn(context_, stats_reporter_.run());
  if (http_) http_->start();
  supervision_.ready(service_.now());
  context_.run();
  return exit_status_;
}

metrics::Rejections Server::rejections() const {
  const access::Gate::Refused refused = gate_.refused();
  metrics::Rejections rejections{{"max_connections", refused.max_connections},
                                 {"max_connections_per_ip", refused.max_connections_per_ip}};
  if (http_) {
    const access::Gate::Refused http = http_->gate().refused();
    rejections.emplace_back("http_max_connections", http.max_connections);
    rejections.emplace_back("http_max_connections_per_ip", http.max_connections_per_ip);
  }
  return rejections;
}

std::string Server::metrics_text() const {
  const locks::TableCounts& counts = service_.counts();
  return metrics_.to_text({.ready = !draining_,
                           .uptime = service_.now() - started_at_,
                           .connections = watch_.size(),
                           .http_sessions = http_ ? http_->sessions().size() : 0,
                           .locks_held = counts.locks_held,
                           .lock_waiters = counts.lock_waiters,
                           .semaphore_holders = counts.semaphore_holders,
                           .semaphore_waiters = counts.semaphore_waiters,
                           .started_on = started_on_,
                           .process = metrics::read_process_usage()},
                          service_.metrics(), rejections());
}

std::size_t Server::clients() const {
  return watch_.size() + (http_ ? http_->sessions().size() : 0);
}

// --- Connections ---

net::Listener::Welcome Server::welcome_to(Protocol protocol) {
  return [this, protocol](net::Socket socket, const tcp::endpoint& peer, access::Gate::Pass pass) {
    welcome(std::move(socket), peer, std::move(pass), protocol);
  };
}

void Server::welcome(net::Socket socket, const tcp::endpoint& peer, access::Gate::Pass pass,
                     Protocol protocol) {
  service_.refresh_clock();
  if (credentials_.tls) {
    start<net::TlsStream>({std::move(socket), credentials_.tls->accept()}, peer, std::move(pass),
                          protocol);
  } else {
    start<net::PlainStream>(std::move(socket), peer, std::move(pass), protocol);
  }
}

template <class Stream>
void Server::start(typename Stream::Origin origin, const tcp::endpoint& peer,
                   access::Gate::Pass pass, Protocol protocol) {
  OwnerInfo info{++last_connection_id_, access::to_text(peer)};
  const std::uint64_t id = info.connection_id;
  logging::debug("connected", {{"connection", id}, {"peer", info.peer}});
  switch (protocol) {
    case Protocol::kLines:
      return serve(std::make_unique<Connection<Stream>>(*this, std::move(info), std::move(pass),
                                                        std::move(origin)),
                   watch_, id);
    case Protocol::kHttp:
      return serve(std::make_unique<HttpConnection<Stream>>(*http_, std::move(info), peer.address(),
                                                            std::move(pass), std::move(origin)),
                   http_->watch(), id);
  }
}

template <class Connection>
void Server::serve(std::unique_ptr<Connection> connection, ConnectionWatch& watch,
                   std::uint64_t id) {
  watch.watch_hangup(connection->socket().native_handle(), *connection);
  asio::co_spawn(context_.get_executor(), Connection::serve(std::move(connection)),
                 [id](const std::exception_ptr& failure) {
                   if (failure) report_failure(id, failure);
                 });
}

void Server::warn(Complaint complaint, const OwnerInfo& peer, std::string_view reason) {
  const auto kind = static_cast<std::size_t>(complaint);
  Complaints& complaints = complaints_[kind];
  complaints.last_peer.assign(peer.peer, 0, kLongestPeer);
  if (const auto count = complaints.log.note(service_.now())) {
    logging::warn(kEvents[kind], {{"connection", peer.connection_id},
                                  {"peer", peer.peer},
                                  {"reason", reason},
                                  {"count", *count}});
  }
}

/// Counts the peers that no line has told of, and names the last of them.
void Server::warn_of_others(locks::Instant now) {
  for (std::size_t kind = 0; kind < complaints_.size(); ++kind) {
    if (const auto count = complaints_[kind].log.overdue(now)) {
      logging::warn(
          kEvents[kind],
          {{"peer", complaints_[kind].last_peer}, {"reason", "more_of_them"}, {"count", *count}});
    }
  }
}

// --- Time ---

net::Awaitable Server::tick() {
  while (!stopped_) {
    std::error_code stopped;
    tick_timer_.expires_after(kTick);
    co_await tick_timer_.async_wait(net::into(stopped));
    if (stopped) continue;
    service_.refresh_clock();
    metrics_.loop_lag.observe(service_.awake_now() - tick_timer_.expiry().time_since_epoch());
    service_.tick();
    watch_.tick(service_.awake_now());
    gate_.tick(service_.now());
    listener_.tick(service_.now());
    if (http_) http_->tick(service_.now());
    warn_of_others(service_.now());
    renew_ticket_keys();
    supervision_.tick(service_.now(), {.connections = clients(), .held = service_.held()});
    if (draining_) continue_draining();
  }
}

/// Keys that lie in memory for long would open what was recorded long ago.
void Server::renew_ticket_keys() {
  if (!credentials_.tls || service_.now() < next_ticket_keys_) return;
  credentials_.tls->renew_ticket_keys();
  next_ticket_keys_ = locks::later(service_.now(), kTicketKeyLifetime);
}

// --- Signals and the end ---

net::Awaitable Server::handle_signals() {
  while (!stopped_) {
    std::error_code stopped;
    const int signal = co_await signals_.async_wait(net::into(stopped));
    if (stopped) continue;
    service_.refresh_clock();
    if (signal == SIGHUP) {
      reload();
    } else if (!draining_) {
      start_draining(signal);
    } else {
      logging::warn("drain_cut_short", {{"signal", signal}, {"held", service_.held()}});
      exit_status_ = 128 + signal;
      stop();
    }
  }
}

void Server::reload() {
  if (draining_) return reload_();  // the manager has been told that this is the end
  supervision_.reloading(service_.now());
  reload_();
  supervision_.ready(service_.now());
}

void Server::start_draining(int signal) {
  supervision_.stopping(service_.now());
  logging::info("draining", {{"signal", signal},
                             {"connections", clients()},
                             {"held", service_.held()},
                             {"timeout_s", options_.shutdown_timeout}});
  draining_ = true;
  if (options_.shutdown_timeout > std::chrono::seconds::zero()) {
    drain_deadline_ = locks::later(service_.now(), options_.shutdown_timeout);
  }
  // The HTTP listener stays open: probes learn there that the server is not ready, and sessions
  // need a connection to release what they hold.
  listener_.close();
  service_.start_draining();
  continue_draining();
}

/// Ends what has become idle, and the server once nothing is held and every reply is sent.
void Server::continue_draining() {
  if (service_.now() >= drain_deadline_) {
    logging::warn("shutdown_timeout_over", {{"held", service_.held()}});
    stop();
    return;
  }
  if (!is_drained()) return;
  // Again when those have had their turn whose reception is over: what they received nobody sees
  // yet.
  asio::post(context_, [this] {
    if (!stopped_ && is_drained()) stop();
  });
}

bool Server::is_drained() {
  const bool lines_busy = watch_.drain();
  const bool http_busy = http_ && http_->drain();
  return service_.held() == 0 && !lines_busy && !http_busy;
}

/// Ends everything that keeps the loop running.
void Server::stop() {
  stopped_ = true;
  gate_.tick(locks::kNever);
  listener_.tick(locks::kNever);
  warn_of_others(locks::kNever);
  std::error_code ignored;
  listener_.close();
  signals_.cancel(ignored);
  tick_timer_.cancel();
  watch_.stop();
  if (http_) http_->stop();
  stats_reporter_.stop();
  service_.stop();
}

}  // namespace dflockd::reactor
