#include "bench/handshake_client.hpp"

#include <stdexcept>

#include "bench/introduction.hpp"

namespace dflockd::bench {

HandshakeClient::HandshakeClient(asio::io_context& io, const TlsContext& tls,
                                 const Options& options, Measurement& measurement)
    : io_(io), tls_(tls), options_(options), measurement_(measurement) {}

void HandshakeClient::connect(const asio::ip::tcp::endpoint& server, std::error_code& error) {
  server_ = server;
  stream_.emplace(io_, tls_);
  stream_->socket().connect(server, error);
  if (!error) stream_->socket().set_option(asio::ip::tcp::no_delay(true), error);
  if (!error) stream_->socket().non_blocking(true, error);
}

Awaitable<void> HandshakeClient::introduce() {
  co_await visit();
}

Awaitable<std::error_code> HandshakeClient::run() {
  std::error_code error;
  while (measurement_.admit(1) > 0) {
    const TimePoint begun = Clock::now();
    Socket& socket = stream_.emplace(io_, tls_, session_.get()).socket();
    co_await socket.async_connect(server_, into(error));
    if (!error) socket.set_option(asio::ip::tcp::no_delay(true), error);
    if (!error) socket.non_blocking(true, error);
    if (error) co_return error;
    co_await visit();
    measurement_.visited(handshaken_ - begun, Clock::now() - begun, stream_->resumed());
  }
  co_return error;
}

void HandshakeClient::close() {
  std::error_code ignored;  // nothing is left to be done with this connection
  if (stream_) stream_->socket().close(ignored);
}

Awaitable<void> HandshakeClient::visit() {
  co_await shake_hands(*stream_, options_);
  handshaken_ = Clock::now();
  if (options_.auth_token) co_await authenticate(*stream_, options_);
  if (options_.ping) co_await ping(*stream_, options_);

  std::error_code error;
  co_await stream_->say_goodbye(error);
  if (error) {
    throw std::runtime_error(address(options_) +
                             " broke off after the TLS handshake: " + stream_->why(error));
  }
  if (options_.resume) session_ = stream_->session();
  close();
}

}  // namespace dflockd::bench
