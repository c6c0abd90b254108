// A server that speaks TLS, with a certificate from an authority of its own.
//
//   TlsServer server({"--read-timeout", "1"});
//   TlsClient client(server, server.trusting());
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/certificates.hpp"
#include "support/server.hpp"
#include "support/tls_client.hpp"

namespace dflockd::test {

/// What must be there before the server starts, and is removed after it.
struct TlsFixture {
  explicit TlsFixture(const Request& request)
      : identity(authority.issue(request)), files(directory.write("server", identity)) {}

  /// The flags that turn TLS on, and `others`.
  [[nodiscard]] std::vector<std::string> flags(std::vector<std::string> others) const {
    others.insert(others.end(), {"--tls-cert", files.certificate, "--tls-key", files.key});
    return others;
  }

  TemporaryDirectory directory;
  Authority authority;
  Identity identity;
  IdentityFiles files;
};

class TlsServer : public TlsFixture, public Server {
 public:
  explicit TlsServer(std::vector<std::string> others = {}, const Request& request = {},
                     Http http = Http::kOff)
      : TlsFixture(request), Server(flags(std::move(others)), http) {}

  /// What a client connects with that checks the server's certificate.
  [[nodiscard]] TlsOptions trusting(int version = 0) const {
    TlsOptions options{.trusted = &authority, .host = "localhost"};
    if (version != 0) options.min_version = options.max_version = version;
    return options;
  }
};

/// Tests that run once for each version.
class OfEachVersion : public testing::TestWithParam<int> {};

#define FOR_EACH_VERSION(suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(                                                            \
      Over, suite, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),                    \
      [](const testing::TestParamInfo<int>& parameter) {                               \
        return std::string(parameter.param == TLS1_2_VERSION ? "TLS_1_2" : "TLS_1_3"); \
      })

}  // namespace dflockd::test
