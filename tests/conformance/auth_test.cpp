// "With a secret configured, a connection's first request must be auth with it. Anything else, a
// wrong secret, or silence until the read timeout gets error_auth; the connection is closed after
// 100 ms. The comparison is constant-time and is made whatever was sent."

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/log.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

using namespace std::string_literals;
using Strings = std::vector<std::string>;

constexpr const char* kSecret = "open sesame, 123";

Launch with_secret(Strings flags = {}, const std::string& secret = kSecret) {
  return {.flags = std::move(flags), .environment = {{"DFLOCKD_AUTH_TOKEN", secret}}};
}

std::string auth(std::string_view secret) {
  return request_bytes("auth", "_", secret);
}

std::string ping() {
  return request_bytes("ping", "_", "_");
}

Client authenticated(const Server& server, std::string_view secret = kSecret) {
  Client client(server);
  if (const std::string reply = client.ask("auth", "_", secret); reply != "ok") {
    throw std::runtime_error("the secret is answered with: " + reply);
  }
  return client;
}

/// Each of these, first on a connection, must be answered with `error_auth` and the end.
void expect_denied(const Server& server, const Strings& openings) {
  std::vector<Client> clients = connect_many(server, openings.size());
  for (std::size_t i = 0; i < openings.size(); ++i) clients[i].send(openings[i]);
  for (std::size_t i = 0; i < openings.size(); ++i) {
    EXPECT_EQ(clients[i].read_to_end(), "error_auth\n")
        << "for " << testing::PrintToString(openings[i].substr(0, 300));
  }
}

bool has_connections(Client& observer, int count) {
  return eventually([&] { return stats(observer).at("connections") == count; });
}

class Auth : public testing::Test {
 protected:
  const Server server_{with_secret()};
};

// --- Who knows the secret ---

TEST_F(Auth, right_secret_opens_the_connection) {
  Client client = authenticated(server_);
  EXPECT_EQ(client.ping(), "ok");
  const Grant grant = client.hold(lock("job"));
  EXPECT_EQ(client.enqueue(semaphore("pool", 1)).substr(0, 8), "acquired");
  EXPECT_EQ(client.renew(lock("job"), grant.token), "ok 33");
  EXPECT_EQ(held(client, lock("job")).at("waiters"), 0);
  EXPECT_EQ(client.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(client.ask("no-such-command", "_", "_"), "error");
  EXPECT_EQ(client.ping(), "ok");
}

TEST_F(Auth, requests_behind_a_good_secret_are_answered_in_order) {
  Client client(server_);
  client.send(auth(kSecret) + ping() + request_bytes("no-such-command", "_", "_") +
              request_bytes("l", "job", "0 60") + request_bytes("l", "job", "0") + ping());
  for (const char* reply : {"ok", "ok", "error"}) EXPECT_EQ(client.read_line(), reply);
  client.read_grant();
  for (const char* reply : {"timeout", "ok"}) EXPECT_EQ(client.read_line(), reply);
}

TEST_F(Auth, secret_may_come_byte_by_byte) {
  Client client(server_);
  for (const char byte : auth(kSecret)) client.send({&byte, 1});
  EXPECT_EQ(client.read_line(), "ok");
}

TEST_F(Auth, requests_before_the_end_of_the_stream_are_answered) {
  Client client(server_);
  client.send(auth(kSecret) + ping());
  client.half_close();
  EXPECT_EQ(client.read_to_end(), "ok\nok\n");
}

TEST_F(Auth, key_line_is_ignored) {
  for (const std::string& key : {"_"s, ""s, "any thing"s, std::string(256, 'k')}) {
    EXPECT_EQ(Client(server_).ask("auth", key, kSecret), "ok") << key;
  }
}

// "Trailing \r characters on a line are dropped."
TEST_F(Auth, trailing_carriage_returns_are_dropped) {
  EXPECT_EQ(Client(server_).ask("auth\r", "_\r", kSecret + "\r"s), "ok");
  EXPECT_EQ(Client(server_).ask("auth", "_", kSecret + "\r\r\r"s), "ok");
}

TEST_F(Auth, right_secret_again_is_ok) {
  Client client = authenticated(server_);
  client.hold(lock("job"));
  EXPECT_EQ(client.ask("auth", "_", kSecret), "ok");
  EXPECT_EQ(client.acquire(lock("job"), 0), "timeout") << "the lock is still held";
}

TEST_F(Auth, wrong_secret_on_an_open_connection_ends_it_and_what_it_held) {
  Client observer = authenticated(server_);
  Client client = authenticated(server_);
  client.hold(lock("job"));
  const auto start = Clock::now();
  client.send(auth("wrong") + ping());
  EXPECT_EQ(client.read_to_end(), "error_auth\n");
  EXPECT_GE(Clock::now() - start, 95ms);
  observer.hold(lock("job"));
}

// --- Who does not ---

TEST_F(Auth, wrong_secret_is_denied_and_nothing_behind_it_is_carried_out) {
  Client observer = authenticated(server_);
  const std::string rest = request_bytes("l", "job", "0 60") + request_bytes("e", "other", "60") +
                           request_bytes("se", "pool", "3") + auth(kSecret) + ping();
  Client early(server_);
  early.send(auth("wrong") + rest);
  EXPECT_EQ(early.read_line(), "error_auth");
  early.send(rest);
  EXPECT_EQ(early.read_to_end(), "");
  const Json after = stats(observer);
  for (const char* const keys : {"locks", "semaphores", "idle_locks", "idle_semaphores"}) {
    EXPECT_EQ(after.at(keys).size(), 0U) << keys << ": " << after;
  }
}

TEST_F(Auth, first_request_must_be_auth) {
  const std::string token(32, '0');
  expect_denied(server_, {ping(), request_bytes("stats", "_", "_"),
                          request_bytes("no-such-command", "_", "_"), request_bytes("", "", ""),
                          request_bytes("l", "job", "0"), request_bytes("r", "job", token),
                          request_bytes("n", "job", token), request_bytes("e", "job", ""),
                          request_bytes("w", "job", "0"), request_bytes("sl", "job", "0 1"),
                          request_bytes("l", "bad key", "x"), ping() + auth(kSecret)});
}

TEST_F(Auth, secret_counts_with_auth_only_and_in_its_place_only) {
  expect_denied(server_,
                {request_bytes("ping", "_", kSecret), request_bytes("AUTH", "_", kSecret),
                 request_bytes("auth ", "_", kSecret), request_bytes(" auth", "_", kSecret),
                 request_bytes("auth\0"s, "_", kSecret), request_bytes("auth", kSecret, "_"),
                 request_bytes(kSecret, "_", "_"), request_bytes("_", kSecret, "auth")});
}

TEST_F(Auth, guess_that_is_nearly_right_is_denied) {
  const std::string secret = kSecret;
  std::string swapped = secret;
  std::swap(swapped[1], swapped[2]);
  Strings guesses{"",
                  secret.substr(0, secret.size() - 1),
                  secret.substr(1),
                  secret.substr(0, 1),
                  secret + "4",
                  "x" + secret,
                  secret + secret,
                  "Open sesame, 123",
                  "OPEN SESAME, 123",
                  secret + "\0"s,
                  "\0"s + secret,
                  "open\0sesame, 123"s,
                  "open\0 sesame, 123"s,
                  "\0"s,
                  swapped};
  for (const std::size_t wrong : {std::size_t{0}, secret.size() / 2, secret.size() - 1}) {
    guesses.push_back(secret);
    guesses.back()[wrong] ^= 1;
  }
  Strings openings;
  for (const std::string& guess : guesses) openings.push_back(auth(guess));
  expect_denied(server_, openings);
}

TEST_F(Auth, line_that_is_too_long_is_denied) {
  expect_denied(
      server_,
      {std::string(257, 'x'), std::string(100'000, 'x'), "ping\n" + std::string(257, 'x'),
       "auth\n" + std::string(257, 'x'), "ping\n_\n" + std::string(257, 'x'),
       "auth\n_\n" + std::string(65'537, 'x'), "auth\n_\n" + std::string(65'537, 'x') + "\n"});
}

TEST(AuthTimeout, silence_until_the_read_timeout_is_denied) {
  const Server server(with_secret({"--read-timeout", "1"}));
  std::vector<Client> silent = connect_many(server, 6);
  const auto start = Clock::now();
  const Strings openings{"", "p", "auth\n", "auth\n_\n", "auth\n_\n"s + kSecret, "ping\n_\n"};
  for (std::size_t i = 0; i < openings.size(); ++i) silent[i].send(openings[i]);
  for (Client& client : silent) {
    EXPECT_EQ(client.read_to_end(), "error_auth\n");
    EXPECT_GE(Clock::now() - start, 1s);
  }
  EXPECT_LT(Clock::now() - start, within(4s));
}

// Whoever has authenticated is under the rules of the read timeout like anybody else.
TEST(AuthTimeout, silence_in_a_request_after_authenticating_is_a_plain_error) {
  const Server server(with_secret({"--read-timeout", "1"}));
  Client client = authenticated(server);
  Client halfway = authenticated(server);
  halfway.send("ping\n");
  EXPECT_EQ(halfway.read_to_end(), "error\n");
  EXPECT_EQ(client.ping(), "ok") << "between two requests anybody may be silent";
}

TEST(AuthEnd, of_a_stream_that_has_not_authenticated_is_no_failure) {
  Server server(with_secret({"--debug"}));
  for (const std::string& opening : {""s, "auth"s, "auth\n_\n"s, "auth\n_\nwrong"s}) {
    Client client(server);
    client.send(opening);
    client.half_close();
    EXPECT_EQ(client.read_to_end(), "") << opening;
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_EQ(lines_with(server.log(), "reason=peer_left").size(), 4U) << server.log();
  EXPECT_EQ(lines_with(server.log(), "auth_failed").size(), 0U) << server.log();
}

TEST_F(Auth, wrong_secret_before_the_end_of_the_stream_is_denied) {
  Client client(server_);
  client.send(auth("wrong"));
  client.half_close();
  EXPECT_EQ(client.read_to_end(), "error_auth\n");
}

TEST(AuthUnconfigured, is_an_unknown_command) {
  const Server server;
  Client client(server);
  EXPECT_EQ(client.ask("auth", "_", kSecret), "error");
  EXPECT_EQ(client.ask("auth", "_", ""), "error");
  EXPECT_EQ(client.ask("auth", "_", std::string(65'536, 'x')), "error");
  EXPECT_EQ(client.ping(), "ok");
}

// --- "a line is at most 256 bytes before its \n; the argument line of auth at most 65,536" ---

class LongSecrets : public testing::TestWithParam<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(Of, LongSecrets, testing::Values(257, 60'000, 65'536));

TEST_P(LongSecrets, are_accepted_and_what_is_nearly_right_is_not) {
  std::string secret(GetParam(), 's');
  for (std::size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<char>('a' + i % 23);
  const TemporaryDirectory directory;
  write_file(directory.file("token"), secret + "\n");
  const Server server({"--auth-token-file", directory.file("token")});
  Client client = authenticated(server, secret);
  EXPECT_EQ(client.ping(), "ok");

  Strings openings{auth(secret.substr(1)), auth(secret.substr(0, secret.size() - 1)),
                   auth(secret + "x")};
  for (const std::size_t wrong : {std::size_t{0}, secret.size() / 2, secret.size() - 1}) {
    std::string guess = secret;
    guess[wrong] = '!';
    openings.push_back(auth(guess));
  }
  expect_denied(server, openings);
}

TEST(BinarySecret, may_hold_nul_bytes_and_they_count) {
  const TemporaryDirectory directory;
  const std::string secret = "open\0sesame\xff\x01"s;
  write_file(directory.file("token"), secret);
  const Server server({"--auth-token-file", directory.file("token")});
  EXPECT_EQ(authenticated(server, secret).ping(), "ok");
  expect_denied(server, {auth("open"), auth("open\0"s), auth("open\0sesame\xff"s),
                         auth("open\0sesamE\xff\x01"s), auth("opensesame\xff\x01")});
}

// --- How long a denial takes ---

TEST_F(Auth, denial_is_told_at_once) {
  const Duration bound = within(20ms);
  const Duration time = best_measured(bound, [&] {
    Client client(server_);
    const auto start = Clock::now();
    client.send(auth("wrong"));
    EXPECT_EQ(client.read_line(), "error_auth");
    return Clock::now() - start;
  });
  EXPECT_LT(time, bound);
}

// "the connection is closed after 100 ms"
TEST_F(Auth, one_denied_is_closed_after_100_ms) {
  const Duration bound = within(130ms);
  const Duration time = best_measured(bound, [&] {
    Client client(server_);
    const auto start = Clock::now();
    client.send(auth("wrong"));
    EXPECT_EQ(client.read_to_end(), "error_auth\n");
    return Clock::now() - start;
  });
  EXPECT_GE(time, 95ms);
  EXPECT_LT(time, bound);
}

TEST_F(Auth, those_denied_delay_nobody_else) {
  constexpr std::size_t kGuesses = 50;
  const Duration bound = within(20ms);
  Client good = authenticated(server_);
  const Duration delay = best_measured(bound, [&] {
    std::vector<Client> bad = connect_many(server_, kGuesses);
    for (Client& client : bad) client.send(auth("wrong"));
    Duration slowest{0};
    // The first may overtake all guesses; so until they have been answered, and once after that.
    for (bool all_answered = false; !std::exchange(all_answered, bad.back().has_input());) {
      const auto start = Clock::now();
      EXPECT_EQ(good.ping(), "ok");
      slowest = std::max(slowest, Clock::now() - start);
    }
    for (Client& client : bad) EXPECT_EQ(client.read_to_end(), "error_auth\n");
    return slowest;
  });
  EXPECT_LT(delay, bound);
}

/// The median of the times from a guess to `error_auth`, on a new connection each, for two guesses
/// in turns.
std::pair<double, double> median_times(const Server& server, const std::string& one,
                                       const std::string& other) {
  constexpr std::size_t kTries = 200;
  std::vector<std::int64_t> times[2];
  const std::string openings[2]{auth(one), auth(other)};
  for (std::size_t i = 0; i < 2 * kTries; ++i) {
    Client client(server);
    const auto start = Clock::now();
    client.send(openings[i % 2]);
    EXPECT_EQ(client.read_line(), "error_auth");
    times[i % 2].push_back((Clock::now() - start).count());
    client.reset();
  }
  for (auto& sample : times) std::ranges::nth_element(sample, sample.begin() + kTries / 2);
  return {static_cast<double>(times[0][kTries / 2]), static_cast<double>(times[1][kTries / 2])};
}

// A comparison that stops at the first difference would be seen through the noise of the way there
// and back, if it looked at one byte after the other. tests/access looks closer.
TEST(AuthTime, does_not_tell_where_a_guess_is_wrong) {
  constexpr double kBound = 0.1;
  const std::string secret(65'000, 's');
  const TemporaryDirectory directory;
  write_file(directory.file("token"), secret);
  const Server server({"--auth-token-file", directory.file("token")});
  double difference = 1;
  for (int attempt = 0; attempt < 5 && difference > kBound; ++attempt) {
    const auto [first, last] = median_times(server, "!" + secret.substr(1), secret.substr(1) + "!");
    difference = std::min(difference, std::abs(first - last) / std::max(first, last));
  }
  EXPECT_LE(difference, kBound);
}

// --- What those denied take up ---

TEST(AuthCaps, those_denied_count_toward_the_caps_until_they_are_closed) {
  const Server server(with_secret({"--max-connections", "3"}));
  Client good = authenticated(server);
  std::vector<Client> bad = connect_many(server, 2);
  for (Client& client : bad) client.send(auth("wrong"));
  for (Client& client : bad) EXPECT_EQ(client.read_line(), "error_auth");
  EXPECT_EQ(stats(good).at("connections"), 3);
  EXPECT_EQ(Client(server).read_to_end(), "") << "there was room";
  for (Client& client : bad) EXPECT_EQ(client.read_to_end(), "");
  bad.clear();
  EXPECT_TRUE(has_connections(good, 1));
  EXPECT_EQ(authenticated(server).ping(), "ok");
}

TEST(AuthCaps, those_denied_count_for_their_address_until_they_are_closed) {
  const Server server(with_secret({"--max-connections-per-ip", "1"}));
  Client good = authenticated(server);
  const Route other{.from = "127.0.0.2"};
  Client bad(server, other);
  bad.send(auth("wrong"));
  EXPECT_EQ(bad.read_line(), "error_auth");
  EXPECT_EQ(Client(server, other).read_to_end(), "");
  EXPECT_EQ(bad.read_to_end(), "");
  bad.close();
  EXPECT_TRUE(has_connections(good, 1));
  EXPECT_EQ(Client(server, other).ask("auth", "_", kSecret), "ok");
}

// Neither by not reading nor by not closing.
TEST(AuthCaps, one_denied_cannot_keep_its_place_beyond_the_write_timeout) {
  const Server server(with_secret({"--write-timeout", "1"}));
  Client good = authenticated(server);
  Client deaf(server, 4'096);
  Client mute(server);
  deaf.send(auth("wrong") + ping());
  mute.send(auth("wrong"));
  EXPECT_EQ(mute.read_to_end(), "error_auth\n");
  const auto start = Clock::now();
  EXPECT_TRUE(has_connections(good, 1));
  EXPECT_LT(Clock::now() - start, within(3s));
}

/// Sends until the server has had enough, and returns how much that was.
std::size_t send_until_refused(Client& client, std::size_t most) {
  const std::string junk(65'536, 'x');
  std::size_t sent = 0;
  try {
    while (sent < most) {
      client.send(junk);
      sent += junk.size();
    }
  } catch (const std::exception&) {  // reset
  }
  return sent;
}

TEST(AuthCaps, one_denied_that_goes_on_sending_is_cut_off_after_1_mib) {
  constexpr std::size_t kFar = 64U << 20U;
  const Server server(with_secret({"--write-timeout", "3600"}));
  Client good = authenticated(server);
  const std::size_t memory_before = server.resident_memory();
  Client bad(server);
  bad.send(auth("wrong"));
  EXPECT_EQ(bad.read_line(), "error_auth");
  EXPECT_LT(send_until_refused(bad, kFar), kFar);
  EXPECT_TRUE(has_connections(good, 1));
  EXPECT_LT(server.resident_memory(), memory_before + (kSanitized ? 64U << 20U : 8U << 20U));
}

// The reply is not lost because the connection is closed with bytes behind it that nobody reads.
TEST_F(Auth, one_denied_that_has_sent_much_behind_it_still_reads_why) {
  std::vector<Client> clients = connect_many(server_, 5);
  for (Client& client : clients) client.send(auth("wrong") + std::string(1'000'000, 'x'));
  for (Client& client : clients) EXPECT_EQ(client.read_to_end(), "error_auth\n");
}

// --- The end of the server ---

TEST(AuthDrain, connection_that_has_not_authenticated_is_closed) {
  Server server(with_secret());
  Client silent(server);
  authenticated(server).ping();  // the other one has been accepted, too
  server.signal(SIGTERM);
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(AuthDrain, one_denied_while_the_server_drains_is_told_so) {
  Server server(with_secret());
  Client holder = authenticated(server);
  const Grant grant = holder.hold(lock("job"));
  Client guessing(server);
  guessing.send("auth\n");
  EXPECT_TRUE(has_connections(holder, 2));
  server.signal(SIGTERM);
  EXPECT_TRUE(server.wait_for_log_line("draining"));
  guessing.send("_\nwrong\n");
  EXPECT_EQ(guessing.read_to_end(), "error_auth\n");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(AuthDrain, does_not_wait_long_for_those_denied) {
  Server server(with_secret({"--write-timeout", "3600", "--shutdown-timeout", "3600"}));
  std::vector<Client> bad = connect_many(server, 10);
  for (Client& client : bad) client.send(auth("wrong"));
  EXPECT_EQ(bad.back().read_line(), "error_auth");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(AuthDrain, second_signal_ends_those_denied_too) {
  Server server(with_secret({"--write-timeout", "3600"}));
  Client holder = authenticated(server);
  Client guessing(server);
  holder.hold(lock("job"));
  guessing.send("auth\n");
  EXPECT_TRUE(has_connections(holder, 2));
  server.signal(SIGTERM);
  EXPECT_TRUE(server.wait_for_log_line("draining"));
  guessing.send("_\nwrong\n");
  EXPECT_EQ(guessing.read_line(), "error_auth");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(within(2s)), 128 + SIGTERM);
  EXPECT_EQ(guessing.read_to_end(), "");
}

}  // namespace

}  // namespace dflockd::test
