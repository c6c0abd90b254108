#include "http/routes.hpp"

#include <array>

namespace dflockd::http {

namespace {

using locks::Kind;

constexpr std::array kRoutes{
    Route{Method::kPost, "/v1/sessions", Operation::kCreateSession},
    Route{Method::kGet, "/v1/sessions", Operation::kListSessions},
    Route{Method::kDelete, "/v1/sessions/{id}", Operation::kDeleteSession, Bucket::kHolding},
    Route{Method::kPost, "/v1/sessions/{id}/ping", Operation::kPingSession, Bucket::kHolding},

    Route{Method::kPost, "/v1/locks/{key}", Operation::kAcquire},
    Route{Method::kGet, "/v1/locks/{key}", Operation::kStat},
    Route{Method::kPost, "/v1/locks/{key}/release", Operation::kRelease, Bucket::kHolding},
    Route{Method::kPost, "/v1/locks/{key}/renew", Operation::kRenew, Bucket::kHolding},
    Route{Method::kPost, "/v1/locks/{key}/enqueue", Operation::kEnqueue},
    Route{Method::kPost, "/v1/locks/{key}/wait", Operation::kWait},

    Route{Method::kPost, "/v1/semaphores/{key}", Operation::kAcquire, Bucket::kCommon,
          Kind::kSemaphore},
    Route{Method::kGet, "/v1/semaphores/{key}", Operation::kStat, Bucket::kCommon,
          Kind::kSemaphore},
    Route{Method::kPost, "/v1/semaphores/{key}/release", Operation::kRelease, Bucket::kHolding,
          Kind::kSemaphore},
    Route{Method::kPost, "/v1/semaphores/{key}/renew", Operation::kRenew, Bucket::kHolding,
          Kind::kSemaphore},
    Route{Method::kPost, "/v1/semaphores/{key}/enqueue", Operation::kEnqueue, Bucket::kCommon,
          Kind::kSemaphore},
    Route{Method::kPost, "/v1/semaphores/{key}/wait", Operation::kWait, Bucket::kCommon,
          Kind::kSemaphore},

    Route{Method::kGet, "/v1/stats", Operation::kStats},
    Route{Method::kGet, "/health", Operation::kHealth, Bucket::kNone, Kind::kLock, false},
    Route{Method::kGet, "/ready", Operation::kReady, Bucket::kNone, Kind::kLock, false},
    Route{Method::kGet, "/metrics", Operation::kMetrics},
    Route{Method::kGet, "/v1/openapi.json", Operation::kOpenApi, Bucket::kCommon, Kind::kLock,
          false},
};

/// Takes the first segment off `path`, which begins with '/': what stands up to the next one.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

/// The parameter in `path`, still encoded, if it is one of `pattern`; empty if that has none.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  std::string_view parameter;
  while (pattern.starts_with('/') && path.starts_with('/')) {
    const std::string_view expected = take_segment(pattern);
    const std::string_view segment = take_segment(path);
    if (expected.starts_with('{')) {
      parameter = segment;
    } else if (segment != expected) {
      return std::nullopt;
    }
  }
  if (!pattern.empty() || !path.empty()) return std::nullopt;
  return parameter;
}

std::optional<unsigned int> hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned int>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned int>(c - 'A' + 10);
  return std::nullopt;
}

}  // namespace

bool changes_locks(Operation operation) {
  switch (operation) {
    case Operation::kAcquire:
    case Operation::kRelease:
    case Operation::kRenew:
    case Operation::kEnqueue:
    case Operation::kWait:
      return true;
    default:
      return false;
  }
}

bool names_session(Operation operation) {
  return operation == Operation::kDeleteSession || operation == Operation::kPingSession;
}

bool takes_body(Operation operation) {
  return changes_locks(operation) || names_session(operation) ||
         operation == Operation::kCreateSession;
}

bool needs_caller(Operation operation) {
  return operation == Operation::kAcquire || operation == Operation::kWait;
}

std::span<const Route> routes() {
  return kRoutes;
}

const Route* route_of(const std::variant<Match, NoMatch, Failure>& found) {
  if (const auto* const match = std::get_if<Match>(&found)) return match->route;
  const auto* const none = std::get_if<NoMatch>(&found);
  return none != nullptr ? none->other : nullptr;
}

Bucket bucket_of(const std::variant<Match, NoMatch, Failure>& found, bool preflight) {
  const Route* const route = route_of(found);
  if (route == nullptr) return Bucket::kCommon;
  const bool taken = preflight || std::holds_alternative<Match>(found);
  return !taken && route->bucket == Bucket::kHolding ? Bucket::kCommon : route->bucket;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const auto high = hex_value(text[i + 1]);
    const auto low = hex_value(text[i + 2]);
    if (!high || !low) return std::nullopt;
    result += static_cast<char>(*high << 4U | *low);
    i += 2;
  }
  return result;
}

std::variant<Match, NoMatch, Failure> find_route(Method method, std::string_view path) {
  const Method wanted = method == Method::kHead ? Method::kGet : method;
  NoMatch none;
  for (const Route& route : kRoutes) {
    const auto parameter = match(route.pattern, path);
    if (!parameter) continue;
    if (route.method != wanted) {
      none.other = &route;
      if (!none.allow.empty()) none.allow += ", ";
      none.allow += text(route.method);
      if (route.method == Method::kGet) none.allow += ", HEAD";
      continue;
    }
    std::optional<std::string> decoded = percent_decoded(*parameter);
    if (!decoded) return Failure{.detail = "the path has a '%' without two hex digits behind it"};
    return Match{.route = &route, .parameter = std::move(*decoded)};
  }
  return none;
}

}  // namespace dflockd::http
