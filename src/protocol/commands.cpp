#include "protocol/commands.hpp"

#include "protocol/reply.hpp"

namespace dflockd::protocol {

namespace {

using locks::Outcome;

Status append(std::string& out, Status status) {
  append_status(out, status);
  return status;
}

/// Appends the answer to an acquire or a wait, unless it is still to come.
std::optional<Status> append_unless_queued(std::string& out, const locks::Answer& answer) {
  if (answer.outcome == Outcome::kQueued) return std::nullopt;
  return append_answer(out, answer);
}

Status append_enqueued(std::string& out, const locks::Answer& answer) {
  if (answer.outcome != Outcome::kGranted) return append(out, status_of(answer.outcome));
  append_acquired(out, {answer.token.fence, answer.token.salt}, answer.lease);
  return Status::kAcquired;
}

Status append_renewed(std::string& out, std::chrono::seconds remaining) {
  if (remaining == std::chrono::seconds::zero()) return append(out, Status::kError);
  append_remaining(out, remaining);
  return Status::kOk;
}

}  // namespace

std::optional<Status> execute(const Request& request, service::Service& service,
                              locks::OwnerId owner, std::string& out) {
  const locks::Key key{request.semaphore ? locks::Kind::kSemaphore : locks::Kind::kLock,
                       request.key};
  const locks::Token token{request.token.fence, request.token.salt};
  switch (request.command) {
    case Command::kAcquire:
      return append_unless_queued(
          out, service.acquire(owner, key, request.limit, request.timeout, request.lease));
    case Command::kWait:
      return append_unless_queued(out, service.wait(owner, key, request.timeout));
    case Command::kEnqueue:
      return append_enqueued(out, service.enqueue(owner, key, request.limit, request.lease));
    case Command::kRelease:
      return append(out, service.release(key, token) ? Status::kOk : Status::kError);
    case Command::kRenew:
      return append_renewed(out, service.renew(key, token, request.lease));
    case Command::kPing:
      return append(out, Status::kOk);
    default:
      return append(out, Status::kError);
  }
}

Status status_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGranted:
      return Status::kOk;
    case Outcome::kQueued:
      return Status::kQueued;
    case Outcome::kTimeout:
      return Status::kTimeout;
    case Outcome::kMaxLocks:
      return Status::kMaxLocks;
    case Outcome::kMaxWaiters:
      return Status::kMaxWaiters;
    case Outcome::kLimitMismatch:
      return Status::kLimitMismatch;
    case Outcome::kAlreadyEnqueued:
      return Status::kAlreadyEnqueued;
    case Outcome::kNotEnqueued:
      return Status::kNotEnqueued;
    case Outcome::kLeaseExpired:
      return Status::kLeaseExpired;
    case Outcome::kDraining:
      return Status::kDraining;
    case Outcome::kNoFence:
    case Outcome::kNotHeld:
      return Status::kError;
    case Outcome::kDone:
      return Status::kOk;
  }
  return Status::kError;
}

Status append_answer(std::string& out, const locks::Answer& answer) {
  if (answer.outcome != Outcome::kGranted) return append(out, status_of(answer.outcome));
  append_grant(out, {answer.token.fence, answer.token.salt}, answer.lease);
  return Status::kOk;
}

}  // namespace dflockd::protocol
