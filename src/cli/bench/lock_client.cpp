#include "cli/bench/lock_client.hpp"

#include <algorithm>
#include <cassert>
#include <type_traits>

#include <asio/error.hpp>

#include "cli/bench/introduction.hpp"
#include "cli/bench/plain_stream.hpp"
#include "cli/bench/tls_stream.hpp"

namespace dflockd::bench {
namespace {

constexpr std::size_t kLongestRequest = 256;
constexpr std::size_t kUsualReply = 64;
constexpr std::size_t kSmallestInput = 4096;

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

template <class Stream>
LockClient<Stream>::LockClient(asio::io_context& io, const TlsContext* tls, const Options& options,
                               const Wire& wire, Measurement& measurement, std::size_t number)
    : options_(options),
      wire_(wire),
      measurement_(measurement),
      stream_(make_stream<Stream>(io, tls)),
      hold_timer_(io.get_executor()),
      input_(std::max(kSmallestInput, options.pipeline * kUsualReply)) {
  const std::size_t first_key = options.keys == Keys::kOwn ? number * options.pipeline : 0;
  for (std::size_t slot = 0; slot < options.pipeline; ++slot) {
    keys_ += key_name(first_key + slot);
    wire.append_acquire(acquires_, key(slot));
  }
  releases_.reserve(options.pipeline * kLongestRequest);
}

template <class Stream>
void LockClient<Stream>::connect(const asio::ip::tcp::endpoint& server, std::error_code& error) {
  Socket& socket = stream_.socket();
  socket.close(error);
  socket.connect(server, error);
  if (!error) socket.set_option(asio::ip::tcp::no_delay(true), error);
  if (!error) socket.non_blocking(true, error);
}

template <class Stream>
Awaitable<void> LockClient<Stream>::introduce() {
  if constexpr (kIsTls<Stream>) co_await shake_hands(stream_, options_);
  if (options_.auth_token) co_await authenticate(stream_, options_);
}

template <class Stream>
TlsAgreement LockClient<Stream>::agreed() const {
  if constexpr (kIsTls<Stream>) return stream_.agreed();
  return {};
}

template <class Stream>
Awaitable<std::error_code> LockClient<Stream>::run() {
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

template <class Stream>
void LockClient<Stream>::close() {
  end_hold();
  std::error_code ignored;  // nothing is left to be done with this connection
  stream_.socket().close(ignored);
}

template <class Stream>
Awaitable<std::error_code> LockClient<Stream>::exchange(Step step, std::string_view requests,
                                                        std::size_t replies) {
  std::error_code error;
  step_sent_ = now_;
  if (!stream_.send(requests, error)) co_await stream_.send_rest(error);

  while (!error && replies > 0) {
    const std::span<char> space = input_.space();
    if (space.empty()) co_return std::make_error_code(std::errc::message_size);
    input_.commit(co_await stream_.read_some(space, error));
    now_ = Clock::now();
    replies -= take_replies(step, replies);
  }
  co_return error;
}

template <class Stream>
std::size_t LockClient<Stream>::take_replies(Step step, std::size_t at_most) {
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

template <class Stream>
bool LockClient<Stream>::take_reply(Step step, std::string_view reply) {
  if (step == Step::kRelease) {
    if (wire_.is_released(reply)) return true;
    measurement_.unexpected("release", reply);
    return false;
  }

  const std::size_t slot = slot_++;
  const auto token = wire_.granted_token(reply);
  if (!token) {
    measurement_.unexpected("acquire", reply);
    return false;
  }
  wire_.append_release(releases_, key(slot), *token);
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

template class LockClient<PlainStream>;
template class LockClient<TlsStream>;

}  // namespace dflockd::bench
