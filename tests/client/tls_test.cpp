// Locks over TLS: renewed over TLS too, and refused where the server is not who it should be.

#include <csignal>

#include <dflockd/lock.hpp>

#include "../conformance/tls_server.hpp"
#include "fixture.hpp"

namespace dflockd::client_test {
namespace {

using conformance::Authority;
using conformance::Directory;
using conformance::TlsServer;

class Tls : public testing::Test {
 protected:
  [[nodiscard]] LockOptions options(const TlsServer& server) const {
    LockOptions options = lock_options(address_of(server));
    options.tls = dflockd::TlsOptions{.ca_file = authority_file(server.authority)};
    return options;
  }
  [[nodiscard]] std::string authority_file(const Authority& authority) const {
    return directory_.write("ca.pem", authority.pem());
  }

  Directory directory_;
};

TEST_F(Tls, lock_is_held_and_renewed) {
  TlsServer server;
  LockOptions short_lease = options(server);
  short_lease.lease_ttl = 1s;
  Lock job(short_lease);
  ASSERT_TRUE(job.acquire());
  Lock other(options(server));
  EXPECT_FALSE(other.acquire_for(2s));
  EXPECT_TRUE(job.held());
  job.release();
  EXPECT_TRUE(other.acquire());
}

TEST_F(Tls, server_name_is_what_the_certificate_must_be_for) {
  TlsServer server({}, {.names = "DNS:lockd.internal"});
  LockOptions named = options(server);
  EXPECT_EQ(code_of([&](auto& error) { Lock(named).acquire(error); }), errc::tls);
  EXPECT_NE(message_of([&] {
              Lock(named).acquire();
            }).find("certificate is not trusted: IP address mismatch"),
            std::string::npos)
      << message_of([&] { Lock(named).acquire(); });
  named.tls->server_name = "lockd.internal";
  EXPECT_EQ(code_of([&](auto& error) { Lock(named).acquire(error); }), std::error_code());
  named.tls->server_name = "lockd.external";
  EXPECT_NE(message_of([&] { Lock(named).acquire(); }).find("ostname mismatch"), std::string::npos);
}

TEST_F(Tls, certificate_of_another_authority_is_refused) {
  TlsServer server;
  LockOptions other = options(server);
  other.tls->ca_file = directory_.write("other.pem", Authority("Another").pem());
  EXPECT_EQ(code_of([&](auto& error) { Lock(other).acquire(error); }), errc::tls);
  other.tls->ca_file.clear();  // the system's
  EXPECT_EQ(code_of([&](auto& error) { Lock(other).acquire(error); }), errc::tls);
}

TEST_F(Tls, file_that_cannot_be_used_is_named) {
  TlsServer server;
  LockOptions missing = options(server);
  missing.tls->ca_file = directory_ / "missing.pem";
  const std::string message = message_of([&] { Lock(missing).acquire(); });
  EXPECT_NE(message.find("tls.ca_file \"" + missing.tls->ca_file + "\" cannot be used: "),
            std::string::npos)
      << message;
}

TEST_F(Tls, plain_text_server) {
  Server server;
  LockOptions options = lock_options(address_of(server));
  options.tls = dflockd::TlsOptions{};
  EXPECT_EQ(code_of([&](auto& error) { Lock(options).acquire(error); }), errc::tls);
}

TEST_F(Tls, tls_server_and_plain_text_client) {
  TlsServer server;
  EXPECT_EQ(code_of([&](auto& error) { Lock(lock_options(address_of(server))).acquire(error); }),
            errc::connection);
}

TEST_F(Tls, client_certificate) {
  const Authority clients("Clients");
  TlsServer server({"--tls-client-ca", directory_.write("clients.pem", clients.pem())});
  LockOptions mutual = options(server);
  EXPECT_TRUE(code_of([&](auto& error) { Lock(mutual).acquire(error); })) << "none was shown";
  const auto files =
      directory_.write("client", clients.issue(conformance::client_request("worker")));
  mutual.tls->cert_file = files.certificate;
  mutual.tls->key_file = files.key;
  mutual.lease_ttl = 1s;
  Lock job(mutual);
  ASSERT_TRUE(job.acquire());
  Lock other(mutual);
  EXPECT_FALSE(other.acquire_for(2s)) << "renewed with the certificate";
}

TEST_F(Tls, with_a_secret) {
  TlsServer server({"--auth-token", "open sesame"});
  LockOptions with_secret = options(server);
  EXPECT_EQ(code_of([&](auto& error) { Lock(with_secret).acquire(error); }), errc::auth);
  with_secret.auth_token = "open sesame";
  EXPECT_EQ(code_of([&](auto& error) { Lock(with_secret).acquire(error); }), std::error_code());
}

TEST_F(Tls, long_secret) {
  const std::string secret(30'000, 's');
  const std::string file = directory_.write("secret", secret);
  TlsServer server({"--auth-token-file", file});
  LockOptions with_secret = options(server);
  with_secret.auth_token = secret;
  with_secret.lease_ttl = 1s;
  Lock job(with_secret);
  ASSERT_TRUE(job.acquire());
  Lock other(with_secret);
  EXPECT_FALSE(other.acquire_for(2s)) << "renewed with the secret";
}

TEST_F(Tls, server_that_does_not_shake_hands_is_no_timeout_of_the_lock) {
  TlsServer server;
  LockOptions impatient = options(server);
  impatient.connect_timeout = 200ms;
  server.signal(SIGSTOP);
  Lock job(impatient);
  EXPECT_EQ(code_of([&](auto& error) { job.acquire_for(100ms, error); }), errc::connection);
  server.signal(SIGCONT);
}

TEST_F(Tls, stopped_while_waiting) {
  TlsServer server;
  Lock holder(options(server));
  Lock other(options(server));
  ASSERT_TRUE(holder.acquire());
  EXPECT_FALSE(other.acquire_for(100ms)) << "which leaves the queue by ending the connection";
  EXPECT_EQ(other.enqueue(), EnqueueStatus::kQueued);
  holder.release();
  EXPECT_TRUE(other.wait(5s));
}

}  // namespace
}  // namespace dflockd::client_test
