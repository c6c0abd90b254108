// Who is let in over TLS, what is agreed on, and what becomes of those who cannot agree.

#include <csignal>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/stats.hpp"
#include "support/tls_client.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

using std::chrono::hours;

TlsOptions with_ciphers(std::string ciphers) {
  return {.max_version = TLS1_2_VERSION, .ciphers = std::move(ciphers)};
}

/// Waits until the log tells of a failed handshake with this reason.
void expect_warning(const Server& server, const std::string& reason) {
  const auto line = server.wait_for_log_line("warn tls_handshake_failed");
  ASSERT_TRUE(line) << server.log();
  EXPECT_NE(as_openssl_3_0_has_it(*line).find("reason=\"" + reason + "\""), std::string::npos)
      << *line;
  EXPECT_NE(line->find("peer=127.0.0.1:"), std::string::npos) << *line;
}

// --- Versions and suites ---

class Handshake : public OfEachVersion {};
FOR_EACH_VERSION(Handshake);

TEST_P(Handshake, works_and_is_checked_by_the_client) {
  const TlsServer server;
  TlsClient client(server, server.trusting(GetParam()));
  EXPECT_EQ(client.version(), GetParam() == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
  EXPECT_EQ(client.ping(), "ok");
  EXPECT_EQ(client.server_fingerprint(), fingerprint(server.identity.certificate.get()));
}

TEST_P(Handshake, works_with_an_rsa_certificate) {
  const TlsServer server({}, {.key = KeyType::kRsa2048});
  EXPECT_EQ(failure_of(server, server.trusting(GetParam())), "");
}

TEST(TlsVersions, newest_is_agreed_on) {
  const TlsServer server;
  EXPECT_EQ(TlsClient(server, server.trusting()).version(), "TLSv1.3");
}

// "TLS 1.2 at least"
TEST(TlsVersions, below_1_2_are_refused) {
  const TlsServer server;
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    const TlsOptions old{.min_version = version, .max_version = version};
    EXPECT_EQ(failure_of(server, old), "tlsv1 alert protocol version");
  }
  expect_warning(server, "unsupported protocol");
  EXPECT_EQ(failure_of(server, server.trusting()), "");
}

TEST(TlsSuites, aes_128_gcm_is_chosen_by_default) {
  const TlsServer server;
  EXPECT_EQ(TlsClient(server, server.trusting(TLS1_3_VERSION)).cipher(), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(TlsClient(server, server.trusting(TLS1_2_VERSION)).cipher(),
            "ECDHE-ECDSA-AES128-GCM-SHA256");
}

TEST(TlsSuites, others_with_ephemeral_keys_and_authentication_may_be_asked_for) {
  const TlsServer server;
  for (const char* suite : {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}) {
    TlsOptions options = server.trusting(TLS1_3_VERSION);
    options.suites = suite;
    EXPECT_EQ(TlsClient(server, options).cipher(), suite);
  }
  for (const char* suite : {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"}) {
    TlsOptions options = server.trusting(TLS1_2_VERSION);
    options.ciphers = suite;
    EXPECT_EQ(TlsClient(server, options).cipher(), suite);
  }
}

TEST(TlsSuites, chacha20_is_chosen_for_a_client_that_prefers_it) {
  const TlsServer server;
  TlsOptions options = server.trusting(TLS1_3_VERSION);
  options.suites = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
  EXPECT_EQ(TlsClient(server, options).cipher(), "TLS_CHACHA20_POLY1305_SHA256");
}

TEST(TlsSuites, without_ephemeral_keys_or_authenticated_encryption_are_refused) {
  const TlsServer ecdsa;
  const TlsServer rsa({}, {.key = KeyType::kRsa2048});
  for (const TlsServer* server : {&ecdsa, &rsa}) {
    for (const char* ciphers :
         {"ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA",
          "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA", "DHE-RSA-AES128-GCM-SHA256", "aNULL"}) {
      SCOPED_TRACE(ciphers);
      EXPECT_EQ(failure_of(*server, with_ciphers(ciphers)), "sslv3 alert handshake failure");
    }
    expect_warning(*server, "no shared cipher");
  }
}

// --- Sessions ---

/// A client of `server` that has had a reply, so that the session is there in TLS 1.3 too.
TlsClient pinged(const Server& server, const TlsOptions& options) {
  TlsClient client(server, options);
  EXPECT_EQ(client.ping(), "ok");
  return client;
}

TEST_P(Handshake, session_is_resumed) {
  const TlsServer server;
  TlsOptions options = server.trusting(GetParam());
  TlsClient first = pinged(server, options);
  EXPECT_FALSE(first.resumed());
  options.session = first.session();
  first.close();
  TlsClient second = pinged(server, options);
  EXPECT_TRUE(second.resumed());
  options.session = second.session();
  EXPECT_TRUE(pinged(server, options).resumed()) << "each resumption brings another session";
}

// Not only while the keys of the tickets are those of the first moment.
TEST_P(Handshake, first_session_is_resumed_for_longer_than_a_moment) {
  const TlsServer server;
  TlsOptions options = server.trusting(GetParam());
  const TlsClient first = pinged(server, options);
  options.session = first.session();
  for (const auto until = Clock::now() + 200ms; Clock::now() < until;) {
    ASSERT_TRUE(pinged(server, options).resumed());
  }
}

TEST_P(Handshake, session_of_another_server_is_not_resumed_and_does_no_harm) {
  const TlsServer server;
  const TlsServer other;
  TlsOptions options = server.trusting(GetParam());
  options.session = pinged(server, options).session();
  options.trusted = &other.authority;
  EXPECT_FALSE(pinged(other, options).resumed());
}

TEST(Renegotiation, by_the_client_is_refused) {
  const TlsServer server;
  TlsClient client(server, server.trusting(TLS1_2_VERSION));
  EXPECT_EQ(client.ping(), "ok");
  client.send_raw(client.renegotiation());
  try {
    client.read_line();
    FAIL() << "it was answered";
  } catch (const TlsFailure& failure) {
    EXPECT_STREQ(failure.what(), "no renegotiation");
  }
  EXPECT_EQ(failure_of(server, server.trusting()), "");
}

// --- Clients that do not trust the server ---

TEST_P(Handshake, refused_by_the_client_is_told_and_harms_nobody) {
  const TlsServer server;
  const Authority stranger("Stranger");
  TlsOptions wrong_authority = server.trusting(GetParam());
  wrong_authority.trusted = &stranger;
  EXPECT_EQ(failure_of(server, wrong_authority),
            "certificate verify failed: unable to get local issuer certificate");
  const auto line = server.wait_for_log_line("warn tls_handshake_failed");
  ASSERT_TRUE(line) << server.log();
  EXPECT_NE(line->find("alert unknown ca"), std::string::npos) << *line;

  TlsOptions wrong_name = server.trusting(GetParam());
  wrong_name.host = "other.example";
  EXPECT_EQ(failure_of(server, wrong_name), "certificate verify failed: hostname mismatch");
  EXPECT_EQ(failure_of(server, server.trusting(GetParam())), "");
}

TEST_P(Handshake, with_an_expired_certificate_is_refused_by_the_client_and_told) {
  const TlsServer server({}, {.valid_until = std::chrono::minutes(-1)});
  const auto warning = server.wait_for_log_line("warn configuration");
  ASSERT_TRUE(warning) << server.log();
  EXPECT_NE(warning->find("server.crt' has expired: it was valid until 20"), std::string::npos)
      << *warning;
  EXPECT_EQ(failure_of(server, server.trusting(GetParam())),
            "certificate verify failed: certificate has expired");
  expect_warning(server, "sslv3 alert certificate expired");
  EXPECT_EQ(failure_of(server, {}), "") << "who does not check is served";
}

TEST_P(Handshake, with_a_certificate_that_is_not_valid_yet_is_refused_by_the_client) {
  const TlsServer server({}, {.valid_from = hours(1)});
  EXPECT_EQ(failure_of(server, server.trusting(GetParam())),
            "certificate verify failed: certificate is not yet valid");
}

TEST_P(Handshake, shows_the_certificates_that_lead_to_the_root) {
  const TemporaryDirectory directory;
  const Authority root("Root");
  const Authority middle = root.intermediate("Middle");
  const IdentityFiles files = directory.write("server", middle.issue());
  const Server server({"--tls-cert", files.certificate, "--tls-key", files.key});
  TlsOptions options{.trusted = &root, .host = "localhost"};
  options.min_version = options.max_version = GetParam();
  EXPECT_EQ(failure_of(server, options), "");
}

// --- Not TLS at all ---

TEST(PlainTextWhereTlsIsExpected, is_closed_at_once_and_told) {
  for (const char* text :
       {"ping\n_\n_\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /v1/locks HTTP/1.1\r\n\r\n", "CONNECT localhost:443 HTTP/1.1\r\n", "l\njob\n60\n"}) {
    SCOPED_TRACE(text);
    const TlsServer server;
    Client client(server);
    client.send(text);
    const auto sent = Clock::now();
    client.read_to_end();
    EXPECT_LT(Clock::now() - sent, within(3s)) << "the read timeout is 23 s";
    expect_warning(server, "plain text where TLS was expected");
    EXPECT_EQ(failure_of(server, server.trusting()), "");
  }
}

TEST(PlainTextWhereTlsIsExpected, is_told_in_a_line_a_second_at_most_which_count_all) {
  TlsServer server;
  for (int i = 0; i < 50; ++i) {
    Client client(server);
    client.send("ping\n_\n_\n");
    client.read_to_end();
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  int lines = 0;
  int failures = 0;
  std::istringstream log(server.log());
  for (std::string line; std::getline(log, line);) {
    if (line.find(" tls_handshake_failed ") == std::string::npos) continue;
    ++lines;
    failures += std::stoi(line.substr(line.rfind(" count=") + 7));
  }
  EXPECT_EQ(failures, 50);
  EXPECT_LE(lines, 10) << server.log();
}

// --- Handshakes that do not come to an end ---

const std::vector<std::string> kShortReadTimeout{"--read-timeout", "1"};

TEST(UnfinishedHandshake, silent_one_is_closed_after_the_read_timeout) {
  const TlsServer server(kShortReadTimeout);
  const auto start = Clock::now();
  Client silent(server);
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_LT(Clock::now() - start, within(3s));
  const auto line = server.wait_for_log_line("warn tls_handshake_failed");
  ASSERT_TRUE(line) << server.log();
  EXPECT_NE(line->find("reason=read_timeout"), std::string::npos) << *line;
}

TEST(UnfinishedHandshake, dribbling_one_is_closed_after_the_read_timeout_in_all) {
  const TlsServer server(kShortReadTimeout);
  const auto start = Clock::now();
  Client dribbling(server);
  for (const char byte : client_hello()) {
    if (dribbling.has_input()) break;
    dribbling.send({&byte, 1});
    if (eventually([&] { return dribbling.has_input(); }, 100ms)) break;
  }
  EXPECT_EQ(dribbling.read_to_end(), "");
  EXPECT_GE(Clock::now() - start, 1s);
  EXPECT_LT(Clock::now() - start, within(3s)) << "the whole hello would have taken 20 s";
}

TEST(UnfinishedHandshake, one_that_is_cut_short_ends_with_it) {
  const TlsServer server({"--debug"});
  Client leaving(server);
  leaving.send(client_hello().substr(0, 100));
  leaving.half_close();
  EXPECT_EQ(leaving.read_to_end(), "");
  expect_warning(server, "the peer left");
  Client silent(server);
  silent.half_close();
  EXPECT_EQ(silent.read_to_end(), "");
  Client reset(server);
  reset.send(client_hello().substr(0, 100));
  reset.reset();
  TlsClient observer(server, server.trusting());
  EXPECT_TRUE(eventually([&] { return stats(observer).at("connections") == 1; }));
}

TEST(UnfinishedHandshake, one_that_goes_on_with_garbage_is_refused) {
  const TlsServer server;
  Client client(server);
  client.send(client_hello(server.trusting()) + std::string(500, 'x'));
  const auto sent = Clock::now();
  client.read_to_end();
  EXPECT_LT(Clock::now() - sent, within(3s));
  EXPECT_TRUE(server.wait_for_log_line("warn tls_handshake_failed")) << server.log();
  EXPECT_EQ(failure_of(server, server.trusting()), "");
}

TEST(UnfinishedHandshake, says_in_the_log_why_the_connection_ended) {
  TlsServer server({"--debug", "--read-timeout", "2"});
  const auto disconnected = [&server](const Client& client) {
    const std::string before = "peer=" + client.local_endpoint() + " reason=";
    std::string reason = "none";
    static_cast<void>(eventually([&] {
      const std::string log = server.log();
      const std::size_t event = log.find(" disconnected ");
      const std::size_t found = log.find(before, event == std::string::npos ? log.size() : event);
      if (found == std::string::npos) return false;
      const std::size_t start = found + before.size();
      reason = log.substr(start, log.find('\n', start) - start);
      return true;
    }));
    return reason;
  };
  Client silent(server);
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_EQ(disconnected(silent), "tls_handshake_timeout");
  silent.close();
  Client wrong(server);
  wrong.send("ping\n_\n_\n");
  wrong.read_to_end();
  EXPECT_EQ(disconnected(wrong), "tls_handshake_failed");
  wrong.close();
  TlsClient holder(server, server.trusting());
  holder.hold(lock("job"));
  Client shaking_hands(server);
  EXPECT_TRUE(eventually([&] { return stats(holder).at("connections") == 2; }));
  server.signal(SIGTERM);
  EXPECT_EQ(shaking_hands.read_to_end(), "");
  EXPECT_EQ(disconnected(shaking_hands), "draining");
  holder.close();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

// --- "handshakes in progress count" ---

TEST(HandshakesInProgress, count_toward_the_caps_and_give_their_place_back) {
  for (const char* cap : {"--max-connections", "--max-connections-per-ip"}) {
    SCOPED_TRACE(cap);
    const TlsServer server({cap, "3"});
    TlsClient first(server, server.trusting());
    EXPECT_EQ(first.ping(), "ok");
    Client silent(server);
    Client half_way(server);
    half_way.send(client_hello().substr(0, 100));
    EXPECT_TRUE(eventually([&] { return stats(first).at("connections") == 3; }));
    EXPECT_EQ(Client(server).read_to_end(), "");
    EXPECT_EQ(failure_of(server, server.trusting()), "the server closed the connection");
    EXPECT_EQ(first.ping(), "ok");
    int left = 3;
    for (Client* leaving : {&silent, &half_way}) {
      leaving->close();
      --left;
      EXPECT_TRUE(eventually([&] { return stats(first).at("connections") == left; }));
      TlsClient second(server, server.trusting());
      EXPECT_EQ(second.ping(), "ok");
      second.close();
      EXPECT_TRUE(eventually([&] { return stats(first).at("connections") == left; }));
    }
  }
}

TEST(HandshakesInProgress, that_failed_or_timed_out_give_their_place_back) {
  const TlsServer server({"--max-connections", "2", "--read-timeout", "1"});
  TlsClient holder(server, server.trusting());
  holder.hold(lock("job"));  // which spares it the read timeout
  for (const std::string& sent : {std::string("ping\n_\n_\n"), std::string()}) {
    Client failing(server);
    failing.send(sent);
    failing.read_to_end();
    failing.close();
    EXPECT_TRUE(eventually([&] { return stats(holder).at("connections") == 1; }));
    EXPECT_EQ(failure_of(server, server.trusting()), "");
    EXPECT_TRUE(eventually([&] { return stats(holder).at("connections") == 1; }));
  }
}

// --- "--tls-client-ca | require client certificates signed by it" ---

class MutualTls : public OfEachVersion {
 protected:
  [[nodiscard]] TlsOptions showing(const Identity& identity) const {
    TlsOptions options = server_.trusting(GetParam());
    options.identity = &identity;
    return options;
  }

  struct Files : TemporaryDirectory {
    Authority clients{"Clients"};
    std::filesystem::path path = write("clients.crt", clients.pem());
  } ca_;
  TlsServer server_{{"--tls-client-ca", ca_.path}};
};
FOR_EACH_VERSION(MutualTls);

TEST_P(MutualTls, client_with_a_certificate_of_the_authority_is_served) {
  const Identity identity = ca_.clients.issue(client_request("worker"));
  TlsClient client(server_, showing(identity));
  const Grant grant = client.hold(lock("job"));
  EXPECT_EQ(client.release(lock("job"), grant.token), "ok");
}

TEST_P(MutualTls, client_without_a_certificate_is_refused) {
  EXPECT_EQ(failure_of(server_, server_.trusting(GetParam())),
            GetParam() == TLS1_3_VERSION ? "tlsv13 alert certificate required"
                                         : "sslv3 alert handshake failure");
  expect_warning(server_, "peer did not return a certificate");
}

TEST_P(MutualTls, client_with_a_certificate_of_another_authority_is_refused) {
  const Authority stranger("Clients");  // of the same name
  const Identity identity = stranger.issue(client_request("worker"));
  EXPECT_NE(failure_of(server_, showing(identity)), "");
  expect_warning(server_, "certificate verify failed");
}

// The authority that signed the server's certificate does not vouch for clients.
TEST_P(MutualTls, client_with_a_certificate_of_the_servers_authority_is_refused) {
  const Identity identity = server_.authority.issue(client_request("worker"));
  EXPECT_NE(failure_of(server_, showing(identity)), "");
  expect_warning(server_, "certificate verify failed");
}

TEST_P(MutualTls, client_with_an_expired_certificate_is_refused) {
  Request request = client_request("worker");
  request.valid_until = std::chrono::minutes(-1);
  const Identity identity = ca_.clients.issue(request);
  EXPECT_EQ(failure_of(server_, showing(identity)), "sslv3 alert certificate expired");
  expect_warning(server_, "certificate verify failed");
}

TEST_P(MutualTls, client_with_a_certificate_for_servers_only_is_refused) {
  const Identity identity = ca_.clients.issue({.subject = "worker"});
  EXPECT_NE(failure_of(server_, showing(identity)), "");
  expect_warning(server_, "certificate verify failed");
}

TEST_P(MutualTls, client_with_a_chain_to_the_authority_is_served) {
  const Authority middle = ca_.clients.intermediate("Middle");
  Identity identity = middle.issue(client_request("worker"));
  EXPECT_EQ(failure_of(server_, showing(identity)), "");
  identity.chain.clear();
  EXPECT_NE(failure_of(server_, showing(identity)), "");
}

TEST_P(MutualTls, session_is_resumed) {
  const Identity identity = ca_.clients.issue(client_request("worker"));
  TlsOptions options = showing(identity);
  options.session = pinged(server_, options).session();
  EXPECT_TRUE(pinged(server_, options).resumed());
}

TEST_P(MutualTls, session_from_a_server_that_asks_for_no_certificate_is_no_way_in) {
  const TlsServer open;
  TlsOptions options = open.trusting(GetParam());
  const Session session = pinged(open, options).session();
  options = server_.trusting(GetParam());
  options.session = session;
  EXPECT_NE(failure_of(server_, options), "");
}

}  // namespace

}  // namespace dflockd::test
