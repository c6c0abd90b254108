#include "reactor/lock_service.hpp"

#include <new>
#include <utility>

#include "logging/logging.hpp"
#include "memory/reserve.hpp"

namespace dflockd::reactor {

namespace {

using locks::Answer;
using locks::Instant;
using locks::KeyName;
using locks::OwnerId;

/// How many idle keys are collected at a time: about a millisecond's work.
constexpr std::size_t kCollectAtOnce = 4096;

/// The reserve that is left when more is asked for: half of what one reservation gives, so that an
/// fsync may take as long as half a million grants.
constexpr std::uint64_t kLowReserve = fencing::FenceFile::kDefaultStep / 2;

/// How long to leave the disk alone after a reservation that failed.
constexpr Instant kReservationPause = std::chrono::milliseconds(100);

}  // namespace

namespace {

/// What follows would keep memory.
void require_memory() {
  if (memory::is_short()) throw std::bad_alloc();
}

/// The options with a secret that nobody else knows.
locks::TableOptions keyed(locks::TableOptions options, fencing::SaltPool& salts) {
  options.hash_key = {.low = salts.next(), .high = salts.next()};
  return options;
}

}  // namespace

LockService::LockService(asio::io_context& context, const ServiceOptions& options,
                         FenceSource fences)
    : options_(options),
      table_(keyed(options.table, salts_), *this),
      timer_(context.get_executor()),
      reserver_(std::move(fences.reserver)),
      reservation_ready_(context.get_executor()) {
  refresh_clock();
  last_sweep_ = last_collection_ = now_;
  table_.reserve_fences(fences.first, fences.end);
  net::spawn(context, run_timer());
  if (reserver_ != nullptr) net::spawn(context, collect_reservations());
}

LockService::~LockService() {
  // The descriptor belongs to the reserver.
  if (reservation_ready_.is_open()) reservation_ready_.release();
}

OwnerId LockService::open_owner(Waiter& waiter, OwnerInfo info) {
  require_memory();
  // Before there is an owner to be lost: an index is at most one more than there have been.
  if (owners_.size() == owners_.capacity()) owners_.reserve(2 * owners_.size() + 1);
  const OwnerId owner = table_.open_owner();
  if (owner.index >= owners_.size()) owners_.resize(owner.index + 1);
  owners_[owner.index] = {std::move(info), &waiter};
  return owner;
}

void LockService::close_owner(OwnerId owner, std::span<const std::uint64_t> untold) {
  owners_[owner.index].waiter = nullptr;
  if (keeps_grants()) {
    table_.close_owner_keeping_grants(now_, owner, untold);
  } else {
    table_.close_owner(now_, owner);
  }
  after_request();
}

void LockService::release_owner(OwnerId owner) {
  owners_[owner.index].waiter = nullptr;
  table_.close_owner(now_, owner);
  after_request();
}

void LockService::cancel_wait(OwnerId owner) {
  table_.cancel_wait(now_, owner);
  after_request();
}

Answer LockService::acquire(OwnerId owner, const KeyName& key, std::uint32_t limit,
                            std::chrono::seconds timeout, std::chrono::seconds lease) {
  require_memory();
  const Answer answer = table_.acquire(now_, owner, request(key, limit, lease), timeout);
  note(owner, answer);
  after_request();
  return answer;
}

Answer LockService::enqueue(OwnerId owner, const KeyName& key, std::uint32_t limit,
                            std::chrono::seconds lease) {
  require_memory();
  const Answer answer = table_.enqueue(now_, owner, request(key, limit, lease));
  after_request();
  return answer;
}

Answer LockService::wait(OwnerId owner, const KeyName& key, std::chrono::seconds timeout) {
  const Answer answer = table_.wait(now_, owner, key, timeout);
  note(owner, answer);
  after_request();
  return answer;
}

/// Takes note of how long a grant takes.
void LockService::note(OwnerId owner, const Answer& answer) {
  if (answer.outcome == locks::Outcome::kGranted) {
    metrics_.grant_wait.observe_none();
  } else if (answer.outcome == locks::Outcome::kQueued) {
    owners_[owner.index].waits_since = now_;
  }
}

metrics::LockMetrics LockService::metrics() const {
  metrics::LockMetrics metrics = metrics_;
  metrics.grants = table_.grants();
  return metrics;
}

bool LockService::release(const KeyName& key, const locks::Token& token) {
  const bool released = table_.release(now_, key, token);
  after_request();
  return released;
}

std::chrono::seconds LockService::renew(const KeyName& key, const locks::Token& token,
                                        std::chrono::seconds lease) {
  if (lease == std::chrono::seconds::zero()) lease = options_.default_lease;
  const bool renewed = table_.renew(now_, key, token, lease);
  after_request();
  return renewed ? lease : std::chrono::seconds::zero();
}

void LockService::tick() {
  if (now_ - last_sweep_ >= options_.sweep_interval) {
    last_sweep_ = now_;
    table_.advance(now_);
  }
  if (now_ - last_collection_ >= options_.gc_interval &&
      table_.collect_idle(now_, options_.gc_max_idle, kCollectAtOnce) < kCollectAtOnce) {
    last_collection_ = now_;  // a full slice is followed by another at the next tick
  }
  after_request();
}

void LockService::start_draining() {
  table_.start_draining(now_);
  after_request();
}

void LockService::stop() {
  stopped_ = true;
  timer_.cancel();
  std::error_code ignored;
  if (reservation_ready_.is_open()) reservation_ready_.cancel(ignored);
}

void LockService::wait_over(OwnerId owner, const Answer& answer) noexcept {
  const OwnerEntry& entry = owners_[owner.index];
  if (answer.outcome == locks::Outcome::kGranted) {
    metrics_.grant_wait.observe(now_ - entry.waits_since);
  }
  if (entry.waiter != nullptr) entry.waiter->wait_over(answer);
}

void LockService::lease_expired(OwnerId owner, const KeyName& key) noexcept {
  metrics_.lease_expirations.add();
  if (!logging::enabled(logging::Level::kDebug)) return;
  const OwnerInfo& holder = info(owner);
  logging::debug("lease_expired", {{"key", key.name},
                                   {"semaphore", key.kind == locks::Kind::kSemaphore},
                                   {"connection", holder.connection_id},
                                   {"peer", holder.peer}});
}

locks::Request LockService::request(const KeyName& key, std::uint32_t limit,
                                    std::chrono::seconds lease) {
  return {.key = key,
          .limit = limit,
          .lease = lease == std::chrono::seconds::zero() ? options_.default_lease : lease,
          .salt = salts_.next()};
}

/// What every change of the table may call for.
void LockService::after_request() {
  if (table_.next_deadline() < armed_for_) arm_timer();
  if (reserver_ != nullptr && table_.fences_left() < kLowReserve) reserve_fences();
}

/// Makes the timer fire at the table's next deadline.
void LockService::arm_timer() {
  armed_for_ = table_.next_deadline();
  timer_.expires_at(std::chrono::steady_clock::time_point(armed_for_));
}

/// Brings the table up to date whenever a deadline comes. Moving the timer wakes this up, to wait
/// again for the new time.
net::Awaitable LockService::run_timer() {
  timer_.expires_at(std::chrono::steady_clock::time_point::max());
  while (!stopped_) {
    std::error_code moved;
    co_await timer_.async_wait(net::into(moved));
    if (moved) continue;
    refresh_clock();
    table_.advance(now_);
    arm_timer();
    after_request();
  }
}

void LockService::reserve_fences() {
  if (reserver_->busy() || now_ < next_reservation_) return;
  reserver_->request();
}

/// Takes in what the reserver's thread has done.
net::Awaitable LockService::collect_reservations() {
  reservation_ready_.assign(reserver_->notify_fd());
  while (!stopped_) {
    std::error_code stopped;
    co_await reservation_ready_.async_wait(asio::posix::descriptor_base::wait_read,
                                           net::into(stopped));
    if (stopped) continue;
    const auto result = reserver_->take_result();
    if (!result) continue;
    refresh_clock();
    if (!result->error) {
      table_.reserve_fences(table_.next_fence(), result->end);
      continue;
    }
    next_reservation_ = now_ + kReservationPause;
    if (const auto count = failed_reservations_.note(now_)) {
      logging::warn("fence_reservation_failed", {{"error", result->error.message()},
                                                 {"fences_left", table_.fences_left()},
                                                 {"count", *count}});
    }
  }
}

}  // namespace dflockd::reactor
