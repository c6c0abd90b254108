#include "server/server.hpp"

#include <csignal>
#include <exception>
#include <memory>
#include <utility>

#include <asio/co_spawn.hpp>
#include <asio/post.hpp>

#include "access/address.hpp"
#include "http/http_session.hpp"
#include "logging/logging.hpp"
#include "net/plain_stream.hpp"
#include "service/verbs.hpp"

namespace dflockd::server {

namespace {

using asio::ip::tcp;

/// How often timeouts, leases and idle keys are looked after.
constexpr auto kTick = base::LoopClock::kBeat;

/// How long an HTTP connection may be idle between two requests.
constexpr auto kHttpIdle = std::chrono::seconds(120);

/// How long a drain goes on once nothing is held, for what has arrived by then.
constexpr auto kLastAnswers = std::chrono::seconds(1);

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

Server::Server(asio::io_context& context, base::LoopClock& clock, ServerOptions options,
               Credentials& credentials, ServiceLoop& loop, systemd::ServiceManager& manager)
    : context_(context),
      options_(std::move(options)),
      credentials_(credentials),
      loop_(loop),
      service_(loop.service()),
      signals_(context.get_executor(), SIGTERM, SIGINT, SIGHUP),
      turns_(context),
      room_{.context = context,
            .clock = clock,
            .batches = service_.batches(),
            .turns = turns_,
            .complaints = complaints_},
      watch_(context, clock,
             {.read = options_.read_timeout,
              .write = options_.write_timeout,
              .idle = options_.idle_timeout}),
      gate_("tcp", options_.caps),
      listener_(context, "tcp", options_.address, gate_, welcome_to(Protocol::kLines)),
      metrics_(service::labels(), service::status_names()),
      started_at_(clock.now()),
      tick_timer_(context.get_executor()),
      stats_reporter_(
          service_, [this] { return clients(); }, [this] { make_report(); }),
      supervision_(manager, kTick),
      line_door_{.service = service_,
                 .stats = stats_reporter_,
                 .authenticator = credentials.authenticator,
                 .metrics = metrics_,
                 .complaints = complaints_,
                 .ends_idle = options_.idle_timeout > std::chrono::seconds::zero()} {
  if (!options_.http) return;
  http_.emplace(
      context, *options_.http,
      net::Watch::Timeouts{
          .read = options_.read_timeout, .write = options_.write_timeout, .idle = kHttpIdle},
      http::Surroundings{.service = service_,
                         .clock = clock,
                         .stats = stats_reporter_,
                         .authenticator = credentials.authenticator,
                         .metrics = metrics_,
                         .complaints = complaints_,
                         .metrics_text = [this] { return metrics_text(); },
                         .last_connection_id = last_connection_id_,
                         .draining = room_.draining},
      welcome_to(Protocol::kHttp));
}

int Server::run() {
  room_.clock.refresh();
  next_ticket_keys_ = locks::later(service_.now(), kTicketKeyLifetime);  // the first are new
  net::spawn(context_, listener_.run());
  net::spawn(context_, watch_.run());
  net::spawn(context_, tick());
  net::spawn(context_, handle_signals());
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
  return metrics_.to_text({.ready = !room_.draining,
                           .uptime = service_.now() - started_at_,
                           .connections = watch_.size(),
                           .http_sessions = http_ ? http_->callers().size() : 0,
                           .locks_held = counts.locks_held,
                           .lock_waiters = counts.lock_waiters,
                           .semaphore_holders = counts.semaphore_holders,
                           .semaphore_waiters = counts.semaphore_waiters,
                           .started_on = started_on_,
                           .process = metrics::read_process_usage()},
                          service_.metrics(), rejections());
}

std::size_t Server::clients() const {
  return watch_.size() + (http_ ? http_->callers().size() : 0);
}

// --- Connections ---

net::Listener::Welcome Server::welcome_to(Protocol protocol) {
  return [this, protocol](net::Socket socket, const tcp::endpoint& peer, access::Gate::Pass pass) {
    welcome(std::move(socket), peer, std::move(pass), protocol);
  };
}

void Server::welcome(net::Socket socket, const tcp::endpoint& peer, access::Gate::Pass pass,
                     Protocol protocol) {
  room_.clock.refresh();
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
  service::OwnerInfo info{++last_connection_id_, access::to_text(peer)};
  const std::uint64_t id = info.connection_id;
  logging::debug("connected", {{"connection", id}, {"peer", info.peer}});
  switch (protocol) {
    case Protocol::kLines: {
      auto pump = std::make_unique<net::Pump<Stream>>(
          room_, watch_, std::move(pass), std::move(origin), protocol::LineSession::kMostInput);
      auto session =
          std::make_unique<protocol::LineSession>(line_door_, pump->outlet(), std::move(info));
      return start(net::Pump<Stream>::serve(std::move(pump), std::move(session)), id);
    }
    case Protocol::kHttp: {
      auto pump = std::make_unique<net::Pump<Stream>>(
          room_, http_->watch(), std::move(pass), std::move(origin), http::HttpSession::kMostInput);
      const bool any_host = credentials_.authenticator.required();
      auto session = std::make_unique<http::HttpSession>(
          http_->door(), pump->outlet(),
          http::HttpSession::Origin{
              .connection_id = id,
              .peer_text = std::move(info.peer),
              .peer = peer.address(),
              .local_address = any_host ? std::string() : pump->local_address(),
              .tls = Stream::kBeginsWithHandshake});
      return start(net::Pump<Stream>::serve(std::move(pump), std::move(session)), id);
    }
  }
}

void Server::start(net::Awaitable life, std::uint64_t connection_id) {
  asio::co_spawn(context_.get_executor(), std::move(life),
                 [connection_id](const std::exception_ptr& failure) {
                   if (failure) report_failure(connection_id, failure);
                 });
}

// --- Time ---

net::Awaitable Server::tick() {
  while (!stopped_) {
    std::error_code stopped;
    tick_timer_.expires_after(kTick);
    co_await tick_timer_.async_wait(net::into(stopped));
    if (stopped) continue;
    room_.clock.refresh();
    metrics_.loop_lag.observe(std::chrono::steady_clock::now() - tick_timer_.expiry());
    service_.tick();
    watch_.tick();
    gate_.tick(service_.now());
    listener_.tick(service_.now());
    if (http_) http_->tick();
    complaints_.tick(service_.now());
    renew_ticket_keys();
    supervision_.tick(service_.now(), {.connections = clients(), .held = service_.held()});
    if (room_.draining) continue_draining();
  }
}

/// Keys that lie in memory for long would open what was recorded long ago.
void Server::renew_ticket_keys() {
  if (!credentials_.tls || service_.now() < next_ticket_keys_) return;
  credentials_.tls->renew_ticket_keys();
  next_ticket_keys_ = locks::later(service_.now(), kTicketKeyLifetime);
}

/// A slice of it at a time, with everybody else served in between.
void Server::make_report() {
  asio::post(context_, [this] {
    if (stopped_) return;
    room_.clock.refresh();
    if (stats_reporter_.step()) make_report();
  });
}

// --- Signals and the end ---

net::Awaitable Server::handle_signals() {
  while (!stopped_) {
    std::error_code stopped;
    const int signal = co_await signals_.async_wait(net::into(stopped));
    if (stopped) continue;
    room_.clock.refresh();
    if (signal == SIGHUP) {
      reload();
    } else if (!room_.draining) {
      start_draining(signal);
    } else {
      logging::warn("drain_cut_short", {{"signal", signal}, {"held", service_.held()}});
      exit_status_ = 128 + signal;
      stop();
    }
  }
}

void Server::reload() {
  if (room_.draining) return reload_();  // the manager knows that this is the end
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
  room_.draining = true;
  if (options_.shutdown_timeout > std::chrono::seconds::zero()) {
    drain_deadline_ = locks::later(service_.now(), options_.shutdown_timeout);
  }
  // The listeners stay open: a holder whose connection broke can still renew and release, and
  // somebody can ask who holds the server up.
  service_.start_draining();
  continue_draining();
}

/// Ends what has become idle, and the server once nothing is held and every reply is sent, for
/// which it waits a second at most.
void Server::continue_draining() {
  if (service_.now() >= drain_deadline_) {
    logging::warn("shutdown_timeout_over", {{"held", service_.held()}});
    return stop();
  }
  const bool lines_busy = watch_.drain();
  const bool http_busy = http_ && http_->drain();
  if (service_.held() > 0) return;
  if (nothing_held_until_ == locks::kNever) nothing_held_until_ = service_.now() + kLastAnswers;
  if (service_.now() >= nothing_held_until_) return stop();
  if (lines_busy || http_busy) return;
  // Again when those have had their turn whose reception is over: what they received nobody sees
  // yet.
  asio::post(context_, [this] {
    if (stopped_) return;
    const bool busy = watch_.drain() || (http_ && http_->drain());
    if (service_.held() == 0 && !busy) stop();
  });
}

/// Ends everything that keeps the loop running.
void Server::stop() {
  stopped_ = true;
  gate_.tick(locks::kNever);
  listener_.tick(locks::kNever);
  complaints_.tick(locks::kNever);
  std::error_code ignored;
  listener_.close();
  signals_.cancel(ignored);
  tick_timer_.cancel();
  watch_.stop();
  if (http_) http_->stop();
  loop_.stop();
}

}  // namespace dflockd::server
