// The lock table brought to life: the service gives it a clock, salts, fences and a timer, and
// tells whoever waits how the wait ended. Every door to the table goes through here.
//
// One a process; used from the loop's thread only. Callers read the clock once for each batch of
// requests with `refresh_clock`; the requests of the batch all happen at that time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <asio/posix/basic_stream_descriptor.hpp>

#include "fencing/fence_reserver.hpp"
#include "fencing/salt_pool.hpp"
#include "locks/lock_table.hpp"
#include "logging/rate_limited.hpp"
#include "metrics/metrics.hpp"
#include "net/net.hpp"

namespace dflockd::reactor {

struct ServiceOptions {
  locks::TableOptions table;
  std::chrono::seconds default_lease{33};  ///< for requests that name none
  std::chrono::seconds sweep_interval{1};  ///< the longest time between two sweeps of the leases
  std::chrono::seconds gc_interval{5};     ///< between two collections of idle keys
  std::chrono::seconds gc_max_idle{60};    ///< how long a key may be idle
  bool release_on_disconnect = true;       ///< release what an owner was granted when it leaves
};

/// Where fences come from: a range to begin with, and who reserves more, or null if the range is
/// all there will ever be.
struct FenceSource {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  std::unique_ptr<fencing::FenceReserver> reserver;
};

/// Hears how its owner's blocked request ended.
class Waiter {
 public:
  /// See `locks::Events::wait_over`. Called from inside another owner's request or a timer: it
  /// takes note and returns, and must not call the service.
  virtual void wait_over(const locks::Answer& answer) noexcept = 0;

 protected:
  ~Waiter() = default;
};

/// What `stats` and the log say of an owner.
struct OwnerInfo {
  std::uint64_t connection_id = 0;
  std::string peer;  ///< the peer's "address:port"
};

class LockService final : private locks::Events {
 public:
  /// `context` must outlive the service, and be run by one thread.
  LockService(asio::io_context& context, const ServiceOptions& options, FenceSource fences);
  ~LockService() override;
  LockService(const LockService&) = delete;
  LockService& operator=(const LockService&) = delete;

  /// Reads the clock for the requests to come.
  void refresh_clock() { now_ = std::chrono::steady_clock::now().time_since_epoch(); }
  /// The time of the current batch.
  [[nodiscard]] locks::Instant now() const { return now_; }

  /// Makes an owner; `waiter` must live until `close_owner`. Throws std::bad_alloc.
  [[nodiscard]] locks::OwnerId open_owner(Waiter& waiter, OwnerInfo info);

  /// Ends an owner and releases what it was granted or, if `keeps_grants`, what it was granted and
  /// has not been told: `untold` are the fences of the answers that did not reach it, in ascending
  /// order. See `locks::LockTable::close_owner_keeping_grants`.
  void close_owner(locks::OwnerId owner, std::span<const std::uint64_t> untold);

  /// Ends an owner and releases all that it was granted, whether or not grants outlive their
  /// owners.
  void release_owner(locks::OwnerId owner);

  /// See `locks::LockTable::cancel_wait`.
  void cancel_wait(locks::OwnerId owner);

  /// What is known of an owner, also after it was closed, for as long as it holds something.
  [[nodiscard]] const OwnerInfo& info(locks::OwnerId owner) const {
    return owners_[owner.index].info;
  }

  /// True if grants outlive their owners: `--auto-release-on-disconnect=false`.
  [[nodiscard]] bool keeps_grants() const { return !options_.release_on_disconnect; }

  /// See `locks::LockTable::has_claims`.
  [[nodiscard]] bool has_claims(locks::OwnerId owner) const { return table_.has_claims(owner); }

  // As the functions of `locks::LockTable`, with the clock, a salt, and the default lease filled in
  // where `lease` is zero. A `kQueued` acquire or wait is followed by `Waiter::wait_over`.
  locks::Answer acquire(locks::OwnerId owner, const locks::KeyName& key, std::uint32_t limit,
                        std::chrono::seconds timeout, std::chrono::seconds lease);
  locks::Answer enqueue(locks::OwnerId owner, const locks::KeyName& key, std::uint32_t limit,
                        std::chrono::seconds lease);
  locks::Answer wait(locks::OwnerId owner, const locks::KeyName& key, std::chrono::seconds timeout);
  [[nodiscard]] bool release(const locks::KeyName& key, const locks::Token& token);
  /// Returns how long the lease lasts now, or zero if the token holds no slot of this key.
  [[nodiscard]] std::chrono::seconds renew(const locks::KeyName& key, const locks::Token& token,
                                           std::chrono::seconds lease);

  /// The regular work: sweeps the leases, and collects idle keys a slice at a time. To be called
  /// some times a second.
  void tick();

  /// See `locks::LockTable::start_draining`.
  void start_draining();

  /// Ends the service's timer and its watch over reservations, so that the loop can end.
  void stop();

  /// Brings the table up to the time of the batch and visits a slice of its keys: see
  /// `locks::LockTable::visit_keys`.
  template <class Visitor>
  std::optional<std::size_t> visit_keys(std::size_t cursor, std::size_t slots, Visitor&& visit) {
    table_.advance(now_);
    return table_.visit_keys(cursor, slots, std::forward<Visitor>(visit));
  }

  /// What has happened so far.
  [[nodiscard]] metrics::LockMetrics metrics() const;

  /// How many of each there are now.
  [[nodiscard]] const locks::TableCounts& counts() const { return table_.counts(); }

  /// How many grants are held now.
  [[nodiscard]] std::size_t held() const { return table_.held(); }

  /// Whether fences are being reserved: then the end of the service waits for the disk.
  [[nodiscard]] bool waits_for_disk() const { return reserver_ != nullptr && reserver_->busy(); }

 private:
  struct OwnerEntry {
    OwnerInfo info;
    Waiter* waiter = nullptr;       ///< null once closed
    locks::Instant waits_since{0};  ///< if it waits
  };

  void wait_over(locks::OwnerId owner, const locks::Answer& answer) noexcept override;
  void lease_expired(locks::OwnerId owner, const locks::KeyName& key) noexcept override;

  void note(locks::OwnerId owner, const locks::Answer& answer);
  locks::Request request(const locks::KeyName& key, std::uint32_t limit,
                         std::chrono::seconds lease);
  void after_request();
  void arm_timer();
  net::Awaitable run_timer();
  void reserve_fences();
  net::Awaitable collect_reservations();

  const ServiceOptions options_;
  fencing::SaltPool salts_;
  locks::LockTable table_;
  std::vector<OwnerEntry> owners_;  ///< by the owner's index
  locks::Instant now_{0};

  net::Timer timer_;
  locks::Instant armed_for_ = locks::kNever;
  locks::Instant last_sweep_{0};
  locks::Instant last_collection_{0};

  bool stopped_ = false;

  std::unique_ptr<fencing::FenceReserver> reserver_;
  asio::posix::basic_stream_descriptor<net::Executor> reservation_ready_;
  locks::Instant next_reservation_{0};  ///< not before, after one that failed
  logging::RateLimited failed_reservations_;
  metrics::LockMetrics metrics_;
};

}  // namespace dflockd::reactor
