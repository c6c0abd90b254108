// What a client asks for: one request of the line protocol, parsed. See docs/protocol.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "base/terms.hpp"
#include "locks/types.hpp"
#include "service/verbs.hpp"

namespace dflockd::protocol {

using service::Verb;

/// A lease that was not given: the server's default applies.
inline constexpr std::chrono::seconds kDefaultLease{0};

/// A request. Only the fields that belong to its verb mean something. `key` and `text` point into
/// the bytes that were parsed.
struct Request {
  Verb verb = Verb::kInvalid;
  locks::Key key;                              ///< as `base::is_key` demands
  std::chrono::seconds timeout{0};             ///< acquire, wait: 0 to `base::kMaxSeconds`
  std::chrono::seconds lease = kDefaultLease;  ///< acquire, renew, enqueue: from 1 s on
  std::uint32_t limit = 1;                     ///< of a semaphore: 1 to `base::kMaxLimit`
  base::Token token;                           ///< release, renew
  bool shared = false;                         ///< acquire, enqueue: `rl`, `re`
  std::string_view text;  ///< auth: the argument as it came; name, stable-ref: what they say
};

/// The three lines of a request, without their line ends.
struct Lines {
  std::string_view command;
  std::string_view key;
  std::string_view argument;
};

/// Parses the lines of a request. Whatever is wrong with them gives `Verb::kInvalid`. Pure and
/// thread-safe; allocates nothing.
[[nodiscard]] Request parse(const Lines& lines);

}  // namespace dflockd::protocol
