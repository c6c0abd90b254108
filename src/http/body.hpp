// The JSON bodies of requests: one flat object of known fields. Pure.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "http/message.hpp"

namespace dflockd::http {

struct Body {
  std::optional<std::uint64_t> acquire_timeout_s;
  std::optional<std::uint64_t> timeout_s;
  std::optional<std::uint64_t> lease_ttl_s;
  std::optional<std::uint64_t> limit;
  std::optional<bool> shared;
  std::optional<std::string> token;
  std::optional<std::string> stable_ref;
  std::optional<std::string> name;
};

/// Parses `text`, an object whose every field is among `allowed`, by its name in JSON. A field
/// that is `null` is as one that is absent. Numbers must be integers that are not negative; nothing
/// may stand behind the object. Memory and time are bounded by the length of `text`, however deeply
/// it nests.
[[nodiscard]] std::variant<Body, Failure> parse_body(
    std::string_view text, std::initializer_list<std::string_view> allowed);

/// What a client says of itself when it opens a session; empty: nothing.
struct Identity {
  std::string stable_ref;
  std::string name;
};

/// Reads the body of a request to open a session, which may be empty.
[[nodiscard]] std::variant<Identity, Failure> read_identity(std::string_view text);

}  // namespace dflockd::http
