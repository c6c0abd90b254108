// What may be the shared secret that clients authenticate with. Internal to the room.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "config/secret.hpp"

namespace dflockd::config {

/// The longest argument that the protocol's `auth` takes, in bytes.
inline constexpr std::size_t kMaxTokenSize = 65536;

/// What --check-config prints for a secret.
inline constexpr std::string_view kMask = "***";

/// Whether it can be sent as it is, on a line and in an HTTP header: of allowed length, without a
/// newline, without white space at either end.
[[nodiscard]] bool is_token(std::string_view text);

struct TokenFile {
  Secret token;
  bool readable_by_others;
};

/// Reads a token, without the white space around it. Throws Refusal, naming the file and `source`,
/// which named it, if the file cannot be read or what it holds is no token.
[[nodiscard]] TokenFile read_token_file(const std::filesystem::path& file,
                                        const std::string& source);

}  // namespace dflockd::config
