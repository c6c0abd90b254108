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

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include <dflockd/grant.hpp>
#include <dflockd/options.hpp>

#include "client/arguments.hpp"
#include "client/process.hpp"

namespace dflockd::client {

class Lane;
class Renewal;

/// Until when a lease that began at `begun` or later surely lasts: a thousandth less than its
/// length, since the server's clock may be faster.
[[nodiscard]] Clock::time_point safe_end(Clock::time_point begun, std::chrono::seconds lease);

/// A connection that grants came by, watched for its end.
class Peer {
 public:
  /// Whether the connection is known to have ended.
  [[nodiscard]] bool is_gone() const noexcept { return gone_.load(std::memory_order_acquire); }

 private:
  friend class Renewer;
  std::uint64_t id_ = 0;
  std::atomic<bool> gone_ = false;
  std::weak_ptr<Renewal> holder_;  ///< what was granted over it, guarded by the renewer's mutex
};

/// The calls of `on_lost` that one owner is due. Guarded by the renewer's mutex.
struct Reports {
  int outstanding = 0;   ///< lost, but the call has not returned yet
  bool dropped = false;  ///< the owner is gone; do not call
};

/// What a grant is renewed with.
struct RenewalTerms {
  std::string key;
  bool semaphore = false;
  Grant grant;
  double ratio = 0;  ///< see `LockOptions::renew_ratio`
  /// The server keeps the grant when its connection ends.
  bool outlives_connection = false;
  /// Called when it is lost, this one first, on the renewer's thread.
  std::function<void()> on_over;
  std::function<void(const Error&)> on_lost;  ///< may be empty
  std::shared_ptr<Lane> lane;
  std::shared_ptr<Peer> peer;
  std::shared_ptr<Reports> reports;
};

/// A grant that is kept, until it is lost or `Renewer::end`ed.
class Renewal {
 public:
  explicit Renewal(RenewalTerms terms) : terms_(std::move(terms)) {}

  [[nodiscard]] const RenewalTerms& terms() const noexcept { return terms_; }
  /// Whether the grant is held for certain at `now`.
  [[nodiscard]] bool is_held(Clock::time_point now) const noexcept {
    return state_.load(std::memory_order_acquire) == State::kHeld && now < end();
  }
  /// Until when the grant is held for certain, if it is.
  [[nodiscard]] Clock::time_point end() const noexcept {
    return Clock::time_point(Clock::duration(end_.load(std::memory_order_acquire)));
  }
  /// Whether the server has said that it does not know the grant.
  [[nodiscard]] bool is_refused() const noexcept { return refused_; }
  /// Whether it was lost: reported, or overdue and about to be.
  [[nodiscard]] bool is_lost(Clock::time_point now) const noexcept {
    const State state = state_.load(std::memory_order_acquire);
    return state == State::kLost || (state != State::kEnded && now >= end());
  }

 private:
  friend class Renewer;
  friend class Lane;

  enum class State : std::uint8_t {
    kHeld,
    kInDoubt,  ///< its connection has ended; a renewal will decide
    kLost,
    kEnded,  ///< released by its owner
  };
  using Timeline = std::multimap<Clock::time_point, std::shared_ptr<Renewal>>;

  const RenewalTerms terms_;
  std::atomic<State> state_ = State::kHeld;
  std::atomic<Clock::rep> end_ = 0;
  std::atomic<bool> refused_ = false;

  // Guarded by the renewer's mutex.
  Timeline::iterator next_;  ///< what happens next, if `scheduled_`
  bool scheduled_ = false;
  bool due_ = false;  ///< being renewed, so next comes the end
  /// When in doubt: a renewal that was sent earlier does not prove that the grant survives, since
  /// the server may not have noticed yet that the connection has ended.
  Clock::time_point sure_from_;
  std::string last_failure_;          ///< why the latest attempt to renew failed; empty: it did not
  std::condition_variable_any over_;  ///< when lost or ended
};

/// The thread and what it looks after.
class Renewer {
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
  friend class Lane;
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

  // What a lane reports of a renewal that it was given.
  void renewed(const std::shared_ptr<Renewal>& renewal, Clock::time_point sent,
               std::chrono::seconds lease);
  void refused(const std::shared_ptr<Renewal>& renewal);
  void failed(const std::shared_ptr<Renewal>& renewal, const std::string& reason);
  /// Whether it still has to be renewed.
  [[nodiscard]] bool wants(const Renewal& renewal) const;

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
