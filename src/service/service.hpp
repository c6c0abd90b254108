// The lock service: it adds to the lock table the time of the batch, salts, default leases and
// regular work, asks for more fences in time, knows who is who, and answers whoever waits. Every
// door to the table goes through here.
//
// It knows no event loop: its host gives it a clock, a timer and a disk, be they real or simulated.
// Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/batches.hpp"
#include "base/loop_clock.hpp"
#include "fencing/fence_demand.hpp"
#include "fencing/fence_reserver.hpp"
#include "fencing/salt_pool.hpp"
#include "locks/command.hpp"
#include "locks/lock_table.hpp"
#include "logging/rate_limited.hpp"
#include "metrics/metrics.hpp"

namespace dflockd::service {

struct ServiceOptions {
  locks::TableOptions table;
  std::chrono::seconds default_lease{33};  ///< for requests that name none
  std::chrono::seconds max_lease{0};  ///< longer ones are cut to it, the default too; 0: no cap
  std::chrono::seconds sweep_interval{1};  ///< the longest time between two sweeps of the leases
  std::chrono::seconds gc_interval{5};     ///< between two collections of idle keys
  std::chrono::seconds gc_max_idle{60};    ///< how long a key may be idle
  std::chrono::seconds orphan_ttl{0};      ///< how long claims under a name outlive their owner
  bool release_on_disconnect = true;       ///< release what an owner was granted when it leaves
};

/// Hears how its owner's blocked request ended.
class Waiter {
 public:
  /// The answer to the owner's blocked `locks::Acquire` or `locks::Wait`. Called from inside
  /// another owner's request or a timer: takes note, and must not call the service.
  virtual void wait_over(const locks::Answer& answer) noexcept = 0;

 protected:
  ~Waiter() = default;
};

/// What `stats` and the log say of an owner.
struct OwnerInfo {
  std::uint64_t connection_id = 0;
  std::string peer;    ///< the peer's "address:port"
  std::string name{};  ///< what it calls itself; UTF-8 without control characters
};

/// What to acquire or enqueue for.
struct Ask {
  locks::Key key;
  std::uint32_t limit = 1;        ///< of a semaphore
  bool shared = false;            ///< of a lock
  std::chrono::seconds lease{0};  ///< 0: the default
};

/// What a service needs of the world around it.
class Host {
 public:
  /// `Service::on_timer` is to be called at `deadline`, and at no time that was set before.
  virtual void set_timer(locks::Instant deadline) = 0;

  /// So many more fences are to be reserved; `Service::take_reservation` follows, and until then
  /// this is not called again.
  virtual void reserve_fences(std::uint64_t count) = 0;

 protected:
  ~Host() = default;
};

/// Where the commands go that change the table, so that another table can be brought to the same
/// state: `Service::batches` says what of that is committed.
class Log {
 public:
  /// `command` is carried out at `now`, as part of the open batch. What it points to lives for the
  /// call only.
  virtual void append(locks::Instant now, const locks::Command& command) noexcept = 0;

 protected:
  ~Log() = default;
};

/// The fences to begin with: from `first` up to, not including, `end`.
struct Fences {
  std::uint64_t first = 1;
  std::uint64_t end = 1;
  bool can_be_reserved = false;  ///< there are more to be had
};

class Service final : private locks::EffectSink {
 public:
  /// A service whose requests happen at the time of `clock`, which must outlive it, as `host` and
  /// `log` must. Without a log, what is carried out is committed.
  Service(const ServiceOptions& options, const base::LoopClock& clock, Host& host,
          const Fences& fences, fencing::SaltPool::Source salts, Log* log = nullptr);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// The time of the current batch.
  [[nodiscard]] locks::Instant now() const { return clock_.now(); }

  /// Which answers may leave the process.
  [[nodiscard]] base::Batches& batches() { return batches_; }

  /// Makes an owner; `waiter` must live until `close_owner`.
  [[nodiscard]] locks::OwnerId open_owner(Waiter& waiter, OwnerInfo info);

  /// Names an owner, which must be done once only; false the second time. See `locks::SetRef`.
  [[nodiscard]] bool set_ref(locks::OwnerId owner, std::string_view ref);

  /// Says what an owner is called; it may be said again.
  void set_name(locks::OwnerId owner, std::string_view name);

  /// Ends an owner and, unless it has a name, releases its grants or, if `keeps_grants`, those
  /// whose tokens were not delivered: `undelivered` are the fences in answers that did not reach
  /// it, in ascending order. See `locks::CloseOwner`.
  void close_owner(locks::OwnerId owner, std::span<const std::uint64_t> undelivered);

  /// Ends an owner and releases all that it was granted, whether or not grants outlive their
  /// owners.
  void release_owner(locks::OwnerId owner);

  /// See `locks::CancelWait`.
  void cancel_wait(locks::OwnerId owner);
  /// See `locks::CancelWaits`.
  void cancel_waits(locks::OwnerId owner);
  /// See `locks::GiveUpPlace`.
  void give_up_place(locks::OwnerId owner, const locks::Key& key);

  /// What is known of an owner, also after it was closed, for as long as it holds something.
  [[nodiscard]] const OwnerInfo& info(locks::OwnerId owner) const {
    return owners_[owner.index].info;
  }

  /// True if grants outlive their owners: `--auto-release-on-disconnect=false`.
  [[nodiscard]] bool keeps_grants() const { return !options_.release_on_disconnect; }

  /// See `locks::LockTable::has_claims`.
  [[nodiscard]] bool has_claims(locks::OwnerId owner) const { return table_.has_claims(owner); }
  /// See `locks::LockTable::claims_of`.
  [[nodiscard]] locks::OwnerClaims claims_of(locks::OwnerId owner) const {
    return table_.claims_of(owner);
  }

  // As the commands of `locks::LockTable`, with the clock, a salt and the default lease filled in.
  // A `kQueued` acquire or wait is followed by `Waiter::wait_over`.
  locks::Answer acquire(locks::OwnerId owner, const Ask& ask, std::chrono::seconds timeout);
  locks::Answer enqueue(locks::OwnerId owner, const Ask& ask);
  locks::Answer wait(locks::OwnerId owner, const locks::Key& key, std::chrono::seconds timeout);
  [[nodiscard]] bool release(const locks::Key& key, const locks::Token& token);
  /// Returns how long the lease lasts now, or zero if the token holds no slot of this key.
  [[nodiscard]] std::chrono::seconds renew(locks::OwnerId owner, const locks::Key& key,
                                           const locks::Token& token, std::chrono::seconds lease);

  /// The regular work: sweeps the leases, and collects idle keys a slice at a time. To be called
  /// some times a second.
  void tick();

  /// See `locks::StartDraining`.
  void start_draining();

  /// Brings the table up to the time of the batch and visits a slice of its keys: see
  /// `locks::LockTable::visit_keys`.
  template <class Visitor>
  std::optional<std::size_t> visit_keys(std::size_t cursor, std::size_t slots, Visitor&& visit) {
    apply(locks::Advance{});
    return table_.visit_keys(cursor, slots, std::forward<Visitor>(visit));
  }

  /// The same for one key and its claims: see `locks::LockTable::visit_claims`.
  template <class Visitor>
  std::optional<locks::KeyInfo> visit_claims(const locks::Key& key, std::size_t most,
                                             Visitor&& visit) {
    apply(locks::Advance{});
    return table_.visit_claims(key, most, std::forward<Visitor>(visit));
  }

  /// What has happened so far.
  [[nodiscard]] metrics::LockMetrics metrics() const;

  /// How many of each there are now.
  [[nodiscard]] const locks::TableCounts& counts() const { return table_.counts(); }

  /// How many grants are held now.
  [[nodiscard]] std::size_t held() const { return table_.held(); }

  // --- For the host ---

  /// The time that the timer was set for has come: ends the leases and waits that are over.
  void on_timer();

  /// Takes in the end of a reservation that was asked for.
  void take_reservation(const fencing::FenceReserver::Result& result);

  [[nodiscard]] const locks::LockTable& table() const { return table_; }

 private:
  struct OwnerEntry {
    OwnerInfo info;
    Waiter* waiter = nullptr;       ///< null once closed
    locks::Instant waits_since{0};  ///< if it waits
  };

  locks::Answer apply(const locks::Command& command);
  [[nodiscard]] locks::Legacy legacy() const;
  void take(const locks::Effect& effect) noexcept override;
  void note_expiry(const locks::Effect& effect) noexcept;

  void note(locks::OwnerId owner, const locks::Answer& answer);
  void note_refusal() noexcept;
  [[nodiscard]] std::chrono::seconds lease_for(std::chrono::seconds asked) const;
  locks::Request request(const Ask& ask);
  void after_request();
  void arm_timer();

  const ServiceOptions options_;
  fencing::SaltPool salts_;
  locks::LockTable table_;
  std::vector<OwnerEntry> owners_;  ///< by the owner's index
  const base::LoopClock& clock_;
  Host& host_;
  Log* const log_;
  base::Batches batches_;

  locks::Instant armed_for_ = locks::kNever;
  locks::Instant last_sweep_;
  locks::Instant last_collection_;

  const bool can_reserve_;
  fencing::FenceDemand fence_demand_;
  bool reserving_ = false;
  locks::Instant reserving_since_{0};
  std::optional<locks::Instant> out_of_fences_since_;
  locks::Instant next_reservation_{0};  ///< not before, after one that failed
  logging::RateLimited failed_reservations_;
  metrics::LockMetrics metrics_;
};

}  // namespace dflockd::service
