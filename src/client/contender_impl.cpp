#include "client/contender_impl.hpp"

#include <algorithm>
#include <utility>

#include "base/terms.hpp"
#include "client/arguments.hpp"
#include "client/failure.hpp"

namespace dflockd {

using client::Cancellation;
using client::Channel;
using client::Clock;
using client::Failure;
using client::Limits;
using client::Renewal;
using client::Renewer;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// How long a call that was stopped goes on, to give back what it may have been granted.
constexpr milliseconds kFarewell{500};
/// A connection that was idle for this long is checked before it is used: the server may have
/// closed it.
constexpr milliseconds kQuiet{1'000};
/// How much longer than asked for a call may wait.
constexpr milliseconds kUnnoticed{20};
/// A grant that was waited for longer than this part of its lease is renewed before it counts: the
/// lease began at an unknown moment of the wait.
constexpr int kBelievedPart = 10;

ConnectionOptions connection_options(const LockOptions& options, const client::Endpoint& endpoint) {
  return {.server = endpoint.text(),
          .connect_timeout = options.connect_timeout,
          .response_timeout = options.response_timeout,
          .tls = options.tls,
          .auth_token = options.auth_token};
}

client::Endpoint choose(const LockOptions& options) {
  const auto count = static_cast<int>(options.servers.size());
  const int chosen = options.shard(options.key, count);
  if (chosen < 0 || chosen >= count) {
    throw Failure(errc::invalid_argument, "shard returned " + std::to_string(chosen) + " for " +
                                              client::in_quotes(options.key) + "; expected 0 to " +
                                              std::to_string(count - 1));
  }
  return client::parse_endpoint(options.servers[static_cast<std::size_t>(chosen)]);
}

LockOptions checked(LockOptions options, int limit) {
  client::check(options);
  if (limit != 0) client::check_limit(limit);
  return options;
}

/// Whether an idle channel is still open and the server has sent nothing unasked.
bool is_quiet(Channel& channel) noexcept {
  try {
    channel.expect_quiet();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

/// The failure that stands for a refusal.
Failure refusal(std::error_code error, std::string_view line) {
  const auto code = static_cast<errc>(error.value());
  if (code != errc::protocol) return {code, error.message()};
  return {code, line == "error" ? "the server refused it: it cannot reserve a fence, or its "
                                  "configuration does not allow the request"
                                : "the server answered " + client::quoted_answer(line)};
}

}  // namespace

/// The right to use the channel and to change what is held. It ends with the object.
class Contender::Impl::Turn {
 public:
  /// Waits until no other call is under way and, for contending, nothing is in use except what this
  /// thread has lost; until `deadline` at most. Throws `Failure` (`errc::canceled`).
  Turn(Impl& impl, const std::stop_token& stop, Clock::time_point deadline, For purpose)
      : impl_(impl), callback_(stop, Raise{cancellation_}) {
    if (!impl.is_ours()) {
      throw Failure(errc::invalid_argument, "it was made before the process was forked");
    }
    const std::thread::id caller = std::this_thread::get_id();
    std::unique_lock lock(impl_.mutex_);
    const unsigned closings = impl_.closings_;
    const auto is_closed = [&] {
      return purpose != For::kClosing && (impl_.closings_ != closings || impl_.closers_ > 0);
    };
    const auto is_free = [&] {
      return !impl_.busy_ &&
             (purpose != For::kContending || !impl_.is_in_use() || impl_.was_lost_by(caller));
    };
    const auto is_over = [&] { return is_closed() || is_free(); };
    if (deadline == Clock::time_point::max()) {
      impl_.changed_.wait(lock, stop, is_over);
    } else {
      impl_.changed_.wait_until(lock, stop, deadline, is_over);
    }
    // A release goes on after a stop request; it only waits for nothing.
    const bool goes_on = purpose == For::kReleasing && is_free();
    if (is_closed() || (stop.stop_requested() && !goes_on)) {
      throw Failure(errc::canceled, "canceled");
    }
    taken_ = is_free();
    if (!taken_) return;
    impl_.busy_ = true;
    impl_.running_ = &cancellation_;
  }

  ~Turn() {
    if (!taken_) return;
    const std::lock_guard guard(impl_.mutex_);
    impl_.busy_ = false;
    impl_.running_ = nullptr;
    impl_.changed_.notify_all();
  }

  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  /// False if `deadline` came first.
  [[nodiscard]] bool is_taken() const { return taken_; }
  [[nodiscard]] bool is_canceled() const { return cancellation_.raised(); }
  [[nodiscard]] Limits until(Clock::time_point deadline) const {
    return {.deadline = deadline, .cancellation = &cancellation_};
  }

 private:
  struct Raise {
    Cancellation& cancellation;
    void operator()() const noexcept { cancellation.raise(); }
  };

  Impl& impl_;
  Cancellation cancellation_;
  std::stop_callback<Raise> callback_;
  bool taken_ = false;
};

Contender::Impl::Impl(LockOptions options, int limit)
    : options_(checked(std::move(options), limit)),
      limit_(limit),
      endpoint_(choose(options_)),
      connection_options_(connection_options(options_, endpoint_)),
      generation_(client::fork_generation()) {
  client::check(connection_options_);
}

bool Contender::Impl::acquire(milliseconds timeout, const std::stop_token& stop) {
  client::check_timeout("timeout", timeout);
  const Clock::time_point deadline = client::later(Clock::now(), timeout);
  refuse_in_handler();
  Turn turn(*this, stop, deadline, For::kContending);
  if (!turn.is_taken()) return false;
  // Whole seconds stay whole unless the turn had to be waited for: the server then keeps the time.
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  const milliseconds rest = left + kUnnoticed >= timeout ? timeout : std::max(left, kUnnoticed);
  const auto server_timeout = std::chrono::ceil<seconds>(rest);
  const bool is_whole = server_timeout == rest;
  return contend(turn, server_timeout, is_whole ? Clock::time_point::max() : deadline);
}

void Contender::Impl::acquire_without_timeout() {
  constexpr Clock::time_point kNever = Clock::time_point::max();
  refuse_in_handler();
  Turn turn(*this, {}, kNever, For::kContending);
  while (!contend(turn, base::kMaxSeconds, kNever)) continue;
}

bool Contender::Impl::contend(Turn& turn, seconds server_timeout, Clock::time_point cut_off) {
  forget_lost();
  std::string request;
  detail::append_acquire(request, target(), server_timeout, options_.lease_ttl);
  return wait_for_grant(turn, request, server_timeout, cut_off, Again::kYes);
}

/// Sends a request that the server answers within `server_timeout`, and gives up at `cut_off`.
bool Contender::Impl::wait_for_grant(Turn& turn, const std::string& request, seconds server_timeout,
                                     Clock::time_point cut_off, Again again) {
  Answer answer;
  try {
    answer = ask(turn.until(std::min(cut_off, response_deadline(server_timeout))), request, again);
  } catch (const Failure& failure) {
    give_up();
    if (failure.code() == errc::timeout && Clock::now() >= cut_off) return false;
    throw;
  }
  std::optional<Grant> grant;
  const std::error_code error = detail::read_grant(answer.line, grant);
  if (error == errc::timeout) return false;
  if (error) throw refusal(error, answer.line);
  take(turn, *std::move(grant), answer.asked);
  return true;
}

/// Keeps a grant that the server gave at `asked` or later, or gives it back and throws.
void Contender::Impl::take(Turn& turn, Grant grant, Clock::time_point asked) {
  const std::string token = grant.token;
  try {
    confirm(turn, grant, asked);
    keep(std::move(grant), asked);
    if (!turn.is_canceled()) return;
  } catch (...) {
    disconnect();  // the answer to the renewal may be under way
    give_back(token);
    throw;
  }
  std::shared_ptr<Renewal> renewal;
  {
    const std::lock_guard guard(mutex_);
    renewal = std::exchange(renewal_, nullptr);
  }
  Renewer::instance().end(renewal);
  give_back(token);
  throw Failure(errc::canceled, "canceled");
}

void Contender::Impl::confirm(Turn& turn, Grant& grant, Clock::time_point& begun) {
  if ((Clock::now() - begun) * kBelievedPart <= grant.lease_ttl) return;
  std::string request;
  detail::append_renew(request, target(), grant.token, grant.lease_ttl);
  const Answer answer = ask(turn.until(response_deadline()), request, Again::kNo);
  const std::error_code error = detail::read_remaining(answer.line, grant.lease_ttl);
  if (error == errc::not_held) {
    throw Failure(errc::lease_expired, "the grant came when its lease had run out");
  }
  if (error) throw refusal(error, answer.line);
  begun = answer.asked;
}

void Contender::Impl::keep(Grant grant, Clock::time_point begun) {
  auto renewal =
      Renewer::instance().keep({.key = options_.key,
                                .semaphore = limit_ != 0,
                                .grant = std::move(grant),
                                .ratio = options_.renew_ratio,
                                .outlives_connection = !options_.auto_release_on_disconnect,
                                .on_over = [this] { note_loss(); },
                                .on_lost = options_.on_renew_error,
                                .lane = lane_,
                                .peer = peer_,
                                .reports = reports_},
                               begun);
  const std::lock_guard guard(mutex_);
  renewal_ = std::move(renewal);
  enqueued_ = false;
  user_ = std::this_thread::get_id();
}

/// Wakes waiters: the thread that lost the lock may acquire it again.
void Contender::Impl::note_loss() {
  const std::lock_guard guard(mutex_);
  changed_.notify_all();
}

/// Forgets a grant that was lost and never released.
void Contender::Impl::forget_lost() {
  std::shared_ptr<Renewal> lost;
  {
    const std::lock_guard guard(mutex_);
    lost = std::exchange(renewal_, nullptr);
  }
  if (lost != nullptr) end_lost(lost);
}

/// A handler that waited would hold up all locks of the process.
void Contender::Impl::refuse_in_handler() {
  if (Renewer::is_handler()) {
    throw Failure(errc::invalid_argument, "on_renew_error must not wait for a lock");
  }
}

EnqueueStatus Contender::Impl::enqueue(const std::stop_token& stop) {
  refuse_in_handler();
  Turn turn(*this, stop, Clock::time_point::max(), For::kUsing);
  if (is_in_use() && !was_lost_by(std::this_thread::get_id())) {
    throw Failure(errc::already_enqueued, enqueued_ ? "enqueued already" : "held already");
  }
  forget_lost();
  std::string request;
  detail::append_enqueue(request, target(), options_.lease_ttl);
  Answer answer;
  try {
    answer = ask(turn.until(response_deadline()), request, Again::kYes);
  } catch (const Failure&) {
    give_up();
    throw;
  }
  std::optional<Grant> grant;
  if (const std::error_code error = detail::read_enqueued(answer.line, grant)) {
    throw refusal(error, answer.line);
  }
  if (grant) {
    take(turn, *std::move(grant), answer.asked);
    return EnqueueStatus::kAcquired;
  }
  const std::lock_guard guard(mutex_);
  enqueued_ = true;
  user_ = std::this_thread::get_id();
  return EnqueueStatus::kQueued;
}

bool Contender::Impl::wait(milliseconds timeout, const std::stop_token& stop) {
  client::check_timeout("timeout", timeout);
  const Clock::time_point deadline = client::later(Clock::now(), timeout);
  refuse_in_handler();
  Turn turn(*this, stop, deadline, For::kUsing);
  if (!turn.is_taken()) return false;
  if (renewal_ != nullptr) {
    if (!renewal_->is_lost(Clock::now())) return true;
    throw Failure(errc::lease_expired, "the lease ran out");
  }
  if (!enqueued_) throw Failure(errc::not_enqueued, "not enqueued");
  const auto server_timeout = std::chrono::ceil<seconds>(timeout);
  std::string request;
  detail::append_wait(request, target(), server_timeout);
  {
    const std::lock_guard guard(mutex_);
    enqueued_ = false;  // whatever the answer, the place is gone
  }
  if (!channel_) throw Failure(errc::connection, "the connection was lost, and the place with it");
  return wait_for_grant(turn, request, server_timeout,
                        server_timeout == timeout ? Clock::time_point::max() : deadline,
                        Again::kNo);
}

void Contender::Impl::release(const std::stop_token& stop, For purpose) {
  if (!is_ours()) throw Failure(errc::not_held, "it was acquired before the process was forked");
  // A handler that waited would hold up all locks of the process; and what was lost is not in use.
  const bool is_handler = purpose == For::kReleasing && Renewer::is_handler();
  Turn turn(*this, stop, is_handler ? Clock::now() : Clock::time_point::max(), purpose);
  if (!turn.is_taken()) throw Failure(errc::not_held, "another thread is using it");
  std::shared_ptr<Renewal> renewal;
  bool enqueued = false;
  {
    const std::lock_guard guard(mutex_);
    if (is_handler && Renewer::is_handler_of(*reports_) && is_in_use_again()) {
      throw Failure(errc::not_held, "it was lost, and is another thread's now");
    }
    renewal = std::exchange(renewal_, nullptr);
    enqueued = std::exchange(enqueued_, false);
  }
  if (renewal != nullptr) {
    release_grant(turn, renewal);
  } else if (enqueued) {
    abandon_place(turn);
  } else {
    throw Failure(errc::not_held, "nothing is held");
  }
}

void Contender::Impl::release_grant(Turn& turn, const std::shared_ptr<Renewal>& renewal) {
  if (renewal->is_lost(Clock::now())) {
    end_lost(renewal);
    throw Failure(errc::not_held, "it was lost before");
  }
  Renewer::instance().end(renewal);
  release_token(turn.until(response_deadline()), renewal->terms().grant.token);
}

/// Releases a lost grant: the server may have renewed it after all, with the answer too late.
void Contender::Impl::end_lost(const std::shared_ptr<Renewal>& lost) {
  Renewer& renewer = Renewer::instance();
  renewer.end(lost);
  if (!lost->is_refused() && !Renewer::is_handler()) give_back(lost->terms().grant.token);
}

/// Uses a new connection if the one of the grant was lost: the token owns the grant.
void Contender::Impl::release_token(const Limits& limits, const std::string& token) {
  std::string request;
  detail::append_release(request, target(), token);
  try {
    const Answer answer = ask(limits, request, Again::kYes);
    if (const std::error_code error = detail::read_released(answer.line)) {
      throw refusal(error, answer.line);
    }
  } catch (const Failure& failure) {
    if (failure.code() != errc::not_held) disconnect();
    throw;
  }
}

/// Keeps the connection: waits with no timeout, and gives back the grant if there is one.
void Contender::Impl::abandon_place(Turn& turn) {
  if (!channel_) return;  // the server has seen the end
  std::string request;
  detail::append_wait(request, target(), seconds(0));
  try {
    const Answer answer = ask(turn.until(response_deadline()), request, Again::kNo);
    std::optional<Grant> grant;
    if (detail::read_grant(answer.line, grant)) return;
    release_token(turn.until(response_deadline()), grant->token);
  } catch (const Failure&) {
    disconnect();  // which gives up the place too
    throw;
  }
}

void Contender::Impl::close() noexcept {
  if (!is_ours()) return;
  {
    const std::lock_guard guard(mutex_);
    ++closings_;
    ++closers_;  // no other call gets a turn before this one
    if (running_ != nullptr) running_->raise();
    changed_.notify_all();
  }
  try {
    release({}, For::kClosing);
  } catch (const std::exception&) {
    // Nothing was held, or it ends with its lease.
  }
  try {
    const Turn turn(*this, {}, Clock::time_point::max(), For::kClosing);
    disconnect();
  } catch (const std::exception&) {
    // No memory or descriptor to wait with; the destructor of the channel closes it.
  }
  const std::lock_guard guard(mutex_);
  --closers_;
}

void Contender::Impl::finish() noexcept {
  close();
  if (lane_ != nullptr) Renewer::instance().finish(*reports_);
}

void Contender::Impl::close_in_child() noexcept {
  channel_.reset();
}

/// Sends `request` and returns the answer. After a failure the channel must not be used.
Contender::Impl::Answer Contender::Impl::ask(const Limits& limits, const std::string& request,
                                             Again again) {
  const bool was_idle = channel_ && Clock::now() - last_used_ > kQuiet;
  if (channel_ && again == Again::kYes &&
      (peer_->is_gone() || (was_idle && !is_quiet(*channel_)))) {
    disconnect();
  }
  for (;;) {
    const bool reused = channel_.has_value();
    if (!reused) connect(limits, options_.connect_timeout);
    Answer answer{.line = {}, .asked = Clock::now()};
    try {
      answer.line = channel_->call(request, limits);
      last_used_ = answer.asked;
      // `error` is also what the server sends to a client that was silent for too long.
      if (!reused || !was_idle || again == Again::kNo || answer.line != "error") return answer;
    } catch (const Failure& failure) {
      const bool ended = failure.code() == errc::connection || failure.code() == errc::tls;
      const bool at_once = Clock::now() - answer.asked < kQuiet;
      if (!reused || again == Again::kNo || !ended || !at_once) throw;
    }
    disconnect();
  }
}

/// Has a limit of its own, apart from the limit of the call that needs it.
void Contender::Impl::connect(const Limits& limits, milliseconds timeout) {
  Limits own = limits;
  own.deadline = client::later(Clock::now(), timeout);
  std::optional<Channel> connected;
  try {
    connected.emplace(endpoint_, connection_options_, own);
  } catch (const Failure& failure) {
    if (failure.code() != errc::timeout) throw;
    throw Failure(errc::connection, "no connection in time");  // which is not: not granted in time
  }
  Renewer& renewer = Renewer::instance();
  if (lane_ == nullptr) lane_ = renewer.lane(endpoint_, connection_options_);
  peer_ = renewer.watch(connected->descriptor());
  channel_ = std::move(connected);
}

void Contender::Impl::disconnect() noexcept {
  channel_.reset();
  peer_.reset();
}

/// Abandons the request: leaves the queue, and gives back what was granted meanwhile.
void Contender::Impl::give_up() noexcept {
  if (!channel_) return;
  const std::string_view line = channel_->abandon(
      {.deadline = client::later(Clock::now(), kFarewell), .cancellation = nullptr});
  std::optional<Grant> grant;
  if (detail::read_grant(line, grant)) static_cast<void>(detail::read_enqueued(line, grant));
  disconnect();
  if (grant) give_back(grant->token);
}

/// Releases what the server may have taken back already, as it does when a connection ends.
void Contender::Impl::give_back(const std::string& token) noexcept {
  const Limits limits{.deadline = client::later(Clock::now(), kFarewell), .cancellation = nullptr};
  try {
    if (!channel_) connect(limits, kFarewell);
    release_token(limits, token);
  } catch (const std::exception&) {
    disconnect();  // the grant then ends with its connection or its lease
  }
}

}  // namespace dflockd
