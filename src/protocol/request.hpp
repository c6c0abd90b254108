// What a client asks for: one request of the line protocol, parsed. See docs/protocol.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace dflockd::protocol {

/// The largest number of seconds that a timeout or a lease may have: as many as 64 bits of
/// nanoseconds hold.
inline constexpr std::chrono::seconds kMaxSeconds{9'223'372'036};
/// The largest limit of a semaphore.
inline constexpr std::uint32_t kMaxLimit = 1'048'576;
/// The longest key, in bytes.
inline constexpr std::size_t kMaxKey = 256;

/// A lease that was not given: the server's default applies.
inline constexpr std::chrono::seconds kDefaultLease{0};

enum class Command : std::uint8_t {
  kInvalid,  ///< unknown, or its key or argument is not allowed; the answer is `error`
  kAcquire,
  kRelease,
  kRenew,
  kEnqueue,
  kWait,
  kAuth,
  kPing,
  kStats,
};

/// What metrics call a request, by its `label`: "l", "sl", "invalid". Live for ever.
[[nodiscard]] std::span<const std::string_view> labels();

/// A token as it stands in requests and replies: 32 lowercase hex characters, fence first.
struct Token {
  std::uint64_t fence = 0;
  std::uint64_t salt = 0;
};

/// A request. Only the fields that belong to its command mean something. `key` and `secret` point
/// into the bytes that were parsed.
struct Request {
  Command command = Command::kInvalid;
  bool semaphore = false;           ///< `sl`, `sr`, `sn`, `se`, `sw`
  std::string_view key;             ///< 1 to `kMaxKey` bytes, without space, tab, CR and LF
  std::chrono::seconds timeout{0};  ///< acquire, wait: 0 to `kMaxSeconds`
  std::chrono::seconds lease = kDefaultLease;  ///< acquire, renew, enqueue: 1 to `kMaxSeconds`
  std::uint32_t limit = 1;                     ///< 1 for a lock; for a semaphore 1 to `kMaxLimit`
  Token token;                                 ///< release, renew
  std::string_view secret;                     ///< auth: the argument as it came
};

/// The three lines of a request, without their line ends.
struct Lines {
  std::string_view command;
  std::string_view key;
  std::string_view argument;
};

/// The number of what metrics call the request. Pure.
[[nodiscard]] constexpr std::size_t label(Command command, bool semaphore) {
  return 2 * static_cast<std::size_t>(command) + (semaphore ? 1 : 0);
}

/// The token that `word` is, or nothing if it is not 32 lowercase hex characters. Pure.
[[nodiscard]] std::optional<Token> parse_token(std::string_view word);

/// Whether `key` may name a lock: 1 to `kMaxKey` bytes, without space, tab, CR and LF. Pure.
[[nodiscard]] bool is_key(std::string_view key);

/// Parses the lines of a request. Whatever is wrong with them gives `Command::kInvalid`. Pure and
/// thread-safe; allocates nothing.
[[nodiscard]] Request parse(const Lines& lines);

}  // namespace dflockd::protocol
