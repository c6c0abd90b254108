#include "client/renewer.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>

#include "base/descriptor.hpp"
#include "client/failure.hpp"
#include "client/lane.hpp"
#include "client/process.hpp"

namespace dflockd::client {
namespace {

using std::chrono::milliseconds;

/// Renewals that are due this close together are made together.
constexpr milliseconds kTogether{100};
/// How long the server may take to notice that a connection has ended: it probes a silent one after
/// 30 s, and gives it up another 30 s later. With a margin.
constexpr milliseconds kUnnoticed{75'000};

/// The owner whose handler this thread is calling; null if none.
thread_local const Reports* handled = nullptr;

/// Guarded by `process_mutex`.
struct Instance {
  Renewer* renewer = nullptr;  ///< never destroyed: locks with static storage use it to the end
  unsigned generation = 0;
};

Instance& process_instance() {
  static auto& instance = *new Instance;
  return instance;
}

/// 0 to 1.
double random_part() {
  thread_local std::minstd_rand generator(std::random_device{}());
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

Clock::duration part_of(std::chrono::seconds lease, double part) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(lease) * part);
}

}  // namespace

Clock::time_point safe_end(Clock::time_point begun, std::chrono::seconds lease) {
  constexpr std::chrono::seconds kForever = std::chrono::hours(24 * 365 * 100);
  return begun + Clock::duration(std::min(lease, kForever)) / 1000 * 999;
}

/// The event loop and its thread.
class Renewer::Loop {
 public:
  explicit Loop(Renewer& renewer)
      : renewer_(renewer),
        timer_(io_, checked(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK))),
        hang_ups_(io_, checked(::epoll_create1(EPOLL_CLOEXEC))) {
    await_timer();
    await_hang_ups();
    thread_ = start_quiet_thread([this] { io_.run(); });
  }

  asio::io_context& io() { return io_; }
  [[nodiscard]] bool is_this_thread() const {
    return std::this_thread::get_id() == thread_.get_id();
  }

  void stop() {
    io_.stop();
    if (!is_this_thread() && thread_.joinable()) thread_.join();
  }

  /// From any thread.
  void arm(Clock::time_point time) {
    const auto since = std::max(time.time_since_epoch(), Clock::duration(1));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
    itimerspec spec{};
    spec.it_value.tv_sec = seconds.count();
    spec.it_value.tv_nsec = (since - seconds).count();
    ::timerfd_settime(timer_.native_handle(), TFD_TIMER_ABSTIME, &spec, nullptr);
  }

  /// From any thread. Once: epoll would report the end of a connection for ever if a child has it
  /// open too.
  void watch(int socket, std::uint64_t id) {
    epoll_event event{};
    event.events = EPOLLRDHUP | EPOLLONESHOT;
    event.data.u64 = id;
    checked(::epoll_ctl(hang_ups_.native_handle(), EPOLL_CTL_ADD, socket, &event));
  }

  std::vector<std::uint64_t> take_hang_ups() {
    std::array<epoll_event, 256> events{};
    const int count =
        ::epoll_wait(hang_ups_.native_handle(), events.data(), static_cast<int>(events.size()), 0);
    std::vector<std::uint64_t> ids(static_cast<std::size_t>(std::max(count, 0)));
    std::transform(events.begin(), events.begin() + ids.size(), ids.begin(),
                   [](const epoll_event& event) { return event.data.u64; });
    return ids;
  }

 private:
  static int checked(int result) {
    if (result < 0) throw system_failure(errc::connection, errno);
    return result;
  }

  void await_timer() {
    timer_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const std::error_code& e) {
      if (e) return;
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t size = ::read(timer_.native_handle(), &count, sizeof count);
      renewer_.run_timeline();
      await_timer();
    });
  }

  void await_hang_ups() {
    hang_ups_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [this](const std::error_code& e) {
                           if (e) return;
                           renewer_.hang_ups();
                           await_hang_ups();
                         });
  }

  Renewer& renewer_;
  asio::io_context io_;
  asio::posix::stream_descriptor timer_;
  asio::posix::stream_descriptor hang_ups_;
  std::thread thread_;
};

Renewer::Renewer() : loop_(std::make_unique<Loop>(*this)) {}

Renewer::~Renewer() = default;

Renewer& Renewer::instance() {
  Instance& instance = process_instance();
  const std::lock_guard guard(process_mutex());
  if (instance.renewer == nullptr || instance.generation != fork_generation()) {
    instance.renewer = new Renewer;
    instance.generation = fork_generation();
    std::atexit(
        &Renewer::stop_at_exit);  // before the libraries that the thread uses are cleaned up
  }
  return *instance.renewer;
}

void Renewer::stop_at_exit() {
  const Instance& instance = process_instance();
  if (instance.renewer == nullptr || instance.generation != fork_generation()) return;
  instance.renewer->stop();
}

void Renewer::stop() {
  loop_->stop();
  const std::lock_guard guard(mutex_);
  stopped_ = true;
  reported_.notify_all();
}

std::shared_ptr<Lane> Renewer::lane(const Endpoint& endpoint, const ConnectionOptions& options) {
  std::string name = endpoint.text() + '\n' + options.auth_token + '\n' +
                     std::to_string(options.connect_timeout.count()) + '\n' +
                     std::to_string(options.response_timeout.count());
  if (options.tls) {
    for (const std::string& text : {options.tls->ca_file, options.tls->cert_file,
                                    options.tls->key_file, options.tls->server_name}) {
      name.append("\n").append(text);
    }
  }
  const std::lock_guard guard(mutex_);
  std::erase_if(lanes_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Lane>& known = lanes_[name];
  if (auto lane = known.lock()) return lane;
  asio::io_context& io = loop_->io();
  std::shared_ptr<Lane> lane(
      new Lane(io, *this, endpoint, options), [&io, process = fork_generation()](Lane* ended) {
        if (process != fork_generation()) return;  // the thread is the parent's
        asio::post(io,
                   [owner = std::unique_ptr<Lane>(ended)] {});  // its sockets belong to the thread
      });
  known = lane;
  return lane;
}

std::shared_ptr<Peer> Renewer::watch(int socket) {
  // Made before the mutex is locked, since its destructor locks it.
  std::shared_ptr<Peer> peer(new Peer, [this, process = fork_generation()](Peer* ended) {
    if (process == fork_generation()) {
      const std::lock_guard forgetting(mutex_);
      peers_.erase(ended->id_);
    }
    delete ended;
  });
  const std::lock_guard guard(mutex_);
  peer->id_ = ++next_peer_;
  peers_[peer->id_] = peer;
  loop_->watch(socket, peer->id_);
  return peer;
}

std::shared_ptr<Renewal> Renewer::keep(RenewalTerms terms, Clock::time_point begun) {
  auto renewal = std::make_shared<Renewal>(std::move(terms));
  renewal->end_ = safe_end(begun, renewal->terms().grant.lease_ttl).time_since_epoch().count();
  const std::lock_guard guard(mutex_);
  renewal->terms().peer->holder_ = renewal;
  schedule_renewal(renewal, begun);
  if (renewal->terms().peer->is_gone()) doubt(renewal);
  return renewal;
}

void Renewer::end(const std::shared_ptr<Renewal>& renewal) noexcept {
  const std::lock_guard guard(mutex_);
  // An overdue lease was lost, even if the thread has not noticed yet.
  if (Clock::now() >= renewal->end() && begin_losing(*renewal)) {
    asio::post(loop_->io(), [this, renewal] { report_end(*renewal); });
    return;
  }
  unschedule(*renewal);
  if (renewal->state_ != Renewal::State::kLost) renewal->state_ = Renewal::State::kEnded;
  renewal->over_.notify_all();
}

void Renewer::finish(Reports& reports) noexcept {
  std::unique_lock lock(mutex_);
  if (!loop_->is_this_thread()) {
    reported_.wait(lock, [&] { return reports.outstanding == 0 || stopped_; });
  }
  reports.dropped = true;
}

bool Renewer::is_handler() noexcept {
  return handled != nullptr;
}

bool Renewer::is_handler_of(const Reports& reports) noexcept {
  return handled == &reports;
}

bool Renewer::wait_lost(Renewal& renewal, std::stop_token stop) {
  using State = Renewal::State;
  std::unique_lock lock(mutex_);
  renewal.over_.wait(lock, std::move(stop), [&renewal] {
    return renewal.state_ == State::kLost || renewal.state_ == State::kEnded;
  });
  return renewal.state_ == State::kLost;
}

void Renewer::schedule(const std::shared_ptr<Renewal>& renewal, Clock::time_point time) {
  unschedule(*renewal);
  renewal->next_ = timeline_.emplace(time, renewal);
  renewal->scheduled_ = true;
  if (time < armed_) arm(time);
}

void Renewer::unschedule(Renewal& renewal) {
  if (std::exchange(renewal.scheduled_, false)) timeline_.erase(renewal.next_);
}

void Renewer::arm(Clock::time_point time) {
  armed_ = time;
  loop_->arm(time);
}

/// Plans the renewal of a lease that began, or was renewed, at `renewed`.
void Renewer::schedule_renewal(const std::shared_ptr<Renewal>& renewal, Clock::time_point renewed) {
  const RenewalTerms& terms = renewal->terms();
  renewal->due_ = terms.ratio == 0;
  if (renewal->due_) return schedule(renewal, renewal->end());
  const double part = terms.ratio * (1 - random_part() / 10);
  schedule(renewal, std::min(renewed + part_of(terms.grant.lease_ttl, part), renewal->end()));
}

/// The connection that the grant came by has ended.
void Renewer::doubt(const std::shared_ptr<Renewal>& renewal) {
  if (renewal->state_ != Renewal::State::kHeld || renewal->terms().outlives_connection) return;
  renewal->state_ = Renewal::State::kInDoubt;
  renewal->sure_from_ = Clock::now() + kUnnoticed;
  renewal->last_failure_ = "the connection was lost";
  if (!renewal->due_) schedule(renewal, Clock::now());
}

void Renewer::hang_ups() {
  const std::vector<std::uint64_t> ids = loop_->take_hang_ups();
  std::vector<std::shared_ptr<Peer>>
      peers;  // destroyed after the mutex is unlocked, since their destructor locks it
  const std::lock_guard guard(mutex_);
  for (const std::uint64_t id : ids) {
    const auto known = peers_.find(id);
    if (known == peers_.end()) continue;
    auto peer = known->second.lock();
    if (peer == nullptr) continue;
    peer->gone_.store(true, std::memory_order_release);
    if (const auto holder = peer->holder_.lock()) doubt(holder);
    peers.push_back(std::move(peer));
  }
}

void Renewer::run_timeline() {
  std::map<std::shared_ptr<Lane>, std::vector<std::shared_ptr<Renewal>>> due;
  std::vector<std::shared_ptr<Renewal>> lost;
  {
    const std::lock_guard guard(mutex_);
    armed_ = Clock::time_point::min();  // `schedule` does not arm for each of those below
    const Clock::time_point now = Clock::now();
    while (!timeline_.empty()) {
      const auto [time, renewal] = *timeline_.begin();
      const Clock::duration early =
          renewal->due_ ? Clock::duration(0)
                        : std::min<Clock::duration>(
                              kTogether, Clock::duration(renewal->terms().grant.lease_ttl) / 100);
      if (time > now + early) break;
      unschedule(*renewal);
      if (now >= renewal->end()) {
        if (begin_losing(*renewal)) lost.push_back(renewal);
        continue;
      }
      renewal->due_ = true;
      schedule(renewal, renewal->end());
      due[renewal->terms().lane].push_back(renewal);
    }
    armed_ = Clock::time_point::max();
    if (!timeline_.empty()) arm(timeline_.begin()->first);
  }
  for (auto& [lane, renewals] : due) lane->renew(std::move(renewals));
  for (const auto& renewal : lost) report_end(*renewal);
}

/// Reports a lease that ran out.
void Renewer::report_end(Renewal& renewal) {
  const std::string& failure = renewal.last_failure_;  // it does not change any more
  report(renewal, errc::lease_expired,
         failure.empty() ? "the lease ran out"
                         : "the lease ran out and could not be renewed: " + failure);
}

/// Marks it as lost, unless it is or was released. The caller that gets true calls `report`.
bool Renewer::begin_losing(Renewal& renewal) {
  using State = Renewal::State;
  if (renewal.state_ == State::kLost || renewal.state_ == State::kEnded) return false;
  unschedule(renewal);
  renewal.state_ = State::kLost;
  ++renewal.terms().reports->outstanding;
  renewal.over_.notify_all();
  return true;
}

void Renewer::report(Renewal& renewal, errc code, const std::string& reason) {
  const RenewalTerms& terms = renewal.terms();
  if (!is_dropped(*terms.reports)) {
    const auto call = [&]() noexcept {
      terms.on_over();
      if (!terms.on_lost) return;
      handled = terms.reports.get();
      terms.on_lost(to_error(Failure(code, reason), terms.lane->endpoint().text(),
                             "keep " + in_quotes(terms.key)));
    };
    call();
    handled = nullptr;
  }
  const std::lock_guard guard(mutex_);
  --terms.reports->outstanding;
  reported_.notify_all();
}

bool Renewer::is_dropped(const Reports& reports) const {
  const std::lock_guard guard(mutex_);
  return reports.dropped;
}

void Renewer::renewed(const std::shared_ptr<Renewal>& renewal, Clock::time_point sent,
                      std::chrono::seconds lease) {
  const std::lock_guard guard(mutex_);
  using State = Renewal::State;
  if (renewal->state_ == State::kLost || renewal->state_ == State::kEnded) return;
  renewal->end_ = safe_end(sent, lease).time_since_epoch().count();
  renewal->last_failure_.clear();
  schedule_renewal(renewal, sent);
  if (renewal->state_ == State::kInDoubt && sent >= renewal->sure_from_) {
    renewal->state_ = State::kHeld;
  }
}

void Renewer::refused(const std::shared_ptr<Renewal>& renewal) {
  {
    const std::lock_guard guard(mutex_);
    if (!begin_losing(*renewal)) return;
    renewal->refused_ = true;
  }
  report(*renewal, errc::not_held, "the server does not know the grant any more");
}

void Renewer::failed(const std::shared_ptr<Renewal>& renewal, const std::string& reason) {
  const std::lock_guard guard(mutex_);
  using State = Renewal::State;
  if (renewal->state_ == State::kLost || renewal->state_ == State::kEnded) return;
  renewal->last_failure_ = reason;
}

bool Renewer::wants(const Renewal& renewal) const {
  using State = Renewal::State;
  const std::lock_guard guard(mutex_);
  return renewal.state_ != State::kLost && renewal.state_ != State::kEnded &&
         Clock::now() < renewal.end();
}

}  // namespace dflockd::client
