// Where the shared secret comes from, and that it goes nowhere: not into the log, and not into
// anything that is printed. Neither do guesses, which may be yesterday's secret or a typing error.

#include <csignal>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/log.hpp"

namespace dflockd::test {

namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Strings = std::vector<std::string>;

constexpr const char* kSecret = "needle-of-the-server";
constexpr const char* kGuess = "needle-of-a-guess";
constexpr const char* kNeedle = "needle";  ///< in both

std::string auth(std::string_view secret) {
  return request_bytes("auth", "_", secret);
}

/// The ways to give the secret, in their order: "Auth token order: --auth-token, --auth-token-file,
/// DFLOCKD_AUTH_TOKEN, DFLOCKD_AUTH_TOKEN_FILE."
enum Source { kFlag, kFileFlag, kVariable, kFileVariable, kSources };

class Secrecy : public testing::Test {
 protected:
  /// Writes a file for its owner only, and returns its path.
  [[nodiscard]] std::string token_file(const std::string& name, const std::string& content) const {
    std::string path = directory_.file(name);
    write_file(path, content);
    std::filesystem::permissions(path, std::filesystem::perms::owner_read);
    return path;
  }

  void give(Launch& launch, int source, const std::string& secret) const {
    const std::string file_name = "token-" + std::to_string(source);
    switch (source) {
      case kFlag:
        launch.flags.push_back("--auth-token=" + secret);
        break;
      case kFileFlag:
        launch.flags.push_back("--auth-token-file=" + token_file(file_name, secret + "\n"));
        break;
      case kVariable:
        launch.environment["DFLOCKD_AUTH_TOKEN"] = secret;
        break;
      default:
        launch.environment["DFLOCKD_AUTH_TOKEN_FILE"] = token_file(file_name, secret);
    }
  }

  const TemporaryDirectory directory_;
};

// --- Where it comes from ---

TEST_F(Secrecy, first_source_that_is_given_counts) {
  const auto secret_of = [](int source) { return "secret-" + std::to_string(source); };
  for (int first = 0; first < kSources; ++first) {
    Launch launch;
    for (int source = first; source < kSources; ++source) {
      std::filesystem::remove(directory_.file("token-" + std::to_string(source)));
      give(launch, source, secret_of(source));
    }
    const Server server(launch);
    std::vector<Client> clients = connect_many(server, kSources);
    for (int source = 0; source < kSources; ++source) {
      EXPECT_EQ(clients[static_cast<std::size_t>(source)].ask("auth", "_", secret_of(source)),
                source == first ? "ok" : "error_auth")
          << "for source " << source << " when the first is " << first;
    }
  }
}

TEST_F(Secrecy, configuration_file_comes_last) {
  const std::string config = token_file("dflockd.toml", "auth-token = 'from-the-file'\n");
  Launch launch{.flags = {"--config", config}};
  EXPECT_EQ(Client(Server(launch)).ask("auth", "_", "from-the-file"), "ok");
  give(launch, kFileVariable, kSecret);
  EXPECT_EQ(Client(Server(launch)).ask("auth", "_", kSecret), "ok");
}

// "surrounding white space trimmed"
TEST_F(Secrecy, white_space_around_it_in_a_file_is_trimmed) {
  const Server server(
      {"--auth-token-file", token_file("token", " \r\n\t" + std::string(kSecret) + "\t \r\n\n")});
  EXPECT_EQ(Client(server).ask("auth", "_", kSecret), "ok");
}

// --- That it goes nowhere ---

/// Sends each of these on a connection of its own, and waits until those are over.
void send_each(const Server& server, const Strings& openings) {
  std::vector<Client> clients = connect_many(server, openings.size());
  for (std::size_t i = 0; i < openings.size(); ++i) {
    clients[i].send(openings[i]);
    clients[i].half_close();
  }
  for (Client& client : clients) client.read_to_end();
}

/// What clients send that do it right, and that do it wrong.
Strings openings_with(const std::string& secret) {
  return {auth(secret),
          auth(secret) + auth(secret) + auth("x" + secret),
          auth(secret + "x"),
          request_bytes("auth", secret, "_"),
          request_bytes("auth", secret, secret),
          request_bytes(secret, "_", "_"),
          request_bytes("ping", secret, secret),
          request_bytes("l", secret, "0"),
          "auth\n" + secret + "\n" + request_bytes("ping", "_", "_"),
          secret + "\n",
          "auth\n_\n" + secret,
          "auth " + secret + "\n\n\n",
          std::string(250, 'x') + secret,
          "auth\n_\n" + std::string(65'530, 'x') + secret + "\n"};
}

class SecrecyOfSource : public Secrecy, public testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(Number, SecrecyOfSource, testing::Range<int>(kFlag, kSources));

TEST_P(SecrecyOfSource, log_shows_neither_secret_nor_guess) {
  Launch launch{.flags = {"--log-level", "debug", "--read-timeout", "1"}};
  give(launch, GetParam(), kSecret);
  Server server(launch);
  Client silent(server);
  silent.send("auth\n" + std::string(kSecret) + "\n" + kGuess);
  for (const char* const text : {kSecret, kGuess}) send_each(server, openings_with(text));
  server.signal(SIGHUP);
  EXPECT_TRUE(server.wait_for_log_line("reloaded"));
  EXPECT_EQ(silent.read_to_end(), "error_auth\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_THAT(lines_with(server.log(), "auth_failed"), Not(IsEmpty())) << server.log();
  EXPECT_THAT(lines_with(server.log(), "command=auth"), IsEmpty());
  EXPECT_THAT(server.log(), Not(HasSubstr(kNeedle)));
  EXPECT_THAT(server.output(), Not(HasSubstr(kNeedle)));
}

TEST_P(SecrecyOfSource, nothing_that_is_printed_shows_it) {
  const std::vector<Strings> runs{{"--help"},         {"--version"},
                                  {"--check-config"}, {"--port=x"},
                                  {"--no-such-flag"}, {"--config=/nonexistent/dflockd.toml"}};
  for (const Strings& flags : runs) {
    Launch launch{.flags = flags};
    give(launch, GetParam(), kSecret);
    Process process(launch);
    process.wait_for_exit();
    EXPECT_THAT(process.output() + process.log(), Not(IsEmpty()));
    EXPECT_THAT(process.output() + process.log(), Not(HasSubstr(kNeedle))) << flags.front();
    std::filesystem::remove(directory_.file("token-" + std::to_string(GetParam())));
  }
}

TEST_P(SecrecyOfSource, complaint_about_it_does_not_show_it) {
  for (const std::string& bad :
       {std::string(kSecret) + "\n" + kSecret, std::string(kSecret) + std::string(65'536, 'x')}) {
    Launch launch{.flags = {"--port", "0"}};
    give(launch, GetParam(), bad);
    Process process(launch);
    EXPECT_EQ(process.wait_for_exit(), 2);
    EXPECT_THAT(process.output() + process.log(), Not(HasSubstr(kNeedle)));
    std::filesystem::remove(directory_.file("token-" + std::to_string(GetParam())));
  }
}

// Somebody's client authenticates, and this server needs no secret: the secret is another one's.
TEST(SecrecyUnconfigured, log_shows_no_secret_that_came_with_auth) {
  Server server({"--debug"});
  send_each(server, {auth(kSecret), request_bytes("auth", kSecret, "_"),
                     "auth\n" + std::string(kSecret) + "\n" + request_bytes("ping", "_", "_")});
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_THAT(lines_with(server.log(), "command=auth"), testing::SizeIs(3)) << server.log();
  EXPECT_THAT(server.log(), Not(HasSubstr(kNeedle)));
}

// --- What the log does tell ---

// A line a second, however many guess; none of them is forgotten.
TEST(AuthFailures, are_told_once_a_second_with_their_number) {
  constexpr std::size_t kGuesses = 50;
  const Server server(Launch{.environment = {{"DFLOCKD_AUTH_TOKEN", kSecret}}});
  const auto start = Clock::now();
  std::vector<Client> clients = connect_many(server, kGuesses);
  for (Client& client : clients) client.send(auth(kGuess));
  for (Client& client : clients) EXPECT_EQ(client.read_to_end(), "error_auth\n");
  EXPECT_TRUE(eventually([&] { return told(server.log(), "auth_failed") == kGuesses; }, within(5s)))
      << server.log();
  EXPECT_EQ(lines_with(server.log(), " peer=127.0.0.1:").size(),
            lines_with(server.log(), "auth_failed").size());
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(Clock::now() - start).count();
  EXPECT_LE(lines_with(server.log(), "warn auth_failed").size(),
            static_cast<std::size_t>(seconds) + 1);
}

TEST(AuthFailures, name_the_peer_and_why) {
  const Server server(Launch{.environment = {{"DFLOCKD_AUTH_TOKEN", kSecret}}});
  Client client(server);
  client.send(auth(kGuess));
  const auto line = server.wait_for_log_line("warn auth_failed");
  ASSERT_TRUE(line) << server.log();
  EXPECT_THAT(*line,
              HasSubstr(" peer=" + client.local_endpoint() + " reason=wrong_secret count=1"));
}

TEST(AuthFailures, of_silence_say_so) {
  const Server server(
      Launch{.flags = {"--read-timeout", "1"}, .environment = {{"DFLOCKD_AUTH_TOKEN", kSecret}}});
  const Client silent(server);
  EXPECT_TRUE(server.wait_for_log_line(" reason=read_timeout count=1")) << server.log();
}

// --- How it should not be given ---

TEST_F(Secrecy, file_that_others_can_read_is_warned_of) {
  const std::string path = token_file("token", kSecret);
  for (const bool readable : {false, true}) {
    ASSERT_EQ(::chmod(path.c_str(), readable ? 0644 : 0640), 0);
    Server server({"--auth-token-file", path});
    EXPECT_EQ(Client(server).ask("auth", "_", kSecret), "ok");
    const std::string message = "'" + path + "' is readable by others";
    EXPECT_EQ(lines_with(server.log(), message).size(), readable ? 1U : 0U) << server.log();
  }
}

TEST_F(Secrecy, flag_that_ps_shows_is_warned_of_and_nothing_else_is) {
  for (int source = 0; source < kSources; ++source) {
    Launch launch;
    give(launch, source, kSecret);
    const Server server(launch);
    EXPECT_EQ(Client(server).ask("auth", "_", kSecret), "ok");
    EXPECT_EQ(lines_with(server.log(), "--auth-token is visible in ps").size(),
              source == kFlag ? 1U : 0U)
        << server.log();
  }
}

}  // namespace

}  // namespace dflockd::test
