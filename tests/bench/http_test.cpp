// Runs whole loads over the HTTP API of the real server, and against servers that misbehave.
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/load.hpp"
#include "certificate.hpp"
#include "one_connection_server.hpp"
#include "support/server.hpp"

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;
using test::Http;
using test::Server;
using testing::HasSubstr;

Options load_of(std::uint16_t port) {
  Options options;
  options.http = true;
  options.port = port;
  options.connections = 3;
  options.count = 100;
  options.quiet = true;
  return options;
}

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

/// Reads a request with its body, which ends with `}` or is not there.
void read_request(tcp::socket& peer) {
  std::string received;
  asio::read_until(peer, asio::dynamic_buffer(received), "\r\n\r\n");
  if (!received.ends_with('}') && received.find("Content-Length: 0\r\n") == std::string::npos) {
    asio::read_until(peer, asio::dynamic_buffer(received), '}');
  }
}

/// Grants one session, answers the first request with `reply`, and waits for the end.
void answer_once(tcp::socket& peer, const std::string& reply) {
  const std::string session(R"({"session_id":"0123456789abcdef0123456789abcdef"})");
  read_request(peer);
  asio::write(peer, asio::buffer("HTTP/1.1 200 OK\r\nContent-Length: " +
                                 std::to_string(session.size()) + "\r\n\r\n" + session));
  read_request(peer);
  asio::write(peer, asio::buffer(reply));
  std::array<char, 4096> ignored{};
  for (std::error_code ended; !ended;) peer.read_some(asio::buffer(ignored), ended);
}

TEST(HttpLoad, measures_cycles) {
  Server server(Http::kOn);
  Options options = load_of(server.http_port());
  options.server_pid = server.pid();
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 100U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
  EXPECT_GT(result.server_cpu.value_or(0ns), 0ns);
}

TEST(HttpLoad, measures_for_a_duration) {
  Server server(Http::kOn);
  Options options = load_of(server.http_port());
  options.count.reset();
  options.duration = 100ms;
  options.busy_poll = true;
  const Result result = measured(options);
  EXPECT_GT(result.cycles(), 0U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
}

TEST(HttpLoad, requests_may_be_pipelined) {
  Server server({"--max-locks", "2000"}, Http::kOn);
  Options options = load_of(server.http_port());
  options.connections = 1;
  options.pipeline = 1024;
  options.count = 4096;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 4096U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
}

TEST(HttpLoad, clients_may_share_a_key_or_a_semaphore) {
  Server server(Http::kOn);
  Options options = load_of(server.http_port());
  options.keys = Keys::kShared;
  EXPECT_EQ(measured(options).cycles(), 100U);
  options.semaphore = 2;
  options.lease = 60s;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 100U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
}

TEST(HttpLoad, leaves_no_session_behind) {
  Server server({"--http-max-sessions", "3"}, Http::kOn);
  const Options options = load_of(server.http_port());
  EXPECT_EQ(measured(options).cycles(), 100U);
  // The server learns of the end when the load has gone.
  EXPECT_TRUE(test::eventually([&] { return failure_of(options) == "none"; }));
}

TEST(HttpLoad, goes_over_tls_with_a_secret) {
  const Certificate certificate("IP:127.0.0.1");
  const std::string secret = certificate.write("secret", "hunter2\n");
  Server server({"--tls-cert", certificate.file(), "--tls-key", certificate.key_file(),
                 "--auth-token-file", secret},
                Http::kOn);
  Options options = load_of(server.http_port());
  options.tls = true;
  options.tls_ca = certificate.file();
  options.auth_token = "hunter2";
  options.pipeline = 16;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 100U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
  ASSERT_TRUE(result.tls);
  EXPECT_EQ(result.tls->version, "TLSv1.3");
}

TEST(HttpLoad, a_wrong_secret_is_a_failure) {
  const Certificate files("IP:127.0.0.1");
  Server server({"--auth-token-file", files.write("secret", "hunter2\n")}, Http::kOn);
  Options options = load_of(server.http_port());
  EXPECT_THAT(failure_of(options),
              HasSubstr("answered POST /v1/sessions with \"401 {\"error\":\"unauthorized\""));
  options.auth_token = "hunter3";
  EXPECT_EQ(failure_of(options), address(options) + " refused the secret");
}

TEST(HttpLoad, a_session_that_is_refused_is_a_failure) {
  Server server({"--http-max-sessions", "2"}, Http::kOn);
  const Options options = load_of(server.http_port());
  EXPECT_THAT(failure_of(options),
              HasSubstr(address(options) + " answered POST /v1/sessions with "
                                           "\"503 {\"error\":\"max_sessions\""));
}

TEST(HttpLoad, a_server_of_the_line_protocol_is_a_failure) {
  Server server;
  const Options options = load_of(server.port());
  EXPECT_EQ(failure_of(options),
            address(options) + " does not speak HTTP/1.1: it answered \"error\\x0a\"");
}

TEST(HttpLoad, counts_unexpected_replies) {
  Server server({"--max-locks", "2"}, Http::kOn);
  Options options = load_of(server.http_port());
  options.connections = 1;
  options.pipeline = 3;
  options.count = 3;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 2U);
  EXPECT_EQ(result.errors, 1U);
  EXPECT_THAT(result.first_error, HasSubstr("acquire was answered \"503 {\"error\":\"max_locks\""));
}

TEST(HttpLoad, an_answer_that_is_not_http_is_a_failure) {
  OneConnectionServer server([](tcp::socket& peer) { answer_once(peer, "ok\n"); });
  Options options = load_of(server.port());
  options.connections = 1;
  EXPECT_EQ(failure_of(options),
            address(options) + " does not speak HTTP/1.1: it answered \"ok\\x0a\"");
}

TEST(HttpLoad, a_reply_without_an_end_is_a_failure) {
  OneConnectionServer server([](tcp::socket& peer) {
    answer_once(peer, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + std::string(9999, 'x'));
  });
  Options options = load_of(server.port());
  options.connections = 1;
  EXPECT_THAT(failure_of(options), HasSubstr("lost: Message too long"));
}

TEST(HttpLoad, a_server_that_closes_a_connection_is_a_failure) {
  OneConnectionServer server([](tcp::socket& peer) { read_request(peer); });
  const Options options = load_of(server.port());
  EXPECT_EQ(failure_of(options), address(options) + " closed the connection");
}

}  // namespace
}  // namespace dflockd::bench
