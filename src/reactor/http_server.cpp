#include "reactor/http_server.hpp"

#include <utility>

#include "reactor/server.hpp"

namespace dflockd::reactor {

HttpServer::HttpServer(asio::io_context& context, const HttpOptions& options,
                       const ConnectionWatch::Timeouts& timeouts, Server& server,
                       net::Listener::Welcome welcome)
    : context_(context),
      server_(server),
      watch_(context, timeouts),
      sessions_(context, server.service(), options.sessions),
      common_limiter_(options.rate),
      holding_limiter_(options.rate),
      guard_(options.allowed_hosts, options.allowed_origins),
      gate_("http", options.caps),
      listener_(context, "http", options.address, gate_, std::move(welcome)) {}

void HttpServer::start() {
  net::spawn(context_, listener_.run());
  net::spawn(context_, watch_.run());
}

void HttpServer::tick(locks::Instant now) {
  watch_.tick(server_.service().awake_now());
  gate_.tick(now);
  listener_.tick(now);
  common_limiter_.tick(now);
  holding_limiter_.tick(now);
  sessions_.tick();
}

void HttpServer::stop() {
  gate_.tick(locks::kNever);
  listener_.tick(locks::kNever);
  listener_.close();
  sessions_.stop();
  watch_.stop();
}

std::optional<std::chrono::nanoseconds> HttpServer::take(http::Bucket bucket,
                                                         const asio::ip::address& peer,
                                                         locks::Instant now) {
  switch (bucket) {
    case http::Bucket::kCommon:
      return common_limiter_.take(peer, now);
    case http::Bucket::kHolding:
      return holding_limiter_.take(peer, now);
    case http::Bucket::kNone:
      break;
  }
  return std::nullopt;
}

}  // namespace dflockd::reactor
