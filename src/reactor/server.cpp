#include "reactor/server.hpp"

#include <array>
#include <csignal>
#include <exception>
#include <utility>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <asio/co_spawn.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/v6_only.hpp>

#include "logging/logging.hpp"

namespace dflockd::reactor {

namespace {

using asio::ip::tcp;

/// How often timeouts, leases and idle keys are looked after.
constexpr auto kTick = std::chrono::milliseconds(50);

/// How long to leave a listener alone that cannot accept.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

/// Finds peers that vanished without a word, such as a machine that lost power, while they wait for
/// a lock: after half a minute of silence, within another half.
constexpr int kKeepaliveIdleS = 30;
constexpr int kKeepaliveIntervalS = 10;
constexpr int kKeepaliveProbes = 3;

/// A host and a port as one writes them: "127.0.0.1:6388", "[::1]:6388".
std::string joined(const std::string& host, std::uint16_t port) {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string to_text(const tcp::endpoint& endpoint) {
  asio::ip::address address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return joined(address.to_string(), endpoint.port());
}

/// The address to bind for a host: itself if it is an address, else what it resolves to, IPv4
/// first.
tcp::endpoint resolve(asio::io_context& context, const std::string& host, std::uint16_t port) {
  asio::ip::basic_resolver<tcp, Executor> resolver(context.get_executor());
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive);
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) return entry.endpoint();
  }
  return found.begin()->endpoint();
}

/// Says why a connection's coroutine ended in an exception, such as a failed allocation.
void report_failure(std::uint64_t connection_id, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    logging::warn("connection_failed", {{"connection", connection_id}, {"error", error.what()}});
  }
}

/// Accepted sockets inherit these from their listener (tcp(7)).
void set_options(Acceptor& acceptor) {
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.set_option(tcp::no_delay(true));
  acceptor.set_option(asio::socket_base::keep_alive(true));
  const auto set = [&acceptor](int option, int value) {
    ::setsockopt(acceptor.native_handle(), IPPROTO_TCP, option, &value, sizeof value);
  };
  set(TCP_KEEPIDLE, kKeepaliveIdleS);
  set(TCP_KEEPINTVL, kKeepaliveIntervalS);
  set(TCP_KEEPCNT, kKeepaliveProbes);
}

}  // namespace

Server::Server(asio::io_context& context, ServerOptions options, LockService& service)
    : context_(context),
      options_(std::move(options)),
      service_(service),
      acceptor_(context.get_executor()),
      accept_timer_(context.get_executor()),
      signals_(context.get_executor(), SIGTERM, SIGINT, SIGHUP),
      tick_timer_(context.get_executor()),
      hangups_(context),
      stats_reporter_(context, service, [this] { return connections_; }) {
  listen();
}

void Server::listen() {
  try {
    const tcp::endpoint endpoint = resolve(context_, options_.host, options_.port);
    acceptor_.open(endpoint.protocol());
    set_options(acceptor_);
    if (endpoint.address().is_v6()) acceptor_.set_option(asio::ip::v6_only(false));
    acceptor_.bind(endpoint);
    acceptor_.listen();
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(),
                            "cannot listen on " + joined(options_.host, options_.port));
  }
  const tcp::endpoint bound = acceptor_.local_endpoint();
  logging::info("listening", {{"address", bound.address().to_string()}, {"port", bound.port()}});
}

int Server::run() {
  spawn(context_, accept());
  spawn(context_, tick());
  spawn(context_, handle_signals());
  spawn(context_, hangups_.run());
  spawn(context_, stats_reporter_.run());
  context_.run();
  return exit_status_;
}

// --- Connections ---

Awaitable Server::accept() {
  while (acceptor_.is_open()) {
    std::error_code error;
    Socket socket = co_await acceptor_.async_accept(into(error));
    service_.refresh_clock();
    if (!error) {
      welcome_or_warn(std::move(socket));
    } else if (error != asio::error::operation_aborted) {
      warn_of_accept(error.message());
      accept_timer_.expires_after(kAcceptPause);
      co_await accept_timer_.async_wait(into(error));
    }
  }
}

void Server::welcome_or_warn(Socket socket) {
  try {
    welcome(std::move(socket));
  } catch (const std::exception& error) {
    warn_of_accept(error.what());  // no memory; others are being served
  }
}

void Server::welcome(Socket socket) {
  if (options_.max_connections > 0 && connections_ >= options_.max_connections) {
    if (const auto count = refusals_.note(service_.now())) warn_of_refusals(*count);
    return;
  }
  std::error_code error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return;  // it has left already
  socket.non_blocking(true, error);
  if (error) return warn_of_accept(error.message());

  const OwnerInfo info{++last_connection_id_, to_text(peer)};
  logging::debug("connected", {{"connection", info.connection_id}, {"peer", info.peer}});
  const int descriptor = socket.native_handle();
  auto connection = std::make_unique<Connection>(std::move(socket), *this, info);
  hangups_.add(descriptor, *connection, error);
  if (error) return warn_of_accept(error.message());
  asio::co_spawn(context_.get_executor(), Connection::serve(std::move(connection)),
                 [id = info.connection_id](const std::exception_ptr& failure) {
                   if (failure) report_failure(id, failure);
                 });
}

void Server::warn_of_accept(std::string_view error) {
  if (const auto count = accept_failures_.note(service_.now())) {
    logging::warn("cannot_accept", {{"error", error}, {"count", *count}});
  }
}

void Server::warn_of_unread(const OwnerInfo& peer) {
  if (const auto count = unread_.note(service_.now())) {
    logging::warn("write_timeout",
                  {{"connection", peer.connection_id}, {"peer", peer.peer}, {"count", *count}});
  }
}

void Server::warn_of_refusals(std::uint64_t count) const {
  logging::warn(
      "connections_refused",
      {{"reason", "max_connections"}, {"limit", options_.max_connections}, {"count", count}});
}

void Server::add(Connection& connection) {
  ++connections_;
  all_.push_back(connection);
  connection.active_at_ = service_.now();
  receiving_.push_back(connection);
}

void Server::remove(Connection& connection) {
  --connections_;
  all_.remove(connection);
  list_of(connection).remove(connection);
}

void Server::touch(Connection& connection) {
  move(connection, list_of(connection), list_of(connection));
}

void Server::watch_sending(Connection& connection) {
  move(connection, list_of(connection), sending_);
  connection.sending_ = true;
}

void Server::watch_receiving(Connection& connection) {
  move(connection, list_of(connection), receiving_);
  connection.sending_ = false;
}

void Server::move(Connection& connection, ByActivity& from, ByActivity& to) {
  from.remove(connection);
  connection.active_at_ = service_.now();
  to.push_back(connection);
}

Server::ByActivity& Server::list_of(const Connection& connection) {
  return connection.sending_ ? sending_ : receiving_;
}

// --- Time ---

Awaitable Server::tick() {
  while (!stopped_) {
    std::error_code stopped;
    tick_timer_.expires_after(kTick);
    co_await tick_timer_.async_wait(into(stopped));
    if (stopped) continue;
    service_.refresh_clock();
    service_.tick();
    end_overdue();
    if (const auto count = refusals_.overdue(service_.now())) warn_of_refusals(*count);
    if (draining_) continue_draining();
  }
}

/// Looks at the connections whose read or write timeout is over. Each moves to the end of its list,
/// so that those it spares are looked at again a timeout later.
void Server::end_overdue() {
  const locks::Instant now = service_.now();
  while (!receiving_.empty() && now - receiving_.front()->active_at_ >= options_.read_timeout) {
    Connection& silent = *receiving_.front();
    touch(silent);
    silent.on_silence();
  }
  while (!sending_.empty() && now - sending_.front()->active_at_ >= options_.write_timeout) {
    Connection& stuck = *sending_.front();
    touch(stuck);
    stuck.on_stuck();
  }
}

// --- Signals and the end ---

Awaitable Server::handle_signals() {
  while (!stopped_) {
    std::error_code stopped;
    const int signal = co_await signals_.async_wait(into(stopped));
    if (stopped) continue;
    service_.refresh_clock();
    if (signal == SIGHUP) {
      logging::warn("reload_unavailable", {{"signal", signal}});
    } else if (!draining_) {
      start_draining(signal);
    } else {
      logging::warn("drain_cut_short", {{"signal", signal}, {"held", service_.held()}});
      exit_status_ = 128 + signal;
      stop();
    }
  }
}

void Server::start_draining(int signal) {
  logging::info("draining", {{"signal", signal},
                             {"connections", connections_},
                             {"held", service_.held()},
                             {"timeout_s", options_.shutdown_timeout}});
  draining_ = true;
  if (options_.shutdown_timeout > std::chrono::seconds::zero()) {
    drain_deadline_ = locks::later(service_.now(), options_.shutdown_timeout);
  }
  std::error_code ignored;
  acceptor_.close(ignored);
  accept_timer_.cancel();
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
  bool busy = false;
  for (Connection* connection = all_.front(); connection != nullptr;
       connection = all_.next(*connection)) {
    connection->on_drain();
    busy = busy || connection->busy();
  }
  if (service_.held() == 0 && !busy) stop();
}

/// Ends everything that keeps the loop running.
void Server::stop() {
  stopped_ = true;
  if (const auto count = refusals_.overdue(locks::kNever)) warn_of_refusals(*count);
  std::error_code ignored;
  acceptor_.close(ignored);
  accept_timer_.cancel();
  signals_.cancel(ignored);
  tick_timer_.cancel();
  hangups_.stop();
  stats_reporter_.stop();
  service_.stop();
  for (Connection* connection = all_.front(); connection != nullptr;
       connection = all_.next(*connection)) {
    connection->on_stop();
  }
}

}  // namespace dflockd::reactor
