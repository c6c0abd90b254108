#include "http/lock_api.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::http {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

const std::string kToken = "18a4f0c2b7d9e1f33a0c5d7e9b1f2a4c";
constexpr std::chrono::seconds kMost{9'223'372'036};

using locks::Kind;

const Route& route(Operation operation, Kind kind = Kind::kLock) {
  for (const Route& route : routes()) {
    if (route.operation == operation && route.kind == kind) return route;
  }
  throw std::runtime_error("no such route");
}

/// Why the operation is refused; "" if it is not.
std::string refusal(const Route& route, const std::string& body, const std::string& key = "key") {
  const auto result = read_operation(route, key, body);
  const auto* const failure = std::get_if<Failure>(&result);
  if (failure == nullptr) return "";
  EXPECT_EQ(failure->status, 400);
  EXPECT_EQ(failure->code, "bad_request");
  return failure->detail;
}

LockOperation accepted(const Route& route, const std::string& body) {
  auto result = read_operation(route, "key", body);
  if (auto* const operation = std::get_if<LockOperation>(&result)) return std::move(*operation);
  throw std::runtime_error(std::get<Failure>(result).detail);
}

/// The operations, each with a body that is allowed.
struct Valid {
  Operation operation;
  Kind kind;
  std::string body;
};
const std::vector<Valid> kValid = {
    {Operation::kAcquire, Kind::kLock, R"({"acquire_timeout_s":10})"},
    {Operation::kAcquire, Kind::kSemaphore, R"({"acquire_timeout_s":10,"limit":3})"},
    {Operation::kRelease, Kind::kLock, R"({"token":")" + kToken + R"("})"},
    {Operation::kRelease, Kind::kSemaphore, R"({"token":")" + kToken + R"("})"},
    {Operation::kRenew, Kind::kLock, R"({"token":")" + kToken + R"("})"},
    {Operation::kRenew, Kind::kSemaphore, R"({"token":")" + kToken + R"("})"},
    {Operation::kEnqueue, Kind::kLock, "{}"},
    {Operation::kEnqueue, Kind::kSemaphore, R"({"limit":3})"},
    {Operation::kWait, Kind::kLock, R"({"timeout_s":10})"},
    {Operation::kWait, Kind::kSemaphore, R"({"timeout_s":10})"},
};

// --- What is refused ---

TEST(lock_api, keys_that_the_protocol_does_not_allow_are_refused_for_every_operation) {
  for (const Valid& valid : kValid) {
    const Route& one = route(valid.operation, valid.kind);
    for (const std::string& key :
         {""s, " "s, "a b"s, "a\tb"s, "a\rb"s, "a\n"s, std::string(257, 'k')}) {
      EXPECT_NE(refusal(one, valid.body, key), "") << one.pattern << testing::PrintToString(key);
    }
    for (const std::string& key : {"a/b"s, "a\0b"s, "\xff"s, std::string(256, 'k')}) {
      EXPECT_EQ(refusal(one, valid.body, key), "") << one.pattern << testing::PrintToString(key);
    }
  }
}

TEST(lock_api, bodies_that_are_no_object_are_refused_for_every_operation) {
  for (const Valid& valid : kValid) {
    const Route& one = route(valid.operation, valid.kind);
    for (const std::string& body :
         {" "s, "x"s, "[]"s, "null"s, valid.body + "x", "[" + valid.body + "]"}) {
      EXPECT_NE(refusal(one, body), "") << one.pattern << ' ' << body;
    }
  }
}

TEST(lock_api, fields_of_other_operations_are_refused) {
  const std::pair<std::string, std::string> fields[] = {
      {"acquire_timeout_s", "1"}, {"timeout_s", "1"},
      {"lease_ttl_s", "1"},       {"limit", "3"},
      {"shared", "true"},         {"token", "\"" + kToken + "\""},
      {"session_id", "\"x\""},
  };
  const auto takes = [](const Valid& valid, std::string_view field) {
    switch (valid.operation) {
      case Operation::kAcquire:
        return field == "acquire_timeout_s" || field == "lease_ttl_s" ||
               field == (valid.kind == Kind::kSemaphore ? "limit" : "shared");
      case Operation::kEnqueue:
        return field == "lease_ttl_s" ||
               field == (valid.kind == Kind::kSemaphore ? "limit" : "shared");
      case Operation::kRenew:
        return field == "token" || field == "lease_ttl_s";
      case Operation::kRelease:
        return field == "token";
      default:
        return field == "timeout_s";
    }
  };
  for (const Valid& valid : kValid) {
    const Route& one = route(valid.operation, valid.kind);
    for (const auto& [name, value] : fields) {
      if (valid.body.find('"' + name + '"') != std::string::npos) continue;
      const std::string comma = valid.body == "{}" ? "" : ",";
      const std::string body =
          valid.body.substr(0, valid.body.size() - 1) + comma + "\"" + name + "\":" + value + "}";
      const std::string expected = takes(valid, name) ? "" : "unknown field \"" + name + "\"";
      EXPECT_EQ(refusal(one, body), expected) << one.pattern << ' ' << body;
    }
  }
}

TEST(lock_api, fields_that_are_missing_are_named) {
  EXPECT_EQ(refusal(route(Operation::kAcquire), "{}"), "acquire_timeout_s: missing");
  EXPECT_EQ(refusal(route(Operation::kAcquire, Kind::kSemaphore), "{}"),
            "acquire_timeout_s: missing");
  EXPECT_EQ(refusal(route(Operation::kAcquire, Kind::kSemaphore), R"({"acquire_timeout_s":1})"),
            "limit: missing");
  EXPECT_EQ(refusal(route(Operation::kEnqueue, Kind::kSemaphore), "{}"), "limit: missing");
  EXPECT_EQ(refusal(route(Operation::kWait), "{}"), "timeout_s: missing");
  EXPECT_EQ(refusal(route(Operation::kRelease), "{}"), "token: missing");
  EXPECT_EQ(refusal(route(Operation::kRenew), R"({"lease_ttl_s":1})"), "token: missing");
}

TEST(lock_api, body_may_be_empty_only_to_enqueue_for_a_lock) {
  for (const Valid& valid : kValid) {
    const bool allowed = valid.operation == Operation::kEnqueue && valid.kind == Kind::kLock;
    EXPECT_EQ(refusal(route(valid.operation, valid.kind), "").empty(), allowed)
        << route(valid.operation, valid.kind).pattern;
  }
}

TEST(lock_api, seconds_out_of_range_are_refused) {
  for (const std::string& value : {"9223372037"s, "18446744073709551615"s}) {
    const std::string expected = ": expected an integer from 0 to 9223372036";
    EXPECT_EQ(refusal(route(Operation::kAcquire), "{\"acquire_timeout_s\":" + value + "}"),
              "acquire_timeout_s" + expected);
    EXPECT_EQ(refusal(route(Operation::kWait), "{\"timeout_s\":" + value + "}"),
              "timeout_s" + expected);
    EXPECT_EQ(refusal(route(Operation::kEnqueue), "{\"lease_ttl_s\":" + value + "}"),
              "lease_ttl_s" + expected);
    EXPECT_EQ(refusal(route(Operation::kRenew),
                      R"({"token":")" + kToken + R"(","lease_ttl_s":)" + value + "}"),
              "lease_ttl_s" + expected);
  }
}

TEST(lock_api, limits_out_of_range_are_refused) {
  for (const std::string& value : {"0"s, "1048577"s, "4294967297"s, "18446744073709551615"s}) {
    EXPECT_EQ(refusal(route(Operation::kEnqueue, Kind::kSemaphore), "{\"limit\":" + value + "}"),
              "limit: expected an integer from 1 to 1048576");
    EXPECT_NE(refusal(route(Operation::kAcquire, Kind::kSemaphore),
                      "{\"acquire_timeout_s\":0,\"limit\":" + value + "}"),
              "");
  }
}

TEST(lock_api, tokens_must_be_32_lowercase_hex_characters) {
  for (const std::string& token :
       {""s, kToken.substr(1), kToken + "0", "18A4F0C2B7D9E1F33A0C5D7E9B1F2A4C"s,
        "g" + kToken.substr(1), " " + kToken, "0x" + kToken.substr(2), kToken + "\\u0000"}) {
    for (const Operation operation : {Operation::kRelease, Operation::kRenew}) {
      EXPECT_EQ(refusal(route(operation), "{\"token\":\"" + token + "\"}"),
                "token: expected 32 lowercase hex characters")
          << token;
    }
  }
}

TEST(lock_api, first_of_several_wrong_fields_is_named) {
  EXPECT_EQ(refusal(route(Operation::kAcquire, Kind::kSemaphore),
                    R"({"lease_ttl_s":9223372037,"limit":0})"),
            "acquire_timeout_s: missing");
}

// --- What is read ---

TEST(lock_api, operation_is_that_of_the_route) {
  for (const Valid& valid : kValid) {
    const LockOperation operation = accepted(route(valid.operation, valid.kind), valid.body);
    EXPECT_EQ(operation.operation, valid.operation);
    EXPECT_EQ(operation.kind, valid.kind);
    EXPECT_EQ(operation.name, "key");
  }
}

TEST(lock_api, fields_that_are_left_out_have_their_defaults) {
  const LockOperation acquire = accepted(route(Operation::kAcquire), R"({"acquire_timeout_s":0})");
  EXPECT_EQ(acquire.timeout, 0s);
  EXPECT_EQ(acquire.lease, 0s) << "the server's default";
  EXPECT_EQ(acquire.limit, 1U);
  const LockOperation enqueue = accepted(route(Operation::kEnqueue), "");
  EXPECT_EQ(enqueue.operation, Operation::kEnqueue);
  EXPECT_EQ(enqueue.lease, 0s);
  EXPECT_EQ(enqueue.limit, 1U);
}

TEST(lock_api, lease_of_0_is_the_servers_default) {
  EXPECT_EQ(accepted(route(Operation::kEnqueue), R"({"lease_ttl_s":0})").lease, 0s);
}

TEST(lock_api, largest_numbers_are_read) {
  const LockOperation operation =
      accepted(route(Operation::kAcquire, Kind::kSemaphore),
               R"({"acquire_timeout_s":9223372036,"lease_ttl_s":9223372036,"limit":1048576})");
  EXPECT_EQ(operation.timeout, kMost);
  EXPECT_EQ(operation.lease, kMost);
  EXPECT_EQ(operation.limit, 1'048'576U);
  EXPECT_EQ(accepted(route(Operation::kWait), R"({"timeout_s":9223372036})").timeout, kMost);
  EXPECT_EQ(accepted(route(Operation::kEnqueue, Kind::kSemaphore), R"({"limit":1})").limit, 1U);
}

TEST(lock_api, lock_is_shared_if_the_body_says_so) {
  const std::pair<std::string, bool> cases[] = {{"true", true}, {"false", false}, {"null", false}};
  for (const auto& [value, shared] : cases) {
    const std::string field = R"("shared":)" + value + "}";
    const LockOperation acquire =
        accepted(route(Operation::kAcquire), R"({"acquire_timeout_s":0,)" + field);
    const LockOperation enqueue = accepted(route(Operation::kEnqueue), "{" + field);
    EXPECT_EQ(acquire.shared, shared) << value;
    EXPECT_EQ(enqueue.shared, shared) << value;
    EXPECT_EQ(service::labels()[label_of(acquire)], shared ? "rl" : "l");
    EXPECT_EQ(service::labels()[label_of(enqueue)], shared ? "re" : "e");
  }
  EXPECT_FALSE(accepted(route(Operation::kEnqueue), "").shared);
}

TEST(lock_api, token_is_read_fence_first) {
  for (const Operation operation : {Operation::kRelease, Operation::kRenew}) {
    const locks::Token token = accepted(route(operation), R"({"token":")" + kToken + R"("})").token;
    EXPECT_EQ(token.fence, 0x18a4f0c2b7d9e1f3U);
    EXPECT_EQ(token.salt, 0x3a0c5d7e9b1f2a4cU);
  }
}

// --- What is answered ---

Response answer_to(Operation operation, const locks::Answer& answer) {
  return to_response(LockOperation{.operation = operation, .name = "key"}, answer);
}

TEST(lock_api, grants_are_answered_exactly) {
  const locks::Answer answer{
      .outcome = locks::Outcome::kGranted, .token = {0x18a4, 0xffffffffffffffff}, .lease = 33s};
  const std::string rest = R"(","token":"00000000000018a4ffffffffffffffff","lease_ttl_s":33})";
  EXPECT_EQ(answer_to(Operation::kAcquire, answer).body, R"({"status":"ok)" + rest);
  EXPECT_EQ(answer_to(Operation::kWait, answer).body, R"({"status":"ok)" + rest);
  EXPECT_EQ(answer_to(Operation::kEnqueue, answer).body, R"({"status":"acquired)" + rest);
  EXPECT_EQ(answer_to(Operation::kEnqueue, answer).status, 200);
}

TEST(lock_api, timeouts_and_places_in_the_queue_are_answers_of_status_200) {
  const Response timeout = answer_to(Operation::kWait, {.outcome = locks::Outcome::kTimeout});
  EXPECT_EQ(timeout.status, 200);
  EXPECT_EQ(timeout.body, R"({"status":"timeout"})");
  const Response queued = answer_to(Operation::kEnqueue, {.outcome = locks::Outcome::kQueued});
  EXPECT_EQ(queued.status, 200);
  EXPECT_EQ(queued.body, R"({"status":"queued"})");
}

TEST(lock_api, refusals_have_the_status_and_the_code_of_the_documentation) {
  struct Case {
    locks::Outcome outcome;
    int status;
    std::string code;
  };
  for (const Case& one : std::vector<Case>{
           {locks::Outcome::kMaxLocks, 503, "max_locks"},
           {locks::Outcome::kMaxWaiters, 503, "max_waiters"},
           {locks::Outcome::kDraining, 503, "draining"},
           {locks::Outcome::kNoFence, 503, "fence_persistence"},
           {locks::Outcome::kLimitMismatch, 409, "limit_mismatch"},
           {locks::Outcome::kAlreadyEnqueued, 409, "already_enqueued"},
           {locks::Outcome::kNotEnqueued, 409, "not_enqueued"},
           {locks::Outcome::kLeaseExpired, 409, "lease_expired"},
           {locks::Outcome::kModeMismatch, 400, "bad_request"},
       }) {
    const Response response = answer_to(Operation::kAcquire, {.outcome = one.outcome});
    EXPECT_EQ(response.status, one.status) << one.code;
    EXPECT_EQ(response.body.find(R"({"error":")" + one.code + '"'), 0U) << response.body;
  }
}

}  // namespace
}  // namespace dflockd::http
