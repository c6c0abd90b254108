#include "http/lock_api.hpp"

#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/terms.hpp"
#include "http/body.hpp"
#include "service/stats_report.hpp"

namespace dflockd::http {

namespace {

using locks::Outcome;

Failure failure_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kMaxLocks:
      return {503, "max_locks", "the table is full: see --max-locks and --max-claims"};
    case Outcome::kMaxWaiters:
      return {503, "max_waiters", "the key's queue is full"};
    case Outcome::kDraining:
      return {503, "draining", "the server is shutting down"};
    case Outcome::kNoFence:
      return {503, "fence_persistence", "no fence could be reserved on disk"};
    case Outcome::kLimitMismatch:
      return {409, "limit_mismatch", "the semaphore has another limit"};
    case Outcome::kModeMismatch:
      return {400, "bad_request",
              "shared: the claim that the session takes over is of the other mode"};
    case Outcome::kAlreadyEnqueued:
      return {409, "already_enqueued"};
    case Outcome::kNotEnqueued:
      return {409, "not_enqueued"};
    case Outcome::kLeaseExpired:
      return {409, "lease_expired", "the lease ran out before the wait"};
    case Outcome::kGranted:
    case Outcome::kQueued:
    case Outcome::kTimeout:
    case Outcome::kNotHeld:
    case Outcome::kHasRef:
    case Outcome::kDone:
      break;
  }
  return {500, "internal"};
}

Failure bad_key() {
  return {.detail = "key: expected 1 to 256 bytes without space, tab, CR and LF"};
}

Response granted(std::string_view status, const locks::Answer& answer) {
  Response response;
  response.body = fmt::format(R"({{"status":"{}","token":"{:016x}{:016x}","lease_ttl_s":{}}})",
                              status, answer.token.fence, answer.token.salt, answer.lease.count());
  return response;
}

Response status_only(std::string_view status) {
  Response response;
  response.body = fmt::format(R"({{"status":"{}"}})", status);
  return response;
}

/// Checks the fields of a body one by one, and keeps the first that is wrong.
class Fields {
 public:
  explicit Fields(const Body& body) : body_(body) {}

  void timeout(std::optional<std::uint64_t> Body::*field, std::string_view name,
               std::chrono::seconds& target) {
    number(body_.*field, name, 0, kMaxSeconds, target);
  }
  void lease(std::chrono::seconds& target) {
    if (body_.lease_ttl_s) number(body_.lease_ttl_s, "lease_ttl_s", 0, kMaxSeconds, target);
  }
  void limit(std::uint32_t& target) {
    std::uint64_t value = 0;
    number(body_.limit, "limit", 1, base::kMaxLimit, value);
    target = static_cast<std::uint32_t>(value);
  }
  void token(locks::Token& target) {
    if (!body_.token) return refuse("token: missing");
    const auto token = base::parse_token(*body_.token);
    if (!token) return refuse("token: expected 32 lowercase hex characters");
    target = *token;
  }

  [[nodiscard]] const std::optional<Failure>& failure() const { return failure_; }

 private:
  static constexpr auto kMaxSeconds = static_cast<std::uint64_t>(base::kMaxSeconds.count());

  template <class Target>
  void number(const std::optional<std::uint64_t>& value, std::string_view name, std::uint64_t least,
              std::uint64_t most, Target& target) {
    if (!value) return refuse(fmt::format("{}: missing", name));
    if (*value < least || *value > most) {
      return refuse(fmt::format("{}: expected an integer from {} to {}", name, least, most));
    }
    target = Target(*value);
  }
  void refuse(std::string why) {
    if (!failure_) failure_ = Failure{.detail = std::move(why)};
  }

  const Body& body_;
  std::optional<Failure> failure_;
};

std::variant<Body, Failure> parse(const Route& route, std::string_view body) {
  switch (route.operation) {
    case Operation::kAcquire:
      return route.kind == locks::Kind::kSemaphore
                 ? parse_body(body, {"acquire_timeout_s", "lease_ttl_s", "limit"})
                 : parse_body(body, {"acquire_timeout_s", "lease_ttl_s", "shared"});
    case Operation::kRelease:
      return parse_body(body, {"token"});
    case Operation::kRenew:
      return parse_body(body, {"token", "lease_ttl_s"});
    case Operation::kWait:
      return parse_body(body, {"timeout_s"});
    default:
      break;
  }
  if (route.kind == locks::Kind::kSemaphore) return parse_body(body, {"limit", "lease_ttl_s"});
  return body.empty() ? Body() : parse_body(body, {"lease_ttl_s", "shared"});
}

service::Verb verb_of(Operation operation) {
  switch (operation) {
    case Operation::kAcquire:
      return service::Verb::kAcquire;
    case Operation::kRelease:
      return service::Verb::kRelease;
    case Operation::kRenew:
      return service::Verb::kRenew;
    case Operation::kEnqueue:
      return service::Verb::kEnqueue;
    case Operation::kWait:
      return service::Verb::kWait;
    default:
      return service::Verb::kInvalid;
  }
}

service::Ask ask_of(const LockOperation& operation) {
  return {operation.key(), operation.limit, operation.shared, operation.lease};
}

}  // namespace

OperationResult carry_out(const LockOperation& operation, service::Service& service,
                          locks::OwnerId owner) {
  const locks::Key key = operation.key();
  switch (operation.operation) {
    case Operation::kAcquire:
      return service.acquire(owner, ask_of(operation), operation.timeout);
    case Operation::kEnqueue:
      return service.enqueue(owner, ask_of(operation));
    case Operation::kWait:
      return service.wait(owner, key, operation.timeout);
    case Operation::kRelease:
      if (service.release(key, operation.token)) return Response{.status = 204};
      break;
    default: {
      const std::chrono::seconds remaining =
          service.renew(owner, key, operation.token, operation.lease);
      if (remaining == std::chrono::seconds::zero()) break;
      Response response;
      response.body = fmt::format(R"({{"remaining_s":{}}})", remaining.count());
      return response;
    }
  }
  return to_response({404, "not_held", "the token holds nothing of this key"});
}

Response describe(service::Service& service, const locks::Key& key) {
  if (!base::is_key(key.name)) return to_response(bad_key());
  std::optional<std::string> stat = service::stat_of(service, key);
  if (!stat) return to_response({404, "not_found", "no such key"});
  return {.body = std::move(*stat)};
}

std::variant<LockOperation, Failure> read_operation(const Route& route, std::string key,
                                                    std::string_view body) {
  if (!base::is_key(key)) return bad_key();
  auto parsed = parse(route, body);
  if (auto* const failure = std::get_if<Failure>(&parsed)) return std::move(*failure);
  Fields fields(std::get<Body>(parsed));
  LockOperation operation{.operation = route.operation, .kind = route.kind, .name = std::move(key)};
  operation.shared = std::get<Body>(parsed).shared.value_or(false);
  switch (route.operation) {
    case Operation::kAcquire:
      fields.timeout(&Body::acquire_timeout_s, "acquire_timeout_s", operation.timeout);
      break;
    case Operation::kWait:
      fields.timeout(&Body::timeout_s, "timeout_s", operation.timeout);
      break;
    case Operation::kRelease:
    case Operation::kRenew:
      fields.token(operation.token);
      break;
    default:
      break;
  }
  fields.lease(operation.lease);
  if (route.kind == locks::Kind::kSemaphore &&
      (route.operation == Operation::kAcquire || route.operation == Operation::kEnqueue)) {
    fields.limit(operation.limit);
  }
  if (fields.failure()) return *fields.failure();
  return operation;
}

std::size_t label_of(const LockOperation& operation) {
  return service::label(verb_of(operation.operation), operation.kind, operation.shared);
}

service::Status status_of(const LockOperation& operation, const OperationResult& result) {
  if (const auto* const response = std::get_if<Response>(&result)) {
    constexpr int kFirstError = 400;
    return response->status < kFirstError ? service::Status::kOk : service::Status::kError;
  }
  const Outcome outcome = std::get<locks::Answer>(result).outcome;
  if (outcome == Outcome::kGranted && operation.operation == Operation::kEnqueue) {
    return service::Status::kAcquired;
  }
  return service::status_of(outcome);
}

Response to_response(const LockOperation& operation, const locks::Answer& answer) {
  switch (answer.outcome) {
    case Outcome::kGranted:
      return granted(operation.operation == Operation::kEnqueue ? "acquired" : "ok", answer);
    case Outcome::kQueued:
      return status_only("queued");
    case Outcome::kTimeout:
      return status_only("timeout");
    default:
      return to_response(failure_of(answer.outcome));
  }
}

}  // namespace dflockd::http
