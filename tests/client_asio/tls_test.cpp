// The asynchronous connection over TLS: whom it trusts.
#include <csignal>
#include <string>
#include <thread>

#include "fixture.hpp"
#include "support/certificates.hpp"

namespace dflockd::client_asio {
namespace {

using test::Authority;
using test::IdentityFiles;
using test::TemporaryDirectory;

class Tls : public AsyncTest {
 protected:
  TemporaryDirectory directory;
  Authority authority;
  IdentityFiles files = directory.write("server", authority.issue());
  std::string ca = directory.write("ca.crt", authority.pem());
  AsyncConnection connection{io};

  [[nodiscard]] std::vector<std::string> flags(std::vector<std::string> others = {}) const {
    others.insert(others.end(), {"--tls-cert", files.certificate, "--tls-key", files.key});
    return others;
  }

  [[nodiscard]] ConnectionOptions trusting(const Server& server) const {
    ConnectionOptions options = options_for(server);
    options.tls.emplace().ca_file = ca;
    return options;
  }

  /// What comes of connecting.
  std::error_code connect(const ConnectionOptions& options) {
    std::error_code error;
    run([&]() -> Task { co_await connection.async_connect(options, into(error)); });
    return error;
  }
};

TEST_F(Tls, carries_every_operation) {
  Server server(flags({"--auth-token", "secret"}));
  ConnectionOptions options = trusting(server);
  options.auth_token = "secret";
  ASSERT_FALSE(connect(options));
  run([&]() -> Task {
    const auto grant = co_await connection.async_acquire("key", 0s, 30s, use_awaitable);
    const std::string stats = co_await connection.async_stats(use_awaitable);
    EXPECT_NE(stats.find("\"key\""), std::string::npos);
    co_await connection.async_release("key", grant->token, use_awaitable);
  });
}

TEST_F(Tls, name_of_the_certificate_counts) {
  Server server(flags());
  ConnectionOptions options = trusting(server);
  for (const char* name : {"localhost", "127.0.0.1"}) {
    options.tls->server_name = name;
    EXPECT_FALSE(connect(options)) << name;
  }
  for (const char* name : {"example.com", "127.0.0.2", "::1"}) {
    options.tls->server_name = name;
    EXPECT_EQ(connect(options), errc::tls) << name;
  }
}

TEST_F(Tls, only_the_given_authorities_are_trusted) {
  Server server(flags());
  ConnectionOptions options = trusting(server);
  options.tls->ca_file = directory.write("other.crt", Authority("Another").pem());
  EXPECT_EQ(connect(options), errc::tls);
  options.tls->ca_file.clear();  // those of the system
  EXPECT_EQ(connect(options), errc::tls);
  options.tls->ca_file = directory / "nothing.crt";
  EXPECT_EQ(connect(options), errc::tls);
}

TEST_F(Tls, client_certificate_is_shown) {
  Server server(flags({"--tls-client-ca", ca}));
  ConnectionOptions options = trusting(server);
  const IdentityFiles client =
      directory.write("client", authority.issue(test::client_request("client")));
  options.tls->cert_file = client.certificate;
  options.tls->key_file = client.key;
  ASSERT_FALSE(connect(options));
  run([&]() -> Task { co_await connection.async_ping(use_awaitable); });
  options.tls->key_file = files.key;  // of another certificate
  EXPECT_EQ(connect(options), errc::tls);
  options.tls->cert_file.clear();
  EXPECT_EQ(connect(options), errc::invalid_argument);
}

// In TLS 1.3 the client is done before the server has looked at its certificate.
TEST_F(Tls, refused_client_certificate_is_an_error_of_tls_always) {
  Server server(flags({"--tls-client-ca", ca}));
  const IdentityFiles stranger =
      directory.write("stranger", Authority("Stranger").issue(test::client_request("stranger")));
  for (int i = 0; i < 60; ++i) {
    ConnectionOptions options = trusting(server);
    options.auth_token = i % 3 == 0 ? "secret" : "";
    if (i % 2 == 0) options.tls->cert_file = stranger.certificate;
    if (i % 2 == 0) options.tls->key_file = stranger.key;
    std::error_code error = connect(options);
    if (!error) {
      std::this_thread::sleep_for(std::chrono::milliseconds(i % 4));  // where the alert comes first
      run([&]() -> Task { co_await connection.async_ping(into(error)); });
    }
    EXPECT_EQ(error, errc::tls) << error.message();
  }
}

TEST_F(Tls, trust_file_with_an_intermediate_is_enough) {
  const Authority middle = authority.intermediate("Middle");
  files = directory.write("server", middle.issue());
  Server server(flags());
  ConnectionOptions options = trusting(server);
  options.tls->ca_file = directory.write("middle.crt", middle.pem());
  EXPECT_FALSE(connect(options));
}

TEST_F(Tls, name_is_written_as_people_write_it) {
  Server server(flags());
  ConnectionOptions options = trusting(server);
  for (const char* name : {"localhost.", "LOCALHOST", "127.0.0.1"}) {
    options.tls->server_name = name;
    EXPECT_FALSE(connect(options)) << name;
  }
  for (const std::string& name : {std::string("."), std::string(".localhost"),
                                  std::string("localhost\0", 10), std::string(" localhost")}) {
    options.tls->server_name = name;
    EXPECT_EQ(connect(options), errc::invalid_argument);
  }
}

TEST_F(Tls, server_that_speaks_plain_text) {
  Server server;
  EXPECT_EQ(connect(trusting(server)), errc::tls);
}

TEST_F(Tls, plain_text_to_a_server_that_speaks_tls) {
  Server server(flags());
  ASSERT_FALSE(connect(options_for(server)));
  run([&]() -> Task {
    std::error_code error;
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::tls) << error.message();
  });
}

TEST_F(Tls, frozen_server_does_not_shake_hands_in_time) {
  Server server(flags());
  ConnectionOptions options = trusting(server);
  options.connect_timeout = 50ms;
  server.signal(SIGSTOP);
  EXPECT_EQ(connect(options), errc::connection);
  server.signal(SIGCONT);
}

TEST_F(Tls, frozen_server_does_not_answer_in_time) {
  Server server(flags());
  ConnectionOptions options = trusting(server);
  options.response_timeout = 50ms;
  ASSERT_FALSE(connect(options));
  server.signal(SIGSTOP);
  run([&]() -> Task {
    std::error_code error;
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
  });
  server.signal(SIGCONT);
}

TEST_F(Tls, server_vanishes) {
  Server server(flags());
  ASSERT_FALSE(connect(trusting(server)));
  server.crash();
  run([&]() -> Task {
    std::error_code error;
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

TEST_F(Tls, closing_ends_an_operation) {
  Server server(flags());
  AsyncConnection holder(io);
  std::optional<std::error_code> result;
  ASSERT_FALSE(connect(trusting(server)));
  run([&]() -> Task {
    co_await holder.async_connect(trusting(server), use_awaitable);
    co_await holder.async_acquire("key", 0s, 60s, use_awaitable);
    connection.async_acquire(
        "key", 60s, 60s,
        [&](std::error_code error, const std::optional<Grant>&) { result = error; });
    std::string stats;
    while (stats.find("\"waiters\":1") == std::string::npos) {
      stats = co_await holder.async_stats(use_awaitable);
    }
    connection.close();
    while (stats.find("\"waiters\":0") == std::string::npos) {
      stats = co_await holder.async_stats(use_awaitable);
    }
  });
  EXPECT_EQ(result, errc::canceled);
  holder.close();
  finish();
}

}  // namespace
}  // namespace dflockd::client_asio
