// What the tests of the lock table share: a listener that takes note of every event, and words for
// what the table says.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <utility>
#include <vector>

#include "locks/lock_table.hpp"

namespace dflockd::locks {

/// One effect. What the event does not say is zero.
struct Event {
  enum class What : std::uint8_t { kWaitOver, kLeaseExpired };

  What what = What::kWaitOver;
  OwnerId owner{};
  Outcome outcome = Outcome::kTimeout;
  std::uint64_t fence = 0;
  std::uint64_t salt = 0;
  std::chrono::seconds lease{0};
  Kind kind = Kind::kLock;
  std::string key{};

  friend bool operator==(const Event&, const Event&) = default;
};

Event wait_over_event(OwnerId owner, const Answer& answer);
Event lease_expired_event(OwnerId owner, const Key& key);

/// Takes note of every event, in order.
class Recorder : public EffectSink {
 public:
  void take(const Effect& effect) noexcept override {
    events_.push_back(effect.answer.outcome == Outcome::kLeaseExpired
                          ? lease_expired_event(effect.owner, effect.key)
                          : wait_over_event(effect.owner, effect.answer));
  }

  /// The events since the last call.
  [[nodiscard]] std::vector<Event> events() { return std::exchange(events_, {}); }

 private:
  std::vector<Event> events_;
};

/// True if two answers say the same: tokens and leases count only when granted.
[[nodiscard]] bool same_answer(const Answer& left, const Answer& right);

[[nodiscard]] const char* name_of(Outcome outcome);

// For messages.
std::ostream& operator<<(std::ostream& out, Outcome outcome);
std::ostream& operator<<(std::ostream& out, const OwnerId& owner);
std::ostream& operator<<(std::ostream& out, const Key& key);
std::ostream& operator<<(std::ostream& out, const Answer& answer);
std::ostream& operator<<(std::ostream& out, const Event& event);

}  // namespace dflockd::locks
