// "unknown command, empty key, key with a space/tab/CR/LF, wrong number of arguments, a number that
// does not parse or is out of range | error; the connection stays usable, because all three lines
// were consumed"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

using Strings = std::vector<std::string>;

const std::string kSomeToken(32, '0');

/// The commands that need a key, each with arguments that are right.
struct Command {
  std::string name;
  std::string arguments;
};

const std::vector<Command> kKeyedCommands{
    {"l", "0"},    {"r", kSomeToken},  {"n", kSomeToken},  {"e", ""},   {"w", "0"},
    {"sl", "0 1"}, {"sr", kSomeToken}, {"sn", kSomeToken}, {"se", "1"}, {"sw", "0"},
};

class BadInput : public testing::Test {
 protected:
  /// Whatever a test sends, nothing may come of it, and the connection is as good as new.
  void TearDown() override {
    EXPECT_EQ(client_.ping(), "ok");
    EXPECT_EQ(client_.ask("stats", "_", "_"),
              R"(ok {"connections":1,"locks":[],"semaphores":[],"idle_locks":[],)"
              R"("idle_semaphores":[]})");
  }

  void expect_error(const std::string& command, const std::string& key,
                    const std::string& argument) {
    EXPECT_EQ(client_.ask(command, key, argument), "error")
        << "command '" << command << "', key '" << key << "', argument '" << argument << "'";
  }

  Server server_;
  Client client_{server_};
};

TEST_F(BadInput, unknown_command_is_an_error) {
  const std::string with_nul("l\0", 2);
  for (const std::string& command :
       Strings{"", "x", "L", "ll", "s", "ss", "sll", "sping", "sstats", "lock", "PING", "Stats",
               "quit", "GET / HTTP/1.1", "\xff", with_nul}) {
    expect_error(command, "job", "0");
  }
}

TEST_F(BadInput, auth_without_a_secret_configured_is_an_unknown_command) {
  expect_error("auth", "_", "secret");
  expect_error("auth", "_", "");
}

TEST_F(BadInput, key_with_a_space_tab_or_carriage_return_or_none_at_all_is_an_error) {
  for (const Command& command : kKeyedCommands) {
    for (const std::string& key : Strings{"", " ", "\t", "my job", " job", "job ", "my\tjob",
                                          "job\t", "my\rjob", "\rjob", "job\r "}) {
      expect_error(command.name, key, command.arguments);
    }
  }
}

TEST_F(BadInput, empty_key_before_a_carriage_return_is_an_error) {
  expect_error("l", "\r", "0");
  expect_error("l", "\r\r\r", "0");
}

// "Numbers are decimal integers in seconds. timeout >= 0; lease_ttl >= 1; both at most 9223372036.
// limit is 1 to 1,048,576."
class BadNumbers : public BadInput {
 protected:
  void expect_errors(const Strings& numbers) {
    for (const std::string& number : numbers) {
      for (const auto& [command, before, after] : places_) {
        expect_error(command, "job", before + number + after);
      }
    }
  }

  struct Place {
    std::string command;
    std::string before{};
    std::string after{};
  };
  std::vector<Place> places_;
};

const Strings kNotDecimalIntegers{"+5",
                                  "-1",
                                  "-0",
                                  "1.5",
                                  "1.",
                                  ".5",
                                  "0x1",
                                  "0b1",
                                  "1e3",
                                  "5s",
                                  "s5",
                                  "1_000",
                                  "1,000",
                                  "abc",
                                  "-",
                                  "+",
                                  "NaN",
                                  "inf",
                                  "\"5\"",
                                  "5\v",
                                  "\xd9\xa5",
                                  "9223372036854775808",
                                  "18446744073709551617",
                                  "99999999999999999999",
                                  "999999999999999999999999999999999999999999"};

TEST_F(BadNumbers, number_that_is_not_a_decimal_integer_is_an_error) {
  places_ = {{"l"},
             {"l", "0 "},
             {"e"},
             {"w"},
             {"n", kSomeToken + " "},
             {"sl", "", " 1"},
             {"sl", "0 "},
             {"sl", "0 1 "},
             {"se"},
             {"se", "1 "},
             {"sw"},
             {"sn", kSomeToken + " "}};
  expect_errors(kNotDecimalIntegers);
}

TEST_F(BadNumbers, timeout_out_of_range_is_an_error) {
  places_ = {{"l"}, {"l", "", " 10"}, {"w"}, {"sl", "", " 1"}, {"sl", "", " 1 10"}, {"sw"}};
  expect_errors({"-1", "9223372037", "9223372036854775807"});
}

TEST_F(BadNumbers, lease_out_of_range_is_an_error) {
  places_ = {{"l", "0 "},    {"e"},        {"n", kSomeToken + " "},
             {"sl", "0 1 "}, {"se", "1 "}, {"sn", kSomeToken + " "}};
  expect_errors({"0", "-1", "9223372037", "9223372036854775807"});
}

TEST_F(BadNumbers, limit_out_of_range_is_an_error) {
  places_ = {{"sl", "0 "}, {"sl", "0 ", " 10"}, {"se"}, {"se", "", " 10"}};
  expect_errors({"0", "-1", "1048577", "4294967297", "9223372036"});
}

TEST_F(BadInput, wrong_number_of_arguments_is_an_error) {
  const std::vector<Command> requests{
      {"l", ""},      {"l", "0 10 10"},
      {"r", ""},      {"r", kSomeToken + " 10"},
      {"n", ""},      {"n", kSomeToken + " 10 10"},
      {"e", "10 10"}, {"w", ""},
      {"w", "0 10"},  {"sl", ""},
      {"sl", "0"},    {"sl", "0 1 10 10"},
      {"sr", ""},     {"sr", kSomeToken + " 10"},
      {"sn", ""},     {"sn", kSomeToken + " 10 10"},
      {"se", ""},     {"se", "1 10 10"},
      {"sw", ""},     {"sw", "0 10"},
  };
  for (const Command& request : requests) expect_error(request.name, "job", request.arguments);
}

TEST_F(BadInput, token_that_is_not_32_lowercase_hex_characters_is_an_error) {
  for (const std::string& token :
       {std::string("x"), std::string(31, '0'), std::string(33, '0'), std::string(32, 'g'),
        std::string(32, 'A'), std::string(16, '0'), std::string(64, '0'), std::string(200, 'f')}) {
    for (const char* command : {"r", "n", "sr", "sn"}) expect_error(command, "job", token);
  }
}

TEST_F(BadInput, many_errors_in_one_write_are_each_answered) {
  std::string requests;
  for (int i = 0; i < 1'000; ++i) requests += "nonsense\n\n\n";
  client_.send(requests);
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(client_.read_line(), "error");
}

// --- What is unusual and nevertheless right ---

TEST(UnusualInput, largest_and_smallest_numbers_are_accepted) {
  const Server server;
  Client client(server);
  EXPECT_EQ(granted(client.ask("l", "a", "9223372036 9223372036")).lease, 9'223'372'036);
  EXPECT_EQ(granted(client.ask("l", "b", "0 1")).lease, 1);
  EXPECT_EQ(granted(client.ask("sl", "c", "9223372036 1048576 9223372036")).lease, 9'223'372'036);
  EXPECT_EQ(granted(client.ask("sl", "d", "0 1 1")).lease, 1);
  const Grant grant = acquired(client.ask("e", "e", "9223372036"));
  EXPECT_EQ(client.ask("w", "e", "9223372036"), "ok " + grant.token + " 9223372036");
  EXPECT_EQ(client.ask("n", "e", grant.token + " 9223372036"), "ok 9223372036");
  EXPECT_EQ(client.ask("n", "e", grant.token + " 1"), "ok 1");
  EXPECT_EQ(acquired(client.ask("se", "f", "1048576 9223372036")).lease, 9'223'372'036);
}

TEST(UnusualInput, longest_timeout_waits) {
  const Server server;
  Client holder(server);
  Client waiting(server);
  const Grant grant = holder.hold(lock("job"), 9'223'372'036);
  waiting.begin_acquire(lock("job"), 9'223'372'036, 9'223'372'036);
  await_waiters(holder, lock("job"), 1);
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(waiting.read_grant().lease, 9'223'372'036);
}

TEST(UnusualInput, key_and_argument_of_ping_and_stats_are_ignored) {
  const Server server;
  Client client(server);
  for (const char* ignored : {"", " ", "\t", "two words", "in\rside", "\xff\xfe", "-1"}) {
    EXPECT_EQ(client.ask("ping", ignored, ignored), "ok");
    EXPECT_TRUE(client.ask("stats", ignored, ignored).starts_with("ok {"));
  }
}

// "Keys are 1 to 256 bytes, any bytes but the four above; a key that is not valid UTF-8 is legal".
TEST(UnusualInput, key_may_hold_any_bytes_but_four) {
  const Server server;
  Client client(server);
  for (int value = 0; value < 256; ++value) {
    const char byte = static_cast<char>(value);
    if (std::string_view(" \t\r\n").find(byte) != std::string_view::npos) continue;
    for (const std::string& key : {std::string(1, byte), "a" + std::string(1, byte) + "z"}) {
      const std::string reply = client.ask("l", key, "0 60");
      const Grant grant = granted(reply);
      ASSERT_EQ(client.ask("l", key, "0"), "timeout") << "byte " << value;
      ASSERT_EQ(client.ask("r", key, grant.token), "ok") << "byte " << value;
    }
  }
}

TEST(UnusualInput, keys_that_differ_in_one_byte_are_different) {
  const Server server;
  Client client(server);
  const std::string longest(256, 'k');
  granted(client.ask("l", longest, "0"));
  granted(client.ask("l", longest.substr(1), "0"));
  granted(client.ask("l", longest.substr(1) + "K", "0"));
  granted(client.ask("l", std::string("k\0", 2), "0"));
  granted(client.ask("l", "k", "0"));
  granted(client.ask("l", "K", "0"));
  EXPECT_EQ(client.ask("l", longest, "0"), "timeout");
}

}  // namespace

}  // namespace dflockd::test
