// What a request for a lock is made of, for all who read or write one: both doors, the lock table,
// the clients. Pure and thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dflockd::base {

/// The largest number of seconds that a timeout or a lease may have: as many as 64 bits of
/// nanoseconds hold.
inline constexpr std::chrono::seconds kMaxSeconds{9'223'372'036};
/// The largest limit of a semaphore.
inline constexpr std::uint32_t kMaxLimit = 1'048'576;
/// The longest key, in bytes.
inline constexpr std::size_t kMaxKey = 256;

/// Whether `key` may name a lock: 1 to `kMaxKey` bytes, without space, tab, CR and LF.
[[nodiscard]] bool is_key(std::string_view key);

/// Whether `ref` may be a stable ref: 1 to 64 bytes of printable ASCII, spaces too.
[[nodiscard]] bool is_ref(std::string_view ref);

/// Whether somebody may be called `name`: 1 to 128 bytes of UTF-8 without control characters.
[[nodiscard]] bool is_name(std::string_view name);

/// Names one grant. The fence strictly increases with every grant of a server; the salt is 64
/// random bits, so that knowing a fence does not let anyone release someone else's lock.
struct Token {
  std::uint64_t fence = 0;
  std::uint64_t salt = 0;

  /// Takes a time that does not depend on where the tokens differ.
  friend constexpr bool operator==(const Token& left, const Token& right) {
    return ((left.fence ^ right.fence) | (left.salt ^ right.salt)) == 0;
  }
};

/// The token that `word` is, or nothing if it is not 32 lowercase hex characters, fence first.
[[nodiscard]] std::optional<Token> parse_token(std::string_view word);

}  // namespace dflockd::base
