// Requests of dflockd's HTTP API as they go over the wire.
#pragma once

#include <string>
#include <string_view>

#include "bench/options.hpp"

namespace dflockd::bench {

/// A request with the fields that the server wants, the secret among them if there is one.
/// `session` is the client's, or empty before it has one.
[[nodiscard]] std::string http_request(const Options& options, std::string_view method,
                                       std::string_view target, std::string_view session,
                                       std::string_view body);

}  // namespace dflockd::bench
