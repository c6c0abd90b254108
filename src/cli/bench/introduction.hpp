// What a client says before the load, on streams of either kind. Each of these throws
// `std::runtime_error` with one clear line if the server does not answer as it should.
#pragma once

#include "cli/bench/net.hpp"
#include "cli/bench/options.hpp"
#include "cli/bench/tls_stream.hpp"

namespace dflockd::bench {

/// Does the TLS handshake.
[[nodiscard]] Awaitable<void> shake_hands(TlsStream& stream, const Options& options);

/// Sends the secret, which must be there.
template <class Stream>
[[nodiscard]] Awaitable<void> authenticate(Stream& stream, const Options& options);

/// Asks whether it is served.
template <class Stream>
[[nodiscard]] Awaitable<void> ping(Stream& stream, const Options& options);

}  // namespace dflockd::bench
