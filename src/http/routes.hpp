// The routes of the API as data: the router, the labels of the metrics, `Allow` and the check of
// the OpenAPI document are all driven by this one table. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "http/message.hpp"
#include "locks/types.hpp"

namespace dflockd::http {

enum class Operation : std::uint8_t {
  kCreateSession,
  kDeleteSession,
  kPingSession,
  kAcquire,
  kRelease,
  kRenew,
  kEnqueue,
  kWait,
  kStat,
  kListSessions,
  kStats,
  kHealth,
  kReady,
  kMetrics,
  kOpenApi,
};

/// Whether an operation runs in its turn on the session that the header names.
[[nodiscard]] bool changes_locks(Operation operation);
/// Whether it is one on the session that the path names.
[[nodiscard]] bool names_session(Operation operation);
/// Whether its body is looked at.
[[nodiscard]] bool takes_body(Operation operation);
/// Whether it may block, and is of no use once its caller has left.
[[nodiscard]] bool needs_caller(Operation operation);

/// What a request draws on where the requests of each address are limited.
enum class Bucket : std::uint8_t {
  kCommon,
  kHolding,  ///< of its own for what keeps or gives back what is held, so that a neighbour's
             ///< polling costs nobody a lock
  kNone,     ///< probes are not limited
};

struct Route {
  Method method;             ///< HEAD goes where GET does
  std::string_view pattern;  ///< one segment may be a parameter: "/v1/locks/{key}"
  Operation operation;
  Bucket bucket = Bucket::kCommon;
  locks::Kind kind = locks::Kind::kLock;
  bool needs_auth = true;
};

/// Every route, in the order of the documentation.
[[nodiscard]] std::span<const Route> routes();

/// A route and the parameter in the path, decoded.
struct Match {
  const Route* route;
  std::string parameter;
};

/// No such path, or a path that has no such method: then `allow` is the value of the `Allow` field.
struct NoMatch {
  const Route* other = nullptr;  ///< a route of the path; null if there is no such path
  std::string allow{};           ///< empty if there is no such path
};

/// Finds the route of a request; a Failure if the path's percent-encoding is broken.
[[nodiscard]] std::variant<Match, NoMatch, Failure> find_route(Method method,
                                                               std::string_view path);

/// The route that was found, or another one of its path; null if there is no such path.
[[nodiscard]] const Route* route_of(const std::variant<Match, NoMatch, Failure>& found);

/// What a request draws on. One that no route takes is a common one, lest it empty the bucket of
/// those that hold, but for a preflight: without that a page cannot keep what it holds.
[[nodiscard]] Bucket bucket_of(const std::variant<Match, NoMatch, Failure>& found, bool preflight);

/// RFC 3986, 2.1. Nothing if a '%' is not followed by two hex digits.
[[nodiscard]] std::optional<std::string> percent_decoded(std::string_view text);

/// The description of all this, an OpenAPI 3.1 document: docs/openapi.json, embedded when the
/// program is built. Lives for ever.
[[nodiscard]] std::string_view openapi_document();

}  // namespace dflockd::http
