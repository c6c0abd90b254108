// The server of the line protocol: starts a coroutine for each connection, looks after timeouts
// with one coarse tick, and drains on SIGTERM and SIGINT.
//
//   asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
//   ServiceLoop loop(context, clock, …);
//   Server server(context, clock, options, credentials, loop, manager);   // binds; throws if it
//   cannot const int status = server.run();
//
// Everything happens on the thread that calls `run`.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <asio/signal_set.hpp>

#include "access/gate.hpp"
#include "metrics/metrics.hpp"
#include "net/complaints.hpp"
#include "net/listener.hpp"
#include "net/net.hpp"
#include "net/pump.hpp"
#include "net/turns.hpp"
#include "net/watch.hpp"
#include "protocol/line_session.hpp"
#include "server/credentials.hpp"
#include "server/http_server.hpp"
#include "server/service_loop.hpp"
#include "server/supervision.hpp"
#include "service/stats_reporter.hpp"

namespace dflockd::server {

struct ServerOptions {
  net::ListenAddress address;
  access::Gate::Caps caps;
  std::optional<HttpOptions> http;  ///< none: no HTTP API
  std::chrono::seconds read_timeout{23};
  std::chrono::seconds write_timeout{5};
  std::chrono::seconds idle_timeout{0};       ///< of connections that hold nothing; 0: no limit
  std::chrono::seconds shutdown_timeout{30};  ///< 0: no limit
};

class Server {
 public:
  /// Binds and listens. Throws `std::system_error`, whose text names host and port, if that fails.
  /// `context`, `clock`, `credentials`, `loop` and `manager` must outlive the server; the
  /// credentials may change as long as TLS stays on or off.
  Server(asio::io_context& context, base::LoopClock& clock, ServerOptions options,
         Credentials& credentials, ServiceLoop& loop, systemd::ServiceManager& manager);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Where the server listens.
  [[nodiscard]] asio::ip::tcp::endpoint endpoint() const { return listener_.endpoint(); }

  /// What to do on SIGHUP: read again what can change while the server runs. It must not throw.
  void on_reload(std::function<void()> reload) { reload_ = std::move(reload); }

  /// Serves until a drain is over (returns 0) or a second signal cuts it short (returns 128 and the
  /// signal's number, as a shell reports a process that a signal ended).
  int run();

  /// The HTTP listener, if there is one.
  [[nodiscard]] const HttpServer* http() const { return http_ ? &*http_ : nullptr; }
  /// How many TCP connections and HTTP sessions there are.
  [[nodiscard]] std::size_t clients() const;
  /// The metrics in Prometheus's text format.
  [[nodiscard]] std::string metrics_text() const;

 private:
  enum class Protocol : std::uint8_t { kLines, kHttp };

  net::Listener::Welcome welcome_to(Protocol protocol);
  void welcome(net::Socket socket, const asio::ip::tcp::endpoint& peer, access::Gate::Pass pass,
               Protocol protocol);
  template <class Stream>
  void start(typename Stream::Origin origin, const asio::ip::tcp::endpoint& peer,
             access::Gate::Pass pass, Protocol protocol);
  void start(net::Awaitable life, std::uint64_t connection_id);
  [[nodiscard]] metrics::Rejections rejections() const;
  net::Awaitable tick();
  net::Awaitable handle_signals();
  void renew_ticket_keys();
  void make_report();
  void reload();
  void start_draining(int signal);
  void continue_draining();
  void stop();

  asio::io_context& context_;
  const ServerOptions options_;
  Credentials& credentials_;
  ServiceLoop& loop_;
  service::Service& service_;
  asio::basic_signal_set<net::Executor> signals_;  ///< caught before anybody can know of the server
  net::Turns turns_;
  net::Complaints complaints_;
  net::PumpRoom room_;
  net::Watch watch_;
  access::Gate gate_;
  net::Listener listener_;
  std::optional<HttpServer> http_;
  metrics::Metrics metrics_;
  const locks::Instant started_at_;
  const std::chrono::system_clock::time_point started_on_ = std::chrono::system_clock::now();
  net::Timer tick_timer_;
  service::StatsReporter stats_reporter_;
  Supervision supervision_;
  protocol::LineDoor line_door_;

  std::uint64_t last_connection_id_ = 0;

  std::function<void()> reload_ = [] {};
  bool stopped_ = false;
  locks::Instant drain_deadline_ = locks::kNever;
  locks::Instant nothing_held_until_ = locks::kNever;  ///< the drain's last second
  locks::Instant next_ticket_keys_{0};
  int exit_status_ = 0;
};

}  // namespace dflockd::server
