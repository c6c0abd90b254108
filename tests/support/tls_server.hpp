// A server that speaks TLS, with a certificate from an authority of its own.
//
//   TlsServer server({"--read-timeout", "1"});
//   TlsClient client(server, server.trusting());
#pragma once

#include <memory>
#include <optional>
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

/// What bytes go over between a client and the server.
enum class Stream { kPlain, kTls12, kTls13 };

/// The server for tests that run over each kind of stream.
class StreamServer : private std::unique_ptr<TlsFixture>, public Server {
  using Tls = std::unique_ptr<TlsFixture>;

 public:
  explicit StreamServer(Stream stream, const std::vector<std::string>& flags = {},
                        Http http = Http::kOff)
      : Tls(stream == Stream::kPlain ? nullptr : std::make_unique<TlsFixture>(Request())),
        Server(has_tls() ? (*this)->flags(flags) : flags, http),
        stream_(stream) {}

  [[nodiscard]] bool has_tls() const { return Tls::get() != nullptr; }
  /// What a client connects with that checks the server's certificate.
  [[nodiscard]] TlsOptions trusting() const {
    const int version = stream_ == Stream::kTls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    return {.trusted = &(*this)->authority,
            .host = "localhost",
            .min_version = version,
            .max_version = version};
  }
  [[nodiscard]] std::unique_ptr<Client> connect(std::optional<int> receive_buffer = {}) const {
    if (!has_tls()) return std::make_unique<Client>(*this, receive_buffer);
    return std::make_unique<TlsClient>(*this, trusting(), receive_buffer);
  }

 private:
  const Stream stream_;
};

inline std::string name_of(Stream stream) {
  switch (stream) {
    case Stream::kPlain:
      return "plain";
    case Stream::kTls12:
      return "TLS_1_2";
    case Stream::kTls13:
      return "TLS_1_3";
  }
  return "";
}

/// Tests that run once for each kind of stream.
class OfEachStream : public testing::TestWithParam<Stream> {};

#define FOR_EACH_STREAM(suite)                                                      \
  INSTANTIATE_TEST_SUITE_P(                                                         \
      Over, suite, testing::Values(Stream::kPlain, Stream::kTls12, Stream::kTls13), \
      [](const testing::TestParamInfo<Stream>& parameter) { return name_of(parameter.param); })

/// Tests that run once for each version.
class OfEachVersion : public testing::TestWithParam<int> {};

#define FOR_EACH_VERSION(suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(                                                            \
      Over, suite, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),                    \
      [](const testing::TestParamInfo<int>& parameter) {                               \
        return std::string(parameter.param == TLS1_2_VERSION ? "TLS_1_2" : "TLS_1_3"); \
      })

}  // namespace dflockd::test
