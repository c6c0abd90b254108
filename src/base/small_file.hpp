// Reads a small file whole: a configuration, a certificate, a secret. Failures are reported in the
// system's words.
//
//   try {
//     const base::SmallFile file = base::read_small_file("token");
//   } catch (const base::FileError& error) {
//     say(error.what());  // cannot read "token": No such file or directory
//   }
//
// Any thread may call it.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/secret.hpp"

namespace dflockd::base {

/// A file that cannot be read or used. `what()` is one line that names the file; who gave its name
/// is for the caller to add: " (--auth-token-file)".
class FileError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct SmallFile {
  WipedBytes bytes;
  bool readable_by_others = false;  ///< whether the file's mode lets every user read it
};

/// What is done with a pipe, such as that of `<(command)` in a shell.
enum class Pipes {
  kRefuse,
  kRead,  ///< to its end, which waits for as long as somebody has it open for writing
};

/// Reads a file of at most 1 MiB, without the byte-order mark that it may begin with. Directories,
/// devices and the like are refused, since they might block or never end; so is UTF-16. Throws
/// FileError.
[[nodiscard]] SmallFile read_small_file(const std::string& path, Pipes pipes = Pipes::kRefuse);

/// The longest shared secret, in bytes: an argument of the line protocol's `auth`.
inline constexpr std::size_t kMaxSecretSize = 65536;

/// Whether a secret can be sent as it is, on a line and in an HTTP header: of allowed length,
/// without a newline, without white space at either end.
[[nodiscard]] bool is_secret(std::string_view text);

struct SecretFile {
  Secret secret;
  bool readable_by_others;
};

/// Reads a secret, without the white space around it. Throws FileError if the file cannot be read
/// or what it holds is no secret.
[[nodiscard]] SecretFile read_secret_file(const std::string& path, Pipes pipes = Pipes::kRefuse);

/// For files that somebody else reads, and perhaps again later: throws FileError if there is no
/// such file, it is not a regular one, or it must not be read.
void check_readable(const std::string& path);

}  // namespace dflockd::base
