#include "recorder.hpp"

#include <ostream>

namespace dflockd::locks {

Event wait_over_event(OwnerId owner, const Answer& answer) {
  Event event{.what = Event::What::kWaitOver, .owner = owner, .outcome = answer.outcome};
  if (answer.outcome == Outcome::kGranted) {
    event.fence = answer.token.fence;
    event.salt = answer.token.salt;
    event.lease = answer.lease;
  }
  return event;
}

Event lease_expired_event(OwnerId owner, const Key& key) {
  return {.what = Event::What::kLeaseExpired,
          .owner = owner,
          .kind = key.kind,
          .key = std::string(key.name)};
}

bool same_answer(const Answer& left, const Answer& right) {
  if (left.outcome != right.outcome) return false;
  return left.outcome != Outcome::kGranted ||
         (left.token.fence == right.token.fence && left.token.salt == right.token.salt &&
          left.lease == right.lease);
}

const char* name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGranted:
      return "granted";
    case Outcome::kQueued:
      return "queued";
    case Outcome::kTimeout:
      return "timeout";
    case Outcome::kMaxLocks:
      return "max locks";
    case Outcome::kMaxWaiters:
      return "max waiters";
    case Outcome::kLimitMismatch:
      return "limit mismatch";
    case Outcome::kAlreadyEnqueued:
      return "already enqueued";
    case Outcome::kNotEnqueued:
      return "not enqueued";
    case Outcome::kLeaseExpired:
      return "lease expired";
    case Outcome::kDraining:
      return "draining";
    case Outcome::kNoFence:
      return "no fence";
    case Outcome::kNotHeld:
      return "not held";
    case Outcome::kDone:
      return "done";
  }
  return "an outcome without a name";
}

std::ostream& operator<<(std::ostream& out, Outcome outcome) {
  return out << name_of(outcome);
}

std::ostream& operator<<(std::ostream& out, const OwnerId& owner) {
  return out << "owner " << owner.index << '.' << owner.generation;
}

std::ostream& operator<<(std::ostream& out, const Key& key) {
  return out << (key.kind == Kind::kLock ? "lock " : "semaphore ") << key.name;
}

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  out << answer.outcome;
  if (answer.outcome != Outcome::kGranted) return out;
  return out << " (fence " << answer.token.fence << ", salt " << answer.token.salt << ", lease "
             << answer.lease.count() << " s)";
}

std::ostream& operator<<(std::ostream& out, const Event& event) {
  out << '[' << event.owner;
  if (event.what == Event::What::kLeaseExpired) {
    return out << ": lease expired on " << Key{event.kind, event.key} << ']';
  }
  const Answer answer{
      .outcome = event.outcome, .token = {event.fence, event.salt}, .lease = event.lease};
  return out << ": wait over, " << answer << ']';
}

}  // namespace dflockd::locks
