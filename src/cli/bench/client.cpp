#include "cli/bench/client.hpp"

#include <algorithm>
#include <cassert>

#include <asio/error.hpp>
#include <asio/write.hpp>

namespace dflockd::bench {
namespace {

constexpr std::size_t kLongestRequest = 256;
constexpr std::size_t kUsualReply = 64;
constexpr std::size_t kSmallestInput = 4096;

}  // namespace

Client::Client(asio::io_context& io, const Options& options, const Wire& wire,
               Measurement& measurement, std::size_t number)
    : options_(options),
      wire_(wire),
      measurement_(measurement),
      socket_(io.get_executor()),
      hold_timer_(io.get_executor()),
      input_(std::max(kSmallestInput, options.pipeline * kUsualReply)) {
  const std::size_t first_key = options.keys == Keys::kOwn ? number * options.pipeline : 0;
  for (std::size_t slot = 0; slot < options.pipeline; ++slot) {
    keys_ += key_name(first_key + slot);
    wire.append_acquire(acquires_, key(slot));
  }
  releases_.reserve(options.pipeline * kLongestRequest);
}

void Client::connect(const asio::ip::tcp::endpoint& server, std::error_code& error) {
  socket_.close(error);
  socket_.connect(server, error);
  if (!error) socket_.set_option(asio::ip::tcp::no_delay(true), error);
  if (!error) socket_.non_blocking(true, error);
}

Awaitable<std::error_code> Client::run() {
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

void Client::close() {
  end_hold();
  std::error_code ignored;  // nothing is left to be done with this connection
  socket_.close(ignored);
}

Awaitable<std::error_code> Client::exchange(Step step, std::string_view requests,
                                            std::size_t replies) {
  std::error_code error;
  step_sent_ = now_;
  const std::size_t written = socket_.write_some(asio::buffer(requests), error);
  if (error == asio::error::would_block) error.clear();
  if (!error && written < requests.size()) {
    co_await asio::async_write(socket_, asio::buffer(requests.substr(written)), into(error));
  }

  while (!error && replies > 0) {
    const std::span<char> space = input_.space();
    if (space.empty()) co_return std::make_error_code(std::errc::message_size);
    input_.commit(
        co_await socket_.async_read_some(asio::buffer(space.data(), space.size()), into(error)));
    now_ = Clock::now();
    replies -= take_replies(step, replies);
  }
  co_return error;
}

std::size_t Client::take_replies(Step step, std::size_t at_most) {
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

bool Client::take_reply(Step step, std::string_view reply) {
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

void Client::record(Step step, std::size_t succeeded) {
  switch (step) {
    case Step::kAcquire:
      return measurement_.acquired(now_ - step_sent_, succeeded);
    case Step::kRelease:
      return measurement_.released(now_ - step_sent_, now_ - batch_sent_, succeeded);
  }
}

std::string_view Client::key(std::size_t slot) const {
  return std::string_view(keys_).substr(slot * kKeySize, kKeySize);
}

std::string_view Client::acquires(std::size_t cycles) const {
  assert(cycles <= options_.pipeline);
  return std::string_view(acquires_).substr(0, acquires_.size() / options_.pipeline * cycles);
}

}  // namespace dflockd::bench
