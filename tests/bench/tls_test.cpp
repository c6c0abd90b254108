// Runs whole loads over TLS, and against secrets, with the real server.
#include <future>
#include <stdexcept>
#include <string>
#include <vector>

#include <asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/load.hpp"
#include "certificate.hpp"
#include "floor_process.hpp"
#include "one_connection_server.hpp"
#include "support/server.hpp"

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;
using test::Server;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class TlsLoad : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> with_tls(std::vector<std::string> flags = {}) const {
    flags.insert(flags.end(),
                 {"--tls-cert", certificate_.file(), "--tls-key", certificate_.key_file()});
    return flags;
  }

  /// A load over TLS that trusts the server.
  [[nodiscard]] Options load_of(std::uint16_t port) const {
    Options options;
    options.port = port;
    options.connections = 3;
    options.count = 100;
    options.quiet = true;
    options.tls = true;
    options.tls_ca = certificate_.file();
    return options;
  }

  [[nodiscard]] Options handshakes_of(std::uint16_t port) const {
    Options options = load_of(port);
    options.handshakes = true;
    return options;
  }

  const Certificate certificate_{"IP:127.0.0.1,DNS:localhost"};
};

Result measured(const Options& options) {
  return Load(options).run();
}

std::string failure_of(const Options& options) {
  try {
    measured(options);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

TEST_F(TlsLoad, measures_cycles_and_tells_what_was_agreed) {
  const Server server(with_tls());
  Options options = load_of(server.port());
  options.pipeline = 16;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 100U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
  ASSERT_TRUE(result.tls);
  EXPECT_EQ(result.tls->version, "TLSv1.3");
  EXPECT_EQ(result.tls->cipher, "TLS_AES_128_GCM_SHA256");
}

TEST_F(TlsLoad, survives_batches_of_many_records) {
  const Server server(with_tls({"--max-locks", "2000"}));
  Options options = load_of(server.port());
  options.connections = 1;
  options.pipeline = 1024;
  options.count = 4096;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 4096U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
}

TEST_F(TlsLoad, a_name_is_verified_as_well_as_an_address) {
  const Server server(with_tls());
  Options options = load_of(server.port());
  options.host = "localhost";
  EXPECT_EQ(measured(options).cycles(), 100U);
}

TEST_F(TlsLoad, a_server_that_nobody_vouches_for_is_refused) {
  const Server server(with_tls());
  const Certificate other("IP:127.0.0.1");
  Options options = load_of(server.port());
  options.tls_ca = other.file();
  EXPECT_EQ(failure_of(options),
            "TLS handshake with " + address(options) +
                " failed: its certificate is not trusted: self-signed certificate");
  options.tls_ca.clear();
  EXPECT_THAT(failure_of(options), EndsWith("self-signed certificate"));
}

TEST_F(TlsLoad, a_certificate_of_another_host_is_refused) {
  const Certificate other("DNS:example.org,IP:192.0.2.1");
  const Server server({"--tls-cert", other.file(), "--tls-key", other.key_file()});
  Options options = load_of(server.port());
  options.tls_ca = other.file();
  EXPECT_THAT(failure_of(options), EndsWith("not trusted: IP address mismatch"));
  options.host = "localhost";
  EXPECT_THAT(failure_of(options), EndsWith("not trusted: hostname mismatch"));
}

TEST_F(TlsLoad, insecure_takes_any_certificate) {
  const Server server(with_tls());
  Options options = load_of(server.port());
  options.tls_ca.clear();
  options.tls_insecure = true;
  EXPECT_EQ(measured(options).cycles(), 100U);
}

TEST_F(TlsLoad, authorities_that_are_none_are_refused) {
  Options options = load_of(1);
  options.tls_ca = certificate_.write("empty.pem", "nothing\n");
  EXPECT_THAT(failure_of(options),
              testing::AllOf(StartsWith("cannot use \"" + options.tls_ca + "\": "),
                             EndsWith(" (--tls-ca)")));
}

TEST_F(TlsLoad, a_server_that_answers_in_plain_text_is_a_failure) {
  OneConnectionServer server([](asio::ip::tcp::socket& peer) {
    asio::write(peer, asio::buffer(std::string("error\n")));
    std::array<char, 4096> ignored{};
    std::error_code ended;
    while (!ended) peer.read_some(asio::buffer(ignored), ended);
  });
  const Options options = load_of(server.port());
  EXPECT_EQ(failure_of(options), "TLS handshake with " + address(options) +
                                     " failed: plain text where TLS was expected");
}

TEST_F(TlsLoad, a_server_that_hangs_up_is_a_failure) {
  OneConnectionServer server([](asio::ip::tcp::socket& peer) {
    std::array<char, 4096> hello{};
    peer.read_some(asio::buffer(hello));
  });
  const Options options = load_of(server.port());
  EXPECT_EQ(failure_of(options),
            "TLS handshake with " + address(options) + " failed: the server closed the connection");
}

TEST_F(TlsLoad, a_server_that_never_answers_is_a_failure) {
  std::promise<void> done;
  OneConnectionServer server([&done](asio::ip::tcp::socket&) { done.get_future().wait(); });
  const Options options = load_of(server.port());
  EXPECT_EQ(failure_of(options), address(options) + " has answered nothing for 3 s");
  done.set_value();
}

TEST_F(TlsLoad, a_server_that_demands_a_client_certificate_is_a_failure) {
  const Server server(with_tls({"--tls-client-ca", certificate_.file()}));
  EXPECT_THAT(failure_of(handshakes_of(server.port())), HasSubstr("certificate required"));
}

TEST_F(TlsLoad, a_secret_is_sent_first) {
  const std::string file = certificate_.write("secret", "hunter2\n");
  const Server server(with_tls({"--auth-token-file", file}));
  Options options = load_of(server.port());
  options.auth_token = "hunter2";
  EXPECT_EQ(measured(options).cycles(), 100U);
  options.handshakes = true;
  EXPECT_EQ(measured(options).cycles(), 100U);
  options.auth_token = "hunter3";
  EXPECT_EQ(failure_of(options), address(options) + " refused the secret");
}

TEST_F(TlsLoad, a_secret_is_sent_without_tls_too) {
  const std::string file = certificate_.write("secret", "hunter2\n");
  const Server server({"--auth-token-file", file});
  Options options = load_of(server.port());
  options.tls = false;
  options.auth_token = "hunter2";
  EXPECT_EQ(measured(options).cycles(), 100U);
  options.auth_token = "hunter3";
  EXPECT_EQ(failure_of(options), address(options) + " refused the secret");
}

TEST_F(TlsLoad, a_secret_for_a_server_without_one_is_a_failure) {
  const Server server(with_tls());
  Options options = load_of(server.port());
  options.auth_token = "hunter2";
  EXPECT_THAT(failure_of(options), HasSubstr("answered auth with \"error\""));
}

TEST_F(TlsLoad, handshakes_are_full_ones) {
  const Server server(with_tls());
  const Result result = measured(handshakes_of(server.port()));
  EXPECT_EQ(result.cycles(), 100U);
  EXPECT_EQ(result.handshake.count(), 100U);
  EXPECT_LT(result.handshake.max(), result.cycle.max());
  EXPECT_EQ(result.resumed, 0U);
  EXPECT_EQ(result.tls->version, "TLSv1.3");
}

TEST_F(TlsLoad, handshakes_resume_if_wanted) {
  const Server server(with_tls());
  Options options = handshakes_of(server.port());
  options.resume = true;
  // Its first tick renews the server's keys for tickets, which costs each connection one session.
  EXPECT_GE(measured(options).resumed, 97U);
  options.ping = false;
  EXPECT_GE(measured(options).resumed, 97U);
}

TEST_F(TlsLoad, handshakes_end_with_their_duration) {
  Server server(with_tls());
  Options options = handshakes_of(server.port());
  options.count.reset();
  options.duration = 100ms;
  options.server_pid = server.pid();
  options.busy_poll = true;
  const Result result = measured(options);
  EXPECT_GT(result.cycles(), 0U);
  EXPECT_GT(result.server_cpu.value_or(0ns), 0ns);
}

TEST_F(TlsLoad, a_server_that_leaves_during_handshakes_is_a_failure) {
  Server server(with_tls());
  Options options = handshakes_of(server.port());
  options.count = 1'000'000'000;
  auto failure = std::async(std::launch::async, [&options] { return failure_of(options); });
  EXPECT_TRUE(test::eventually([&] { return server.cpu_time() > 50ms; }));
  server.crash();
  EXPECT_THAT(failure.get(), HasSubstr(address(options)));
}

}  // namespace
}  // namespace dflockd::bench
