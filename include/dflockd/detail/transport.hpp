// What the blocking and the asynchronous connection share besides the line protocol. For the
// library's own headers; programs have no use for it, and it may change with any version.
// Thread-safe: no state.
#pragma once

#include <string>
#include <system_error>

#include <dflockd/api.hpp>
#include <dflockd/options.hpp>

struct ssl_ctx_st;  // OpenSSL's SSL_CTX
struct ssl_st;      // and SSL

namespace dflockd::detail {

/// Where a server is.
struct Endpoint {
  std::string host;  ///< a name or an address, without brackets
  std::string port;  ///< 1 to 65535, decimal
};

/// Checks all of `options`, and returns where to connect. Throws `Error`
/// (`errc::invalid_argument`).
[[nodiscard]] DFLOCKD_API Endpoint check_options(const ConnectionOptions& options);

/// A TCP socket as every connection of the library has one, which the caller owns: not inherited by
/// what a child executes, with TCP_NODELAY and keepalive. `family` is AF_INET or AF_INET6. Negative
/// if there is none to be had.
[[nodiscard]] DFLOCKD_API int open_socket(int family);

/// Has `context` trust and present what `options` say, and demand that certificates be for their
/// `server_name`, or for `host` if that is empty. Reads the files.
[[nodiscard]] DFLOCKD_API std::error_code prepare_tls(ssl_ctx_st* context,
                                                      const TlsOptions& options,
                                                      const std::string& host);

/// Announces that name (SNI), if it is no address.
[[nodiscard]] DFLOCKD_API std::error_code announce_name(ssl_st* ssl, const TlsOptions& options,
                                                        const std::string& host);

/// To be called when `ssl` has returned data: a server that sends none is cut off.
DFLOCKD_API void note_data(ssl_st* ssl) noexcept;

}  // namespace dflockd::detail
