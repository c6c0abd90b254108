// The HTTP listener: a second door to the same lock table, behind a gate and a watch of its own.
// For the loop's thread only.
#pragma once

#include <utility>

#include "access/gate.hpp"
#include "http/http_door.hpp"
#include "net/listener.hpp"
#include "net/net.hpp"
#include "net/watch.hpp"

namespace dflockd::server {

struct HttpOptions {
  net::ListenAddress address;
  access::Gate::Caps caps;
  http::DoorOptions door;
};

class HttpServer {
 public:
  /// Binds and listens; see `net::Listener`. Whoever stops it must let its connections end before
  /// it goes.
  HttpServer(asio::io_context& context, const HttpOptions& options,
             const net::Watch::Timeouts& timeouts, http::Surroundings surroundings,
             net::Listener::Welcome welcome)
      : context_(context),
        watch_(context, surroundings.clock, timeouts),
        door_(std::move(surroundings), options.door),
        gate_("http", options.caps),
        listener_(context, "http", options.address, gate_, std::move(welcome)) {}

  [[nodiscard]] asio::ip::tcp::endpoint endpoint() const { return listener_.endpoint(); }

  /// Starts to accept.
  void start() {
    net::spawn(context_, listener_.run());
    net::spawn(context_, watch_.run());
  }

  /// To be called at every tick.
  void tick() {
    watch_.tick();
    gate_.tick(door_.clock.now());
    listener_.tick(door_.clock.now());
    door_.tick();
  }

  /// See `net::Watch::drain`.
  bool drain() { return watch_.drain(); }

  void stop() {
    gate_.tick(locks::kNever);
    listener_.tick(locks::kNever);
    listener_.close();
    watch_.stop();
  }

  [[nodiscard]] const access::Gate& gate() const { return gate_; }
  [[nodiscard]] net::Watch& watch() { return watch_; }
  [[nodiscard]] http::HttpDoor& door() { return door_; }
  [[nodiscard]] const http::Callers& callers() const { return door_.callers; }

 private:
  asio::io_context& context_;
  net::Watch watch_;
  http::HttpDoor door_;
  access::Gate gate_;
  net::Listener listener_;
};

}  // namespace dflockd::server
