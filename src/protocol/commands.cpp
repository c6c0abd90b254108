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
  if (answer.outcome != Outcome::kGranted) return append(out, service::status_of(answer.outcome));
  append_acquired(out, answer.token, answer.lease);
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
  const locks::Key& key = request.key;
  switch (request.verb) {
    case Verb::kAcquire:
      return append_unless_queued(
          out, service.acquire(owner, key, request.limit, request.timeout, request.lease));
    case Verb::kWait:
      return append_unless_queued(out, service.wait(owner, key, request.timeout));
    case Verb::kEnqueue:
      return append_enqueued(out, service.enqueue(owner, key, request.limit, request.lease));
    case Verb::kRelease:
      return append(out, service.release(key, request.token) ? Status::kOk : Status::kError);
    case Verb::kRenew:
      return append_renewed(out, service.renew(key, request.token, request.lease));
    case Verb::kPing:
      return append(out, Status::kOk);
    default:
      return append(out, Status::kError);
  }
}

Status append_answer(std::string& out, const locks::Answer& answer) {
  if (answer.outcome != Outcome::kGranted) return append(out, service::status_of(answer.outcome));
  append_grant(out, answer.token, answer.lease);
  return Status::kOk;
}

}  // namespace dflockd::protocol
