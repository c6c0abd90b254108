// Keeps what is held: one thread for all locks and semaphores of the process renews their leases
// and notices when one is lost.
//
// A grant can be renewed over any connection, so the thread has one of its own to each server and
// sends the renewals of all grants there together. It also watches the connections that the grants
// came by: when one ends, the server may have taken its grants back, and only a renewal shows it.
//
// Thread-safe. After `fork` the child has a renewer of its own; what was held before is the
// parent's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include <dflockd/options.hpp>

#include "client/arguments.hpp"
#include "client/process.hpp"
#include "client/renewal.hpp"

namespace dflockd::client {

class Lane;

/// Until when a lease that began at `begun` or later surely lasts: a thousandth less than its
/// length, since the server's clock may be faster.
[[nodiscard]] Clock::time_point safe_end(Clock::time_point begun, std::chrono::seconds lease);

/// The thread and what it looks after.
class Renewer : private RenewalSink {
 public:
  /// The process's renewer, made when it is first asked for. Throws `Failure` if it cannot be.
  [[nodiscard]] static Renewer& instance();

  Renewer(const Renewer&) = delete;
  Renewer& operator=(const Renewer&) = delete;

  /// The lane that renews at `endpoint` with `options`: one for all callers that ask for the same.
  [[nodiscard]] std::shared_ptr<Lane> lane(const Endpoint& endpoint,
                                           const ConnectionOptions& options);

  /// Watches the connection of `socket` until the result is destroyed or the socket closed.
  [[nodiscard]] std::shared_ptr<Peer> watch(int socket);

  /// Keeps a grant whose lease began no earlier than `begun`.
  [[nodiscard]] std::shared_ptr<Renewal> keep(RenewalTerms terms, Clock::time_point begun);

  /// Stops renewing. If it was lost before, or its lease is over, `on_lost` may be about to be
  /// called.
  void end(const std::shared_ptr<Renewal>& renewal) noexcept;

  /// Waits until no `on_lost` of the owner is being called or about to be (unless called from one),
  /// and keeps any other from following.
  void finish(Reports& reports) noexcept;

  /// Whether the caller is `on_lost`, of any owner.
  [[nodiscard]] static bool is_handler() noexcept;
  /// Whether the caller is the `on_lost` of this one.
  [[nodiscard]] static bool is_handler_of(const Reports& reports) noexcept;

  /// Waits until `renewal` is lost: true; false if it was ended, or `stop` was requested.
  [[nodiscard]] bool wait_lost(Renewal& renewal, std::stop_token stop);

 private:
  class Loop;

  Renewer();
  ~Renewer();
  static void stop_at_exit();
  void stop();

  void schedule(const std::shared_ptr<Renewal>& renewal, Clock::time_point time);
  void unschedule(Renewal& renewal);
  void schedule_renewal(const std::shared_ptr<Renewal>& renewal, Clock::time_point renewed);
  void run_timeline();
  void doubt(const std::shared_ptr<Renewal>& renewal);
  bool begin_losing(Renewal& renewal);
  [[nodiscard]] bool is_dropped(const Reports& reports) const;
  void report_end(Renewal& renewal);
  void report(Renewal& renewal, errc code, const std::string& reason);
  void hang_ups();
  void arm(Clock::time_point time);

  void renewed(const std::shared_ptr<Renewal>& renewal, Clock::time_point sent,
               std::chrono::seconds lease) override;
  void refused(const std::shared_ptr<Renewal>& renewal) override;
  void failed(const std::shared_ptr<Renewal>& renewal, const std::string& reason) override;
  [[nodiscard]] bool wants(const Renewal& renewal) const override;

  mutable std::mutex mutex_;
  std::condition_variable reported_;
  bool stopped_ = false;  ///< the process exits: nothing is renewed or reported any more
  Renewal::Timeline timeline_;
  Clock::time_point armed_ = Clock::time_point::max();
  std::map<std::uint64_t, std::weak_ptr<Peer>> peers_;
  std::uint64_t next_peer_ = 0;
  std::map<std::string, std::weak_ptr<Lane>> lanes_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace dflockd::client
