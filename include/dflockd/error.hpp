// What can go wrong, as a code and as an exception.
//
//     try {
//       lock.acquire();
//     } catch (const dflockd::Error& error) {
//       if (error.code() == dflockd::errc::draining) retry_elsewhere();
//     }
//
// Messages name the server and the key, never a token or the secret. Thread-safe: values only.
#pragma once

#include <memory>
#include <string>
#include <system_error>

#include <dflockd/api.hpp>

namespace dflockd {

// NOLINTBEGIN(readability-identifier-naming): spelled as the standard's std::errc.

/// Why a call did not do what it was asked for. Zero is success, as in every error code.
enum class errc {
  timeout = 1,       ///< the time given for it is over; nothing is held and nothing is queued
  max_locks,         ///< the server has as many keys as it may: `--max-locks`
  max_waiters,       ///< the key's queue is as long as it may be: `--max-waiters`
  limit_mismatch,    ///< the semaphore exists with another limit
  already_enqueued,  ///< `enqueue` by what is enqueued, or holds, already
  not_enqueued,      ///< `wait` without an `enqueue` before it
  lease_expired,     ///< the lease ran out before it was renewed, or before `wait` came
  not_held,          ///< the server knows no such grant: released, expired, or it was restarted
  auth,              ///< the server wants a secret, or another one
  draining,          ///< the server is about to stop and grants nothing more
  protocol,          ///< the server refused the request, or what answers is no dflockd
  connection,        ///< no connection, it was lost, or the server does not answer
  tls,               ///< no trusted TLS connection: wrong name, unknown CA, a certificate that the
                     ///< server refused, plain text on one side
  invalid_argument,  ///< an option or argument that is not allowed; the message says what is
  canceled,          ///< stopped by its `std::stop_token`, or by `close`
};

// NOLINTEND(readability-identifier-naming)

/// The category of `errc`; its name is "dflockd".
[[nodiscard]] DFLOCKD_API const std::error_category& error_category() noexcept;

/// Lets `errc` be compared with and turned into `std::error_code`.
[[nodiscard]] DFLOCKD_API std::error_code make_error_code(errc code) noexcept;

/// What the throwing functions throw. `code()` is of `errc`, but for failures of the process
/// itself, such as memory or descriptors that ran out, which are of the standard's generic
/// category.
class DFLOCKD_API Error : public std::system_error {
 public:
  /// @param code  what happened
  /// @param what  the whole message: what was tried, where, and why it failed
  Error(std::error_code code, const std::string& what);
  Error(errc code, const std::string& what);

  /// The message, such as
  /// `127.0.0.1:6388: cannot acquire "etl-job": Connection refused`. Lives as long as the error.
  [[nodiscard]] const char* what() const noexcept override { return what_->c_str(); }

 private:
  std::shared_ptr<const std::string> what_;  // exceptions must be copied without throwing
};

}  // namespace dflockd

template <>
struct std::is_error_code_enum<dflockd::errc> : std::true_type {};
