#include "bench/lock_client.hpp"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <type_traits>

#include <asio/error.hpp>

#include "bench/http_request.hpp"
#include "bench/introduction.hpp"
#include "bench/line_buffer.hpp"
#include "bench/plain_stream.hpp"
#include "bench/reply_reader.hpp"
#include "bench/tls_stream.hpp"

namespace dflockd::bench {
namespace {

constexpr std::size_t kTokenSize = 32;
constexpr std::size_t kSmallestInput = 4096;

template <class Input>
constexpr bool kIsHttp = std::is_same_v<Input, ReplyReader>;

template <class Input>
constexpr std::size_t kUsualReply = kIsHttp<Input> ? 192 : 64;

std::string_view text(std::string_view reply) {
  return reply;
}

template <class Stream>
constexpr bool kIsTls = std::is_same_v<Stream, TlsStream>;

template <class Stream>
Stream make_stream(asio::io_context& io, const TlsContext* tls) {
  if constexpr (kIsTls<Stream>) {
    return TlsStream(io, *tls);
  } else {
    assert(tls == nullptr);
    return PlainStream(io);
  }
}

}  // namespace

template <class Stream, class Input>
LockClient<Stream, Input>::LockClient(asio::io_context& io, const TlsContext* tls,
                                      const Options& options, const Wire& wire,
                                      Measurement& measurement, std::size_t number)
    : options_(options),
      measurement_(measurement),
      stream_(make_stream<Stream>(io, tls)),
      hold_timer_(io.get_executor()),
      input_(std::max(kSmallestInput, options.pipeline * kUsualReply<Input>)) {
  const std::size_t first_key = options.keys == Keys::kOwn ? number * options.pipeline : 0;
  for (std::size_t slot = 0; slot < options.pipeline; ++slot) {
    keys_ += key_name(first_key + slot);
  }
  if constexpr (!kIsHttp<Input>) speak(wire);
}

template <class Stream, class Input>
void LockClient<Stream, Input>::connect(const asio::ip::tcp::endpoint& server,
                                        std::error_code& error) {
  Socket& socket = stream_.socket();
  socket.close(error);
  socket.connect(server, error);
  if (!error) socket.set_option(asio::ip::tcp::no_delay(true), error);
  if (!error) socket.non_blocking(true, error);
}

template <class Stream, class Input>
Awaitable<void> LockClient<Stream, Input>::introduce() {
  if constexpr (kIsTls<Stream>) co_await shake_hands(stream_, options_);
  if constexpr (kIsHttp<Input>) {
    session_ = co_await open_session(stream_, options_);
    own_wire_ = std::make_unique<const Wire>(options_, session_);
    speak(*own_wire_);
  } else {
    if (options_.auth_token) co_await authenticate(stream_, options_);
  }
}

/// Builds the requests that never change, and makes room for those that do.
template <class Stream, class Input>
void LockClient<Stream, Input>::speak(const Wire& wire) {
  wire_ = &wire;
  for (std::size_t slot = 0; slot < options_.pipeline; ++slot) {
    wire.append_acquire(acquires_, key(slot));
    wire.append_release(releases_, key(slot), std::string(kTokenSize, '0'));
  }
}

template <class Stream, class Input>
TlsAgreement LockClient<Stream, Input>::agreed() const {
  if constexpr (kIsTls<Stream>) return stream_.agreed();
  return {};
}

template <class Stream, class Input>
Awaitable<std::error_code> LockClient<Stream, Input>::run() {
  now_ = Clock::now();
  while (const std::size_t cycles = measurement_.admit(options_.pipeline)) {
    slot_ = granted_ = 0;
    releases_.clear();
    batch_sent_ = now_;
    if (auto error = co_await exchange(Step::kAcquire, acquires(cycles), cycles)) co_return error;

    if (options_.hold.count() > 0 && granted_ > 0 && !measurement_.is_draining()) {
      std::error_code cut_short;
      hold_timer_.expires_after(options_.hold);
      co_await hold_timer_.async_wait(into(cut_short));
      now_ = Clock::now();
    }
    if (auto error = co_await exchange(Step::kRelease, releases_, granted_)) co_return error;
  }
  co_return std::error_code();
}

template <class Stream, class Input>
void LockClient<Stream, Input>::close() {
  end_hold();
  end_session();
  std::error_code ignored;  // nothing is left to be done with this connection
  stream_.socket().close(ignored);
}

/// Tells the server that the session is over, or it would stay for a while with what it was
/// granted. The answer is of no interest. The session of a client that still waits in a queue is
/// not heard of again, and goes when it has been idle for long enough.
template <class Stream, class Input>
void LockClient<Stream, Input>::end_session() {
  if (session_.empty() || sending_) return;
  goodbye_ = http_request(options_, "DELETE", "/v1/sessions/" + session_, "", "");
  session_.clear();
  std::error_code ignored;
  static_cast<void>(stream_.send(goodbye_, ignored));
}

template <class Stream, class Input>
Awaitable<std::error_code> LockClient<Stream, Input>::exchange(Step step, std::string_view requests,
                                                               std::size_t replies) {
  std::error_code error;
  step_sent_ = now_;
  if (!stream_.send(requests, error)) {
    sending_ = true;
    co_await stream_.send_rest(error);
    sending_ = false;
  }

  while (!error && replies > 0) {
    const std::span<char> space = input_.space();
    if (space.empty()) co_return std::make_error_code(std::errc::message_size);
    input_.commit(co_await stream_.read_some(space, error));
    now_ = Clock::now();
    replies -= take_replies(step, replies);
    if constexpr (kIsHttp<Input>) {
      if (input_.is_broken()) throw std::runtime_error(not_http(options_, input_.unread()));
    }
  }
  co_return error;
}

template <class Stream, class Input>
std::size_t LockClient<Stream, Input>::take_replies(Step step, std::size_t at_most) {
  std::size_t taken = 0;
  std::size_t succeeded = 0;
  while (taken < at_most) {
    const auto reply = input_.next();
    if (!reply) break;
    ++taken;
    if (take_reply(step, *reply)) ++succeeded;
  }
  record(step, succeeded);
  return taken;
}

template <class Stream, class Input>
bool LockClient<Stream, Input>::take_reply(Step step, const typename Input::Reply& reply) {
  if (step == Step::kRelease) {
    if (wire_->is_released(reply)) return true;
    measurement_.unexpected("release", text(reply));
    return false;
  }

  const std::size_t slot = slot_++;
  const auto token = wire_->granted_token(reply);
  if (!token) {
    measurement_.unexpected("acquire", text(reply));
    return false;
  }
  wire_->append_release(releases_, key(slot), *token);
  ++granted_;
  return true;
}

template <class Stream, class Input>
void LockClient<Stream, Input>::record(Step step, std::size_t succeeded) {
  switch (step) {
    case Step::kAcquire:
      return measurement_.acquired(now_ - step_sent_, succeeded);
    case Step::kRelease:
      return measurement_.released(now_ - step_sent_, now_ - batch_sent_, succeeded);
  }
}

template <class Stream, class Input>
std::string_view LockClient<Stream, Input>::key(std::size_t slot) const {
  return std::string_view(keys_).substr(slot * kKeySize, kKeySize);
}

template <class Stream, class Input>
std::string_view LockClient<Stream, Input>::acquires(std::size_t cycles) const {
  assert(cycles <= options_.pipeline);
  return std::string_view(acquires_).substr(0, acquires_.size() / options_.pipeline * cycles);
}

template class LockClient<PlainStream, LineBuffer>;
template class LockClient<PlainStream, ReplyReader>;
template class LockClient<TlsStream, LineBuffer>;
template class LockClient<TlsStream, ReplyReader>;

}  // namespace dflockd::bench
