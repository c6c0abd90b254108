#include "client/lane.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>

#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/read_until.hpp>
#include <asio/redirect_error.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <dflockd/detail/wire.hpp>

#include "base/tls.hpp"
#include "client/failure.hpp"
#include "client/socket.hpp"
#include "client/tls.hpp"

namespace dflockd::client {
namespace {

using std::chrono::milliseconds;
using Address = asio::ip::tcp::endpoint;
using Socket = asio::ip::tcp::socket;

/// How many renewals are sent before their answers are read.
constexpr std::size_t kBatch = 1'000;
/// How long an idle connection is kept: from one renewal of a lease of 33 s to the next. The
/// server's default is to close it after 23 s.
constexpr milliseconds kIdle{20'000};
constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{1'000};

bool ends_earlier(const std::shared_ptr<Renewal>& a, const std::shared_ptr<Renewal>& b) {
  // cppcheck-suppress mismatchingContainerExpression ; these are ends in time
  return a->end() < b->end();
}

auto into(std::error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

}  // namespace

/// A connection of the lane.
class Lane::Link {
 public:
  Link(asio::io_context& io, const ConnectionOptions& options, const std::string& host)
      : look_up_done_(io), socket_(io) {
    if (!options.tls) return;
    context_.emplace(make_tls_context(*options.tls, host).release());
    tls_ = std::make_unique<asio::ssl::stream<Socket&>>(socket_, *context_);
    announce_name(tls_->native_handle(), *options.tls, host);
  }

  asio::awaitable<std::vector<Address>> look_up(const Endpoint& endpoint) {
    const std::shared_ptr<LookUp> look_up = LookUp::begin(endpoint);
    if (!look_up->is_done()) {
      look_up_done_.assign(::fcntl(look_up->descriptor(), F_DUPFD_CLOEXEC, 0));
      co_await look_up_done_.async_wait(asio::posix::stream_descriptor::wait_read,
                                        asio::use_awaitable);
    }
    std::vector<Address> addresses;
    for (const addrinfo* a = look_up->addresses(); a != nullptr; a = a->ai_next) {
      addresses.emplace_back();
      addresses.back().resize(a->ai_addrlen);
      std::memcpy(addresses.back().data(), a->ai_addr, a->ai_addrlen);
    }
    co_return addresses;
  }

  /// Without TLS. `error` says so if it was cut, too.
  asio::awaitable<void> connect(const Address& address, std::error_code& error) {
    socket_.assign(address.protocol(), open_socket(address.protocol().family()).release());
    co_await socket_.async_connect(address, into(error));
    if (!error && !socket_.is_open()) error = asio::error::operation_aborted;
    std::error_code ignored;
    if (error) socket_.close(ignored);
  }

  asio::awaitable<void> shake_hands() {
    if (tls_ == nullptr) co_return;
    std::error_code error;
    co_await tls_->async_handshake(asio::ssl::stream_base::client, into(error));
    expect_success(error);
  }

  asio::awaitable<void> write(std::string_view text) {
    std::error_code error;
    if (tls_ == nullptr) {
      co_await asio::async_write(socket_, asio::buffer(text), into(error));
    } else {
      co_await asio::async_write(*tls_, asio::buffer(text), into(error));
    }
    if (!error) co_return;
    std::string_view said;  // the server may have refused the handshake before it hung up
    if (tls_ != nullptr) co_await read_line(said);
    expect_success(error);
  }

  /// Sets `line` to the next line; it lives until the next call.
  asio::awaitable<void> read_line(std::string_view& line) {
    received_.erase(0, taken_);
    taken_ = 0;
    auto space = asio::dynamic_buffer(received_, detail::kLongestAnswer * kBatch);
    std::error_code error;
    if (tls_ != nullptr) {
      taken_ = co_await asio::async_read_until(*tls_, space, '\n', into(error));
    } else {
      taken_ = co_await asio::async_read_until(socket_, space, '\n', into(error));
    }
    expect_success(error);
    if (tls_ != nullptr) base::note_data(tls_->native_handle());
    line = std::string_view(received_).substr(0, taken_ - 1);
  }

  /// Ends what is under way.
  void cut() {
    std::error_code ignored;
    look_up_done_.close(ignored);
    socket_.close(ignored);
  }

 private:
  /// Throws for an error of the connection, in the words of the channel.
  void expect_success(const std::error_code& error) const {
    if (!error) return;
    if (error.category() == asio::error::get_ssl_category()) {
      const auto code = static_cast<unsigned long>(static_cast<unsigned int>(error.value()));
      throw Failure(errc::tls, tls_reason(tls_->native_handle(), code));
    }
    throw std::system_error(error);
  }

  asio::posix::stream_descriptor look_up_done_;
  std::optional<asio::ssl::context> context_;
  Socket socket_;
  std::unique_ptr<asio::ssl::stream<Socket&>> tls_;
  std::string received_;
  std::size_t taken_ = 0;
};

Lane::Lane(asio::io_context& io, RenewalSink& sink, Endpoint endpoint, ConnectionOptions options)
    : io_(io),
      sink_(sink),
      endpoint_(std::move(endpoint)),
      options_(std::move(options)),
      watchdog_(io) {}

Lane::~Lane() = default;

void Lane::renew(std::vector<std::shared_ptr<Renewal>> renewals) {
  std::move(renewals.begin(), renewals.end(), std::back_inserter(due_));
  if (std::exchange(running_, true)) return hurry();
  asio::co_spawn(
      io_, [self = shared_from_this()] { return self->run(); }, asio::detached);
}

asio::awaitable<void> Lane::run() {
  const std::shared_ptr<Lane> self = shared_from_this();
  milliseconds pause{0};
  for (drop_unwanted(); !due_.empty(); drop_unwanted()) {
    const bool fresh = link_ == nullptr;
    std::string failure;
    try {
      co_await attempt(fresh);
      pause = milliseconds(0);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (failure.empty()) continue;
    link_.reset();
    due_.insert(due_.begin(), sent_.begin(), sent_.end());
    sent_.clear();
    for (const auto& renewal : due_) sink_.failed(renewal, failure);
    if (!fresh) continue;  // a connection that had been idle; a new one may do
    pausing_ = true;
    watchdog_.expires_after(pause);
    std::error_code ignored;
    co_await watchdog_.async_wait(into(ignored));
    pausing_ = false;
    pause = std::clamp(pause * 2, kFirstPause, kLongestPause);
  }
  running_ = false;
  limit(kIdle);
}

asio::awaitable<void> Lane::attempt(bool fresh) {
  if (link_ == nullptr) co_await connect();
  limit(std::min(patience(), options_.response_timeout));
  co_await send_batch();
  co_await receive_batch(fresh);
}

asio::awaitable<void> Lane::connect() {
  const Clock::time_point end = Clock::now() + std::min(patience(), options_.connect_timeout);
  const auto limit_to_part = [this, end](milliseconds::rep parts) {
    limit(std::min(patience(), std::chrono::ceil<milliseconds>(end - Clock::now()) / parts));
  };
  limit_to_part(1);
  link_ = std::make_unique<Link>(io_, options_, endpoint_.host);
  const std::vector<Address> addresses = co_await link_->look_up(endpoint_);
  std::error_code error;
  for (auto address = addresses.begin(); address != addresses.end(); ++address) {
    // A server that does not answer leaves time for the others.
    limit_to_part(std::distance(address, addresses.end()));
    co_await link_->connect(*address, error);
    if (!error) break;
  }
  if (error) throw std::system_error(error);
  limit_to_part(1);
  co_await link_->shake_hands();
  if (options_.auth_token.empty()) co_return;
  request_.clear();
  detail::append_auth(request_, options_.auth_token);
  co_await link_->write(request_);
  std::string_view line;
  co_await link_->read_line(line);
  if (detail::read_ok(line)) throw Failure(errc::auth, "the server refuses the secret");
}

asio::awaitable<void> Lane::send_batch() {
  request_.clear();
  std::stable_sort(due_.begin(), due_.end(), ends_earlier);
  const std::size_t size = std::min(due_.size(), kBatch);
  for (; sent_.size() < size; due_.pop_front()) {
    const RenewalTerms& terms = due_.front()->terms();
    detail::append_renew(request_, {.key = terms.key, .limit = terms.semaphore ? 1 : 0},
                         terms.grant.token, terms.grant.lease_ttl);
    sent_.push_back(std::move(due_.front()));
  }
  sent_at_ = Clock::now();
  co_await link_->write(request_);
}

asio::awaitable<void> Lane::receive_batch(bool fresh) {
  while (!sent_.empty()) {
    std::string_view line;
    co_await link_->read_line(line);
    std::chrono::seconds remaining{0};
    const std::error_code error = detail::read_remaining(line, remaining);
    if (error && error != errc::not_held) {
      throw Failure(errc::protocol, "the server answered " + quoted_answer(line) + " to a renewal");
    }
    if (error && !fresh) {
      // The server says the same when it closes an idle connection. Try a new one.
      throw Failure(errc::connection, "the server refused a renewal, or closed the connection");
    }
    const std::shared_ptr<Renewal> renewal = std::move(sent_.front());
    sent_.pop_front();
    if (error) {
      sink_.refused(renewal);
    } else {
      sink_.renewed(renewal, sent_at_, remaining);
    }
  }
}

void Lane::drop_unwanted() {
  std::erase_if(due_, [this](const auto& renewal) { return !sink_.wants(*renewal); });
}

/// How long an attempt may take, so that there is time for another two.
milliseconds Lane::patience() const {
  const auto first = std::min_element(due_.begin(), due_.end(), ends_earlier);
  if (first == due_.end()) return options_.response_timeout;
  const auto left = std::chrono::duration_cast<milliseconds>((*first)->end() - Clock::now());
  return std::max(left / 3, milliseconds(100));
}

/// Renewals that are due now must not wait for the ones under way longer than they can.
void Lane::hurry() {
  using std::chrono::ceil;
  const auto left = watchdog_.expiry() - asio::steady_timer::clock_type::now();
  if (pausing_) {
    watchdog_.cancel();
  } else if (const milliseconds longest = patience(); ceil<milliseconds>(left) > longest) {
    limit(longest);
  }
}

void Lane::limit(milliseconds length) {
  watchdog_.expires_after(length);
  watchdog_.async_wait([self = weak_from_this()](const std::error_code& replaced) {
    const std::shared_ptr<Lane> lane = self.lock();
    if (replaced || lane == nullptr || lane->link_ == nullptr) return;
    if (lane->watchdog_.expiry() > asio::steady_timer::clock_type::now()) return;
    if (lane->running_) {
      lane->link_->cut();
    } else {
      lane->link_.reset();
    }
  });
}

}  // namespace dflockd::client
