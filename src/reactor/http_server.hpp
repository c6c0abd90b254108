// The HTTP listener: a second door to the same lock table, behind the same gate, credentials and
// watch as the first. What all its connections share. For the loop's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/gate.hpp"
#include "access/rate_limiter.hpp"
#include "http/browser_guard.hpp"
#include "http/message.hpp"
#include "http/routes.hpp"
#include "net/listener.hpp"
#include "net/net.hpp"
#include "reactor/connection_watch.hpp"
#include "reactor/http_sessions.hpp"

namespace dflockd::reactor {

class Server;

struct HttpOptions {
  net::ListenAddress address;
  access::Gate::Caps caps;
  access::RateLimiter::Rate rate;
  HttpSessions::Options sessions;
  std::vector<std::string> allowed_hosts;    ///< without ports
  std::vector<std::string> allowed_origins;  ///< "*" for any; none: no CORS
};

class HttpServer {
 public:
  /// Binds and listens; see `Listener`. `server` must outlive it, and whoever stops it must let its
  /// connections end before that.
  HttpServer(asio::io_context& context, const HttpOptions& options,
             const ConnectionWatch::Timeouts& timeouts, Server& server,
             net::Listener::Welcome welcome);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] asio::ip::tcp::endpoint endpoint() const { return listener_.endpoint(); }

  /// Starts to accept.
  void start();
  /// To be called at every tick.
  void tick(locks::Instant now);
  /// See `ConnectionWatch::drain`.
  bool drain() { return watch_.drain(); }
  void stop();

  [[nodiscard]] const access::Gate& gate() const { return gate_; }

  // --- For connections ---

  [[nodiscard]] Server& server() { return server_; }
  [[nodiscard]] ConnectionWatch& watch() { return watch_; }
  [[nodiscard]] HttpSessions& sessions() { return sessions_; }
  [[nodiscard]] const HttpSessions& sessions() const { return sessions_; }
  /// Takes from one of the buckets of an address: see `RateLimiter::take`.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> take(http::Bucket bucket,
                                                             const asio::ip::address& peer,
                                                             locks::Instant now);
  [[nodiscard]] const http::BrowserGuard& guard() const { return guard_; }
  /// The header line with the time of a response made now. Valid until the next call.
  [[nodiscard]] std::string_view date_line() { return date_line_.at(std::time(nullptr)); }

 private:
  asio::io_context& context_;
  Server& server_;
  ConnectionWatch watch_;
  HttpSessions sessions_;
  access::RateLimiter common_limiter_;
  access::RateLimiter holding_limiter_;
  const http::BrowserGuard guard_;
  http::DateLine date_line_;
  access::Gate gate_;
  net::Listener listener_;
};

}  // namespace dflockd::reactor
