// Locks over TLS: renewed over TLS too, and refused where the server is not who it should be.

#include <csignal>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <dflockd/lock.hpp>
#include <openssl/ssl.h>

#include "fixture.hpp"
#include "support/log.hpp"
#include "support/small_server.hpp"
#include "support/tls_server.hpp"

namespace dflockd::client_test {
namespace {

using test::Authority;
using test::Identity;
using test::TemporaryDirectory;
using test::TlsServer;

/// Demands a certificate, and resets the connection of who shows none, with the alert in it.
test::SmallServer::Serve refusing(const Identity& identity, std::promise<void>& done) {
  return [&](asio::ip::tcp::socket& peer) {
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_server_method()),
                                                               SSL_CTX_free);
    SSL_CTX_use_certificate(context.get(), identity.certificate.get());
    SSL_CTX_use_PrivateKey(context.get(), identity.key.get());
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
    peer.set_option(asio::ip::tcp::no_delay(true));  // or a reset would leave the alert unsent
    SSL_set_fd(ssl.get(), peer.native_handle());
    SSL_accept(ssl.get());
    peer.set_option(asio::socket_base::linger(true, 0));
    peer.close();
    done.set_value();
  };
}

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

  TemporaryDirectory directory_;
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
  const auto refusal_of = [&](const std::string& file) {
    LockOptions with = options(server);
    with.tls->ca_file = file;
    return message_of([&] { Lock(with).acquire(); });
  };
  const std::string missing = directory_ / "missing.pem";
  EXPECT_THAT(refusal_of(missing),
              testing::HasSubstr("cannot read \"" + missing +
                                 "\": No such file or directory (tls.ca_file)"));
  EXPECT_THAT(refusal_of("/tmp"),
              testing::HasSubstr("cannot read \"/tmp\": Is a directory (tls.ca_file)"));
  const std::string empty = directory_.write("empty.pem", "");
  EXPECT_THAT(refusal_of(empty), testing::HasSubstr("cannot use \"" + empty + "\": "));
}

TEST_F(Tls, plain_text_server) {
  Server server;
  LockOptions options = lock_options(address_of(server));
  options.tls = dflockd::TlsOptions{};
  EXPECT_EQ(code_of([&](auto& error) { Lock(options).acquire(error); }), errc::tls);
}

TEST_F(Tls, tls_server_and_plain_text_client) {
  TlsServer server;
  const LockOptions plain = lock_options(address_of(server));
  EXPECT_EQ(code_of([&](auto& error) { Lock(plain).acquire(error); }), errc::tls);
  EXPECT_EQ(message_of([&] { Lock(plain).acquire(); }),
            address_of(server) + ": cannot acquire \"job\": the server speaks TLS only");
}

TEST_F(Tls, client_certificate) {
  const Authority clients("Clients");
  TlsServer server({"--tls-client-ca", directory_.write("clients.pem", clients.pem())});
  LockOptions mutual = options(server);
  EXPECT_EQ(code_of([&](auto& error) { Lock(mutual).acquire(error); }), errc::tls) << "none shown";
  const auto files = directory_.write("client", clients.issue(test::client_request("worker")));
  mutual.tls->cert_file = files.certificate;
  mutual.tls->key_file = files.key;
  mutual.lease_ttl = 1s;
  Lock job(mutual);
  ASSERT_TRUE(job.acquire());
  Lock other(mutual);
  EXPECT_FALSE(other.acquire_for(2s)) << "renewed with the certificate";
}

/// A server that demands certificates, and clients whose certificates it refuses.
class Refused : public Tls {
 protected:
  struct Case {
    const char* reason;
    dflockd::TlsOptions tls;
  };

  [[nodiscard]] std::vector<Case> cases() const {
    test::Request expired = test::client_request("expired");
    expired.valid_until = std::chrono::minutes(-1);
    return {{"certificate required", showing("none", {})},
            {"unknown ca",
             showing("stranger", Authority("Stranger").issue(test::client_request("stranger")))},
            {"certificate expired", showing("expired", clients_.issue(expired))},
            {"unsupported certificate", showing("server", clients_.issue())}};
  }

  [[nodiscard]] dflockd::TlsOptions showing(const char* name,
                                            const std::optional<Identity>& identity) const {
    dflockd::TlsOptions tls{.ca_file = authority_file(server_.authority)};
    if (!identity) return tls;
    const auto files = directory_.write(name, *identity);
    tls.cert_file = files.certificate;
    tls.key_file = files.key;
    return tls;
  }

  Authority clients_{"Clients"};
  TlsServer server_{{"--tls-client-ca", directory_.write("clients.pem", clients_.pem())}};
};

// In TLS 1.3 the client is done before the server has looked at its certificate: the alert comes
// before the request is sent, or instead of its answer, or with the end of the connection.
TEST_F(Refused, certificate_is_an_error_of_tls_always_and_says_why) {
  for (const Case& refused : cases()) {
    const std::string expected =
        std::string("the server refused the certificate: ") + refused.reason;
    LockOptions of_lock = lock_options(address_of(server_));
    of_lock.tls = refused.tls;
    ConnectionOptions options{.server = address_of(server_), .tls = refused.tls};
    for (int i = 0; i < 30; ++i) {
      const auto pause = std::chrono::milliseconds(i % 3);  // where the alert comes first
      const std::string by_connection = message_of([&] {
        Connection connection(options);
        std::this_thread::sleep_for(pause);
        connection.ping();
      });
      EXPECT_NE(by_connection.find(expected), std::string::npos) << by_connection;
      const std::string by_lock = message_of([&] { Lock(of_lock).acquire(); });
      EXPECT_NE(by_lock.find(expected), std::string::npos) << by_lock;
      options.auth_token = i % 2 == 0 ? "secret" : "";
    }
    Connection connection(options);
    EXPECT_EQ(code_of([&](auto& error) { connection.ping(error); }), errc::tls);
    EXPECT_EQ(code_of([&](auto& error) { Lock(of_lock).acquire(error); }), errc::tls);
  }
}

// The lock was granted over a connection that goes on; the renewals need another.
TEST_F(Refused, certificate_is_the_reason_that_a_lease_could_not_be_renewed) {
  LockOptions renewed = lock_options(address_of(server_));
  renewed.tls = showing("worker", clients_.issue(test::client_request("worker")));
  renewed.lease_ttl = 2s;
  std::promise<std::string> lost;
  renewed.on_renew_error = [&](const Error& error) { lost.set_value(error.what()); };
  Lock job(renewed);
  ASSERT_TRUE(job.acquire());
  static_cast<void>(directory_.write("clients.pem", Authority("Others").pem()));
  EXPECT_EQ(test::reload(server_), "reloaded changed=client_ca");
  const std::string reason = lost.get_future().get();
  EXPECT_NE(reason.find("the server refused the certificate: unknown ca"), std::string::npos)
      << reason;
}

// A reset that comes before the request is sent.
TEST_F(Refused, certificate_is_an_error_of_tls_if_the_server_resets_the_connection) {
  for (int i = 0; i < 10; ++i) {
    std::promise<void> refused;
    const test::SmallServer server(refusing(server_.identity, refused));
    ConnectionOptions options{.server = server.address(), .tls = showing("none", {})};
    options.auth_token = "secret";
    options.tls->server_name = "localhost";
    const std::string message = message_of([&] {
      Connection connection(options);
      refused.get_future().wait();
      connection.ping();
    });
    EXPECT_NE(message.find("certificate required"), std::string::npos) << message;
  }
}

// --- Names ---

TEST_F(Tls, name_is_written_as_people_write_it) {
  TlsServer server({}, {.names = "DNS:lockd.test,IP:127.0.0.1,IP:::1,DNS:localhost"});
  LockOptions named = options(server);
  for (const char* name : {"lockd.test", "lockd.test.", "LockD.Test.", "127.0.0.1", "::1", "[::1]",
                           "0:0::1", "::1%lo", "127.0.0.1.", "[::1]."}) {
    named.tls->server_name = name;
    EXPECT_EQ(code_of([&](auto& error) { Lock(named).acquire(error); }), std::error_code()) << name;
  }
  for (const char* name : {"test.", "127.0.0.2", "::2%lo", "127.0.0.1.test"}) {
    named.tls->server_name = name;
    EXPECT_EQ(code_of([&](auto& error) { Lock(named).acquire(error); }), errc::tls) << name;
  }
}

// OpenSSL takes an empty name for any, and one that begins with a dot for all that end with it.
TEST_F(Tls, name_that_is_none_is_refused) {
  TlsServer server({}, {.names = "DNS:lockd.test"});
  LockOptions named = options(server);
  for (const std::string& name :
       {std::string("."), std::string(".test"), std::string("lockd.test\0.evil", 15),
        std::string("\0", 1), std::string("lockd test"), std::string("lockd.test\n"),
        std::string("lockd.test.."), std::string("[]"), std::string("[.]"), std::string("[.test]"),
        std::string("[lockd.test]"), std::string("[::1")}) {
    named.tls->server_name = name;
    EXPECT_NE(message_of([&] { Lock job(named); }).find("expected a name or an address"),
              std::string::npos);
  }
}

TEST_F(Tls, file_with_a_nul_in_its_name_is_refused) {
  TlsServer server;
  LockOptions cut = options(server);
  cut.tls->ca_file += std::string("\0.pem", 5);
  EXPECT_NE(message_of([&] { Lock job(cut); }).find("has a NUL in its name"), std::string::npos);
}

// --- "an intermediate or a leaf in --tls-ca is trusted as it stands" ---

TEST_F(Tls, trust_file_with_an_intermediate_or_a_leaf_is_enough) {
  const Authority middle = Authority("Root").intermediate("Middle");
  const Identity own = middle.issue();
  const auto files = directory_.write("own", own);
  const Server server({"--tls-cert", files.certificate, "--tls-key", files.key});
  LockOptions trusting = lock_options(address_of(server));
  Identity leaf = own;
  leaf.chain.clear();
  for (const std::string& trusted : {middle.pem(), leaf.certificate_pem()}) {
    trusting.tls = dflockd::TlsOptions{.ca_file = directory_.write("trusted.pem", trusted)};
    EXPECT_EQ(code_of([&](auto& error) { Lock(trusting).acquire(error); }), std::error_code());
    trusting.tls->server_name = "other.test";
    EXPECT_EQ(code_of([&](auto& error) { Lock(trusting).acquire(error); }), errc::tls);
  }
  leaf = middle.issue();
  leaf.chain.clear();
  trusting.tls = dflockd::TlsOptions{.ca_file = directory_.write("x.pem", leaf.certificate_pem())};
  EXPECT_EQ(code_of([&](auto& error) { Lock(trusting).acquire(error); }), errc::tls);
}

// --- A secret, a wait ---

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
