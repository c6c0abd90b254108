#include "bench/handshake_client.hpp"

namespace dflockd::bench {
namespace {

constexpr std::size_t kInputSize = 256;

}  // namespace

HandshakeClient::HandshakeClient(asio::io_context& io, const TlsContext& tls,
                                 const Options& options, Measurement& measurement)
    : options_(options), measurement_(measurement), connection_(io, &tls, options, kInputSize) {}

void HandshakeClient::connect(const asio::ip::tcp::endpoint& server, std::error_code& error) {
  server_ = server;
  connection_.connect(server, error);
}

net::Awaitable HandshakeClient::introduce() {
  co_await visit();
}

net::AwaitableOf<std::error_code> HandshakeClient::run() {
  std::error_code error;
  while (measurement_.admit(1) > 0) {
    const TimePoint begun = Clock::now();
    co_await connection_.connect(server_, session_.get(), error);
    if (error) co_return error;
    co_await visit();
    measurement_.visited(handshaken_ - begun, Clock::now() - begun, connection_.resumed());
  }
  co_return error;
}

net::Awaitable HandshakeClient::visit() {
  co_await connection_.shake_hands();
  handshaken_ = Clock::now();
  if (options_.auth_token) co_await connection_.authenticate();
  if (options_.ping) co_await connection_.ping();
  co_await connection_.say_goodbye();
  if (options_.resume) session_ = connection_.session();
  close();
}

}  // namespace dflockd::bench
