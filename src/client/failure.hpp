// What went wrong, before it is known what it was wrong for, and how the public functions report
// it: as `Error`, or as a code.
#pragma once

#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

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

/// A failure of a system call, with the text of `strerror`.
[[nodiscard]] Failure system_failure(errc code, int error);

using base::in_quotes;

/// An unexpected answer, quoted; of a grant only the first word, since a token is a secret.
[[nodiscard]] std::string quoted_answer(std::string_view line);

/// The error for `failure` of what was tried (`acquire "key"`) at `server`.
[[nodiscard]] Error to_error(const Failure& failure, std::string_view server,
                             std::string_view action);

/// Runs `call` and turns its `Failure` into an `Error`, with `action`, such as "acquire", and
/// `key`, unless it is empty, in the message.
template <class Call>
auto report_failure(std::string_view server, std::string_view action, std::string_view key,
                    const Call& call) {
  try {
    return call();
  } catch (const Failure& failure) {
    std::string what(action);
    if (!key.empty()) what.append(" ").append(in_quotes(key));
    throw to_error(failure, server, what);
  }
}

/// Runs `call` and stores the code of what it throws in `error`.
template <class Call>
auto report_code(std::error_code& error, const Call& call) noexcept -> decltype(call()) {
  error.clear();
  try {
    return call();
  } catch (const std::system_error& failure) {
    error = failure.code();
  } catch (const std::bad_alloc&) {
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  return decltype(call())();
}

/// Like `report_code`, for a call that returns nothing or false when it timed out.
template <class Call>
auto report_code_or_timeout(std::error_code& error, const Call& call) noexcept -> decltype(call()) {
  auto done = report_code(error, call);
  if (!done && !error) error = errc::timeout;
  return done;
}

}  // namespace dflockd::client
