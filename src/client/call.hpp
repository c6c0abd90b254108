// How the public functions report what went wrong: as `Error`, or as a code.
#pragma once

#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include "client/failure.hpp"

namespace dflockd::client {

/// Runs `call` and makes an `Error` of its `Failure`, whose message says what was tried: `action`,
/// such as "acquire", for `key`, unless that is empty.
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

/// As `call`, with the code of what it throws in `error`.
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

/// As `report_code` for what returns nothing, or false, when it timed out.
template <class Call>
auto report_code_or_timeout(std::error_code& error, const Call& call) noexcept -> decltype(call()) {
  auto done = report_code(error, call);
  if (!done && !error) error = errc::timeout;
  return done;
}

}  // namespace dflockd::client
