#include "bench/clients.hpp"

#include <algorithm>
#include <cassert>

#include <asio/error.hpp>

namespace dflockd::bench {
namespace {

constexpr std::size_t kTokenSize = 32;
constexpr std::size_t kVisitInputSize = 256;

std::size_t input_size(const Options& options) {
  constexpr std::size_t kSmallest = 4096;
  return std::max(kSmallest, options.pipeline * (options.http ? 192 : 64));
}

}  // namespace

template <class Stream>
LockClient<Stream>::LockClient(asio::io_context& io, const TlsContext* tls, const Options& options,
                               const Wire& wire, Measurement& measurement, std::size_t number)
    : options_(options),
      measurement_(measurement),
      connection_(io, tls, options, input_size(options)),
      hold_timer_(io.get_executor()) {
  const std::size_t first_key = options.keys == Keys::kOwn ? number * options.pipeline : 0;
  for (std::size_t slot = 0; slot < options.pipeline; ++slot) {
    keys_ += key_name(first_key + slot);
  }
  if (!options.http) speak(wire);
}

template <class Stream>
void LockClient<Stream>::connect(const asio::ip::tcp::endpoint& server, std::error_code& error) {
  connection_.connect(server, error);
}

template <class Stream>
net::Awaitable LockClient<Stream>::introduce() {
  co_await connection_.shake_hands();
  if (options_.http) {
    session_ = co_await connection_.open_session();
    own_wire_ = std::make_unique<const Wire>(options_, session_);
    speak(*own_wire_);
  } else if (options_.auth_token) {
    co_await connection_.authenticate();
  }
}

/// Builds the requests that never change, and makes room for those that do.
template <class Stream>
void LockClient<Stream>::speak(const Wire& wire) {
  wire_ = &wire;
  for (std::size_t slot = 0; slot < options_.pipeline; ++slot) {
    wire.append_acquire(acquires_, key(slot));
    wire.append_release(releases_, key(slot), std::string(kTokenSize, '0'));
  }
}

template <class Stream>
net::AwaitableOf<std::error_code> LockClient<Stream>::run() {
  now_ = Clock::now();
  while (const std::size_t cycles = measurement_.admit(options_.pipeline)) {
    slot_ = granted_ = 0;
    releases_.clear();
    batch_sent_ = now_;
    if (auto error = co_await exchange(Step::kAcquire, acquires(cycles), cycles)) co_return error;

    if (options_.hold.count() > 0 && granted_ > 0 && !measurement_.is_draining()) {
      std::error_code cut_short;
      hold_timer_.expires_after(options_.hold);
      co_await hold_timer_.async_wait(net::into(cut_short));
      now_ = Clock::now();
    }
    if (auto error = co_await exchange(Step::kRelease, releases_, granted_)) co_return error;
  }
  co_return std::error_code();
}

template <class Stream>
void LockClient<Stream>::close() {
  end_hold();
  end_session();
  connection_.close();
}

/// Ends the session, or it would stay for a while with what it was
/// granted. The answer is of no interest. The session of a client that still waits in a queue is
/// not heard of again, and goes when it has been idle for long enough.
template <class Stream>
void LockClient<Stream>::end_session() {
  if (session_.empty() || sending_) return;
  goodbye_ = http_request(options_, "DELETE", "/v1/sessions/" + session_, "", "");
  session_.clear();
  std::error_code ignored;
  connection_.stream().write_some(goodbye_, ignored);
}

template <class Stream>
net::AwaitableOf<std::error_code> LockClient<Stream>::exchange(Step step, std::string_view requests,
                                                               std::size_t replies) {
  Stream& stream = connection_.stream();
  Input& input = connection_.input();
  std::error_code error;
  step_sent_ = now_;
  const std::size_t sent = stream.write_some(requests, error);
  if (error == asio::error::would_block) {
    sending_ = true;
    co_await stream.async_write(asio::buffer(requests.substr(sent)), error);
    sending_ = false;
  }
  while (!error && replies > 0) {
    const std::span<char> space = input.space();
    if (space.empty()) co_return std::make_error_code(std::errc::message_size);
    input.commit(co_await stream.async_read_some(space, error));
    if (error == asio::error::would_block) error.clear();  // a part of a record of TLS
    now_ = Clock::now();
    replies -= take_replies(step, replies);
    connection_.check_input();
  }
  co_return error;
}

template <class Stream>
std::size_t LockClient<Stream>::take_replies(Step step, std::size_t at_most) {
  std::size_t taken = 0;
  std::size_t succeeded = 0;
  while (taken < at_most) {
    const auto reply = connection_.input().next();
    if (!reply) break;
    ++taken;
    if (take_reply(step, *reply)) ++succeeded;
  }
  record(step, succeeded);
  return taken;
}

template <class Stream>
bool LockClient<Stream>::take_reply(Step step, const Reply& reply) {
  if (step == Step::kRelease) {
    if (wire_->is_released(reply)) return true;
    measurement_.unexpected("release", to_text(reply));
    return false;
  }

  const std::size_t slot = slot_++;
  const auto token = wire_->granted_token(reply);
  if (!token) {
    measurement_.unexpected("acquire", to_text(reply));
    return false;
  }
  wire_->append_release(releases_, key(slot), *token);
  ++granted_;
  return true;
}

template <class Stream>
void LockClient<Stream>::record(Step step, std::size_t succeeded) {
  switch (step) {
    case Step::kAcquire:
      return measurement_.acquired(now_ - step_sent_, succeeded);
    case Step::kRelease:
      return measurement_.released(now_ - step_sent_, now_ - batch_sent_, succeeded);
  }
}

template <class Stream>
std::string_view LockClient<Stream>::key(std::size_t slot) const {
  return std::string_view(keys_).substr(slot * kKeySize, kKeySize);
}

template <class Stream>
std::string_view LockClient<Stream>::acquires(std::size_t cycles) const {
  assert(cycles <= options_.pipeline);
  return std::string_view(acquires_).substr(0, acquires_.size() / options_.pipeline * cycles);
}

template class LockClient<net::PlainStream>;
template class LockClient<net::TlsStream>;

HandshakeClient::HandshakeClient(asio::io_context& io, const TlsContext& tls,
                                 const Options& options, Measurement& measurement)
    : options_(options),
      measurement_(measurement),
      connection_(io, &tls, options, kVisitInputSize) {}

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
