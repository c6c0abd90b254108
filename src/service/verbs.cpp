#include "service/verbs.hpp"

#include <array>

namespace dflockd::service {

std::span<const std::string_view> labels() {
  static constexpr std::array<std::string_view, 28> kLabels{
      "invalid", "invalid",    "l",          "sl",      "r",       "sr",   "n",
      "sn",      "e",          "se",         "w",       "sw",      "auth", "auth",
      "ping",    "ping",       "stats",      "stats",   "stat",    "stat", "name",
      "name",    "stable-ref", "stable-ref", "barrier", "barrier", "rl",   "re"};
  static_assert(label(Verb::kEnqueue, locks::Kind::kLock, true) + 1 == kLabels.size());
  return kLabels;
}

std::string_view text(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kError:
      return "error";
    case Status::kTimeout:
      return "timeout";
    case Status::kQueued:
      return "queued";
    case Status::kMaxLocks:
      return "error_max_locks";
    case Status::kMaxWaiters:
      return "error_max_waiters";
    case Status::kLimitMismatch:
      return "error_limit_mismatch";
    case Status::kAlreadyEnqueued:
      return "error_already_enqueued";
    case Status::kNotEnqueued:
      return "error_not_enqueued";
    case Status::kLeaseExpired:
      return "error_lease_expired";
    case Status::kDraining:
      return "error_draining";
    case Status::kAuth:
      return "error_auth";
    case Status::kAcquired:
      return "acquired";
  }
  return "error";
}

std::span<const std::string_view> status_names() {
  static const auto kNames = [] {
    std::array<std::string_view, static_cast<std::size_t>(Status::kAcquired) + 1> names;
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = text(static_cast<Status>(i));
    return names;
  }();
  return kNames;
}

Status status_of(locks::Outcome outcome) {
  switch (outcome) {
    case locks::Outcome::kGranted:
      return Status::kOk;
    case locks::Outcome::kQueued:
      return Status::kQueued;
    case locks::Outcome::kTimeout:
      return Status::kTimeout;
    case locks::Outcome::kMaxLocks:
      return Status::kMaxLocks;
    case locks::Outcome::kMaxWaiters:
      return Status::kMaxWaiters;
    case locks::Outcome::kLimitMismatch:
      return Status::kLimitMismatch;
    case locks::Outcome::kAlreadyEnqueued:
      return Status::kAlreadyEnqueued;
    case locks::Outcome::kNotEnqueued:
      return Status::kNotEnqueued;
    case locks::Outcome::kLeaseExpired:
      return Status::kLeaseExpired;
    case locks::Outcome::kDraining:
      return Status::kDraining;
    case locks::Outcome::kNoFence:
    case locks::Outcome::kNotHeld:
    case locks::Outcome::kModeMismatch:
    case locks::Outcome::kHasRef:
      return Status::kError;
    case locks::Outcome::kDone:
      return Status::kOk;
  }
  return Status::kError;
}

}  // namespace dflockd::service
