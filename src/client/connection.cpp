#include <mutex>
#include <new>
#include <utility>

#include <dflockd/connection.hpp>
#include <dflockd/detail/wire.hpp>

#include "client/arguments.hpp"
#include "client/cancellation.hpp"
#include "client/channel.hpp"
#include "client/failure.hpp"
#include "client/process.hpp"

namespace dflockd {

using client::Cancellation;
using client::Channel;
using client::Clock;
using client::Failure;
using client::Limits;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// How long a stopped call goes on, to learn what it may have been granted.
constexpr milliseconds kFarewell{500};
/// The longest line that may answer `stats`.
constexpr std::size_t kLongestStats = std::size_t{1} << 30U;

}  // namespace

/// What every method does, with failures thrown as `Failure`.
class Connection::Impl {
 public:
  explicit Impl(const ConnectionOptions& options)
      : endpoint_(client::parse_endpoint(options.server)),
        options_(options),
        generation_(client::fork_generation()) {
    client::check(options_);
    channel_.emplace(connect());
  }

  /// Sends `request` and passes the line that answers it to `read`, which returns whether it was
  /// expected. An unexpected line, or none, closes the connection.
  template <class Read>
  auto ask(const std::string& request, seconds timeout, const std::stop_token& stop,
           std::size_t longest, const Read& read) {
    const Running running(*this, stop);
    if (!channel_ || generation_ != client::fork_generation()) {
      throw Failure(errc::connection, "the connection is closed");
    }
    try {
      channel_->expect_quiet();
    } catch (const Failure&) {
      channel_.reset();
      throw;
    }
    const auto deadline =
        client::later(client::later(Clock::now(), timeout), options_.response_timeout);
    const Limits limits{.deadline = deadline, .cancellation = &running.cancellation};
    try {
      return read(channel_->call(request, limits, longest));
    } catch (const Failure& failure) {
      if (!is_refusal(failure.code())) give_up();
      throw;
    }
  }

  void close() noexcept {
    const std::lock_guard guard(mutex_);
    if (running_ != nullptr) {
      running_->raise();
      closing_ = true;
    } else {
      channel_.reset();
    }
  }

  /// Runs `call`, with what it was for in the message of what it throws.
  template <class Call>
  auto report(const char* action, std::string_view key, const Call& call) {
    return client::report_failure(options_.server, action, key, [&] { return call(*this); });
  }

  /// What to release when a call is given up. Set by calls that may be granted something.
  std::string_view granted_key;
  bool granted_semaphore = false;

 private:
  /// A call that is under way.
  struct Running {
    Running(Impl& owner, const std::stop_token& stop)
        : impl(owner), callback(stop, Raise{cancellation}) {
      const std::lock_guard guard(impl.mutex_);
      impl.running_ = &cancellation;
    }
    ~Running() {
      const std::lock_guard guard(impl.mutex_);
      impl.running_ = nullptr;
      if (std::exchange(impl.closing_, false)) impl.channel_.reset();
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    struct Raise {
      Cancellation& cancellation;
      void operator()() const noexcept { cancellation.raise(); }
    };
    Impl& impl;
    Cancellation cancellation;
    std::stop_callback<Raise> callback;
  };

  [[nodiscard]] Channel connect(milliseconds longest = milliseconds::max()) const {
    const milliseconds timeout = std::min(options_.connect_timeout, longest);
    return {endpoint_,
            options_,
            {.deadline = client::later(Clock::now(), timeout), .cancellation = nullptr}};
  }

  /// Whether the server refused, and the connection goes on.
  static bool is_refusal(errc code) {
    switch (code) {
      case errc::protocol:
      case errc::connection:
      case errc::tls:
      case errc::timeout:
      case errc::canceled:
      case errc::auth:
        return false;
      default:
        return true;
    }
  }

  /// Ends the connection, and gives back what the call was granted while it was given up.
  void give_up() noexcept {
    try {
      const std::string line(channel_->abandon(farewell()));
      channel_.reset();
      std::optional<Grant> grant;
      if (detail::read_grant(line, grant)) static_cast<void>(detail::read_enqueued(line, grant));
      if (!grant || granted_key.empty()) return;
      std::string request;
      detail::append_release(request, {.key = granted_key, .limit = granted_semaphore ? 1 : 0},
                             grant->token);
      connect(kFarewell).call(request, farewell());
    } catch (const std::exception&) {
      channel_.reset();  // what was granted ends with the connection or its lease
    }
  }

  [[nodiscard]] static Limits farewell() {
    return {.deadline = client::later(Clock::now(), kFarewell), .cancellation = nullptr};
  }

  const client::Endpoint endpoint_;
  const ConnectionOptions options_;
  const unsigned generation_;
  std::optional<Channel> channel_;
  std::mutex mutex_;  ///< for `close`
  Cancellation* running_ = nullptr;
  bool closing_ = false;
};

namespace {

void expect(std::error_code error, std::string_view line) {
  if (!error) return;
  if (error != errc::protocol) throw Failure(static_cast<errc>(error.value()), error.message());
  throw Failure(errc::protocol, "the server answered " + client::quoted_answer(line));
}

std::optional<Grant> expect_grant(std::string_view line) {
  std::optional<Grant> grant;
  const std::error_code error = detail::read_grant(line, grant);
  if (error != errc::timeout) expect(error, line);
  return grant;
}

template <class Impl>
std::optional<Grant> acquire_by(Impl& impl, const detail::Target& target, seconds timeout,
                                seconds lease_ttl, const std::stop_token& stop) {
  client::check_key(target.key);
  client::check_timeout("timeout", timeout);
  client::check_lease(lease_ttl);
  std::string request;
  detail::append_acquire(request, target, timeout, lease_ttl);
  impl.granted_key = target.key;
  impl.granted_semaphore = target.limit != 0;
  return impl.ask(request, timeout, stop, detail::kLongestAnswer, expect_grant);
}

template <class Impl>
std::optional<Grant> wait_by(Impl& impl, const detail::Target& target, seconds timeout,
                             const std::stop_token& stop) {
  client::check_key(target.key);
  client::check_timeout("timeout", timeout);
  std::string request;
  detail::append_wait(request, target, timeout);
  impl.granted_key = target.key;
  impl.granted_semaphore = target.limit != 0;
  return impl.ask(request, timeout, stop, detail::kLongestAnswer, expect_grant);
}

template <class Impl>
std::optional<Grant> enqueue_by(Impl& impl, const detail::Target& target, seconds lease_ttl) {
  client::check_key(target.key);
  client::check_lease(lease_ttl);
  std::string request;
  detail::append_enqueue(request, target, lease_ttl);
  impl.granted_key = target.key;
  impl.granted_semaphore = target.limit != 0;
  return impl.ask(request, seconds(0), {}, detail::kLongestAnswer, [](std::string_view line) {
    std::optional<Grant> grant;
    expect(detail::read_enqueued(line, grant), line);
    return grant;
  });
}

template <class Impl>
void release_by(Impl& impl, const detail::Target& target, std::string_view token) {
  client::check_key(target.key);
  client::check_token(token);
  std::string request;
  detail::append_release(request, target, token);
  impl.granted_key = {};
  impl.ask(request, seconds(0), {}, detail::kLongestAnswer,
           [](std::string_view line) { expect(detail::read_released(line), line); });
}

template <class Impl>
seconds renew_by(Impl& impl, const detail::Target& target, std::string_view token,
                 seconds lease_ttl) {
  client::check_key(target.key);
  client::check_token(token);
  client::check_lease(lease_ttl);
  std::string request;
  detail::append_renew(request, target, token, lease_ttl);
  impl.granted_key = {};
  return impl.ask(request, seconds(0), {}, detail::kLongestAnswer, [](std::string_view line) {
    seconds remaining{0};
    expect(detail::read_remaining(line, remaining), line);
    return remaining;
  });
}

}  // namespace

Connection::Connection(const ConnectionOptions& options) {
  try {
    impl_ = std::make_unique<Impl>(options);
  } catch (const Failure& failure) {
    const bool refused = failure.code() == errc::invalid_argument;
    throw client::to_error(failure, refused ? "" : options.server, refused ? "" : "connect");
  }
}

Connection::~Connection() = default;
Connection::Connection(Connection&& other) noexcept = default;
Connection& Connection::operator=(Connection&& other) noexcept = default;

std::optional<Grant> Connection::acquire(std::string_view key, seconds timeout, seconds lease_ttl,
                                         std::stop_token stop) {
  return impl_->report("acquire", key, [&](Impl& impl) {
    return acquire_by(impl, {.key = key}, timeout, lease_ttl, stop);
  });
}

std::optional<Grant> Connection::acquire(std::string_view key, seconds timeout, seconds lease_ttl,
                                         std::error_code& error, std::stop_token stop) noexcept {
  return client::report_code_or_timeout(
      error, [&] { return acquire(key, timeout, lease_ttl, std::move(stop)); });
}

std::optional<Grant> Connection::semaphore_acquire(std::string_view key, seconds timeout, int limit,
                                                   seconds lease_ttl, std::stop_token stop) {
  return impl_->report("acquire", key, [&](Impl& impl) {
    client::check_limit(limit);
    return acquire_by(impl, {.key = key, .limit = limit}, timeout, lease_ttl, stop);
  });
}

std::optional<Grant> Connection::semaphore_acquire(std::string_view key, seconds timeout, int limit,
                                                   seconds lease_ttl, std::error_code& error,
                                                   std::stop_token stop) noexcept {
  return client::report_code_or_timeout(
      error, [&] { return semaphore_acquire(key, timeout, limit, lease_ttl, std::move(stop)); });
}

void Connection::release(std::string_view key, std::string_view token) {
  impl_->report("release", key, [&](Impl& impl) { release_by(impl, {.key = key}, token); });
}

void Connection::release(std::string_view key, std::string_view token,
                         std::error_code& error) noexcept {
  client::report_code(error, [&] { release(key, token); });
}

void Connection::semaphore_release(std::string_view key, std::string_view token) {
  impl_->report("release", key,
                [&](Impl& impl) { release_by(impl, {.key = key, .limit = 1}, token); });
}

void Connection::semaphore_release(std::string_view key, std::string_view token,
                                   std::error_code& error) noexcept {
  client::report_code(error, [&] { semaphore_release(key, token); });
}

seconds Connection::renew(std::string_view key, std::string_view token, seconds lease_ttl) {
  return impl_->report("renew", key,
                       [&](Impl& impl) { return renew_by(impl, {.key = key}, token, lease_ttl); });
}

seconds Connection::renew(std::string_view key, std::string_view token, seconds lease_ttl,
                          std::error_code& error) noexcept {
  return client::report_code(error, [&] { return renew(key, token, lease_ttl); });
}

seconds Connection::semaphore_renew(std::string_view key, std::string_view token,
                                    seconds lease_ttl) {
  return impl_->report("renew", key, [&](Impl& impl) {
    return renew_by(impl, {.key = key, .limit = 1}, token, lease_ttl);
  });
}

seconds Connection::semaphore_renew(std::string_view key, std::string_view token, seconds lease_ttl,
                                    std::error_code& error) noexcept {
  return client::report_code(error, [&] { return semaphore_renew(key, token, lease_ttl); });
}

std::optional<Grant> Connection::enqueue(std::string_view key, seconds lease_ttl) {
  return impl_->report("enqueue for", key,
                       [&](Impl& impl) { return enqueue_by(impl, {.key = key}, lease_ttl); });
}

std::optional<Grant> Connection::enqueue(std::string_view key, seconds lease_ttl,
                                         std::error_code& error) noexcept {
  return client::report_code(error, [&] { return enqueue(key, lease_ttl); });
}

std::optional<Grant> Connection::semaphore_enqueue(std::string_view key, int limit,
                                                   seconds lease_ttl) {
  return impl_->report("enqueue for", key, [&](Impl& impl) {
    client::check_limit(limit);
    return enqueue_by(impl, {.key = key, .limit = limit}, lease_ttl);
  });
}

std::optional<Grant> Connection::semaphore_enqueue(std::string_view key, int limit,
                                                   seconds lease_ttl,
                                                   std::error_code& error) noexcept {
  return client::report_code(error, [&] { return semaphore_enqueue(key, limit, lease_ttl); });
}

std::optional<Grant> Connection::wait(std::string_view key, seconds timeout, std::stop_token stop) {
  return impl_->report("wait for", key,
                       [&](Impl& impl) { return wait_by(impl, {.key = key}, timeout, stop); });
}

std::optional<Grant> Connection::wait(std::string_view key, seconds timeout, std::error_code& error,
                                      std::stop_token stop) noexcept {
  return client::report_code_or_timeout(error, [&] { return wait(key, timeout, std::move(stop)); });
}

std::optional<Grant> Connection::semaphore_wait(std::string_view key, seconds timeout,
                                                std::stop_token stop) {
  return impl_->report("wait for", key, [&](Impl& impl) {
    return wait_by(impl, {.key = key, .limit = 1}, timeout, stop);
  });
}

std::optional<Grant> Connection::semaphore_wait(std::string_view key, seconds timeout,
                                                std::error_code& error,
                                                std::stop_token stop) noexcept {
  return client::report_code_or_timeout(
      error, [&] { return semaphore_wait(key, timeout, std::move(stop)); });
}

void Connection::ping() {
  impl_->report("ping", "", [&](Impl& impl) {
    std::string request;
    detail::append_ping(request);
    impl.granted_key = {};
    impl.ask(request, seconds(0), {}, detail::kLongestAnswer,
             [](std::string_view line) { expect(detail::read_ok(line), line); });
  });
}

void Connection::ping(std::error_code& error) noexcept {
  client::report_code(error, [this] { ping(); });
}

std::string Connection::stats() {
  return impl_->report("ask for stats", "", [&](Impl& impl) {
    std::string request;
    detail::append_stats(request);
    impl.granted_key = {};
    return impl.ask(request, seconds(0), {}, kLongestStats, [](std::string_view line) {
      std::string_view json;
      expect(detail::read_stats(line, json), line.substr(0, detail::kLongestAnswer));
      return std::string(json);
    });
  });
}

std::string Connection::stats(std::error_code& error) noexcept {
  return client::report_code(error, [this] { return stats(); });
}

void Connection::close() noexcept {
  impl_->close();
}

}  // namespace dflockd
