// What a client says before the load, on streams of either kind. Each of these throws
// `std::runtime_error` with one clear line if the server does not answer as it should.
#pragma once

#include <string>
#include <string_view>

#include "bench/net.hpp"
#include "bench/options.hpp"
#include "bench/tls_stream.hpp"

namespace dflockd::bench {

/// Does the TLS handshake.
[[nodiscard]] Awaitable<void> shake_hands(TlsStream& stream, const Options& options);

/// Sends the secret, which must be there.
template <class Stream>
[[nodiscard]] Awaitable<void> authenticate(Stream& stream, const Options& options);

/// Asks whether it is served.
template <class Stream>
[[nodiscard]] Awaitable<void> ping(Stream& stream, const Options& options);

/// Opens a session of the HTTP API, and gives its id.
template <class Stream>
[[nodiscard]] Awaitable<std::string> open_session(Stream& stream, const Options& options);

/// What to say of a server whose answer, which begins like this, is no reply of HTTP/1.1.
[[nodiscard]] std::string not_http(const Options& options, std::string_view answer);

}  // namespace dflockd::bench
