// The shared secret that clients authenticate with, and the file that holds it: for the server
// and for those who ask it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/secret.hpp"
#include "base/small_file.hpp"

namespace dflockd::base {

/// The longest argument that the protocol's `auth` takes, in bytes.
inline constexpr std::size_t kMaxTokenSize = 65536;

/// Whether it can be sent as it is, on a line and in an HTTP header: of allowed length, without a
/// newline, without white space at either end.
[[nodiscard]] bool is_token(std::string_view text);

struct TokenFile {
  Secret token;
  bool readable_by_others;
};

/// Reads a token, without the white space around it. Throws FileError if the file cannot be read or
/// what it holds is no token.
[[nodiscard]] TokenFile read_token_file(const std::string& path, Pipes pipes = Pipes::kRefuse);

}  // namespace dflockd::base
