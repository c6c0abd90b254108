// Grants that are kept, as the renewer and its lanes see them: the one decides what happens to
// them, the others renew them. Thread-safe where it says so or is atomic.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <dflockd/error.hpp>
#include <dflockd/grant.hpp>

#include "client/process.hpp"

namespace dflockd::client {

class Lane;
class Renewal;

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

/// What a lane reports of the renewals that it was given.
class RenewalSink {
 public:
  virtual void renewed(const std::shared_ptr<Renewal>& renewal, Clock::time_point sent,
                       std::chrono::seconds lease) = 0;
  virtual void refused(const std::shared_ptr<Renewal>& renewal) = 0;
  virtual void failed(const std::shared_ptr<Renewal>& renewal, const std::string& reason) = 0;
  /// Whether it still has to be renewed.
  [[nodiscard]] virtual bool wants(const Renewal& renewal) const = 0;

 protected:
  ~RenewalSink() = default;
};

}  // namespace dflockd::client
