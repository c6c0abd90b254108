// Runs whole loads through each door of the real server: lines and HTTP, in plain text and over
// TLS; and against servers that misbehave there.
#include <array>
#include <future>
#include <string>
#include <vector>

#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.hpp"
#include "support/tls_server.hpp"

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;
using test::Http;
using test::Server;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

/// A load that no reply went wrong for.
Result clean(const Options& options) {
  Result result = measured(options);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
  return result;
}

struct Door {
  bool http = false;
  bool tls = false;
};

class LoadThrough : public testing::TestWithParam<Door> {
 protected:
  [[nodiscard]] Server serve(std::vector<std::string> flags = {}) const {
    if (GetParam().tls) flags = files_.flags(flags);
    return Server(flags, GetParam().http ? Http::kOn : Http::kOff);
  }
  [[nodiscard]] Options load_at(const Server& server) const {
    Options options = load_of(GetParam().http ? server.http_port() : server.port());
    options.http = GetParam().http;
    options.tls = GetParam().tls;
    if (options.tls) options.tls_ca = files_.directory.write("ca.pem", files_.authority.pem());
    return options;
  }

  const test::TlsFixture files_{test::Request()};
};

INSTANTIATE_TEST_SUITE_P(Door, LoadThrough,
                         testing::Values(Door{}, Door{.tls = true}, Door{.http = true},
                                         Door{.http = true, .tls = true}),
                         [](const testing::TestParamInfo<Door>& parameter) {
                           return std::string(parameter.param.http ? "http" : "lines") +
                                  (parameter.param.tls ? "_over_tls" : "");
                         });

TEST_P(LoadThrough, measures_cycles_and_tells_what_was_agreed) {
  Server server = serve();
  Options options = load_at(server);
  options.pipeline = 16;
  options.server_pid = server.pid();
  const Result result = clean(options);
  EXPECT_EQ(result.cycles(), 100U);
  EXPECT_GT(result.server_cpu.value_or(0ns), 0ns);
  ASSERT_EQ(result.tls.has_value(), options.tls);
  if (!result.tls) return;
  EXPECT_EQ(result.tls->version, "TLSv1.3");
  EXPECT_EQ(result.tls->cipher, "TLS_AES_128_GCM_SHA256");
}

TEST_P(LoadThrough, measures_for_a_duration) {
  Server server = serve();
  Options options = load_at(server);
  options.count.reset();
  options.duration = 100ms;
  options.busy_poll = true;
  EXPECT_GT(clean(options).cycles(), 0U);
}

TEST_P(LoadThrough, survives_batches_of_many_requests) {
  Server server = serve({"--max-locks", "2000"});
  Options options = load_at(server);
  options.connections = 1;
  options.pipeline = 1024;
  options.count = 4096;
  EXPECT_EQ(clean(options).cycles(), 4096U);
}

TEST_P(LoadThrough, clients_may_share_a_key_or_a_semaphore) {
  Server server = serve();
  Options options = load_at(server);
  options.keys = Keys::kShared;
  EXPECT_EQ(clean(options).cycles(), 100U);
  options.semaphore = 2;
  options.lease = 60s;
  EXPECT_EQ(clean(options).cycles(), 100U);
}

TEST_P(LoadThrough, a_secret_is_sent_first) {
  Server server = serve({"--auth-token-file", files_.directory.write("secret", "hunter2\n")});
  Options options = load_at(server);
  options.auth_token = "hunter2";
  EXPECT_EQ(clean(options).cycles(), 100U);
  options.auth_token = "hunter3";
  EXPECT_EQ(failure_of(options), address(options) + " refused the secret");
}

TEST_P(LoadThrough, counts_unexpected_replies) {
  Server server = serve({"--max-locks", "2"});
  Options options = load_at(server);
  options.connections = 1;
  options.pipeline = options.count.emplace(3);
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 2U);
  EXPECT_EQ(result.errors, 1U);
  EXPECT_THAT(result.first_error,
              AllOf(StartsWith("acquire was answered "), HasSubstr("max_locks")));
}

// --- HTTP ---

Options http_load_of(std::uint16_t port, std::size_t connections = 3) {
  Options options = load_of(port, connections);
  options.http = true;
  return options;
}

/// Reads a request with its body, which ends with `}` or is not there.
void read_request(tcp::socket& peer) {
  std::string received;
  asio::read_until(peer, asio::dynamic_buffer(received), "\r\n\r\n");
  if (!received.ends_with('}') && received.find("Content-Length: 0\r\n") == std::string::npos) {
    asio::read_until(peer, asio::dynamic_buffer(received), '}');
  }
}

void read_to_end(tcp::socket& peer) {
  std::array<char, 4096> ignored{};
  for (std::error_code ended; !ended;) peer.read_some(asio::buffer(ignored), ended);
}

/// Grants one session, answers the first request with `reply`, and waits for the end.
void answer_once(tcp::socket& peer, const std::string& reply) {
  const std::string session(R"({"session_id":"0123456789abcdef0123456789abcdef"})");
  read_request(peer);
  asio::write(peer, asio::buffer("HTTP/1.1 200 OK\r\nContent-Length: " +
                                 std::to_string(session.size()) + "\r\n\r\n" + session));
  read_request(peer);
  asio::write(peer, asio::buffer(reply));
  read_to_end(peer);
}

TEST(HttpLoad, leaves_no_session_behind) {
  Server server({"--http-max-sessions", "3"}, Http::kOn);
  const Options options = http_load_of(server.http_port());
  EXPECT_EQ(measured(options).cycles(), 100U);
  // The server learns of the end when the load has gone.
  EXPECT_TRUE(test::eventually([&] { return failure_of(options) == "none"; }));
}

TEST(HttpLoad, a_session_that_is_refused_is_a_failure) {
  Server server({"--http-max-sessions", "2", "--auth-token", "hunter2"}, Http::kOn);
  Options options = http_load_of(server.http_port());
  EXPECT_THAT(failure_of(options),
              HasSubstr("answered POST /v1/sessions with \"401 {\"error\":\"unauthorized\""));
  options.auth_token = "hunter2";
  EXPECT_THAT(failure_of(options),
              HasSubstr(address(options) + " answered POST /v1/sessions with "
                                           "\"503 {\"error\":\"max_sessions\""));
}

TEST(HttpLoad, an_answer_that_is_not_http_is_a_failure) {
  Server server_of_lines;
  Options options = http_load_of(server_of_lines.port());
  EXPECT_EQ(failure_of(options), address(options) + " closed the connection");
  SmallServer server([](tcp::socket& peer) { answer_once(peer, "ok\n"); });
  options = http_load_of(server.port(), 1);
  EXPECT_EQ(failure_of(options),
            address(options) + " does not speak HTTP/1.1: it answered \"ok\\x0a\"");
}

TEST(HttpLoad, a_reply_without_an_end_is_a_failure) {
  SmallServer server([](tcp::socket& peer) {
    answer_once(peer, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + std::string(9999, 'x'));
  });
  EXPECT_THAT(failure_of(http_load_of(server.port(), 1)), HasSubstr("lost: Message too long"));
}

TEST(HttpLoad, a_server_that_closes_a_connection_is_a_failure) {
  SmallServer server([](tcp::socket& peer) { read_request(peer); });
  const Options options = http_load_of(server.port());
  EXPECT_EQ(failure_of(options), address(options) + " closed the connection");
}

// --- TLS ---

class TlsLoad : public testing::Test {
 protected:
  /// A load over TLS that trusts the server.
  [[nodiscard]] Options load_at(std::uint16_t port) const {
    Options options = load_of(port);
    options.tls = true;
    options.tls_ca = ca_;
    return options;
  }
  [[nodiscard]] Options handshakes_at(std::uint16_t port) const {
    Options options = load_at(port);
    options.handshakes = true;
    return options;
  }

  const test::TlsFixture files_{test::Request()};
  const std::string ca_ = files_.directory.write("ca.pem", files_.authority.pem());
};

TEST_F(TlsLoad, a_name_is_verified_as_well_as_an_address) {
  const Server server(files_.flags({}));
  Options options = load_at(server.port());
  options.host = "localhost";
  EXPECT_EQ(measured(options).cycles(), 100U);
}

TEST_F(TlsLoad, a_server_that_nobody_vouches_for_is_refused_unless_insecure) {
  const Server server(files_.flags({}));
  Options options = load_at(server.port());
  options.tls_ca = files_.directory.write("other.pem", test::Authority("Another").pem());
  EXPECT_EQ(failure_of(options), "TLS handshake with " + address(options) +
                                     " failed: its certificate is not trusted: unable to get "
                                     "local issuer certificate");
  options.tls_ca.clear();
  EXPECT_THAT(failure_of(options), EndsWith("unable to get local issuer certificate"));
  options.tls_insecure = true;
  EXPECT_EQ(measured(options).cycles(), 100U);
}

TEST_F(TlsLoad, a_certificate_of_another_host_is_refused) {
  const auto other = files_.directory.write(
      "other", files_.authority.issue({.names = "DNS:example.org,IP:192.0.2.1"}));
  const Server server({"--tls-cert", other.certificate, "--tls-key", other.key});
  Options options = load_at(server.port());
  EXPECT_THAT(failure_of(options), EndsWith("not trusted: IP address mismatch"));
  options.host = "localhost";
  EXPECT_THAT(failure_of(options), EndsWith("not trusted: hostname mismatch"));
}

TEST_F(TlsLoad, authorities_that_are_none_are_refused) {
  Options options = load_at(1);
  options.tls_ca = files_.directory.write("empty.pem", "nothing\n");
  EXPECT_THAT(failure_of(options), AllOf(StartsWith("cannot use \"" + options.tls_ca + "\": "),
                                         EndsWith(" (--tls-ca)")));
}

TEST_F(TlsLoad, a_server_that_shakes_no_hands_is_a_failure) {
  const auto failed = [](const Options& options) {
    return "TLS handshake with " + address(options) + " failed: ";
  };
  SmallServer plain([](tcp::socket& peer) {
    asio::write(peer, asio::buffer(std::string("error\n")));
    read_to_end(peer);
  });
  Options options = load_at(plain.port());
  EXPECT_EQ(failure_of(options), failed(options) + "plain text where TLS was expected");
  SmallServer leaving([](tcp::socket& peer) {
    std::array<char, 4096> hello{};
    peer.read_some(asio::buffer(hello));
  });
  options = load_at(leaving.port());
  EXPECT_EQ(failure_of(options), failed(options) + "the server closed the connection");
  std::promise<void> done;
  SmallServer silent([&done](tcp::socket&) { done.get_future().wait(); });
  options = load_at(silent.port());
  EXPECT_EQ(failure_of(options), address(options) + " has answered nothing for 3 s");
  done.set_value();
}

TEST_F(TlsLoad, a_server_that_demands_a_client_certificate_is_a_failure) {
  const Server server(files_.flags({"--tls-client-ca", ca_}));
  EXPECT_THAT(failure_of(handshakes_at(server.port())), HasSubstr("certificate required"));
}

TEST_F(TlsLoad, a_secret_for_a_server_without_one_is_a_failure) {
  const Server server(files_.flags({}));
  Options options = load_at(server.port());
  options.auth_token = "hunter2";
  EXPECT_THAT(failure_of(options), HasSubstr("answered auth with \"error\""));
}

TEST_F(TlsLoad, handshakes_are_full_ones_and_send_the_secret) {
  const Server server(files_.flags({"--auth-token", "hunter2"}));
  Options options = handshakes_at(server.port());
  options.auth_token = "hunter2";
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 100U);
  EXPECT_EQ(result.handshake.count(), 100U);
  EXPECT_LT(result.handshake.max(), result.cycle.max());
  EXPECT_EQ(result.resumed, 0U);
  EXPECT_EQ(result.tls->version, "TLSv1.3");
}

TEST_F(TlsLoad, handshakes_resume_if_wanted) {
  const Server server(files_.flags({}));
  Options options = handshakes_at(server.port());
  options.resume = true;
  // Its first tick renews the server's keys for tickets, which costs each connection one session.
  EXPECT_GE(measured(options).resumed, 97U);
  options.ping = false;
  EXPECT_GE(measured(options).resumed, 97U);
}

TEST_F(TlsLoad, handshakes_end_with_their_duration) {
  Server server(files_.flags({}));
  Options options = handshakes_at(server.port());
  options.count.reset();
  options.duration = 100ms;
  options.server_pid = server.pid();
  options.busy_poll = true;
  const Result result = measured(options);
  EXPECT_GT(result.cycles(), 0U);
  EXPECT_GT(result.server_cpu.value_or(0ns), 0ns);
}

TEST_F(TlsLoad, a_server_that_leaves_during_handshakes_is_a_failure) {
  Server server(files_.flags({}));
  Options options = handshakes_at(server.port());
  options.count = 1'000'000'000;
  auto failure = std::async(std::launch::async, [&options] { return failure_of(options); });
  EXPECT_TRUE(test::eventually([&] { return server.cpu_time() > 50ms; }));
  server.crash();
  EXPECT_THAT(failure.get(), HasSubstr(address(options)));
}

}  // namespace
}  // namespace dflockd::bench
