// The operations of the HTTP API on locks and semaphores: a request becomes a call of the lock
// service, and its outcome a response.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "http/message.hpp"
#include "http/routes.hpp"
#include "locks/command.hpp"
#include "service/service.hpp"
#include "service/verbs.hpp"

namespace dflockd::http {

/// A request that has been read and checked, ready for its turn.
struct LockOperation {
  Operation operation = Operation::kAcquire;
  locks::Kind kind = locks::Kind::kLock;
  std::string name;
  std::chrono::seconds timeout{0};
  std::chrono::seconds lease{0};  ///< 0: the server's default
  std::uint32_t limit = 1;
  bool shared = false;
  locks::Token token{};

  [[nodiscard]] locks::Key key() const { return {kind, name}; }
};

/// Reads the operation of a route on locks or semaphores, with its `key` decoded. Pure.
[[nodiscard]] std::variant<LockOperation, Failure> read_operation(const Route& route,
                                                                  std::string key,
                                                                  std::string_view body);

/// All about one key: see `service::stat_of`.
[[nodiscard]] Response describe(service::Service& service, const locks::Key& key);

/// What came of an operation: a response, or the answer of the lock table. To an acquire or a wait
/// `kQueued` means that the answer is still to come.
using OperationResult = std::variant<Response, locks::Answer>;

/// Carries an operation out for `owner`.
[[nodiscard]] OperationResult carry_out(const LockOperation& operation, service::Service& service,
                                        locks::OwnerId owner);

/// As what metrics count an operation: its `service::label`, and what became of it.
[[nodiscard]] std::size_t label_of(const LockOperation& operation);
[[nodiscard]] service::Status status_of(const LockOperation& operation,
                                        const OperationResult& result);

/// The response that tells of an answer.
[[nodiscard]] Response to_response(const LockOperation& operation, const locks::Answer& answer);

}  // namespace dflockd::http
