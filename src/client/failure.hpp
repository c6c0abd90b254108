// What went wrong, before it is known what it was wrong for.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <dflockd/error.hpp>

#include "base/text.hpp"

namespace dflockd::client {

/// Thrown within the library; `Connection` and `Contender` make an `Error` of it, which also names
/// the server and the key.
class Failure : public std::runtime_error {
 public:
  Failure(errc code, const std::string& reason) : std::runtime_error(reason), code_(code) {}
  [[nodiscard]] errc code() const noexcept { return code_; }

 private:
  errc code_;
};

/// A failure of a system call: what `strerror` says of `error`.
[[nodiscard]] Failure system_failure(errc code, int error);

using base::in_quotes;

/// An answer that was not expected, quoted; of a grant's only the first word, since a token is a
/// secret.
[[nodiscard]] std::string quoted_answer(std::string_view line);

/// The error for `failure` of what was tried (`acquire "key"`) at `server`.
[[nodiscard]] Error to_error(const Failure& failure, std::string_view server,
                             std::string_view action);

}  // namespace dflockd::client
