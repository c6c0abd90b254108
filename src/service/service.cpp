#include "service/service.hpp"

#include <algorithm>
#include <utility>

#include "logging/logging.hpp"

namespace dflockd::service {

namespace {

using locks::Answer;
using locks::Instant;
using locks::Key;
using locks::OwnerId;

/// How many idle keys are collected at a time: about a millisecond's work.
constexpr std::size_t kCollectAtOnce = 4096;

/// How long to leave the disk alone after a reservation that failed.
constexpr Instant kReservationPause = std::chrono::milliseconds(100);

ServiceOptions with_bounded_leases(ServiceOptions options) {
  if (options.max_lease == std::chrono::seconds::zero()) {
    options.max_lease = std::chrono::seconds::max();
  }
  options.default_lease = std::min(options.default_lease, options.max_lease);
  return options;
}

/// The options with a secret that nobody else knows.
locks::TableOptions keyed(locks::TableOptions options, fencing::SaltPool& salts) {
  options.hash_key = {.low = salts.next(), .high = salts.next()};
  return options;
}

}  // namespace

Service::Service(const ServiceOptions& options, const base::LoopClock& clock, Host& host,
                 const Fences& fences, fencing::SaltPool::Source salts, Log* log)
    : options_(with_bounded_leases(options)),
      salts_(salts),
      table_(keyed(options.table, salts_), *this),
      clock_(clock),
      host_(host),
      log_(log),
      last_sweep_(clock.now()),
      last_collection_(clock.now()),
      can_reserve_(fences.can_be_reserved) {
  apply(locks::ReserveFences{fences.first, fences.end});
}

/// The log first: what is carried out may answer others at once.
Answer Service::apply(const locks::Command& command) {
  if (log_ != nullptr) {
    batches_.add_command();
    log_->append(now(), command);
  }
  return table_.apply(now(), command);
}

/// What becomes of what an owner leaves behind.
locks::Legacy Service::legacy() const {
  return {.keeps_grants = keeps_grants(), .orphan_ttl = options_.orphan_ttl};
}

OwnerId Service::open_owner(Waiter& waiter, OwnerInfo info) {
  const OwnerId owner = apply(locks::OpenOwner{}).owner;
  if (owner.index >= owners_.size()) owners_.resize(owner.index + 1);
  owners_[owner.index] = {std::move(info), &waiter};
  return owner;
}

bool Service::set_ref(OwnerId owner, std::string_view ref) {
  return apply(locks::SetRef{owner, ref}).outcome == locks::Outcome::kDone;
}

void Service::set_name(OwnerId owner, std::string_view name) {
  owners_[owner.index].info.name = name;
}

void Service::close_owner(OwnerId owner, std::span<const std::uint64_t> undelivered) {
  owners_[owner.index].waiter = nullptr;
  apply(locks::CloseOwner{owner, legacy(), undelivered});
  after_request();
}

void Service::release_owner(OwnerId owner) {
  owners_[owner.index].waiter = nullptr;
  apply(locks::CloseOwner{owner});
  after_request();
}

void Service::cancel_wait(OwnerId owner) {
  apply(locks::CancelWait{owner});
  after_request();
}

void Service::cancel_waits(OwnerId owner) {
  apply(locks::CancelWaits{owner, legacy()});
  after_request();
}

void Service::give_up_place(OwnerId owner, const Key& key) {
  apply(locks::GiveUpPlace{owner, key});
  after_request();
}

Answer Service::acquire(OwnerId owner, const Ask& ask, std::chrono::seconds timeout) {
  const Answer answer = apply(locks::Acquire{owner, request(ask), timeout});
  note(owner, answer);
  after_request();
  return answer;
}

Answer Service::enqueue(OwnerId owner, const Ask& ask) {
  const Answer answer = apply(locks::Enqueue{owner, request(ask)});
  if (answer.outcome == locks::Outcome::kNoFence) note_refusal();
  after_request();
  return answer;
}

Answer Service::wait(OwnerId owner, const Key& key, std::chrono::seconds timeout) {
  const Answer answer = apply(locks::Wait{owner, key, timeout});
  note(owner, answer);
  after_request();
  return answer;
}

/// Takes note of how long a grant takes, and of one that is refused for want of a fence.
void Service::note(OwnerId owner, const Answer& answer) {
  if (answer.outcome == locks::Outcome::kGranted) {
    metrics_.grant_wait.observe_none();
  } else if (answer.outcome == locks::Outcome::kQueued) {
    owners_[owner.index].waits_since = now();
  } else if (answer.outcome == locks::Outcome::kNoFence) {
    note_refusal();
  }
}

/// Says that there are no fences left, once until there are some again.
void Service::note_refusal() noexcept {
  if (out_of_fences_since_) return;
  out_of_fences_since_ = now();
  const locks::Instant waited = reserving_ ? now() - reserving_since_ : locks::Instant(0);
  logging::error("fences_ran_out",
                 {{"reserving", reserving_},
                  {"reserving_for_s", std::chrono::floor<std::chrono::seconds>(waited)}});
}

metrics::LockMetrics Service::metrics() const {
  metrics::LockMetrics metrics = metrics_;
  metrics.grants = table_.grants();
  return metrics;
}

bool Service::release(const Key& key, const locks::Token& token) {
  const Answer answer = apply(locks::Release{key, token});
  after_request();
  return answer.outcome == locks::Outcome::kDone;
}

std::chrono::seconds Service::renew(OwnerId owner, const Key& key, const locks::Token& token,
                                    std::chrono::seconds lease) {
  const Answer answer = apply(locks::Renew{owner, key, token, lease_for(lease)});
  after_request();
  return answer.lease;
}

void Service::tick() {
  if (now() - last_sweep_ >= options_.sweep_interval) {
    last_sweep_ = now();
    apply(locks::Advance{});
  }
  if (now() - last_collection_ >= options_.gc_interval) {
    const locks::CollectIdle collection{options_.gc_max_idle, kCollectAtOnce};
    const bool full = apply(collection).dropped == kCollectAtOnce;
    if (!full) last_collection_ = now();  // a full slice is followed by another at the next tick
  }
  fence_demand_.note(now(), table_.grants());
  after_request();
}

void Service::start_draining() {
  apply(locks::StartDraining{});
  after_request();
}

void Service::on_timer() {
  apply(locks::Advance{});
  arm_timer();
  after_request();
}

void Service::take_reservation(const fencing::FenceReserver::Result& result) {
  reserving_ = false;
  if (!result.error) {
    apply(locks::ReserveFences{table_.next_fence(), result.end});
    if (!out_of_fences_since_) return;
    const locks::Instant out = now() - *std::exchange(out_of_fences_since_, std::nullopt);
    logging::info("fences_available",
                  {{"refused_for_s", std::chrono::floor<std::chrono::seconds>(out)}});
    return;
  }
  next_reservation_ = now() + kReservationPause;
  if (const auto count = failed_reservations_.note(now())) {
    logging::warn("fence_reservation_failed", {{"error", result.error.message()},
                                               {"fences_left", table_.fences_left()},
                                               {"count", *count}});
  }
}

void Service::take(const locks::Effect& effect) noexcept {
  const locks::Outcome outcome = effect.answer.outcome;
  if (outcome == locks::Outcome::kLeaseExpired) return note_expiry(effect);
  const OwnerEntry& entry = owners_[effect.owner.index];
  if (outcome == locks::Outcome::kGranted) {
    metrics_.grant_wait.observe(now() - entry.waits_since);
  } else if (outcome == locks::Outcome::kNoFence) {
    note_refusal();
  }
  if (entry.waiter != nullptr) entry.waiter->wait_over(effect.answer);
}

void Service::note_expiry(const locks::Effect& effect) noexcept {
  metrics_.lease_expirations.add();
  if (!logging::enabled(logging::Level::kDebug)) return;
  const OwnerInfo& holder = info(effect.owner);
  logging::debug("lease_expired", {{"key", effect.key.name},
                                   {"semaphore", effect.key.kind == locks::Kind::kSemaphore},
                                   {"connection", holder.connection_id},
                                   {"peer", holder.peer},
                                   {"name", holder.name}});
}

/// The lease that a request gets which asks for this one, or for none.
std::chrono::seconds Service::lease_for(std::chrono::seconds asked) const {
  return asked == std::chrono::seconds::zero() ? options_.default_lease
                                               : std::min(asked, options_.max_lease);
}

locks::Request Service::request(const Ask& ask) {
  return {.key = ask.key,
          .limit = ask.limit,
          .lease = lease_for(ask.lease),
          .salt = salts_.next(),
          .shared = ask.shared};
}

/// What every change of the table may call for.
void Service::after_request() {
  if (table_.next_deadline() < armed_for_) arm_timer();
  if (table_.fences_left() < fence_demand_.low_water() && !reserving_ && can_reserve_ &&
      now() >= next_reservation_) {
    reserving_ = true;
    reserving_since_ = now();
    host_.reserve_fences(fence_demand_.step());
  }
}

/// Makes the timer fire at the table's next deadline.
void Service::arm_timer() {
  armed_for_ = table_.next_deadline();
  host_.set_timer(armed_for_);
}

}  // namespace dflockd::service
