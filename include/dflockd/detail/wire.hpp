// The line protocol from the client's side: requests as text, and what the lines of answers mean.
// For the library's own headers; programs have no use for it, and it may change with any version.
// Thread-safe: pure functions.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <dflockd/api.hpp>
#include <dflockd/grant.hpp>

namespace dflockd::detail {

/// The longest line that answers anything but `stats`, without its line end.
inline constexpr std::size_t kLongestAnswer = 256;

/// What a request is for: a lock if `limit` is 0, else a semaphore. Requests whose limit does not
/// matter take any limit of at least 1.
struct Target {
  std::string_view key;
  int limit = 0;
};

// Each appends a request. Arguments must be such as the protocol allows; see check.hpp. A lease of
// 0 is left out, so that the server's default applies.
DFLOCKD_API void append_acquire(std::string& out, const Target& target,
                                std::chrono::seconds timeout, std::chrono::seconds lease_ttl);
DFLOCKD_API void append_release(std::string& out, const Target& target, std::string_view token);
DFLOCKD_API void append_renew(std::string& out, const Target& target, std::string_view token,
                              std::chrono::seconds lease_ttl);
DFLOCKD_API void append_enqueue(std::string& out, const Target& target,
                                std::chrono::seconds lease_ttl);
DFLOCKD_API void append_wait(std::string& out, const Target& target, std::chrono::seconds timeout);
DFLOCKD_API void append_auth(std::string& out, std::string_view secret);
DFLOCKD_API void append_ping(std::string& out);
DFLOCKD_API void append_stats(std::string& out);

// Each says what a line, without its line end, means as the answer to a request: no error, or an
// `errc`, `errc::protocol` for what should not have been answered.

/// Of acquire and wait: sets `grant`, or leaves nothing in it with `errc::timeout`.
[[nodiscard]] DFLOCKD_API std::error_code read_grant(std::string_view line,
                                                     std::optional<Grant>& grant);
/// Of enqueue: sets `grant`, or leaves nothing in it if queued.
[[nodiscard]] DFLOCKD_API std::error_code read_enqueued(std::string_view line,
                                                        std::optional<Grant>& grant);
/// Of renew.
[[nodiscard]] DFLOCKD_API std::error_code read_remaining(std::string_view line,
                                                         std::chrono::seconds& remaining);
/// Of release.
[[nodiscard]] DFLOCKD_API std::error_code read_released(std::string_view line);
/// Of auth and ping.
[[nodiscard]] DFLOCKD_API std::error_code read_ok(std::string_view line);
/// Of stats: sets `json`, which points into `line`.
[[nodiscard]] DFLOCKD_API std::error_code read_stats(std::string_view line, std::string_view& json);

/// Whether what a server says to a client without TLS is that it speaks TLS only.
[[nodiscard]] constexpr bool is_tls_alert(std::string_view said) noexcept {
  return said.starts_with("\x15\x03");
}

// Throw `Error` (`errc::invalid_argument`) for what is not allowed.
DFLOCKD_API void check_key(std::string_view key);
DFLOCKD_API void check_token(std::string_view token);
DFLOCKD_API void check_limit(int limit);
DFLOCKD_API void check_timeout(std::chrono::seconds timeout);
DFLOCKD_API void check_lease(std::chrono::seconds lease_ttl);

}  // namespace dflockd::detail
