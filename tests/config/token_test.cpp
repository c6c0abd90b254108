// Where the shared secret comes from, and that it goes nowhere else.
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <gmock/gmock.h>

#include "fixture.hpp"
#include "support/freed_memory.hpp"

namespace dflockd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kNotAllowed =
    ": <not shown> is not allowed; expected a token from 1 to 65536 bytes long, without a newline, "
    "without white space at either end";
constexpr const char* kIsMask = ": '***' is the mask that --check-config prints, not a secret";
constexpr std::size_t kMaxSize = 65536;

class TokenTest : public DirectoryTest {
 protected:
  /// Writes a file that only its owner may read, and returns its path.
  [[nodiscard]] std::string token_file(std::string_view content) const {
    const std::string path = write("token", content);
    EXPECT_EQ(::chmod(path.c_str(), 0600), 0);
    return path;
  }

  /// Why a file with this content cannot be used.
  [[nodiscard]] std::string complaint(std::string_view content) const {
    const std::string path = token_file(content);
    std::string line = refused({"--auth-token-file", path});
    const std::string start = "dflockd: cannot use \"" + path + "\": ";
    const std::string end = "; expected a line of 1 to 65536 bytes (--auth-token-file)";
    EXPECT_TRUE(line.starts_with(start) && line.ends_with(end)) << line;
    return line.substr(start.size(), line.size() - start.size() - end.size());
  }

  /// Whatever becomes of "hunter2" in what is given, what is printed does not show it.
  static void expect_not_shown(const std::vector<std::string>& arguments,
                               const Variables& variables = {}) {
    const auto result = load_from(arguments, variables);
    const auto* const exit = std::get_if<Exit>(&result);
    ASSERT_NE(exit, nullptr) << testing::PrintToString(arguments);
    EXPECT_THAT(exit->text, Not(HasSubstr("hunt"))) << testing::PrintToString(arguments);
  }

  /// The secret from a file with this content.
  [[nodiscard]] std::string from_file(std::string_view content) const {
    return std::string(
        accepted({"--auth-token-file", token_file(content)}).config.auth_token.view());
  }
};

TEST_F(TokenTest, empty_flag_is_refused) {
  const Variables variables{{"DFLOCKD_AUTH_TOKEN", "x"}};
  EXPECT_EQ(refused({"--auth-token="}, variables),
            "dflockd: --auth-token: '' is not allowed; expected a token from 1 to 65536 bytes "
            "long, without a newline, without white space at either end");
  EXPECT_EQ(refused({"--auth-token-file", ""}, variables),
            "dflockd: --auth-token-file: '' is not allowed; expected the path of a file");
}

TEST_F(TokenTest, flag_without_its_value_is_refused) {
  EXPECT_THAT(refused({"--auth-token"}), HasSubstr("--auth-token: a value is missing; expected a"));
}

TEST_F(TokenTest, text_that_cannot_be_sent_as_it_is_is_refused) {
  for (const std::string& bad :
       {std::string("a\nb"), std::string("a\n"), std::string(" a"), std::string("\ta"),
        std::string("a "), std::string("a\r"), std::string("a\v"), std::string("\fa"),
        std::string(" "), std::string(kMaxSize + 1, 'a')}) {
    EXPECT_EQ(refused({"--auth-token=" + bad}), std::string("dflockd: --auth-token") + kNotAllowed);
    EXPECT_EQ(refused({}, {{"DFLOCKD_AUTH_TOKEN", bad}}),
              std::string("dflockd: DFLOCKD_AUTH_TOKEN") + kNotAllowed);
  }
  for (const std::string& bad : {std::string("a\\nb"), std::string(" a"), std::string("a\\r"),
                                 std::string(kMaxSize + 1, 'a')}) {
    const std::string path = write("d.toml", "\nauth-token = \"" + bad + "\"");
    EXPECT_EQ(refused({"--config", path}), "dflockd: " + path + ":2:1: auth-token" + kNotAllowed);
  }
}

TEST_F(TokenTest, mask_is_refused) {
  const std::string path = write("d.toml", "auth-token = \"***\"");
  EXPECT_EQ(refused({"--auth-token=***"}), std::string("dflockd: --auth-token") + kIsMask);
  EXPECT_EQ(refused({}, {{"DFLOCKD_AUTH_TOKEN", "***"}}),
            std::string("dflockd: DFLOCKD_AUTH_TOKEN") + kIsMask);
  EXPECT_EQ(refused({"--config", path}), "dflockd: " + path + ":1:1: auth-token" + kIsMask);
  EXPECT_EQ(accepted({"--auth-token=****"}).config.auth_token.view(), "****");
}

TEST_F(TokenTest, bad_text_is_refused_even_if_it_is_overridden) {
  EXPECT_EQ(refused({"--auth-token=a"}, {{"DFLOCKD_AUTH_TOKEN", " b"}}),
            std::string("dflockd: DFLOCKD_AUTH_TOKEN") + kNotAllowed);
  const std::string path = write("d.toml", "auth-token = \"***\"");
  EXPECT_THAT(refused({"--auth-token-file", token_file("a"), "--config", path}),
              HasSubstr(kIsMask));
}

TEST_F(TokenTest, text_without_quotes_is_refused) {
  const std::string number = write("number.toml", "auth-token = 1234567");
  EXPECT_EQ(refused({"--config", number}),
            "dflockd: " + number +
                ":1:1: auth-token: an integer is not allowed; expected text in quotes");
  const std::string word = write("word.toml", "auth-token = hunter2");
  EXPECT_EQ(
      refused({"--config", word}),
      "dflockd: " + word + ":1:14: not TOML; expected key = \"text\", a number, true or false");
}

TEST_F(TokenTest, file_that_cannot_be_read_is_refused) {
  const std::string missing = (directory_ / "none").string();
  const std::string toml = write("d.toml", "auth-token-file = '" + missing + "'");
  const std::string start = "dflockd: cannot read \"" + missing + "\": No such file or directory (";
  EXPECT_EQ(refused({"--auth-token-file", missing}), start + "--auth-token-file)");
  EXPECT_EQ(refused({"--check-config", "--auth-token-file", missing}),
            start + "--auth-token-file)");
  EXPECT_EQ(refused({}, {{"DFLOCKD_AUTH_TOKEN_FILE", missing}}),
            start + "DFLOCKD_AUTH_TOKEN_FILE)");
  EXPECT_EQ(refused({"--config", toml}), start + toml + ":1:1: auth-token-file)");
}

TEST_F(TokenTest, file_without_exactly_one_line_is_refused) {
  EXPECT_EQ(complaint(""), "it holds no token");
  EXPECT_EQ(complaint(" \t\r\n\v\f\n"), "it holds no token");
  EXPECT_EQ(complaint("hunter2\nb"), "it holds more than one line");
  EXPECT_EQ(complaint("\nhunter2\r\n\r\nb\n"), "it holds more than one line");
}

TEST_F(TokenTest, token_too_long_for_the_protocol_is_refused_in_a_file) {
  EXPECT_EQ(complaint(std::string(kMaxSize + 1, 'a')), "it holds more than 65536 bytes");
}

TEST_F(TokenTest, longest_token_is_accepted) {
  const std::string longest(kMaxSize, 'a');
  EXPECT_EQ(accepted({"--auth-token", longest}).config.auth_token.view(), longest);
  EXPECT_EQ(from_file(longest), longest);
  EXPECT_EQ(from_file("\n " + longest + " \r\n"), longest);
}

TEST_F(TokenTest, text_arrives_as_it_is) {
  for (const std::string text :
       {"a b", "a\rb", "a=b", "#", "{}", "[a]", "[a,b]", "a,b", "\"a\"", "'a'", "`a`", "--",
        "--port", "--port=1", "-1", "false", "%%", "\\n", "\xc3\xa9\xff"}) {
    EXPECT_EQ(accepted({"--auth-token", text}).config.auth_token.view(), text);
    EXPECT_EQ(accepted({"--auth-token=" + text}).config.auth_token.view(), text);
    EXPECT_EQ(accepted({}, {{"DFLOCKD_AUTH_TOKEN", text}}).config.auth_token.view(), text);
  }
}

TEST_F(TokenTest, white_space_around_it_is_trimmed_in_a_file) {
  EXPECT_EQ(from_file("hunter2"), "hunter2");
  EXPECT_EQ(from_file("hunter2\r\n"), "hunter2");
  EXPECT_EQ(from_file("\n\v\f \t hunter 2 \t\r\r\n\n"), "hunter 2");
}

TEST_F(TokenTest, any_byte_may_stand_inside_a_file) {
  const std::string text("\0a\0\r\xff***\0", 9);
  EXPECT_EQ(from_file(text + "\n"), text);
  EXPECT_EQ(from_file("***"), "***");
}

TEST_F(TokenTest, first_source_counts_and_the_file_of_another_need_not_exist) {
  const std::string missing = (directory_ / "none").string();
  constexpr std::size_t kSources = 6;
  // Highest precedence first; the odd ones name a file.
  const auto load_with = [&](std::size_t winner, std::size_t loser) {
    std::vector<std::string> arguments;
    Variables variables;
    std::string toml;
    for (const std::size_t source : {winner, loser}) {
      const std::string text = source == winner ? "winner" : "loser";
      const std::string file = source == winner ? token_file("winner\n") : missing;
      if (source == 0) arguments.push_back("--auth-token=" + text);
      if (source == 1) arguments.push_back("--auth-token-file=" + file);
      if (source == 2) variables["DFLOCKD_AUTH_TOKEN"] = text;
      if (source == 3) variables["DFLOCKD_AUTH_TOKEN_FILE"] = file;
      if (source == 4) toml += "auth-token = '" + text + "'\n";
      if (source == 5) toml += "auth-token-file = '" + file + "'\n";
    }
    arguments.push_back("--config=" + write("d.toml", toml));
    return accepted(arguments, variables).config;
  };
  for (std::size_t winner = 0; winner < kSources; ++winner) {
    for (std::size_t loser = winner + 1; loser < kSources; ++loser) {
      const Config config = load_with(winner, loser);
      EXPECT_EQ(config.auth_token.view(), "winner") << winner << " against " << loser;
      EXPECT_EQ(config.auth_token_file.empty(), winner % 2 == 0) << winner << " against " << loser;
    }
  }
}

TEST_F(TokenTest, empty_text_in_the_file_counts_as_not_given) {
  const std::string token = token_file("hunter2");
  const std::string path = write("d.toml", "auth-token = ''\nauth-token-file = '" + token + "'");
  EXPECT_EQ(accepted({"--config", path}).config.auth_token.view(), "hunter2");
  const std::string none = write("none.toml", "auth-token = ''\nauth-token-file = ''");
  EXPECT_TRUE(accepted({"--config", none}).config.auth_token.empty());
  EXPECT_EQ(
      accepted({"--config", none}, {{"DFLOCKD_AUTH_TOKEN_FILE", token}}).config.auth_token.view(),
      "hunter2");
}

TEST_F(TokenTest, file_is_read_again_each_time) {
  const std::string path = token_file("first");
  EXPECT_EQ(accepted({"--auth-token-file", path}).config.auth_token.view(), "first");
  EXPECT_EQ(accepted({"--auth-token-file", token_file("second")}).config.auth_token.view(),
            "second");
}

TEST_F(TokenTest, flag_is_warned_of) {
  EXPECT_THAT(accepted({"--auth-token=a"}, {{"DFLOCKD_AUTH_TOKEN", "b"}}).warnings,
              ElementsAre("--auth-token is visible in ps; --auth-token-file is not"));
  EXPECT_THAT(accepted({}, {{"DFLOCKD_AUTH_TOKEN", "a"}}).warnings, IsEmpty());
}

TEST_F(TokenTest, file_that_others_may_read_is_warned_of) {
  const std::string path = token_file("a");
  EXPECT_THAT(accepted({"--auth-token-file", path}).warnings, IsEmpty());
  ASSERT_EQ(::chmod(path.c_str(), 0660), 0);
  EXPECT_THAT(accepted({"--auth-token-file", path}).warnings, IsEmpty());
  ASSERT_EQ(::chmod(path.c_str(), 0604), 0);
  EXPECT_THAT(accepted({}, {{"DFLOCKD_AUTH_TOKEN_FILE", path}}).warnings,
              ElementsAre("DFLOCKD_AUTH_TOKEN_FILE: '" + path + "' is readable by others"));
}

TEST_F(TokenTest, text_is_printed_as_a_mask) {
  const std::string text = printed({"--check-config"}, {{"DFLOCKD_AUTH_TOKEN", "hunter2"}});
  EXPECT_THAT(text, HasSubstr("\nauth-token = \"***\"\nauth-token-file = \"\"\n"));
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
  EXPECT_THAT(refused({"--config", write("d.toml", text)}), HasSubstr(kIsMask));
}

TEST_F(TokenTest, only_what_counts_is_printed) {
  const std::string missing = (directory_ / "none").string();
  EXPECT_THAT(printed({"--check-config", "--auth-token=a"}, {{"DFLOCKD_AUTH_TOKEN_FILE", missing}}),
              HasSubstr("\nauth-token = \"***\"\nauth-token-file = \"\"\n"));
  const std::string path = token_file("b");
  EXPECT_THAT(printed({"--check-config", "--auth-token-file", path}, {{"DFLOCKD_AUTH_TOKEN", "a"}}),
              HasSubstr("\nauth-token = \"\"\nauth-token-file = \"" + path + "\"\n"));
}

TEST_F(TokenTest, configuration_with_a_file_can_be_printed_and_read_back) {
  const std::string path = token_file("hunter2");
  const std::string text = printed({"--check-config", "--auth-token-file", path});
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
  const std::string toml = write("d.toml", text);
  EXPECT_EQ(printed({"--check-config", "--config", toml}), text);
  EXPECT_EQ(accepted({"--config", toml}).config.auth_token.view(), "hunter2");
}

TEST_F(TokenTest, no_error_of_flags_and_variables_shows_it) {
  const Variables hunter{{"DFLOCKD_AUTH_TOKEN", "hunter2"}};
  const std::vector<std::string> flag{"--auth-token", "hunter2"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), flag.begin(), flag.end());
    return more;
  };
  const std::vector<std::pair<std::vector<std::string>, Variables>> cases{
      {with({"--help"}), hunter},
      {with({"--version"}), hunter},
      {with({"--check-config"}), hunter},
      {{"--check-config"}, hunter},
      {{"--check-config", "--auth-token-file", token_file("hunter2")}, {}},
      {{"--auth-token-file", token_file("hunter2")}, {{"DFLOCKD_PORT", "x"}}},
      {{"--auth-token-file", write("two", "hunter2\nhunter2")}, {}},
      {{"--auth-token-file", write("long", std::string(kMaxSize, 'a') + "hunter2")}, {}},
      {with({"--auth-token=hunter2"}), {}},
      {with({"hunter2"}), {}},
      {with({"--hunter2"}), {}},
      {with({"--port"}), {}},
      {with({"--port=x"}), {}},
      {with({"--tls-key=k"}), hunter},
      {with({"--config", "/no/such/file"}), hunter},
      {{"--auth-token", "hunter2\n"}, {}},
      {{"--auth-token= hunter2"}, {}},
      {{"--auth-token=" + std::string(kMaxSize, 'a') + "hunter2"}, {}},
      {{"--auth-tokn=hunter2"}, {}},
      {{"--auth-tokn", "hunter2"}, {}},
      {{"--port", "--auth-token=hunter2"}, {}},
      {{"--host", "--auth-token", "hunter2"}, {}},
      {{"--fence-state-file", "--auth-token=hunter2"}, {}},
      {{"--config", "--auth-token=hunter2"}, {}},
      {{"--auth-token-file", "--auth-token=hunter2"}, {}},
      {{}, {{"DFLOCKD_AUTH_TOKEN", "hunter2 "}}},
  };
  for (const auto& [arguments, variables] : cases) expect_not_shown(arguments, variables);
}

TEST_F(TokenTest, no_error_of_a_file_shows_it) {
  for (const char* const line : {"auth-token = hunter2",
                                 "auth-token = 'hunter2",
                                 "auth-token = \"hunter2",
                                 "auth-token = 'a' hunter2",
                                 "auth-token = \"\\hunter2\"",
                                 "auth-token = \"\\uhunter2\"",
                                 "auth-token = \"\\Uhunter2x\"",
                                 "auth-token = [\"hunter2\"]",
                                 "auth-token = {hunter2}",
                                 "auth-token = 2hunter2",
                                 "auth-token = true hunter2",
                                 "auth-token = \"\"\"hunter2\nand more\"\"\"",
                                 "auth-token hunter2",
                                 "auth-token: hunter2",
                                 "auth-token == hunter2",
                                 "[auth-token = 'hunter2']",
                                 "auth-tokn = hunter2",
                                 "auth.token = 'hunter2'",
                                 "hunter2",
                                 "\"auth-token\" = hunter2",
                                 "auth-token = [1, hunter2]",
                                 "auth-token = { hunter2 = 1",
                                 "port = 1\nauth-token = 'hunter2'\n[auth-token]",
                                 "auth-token = '***' # hunter2",
                                 "auth-token = ' hunter2'",
                                 "auth-token = 'hunter2'\nauth-token = 'hunter2'",
                                 "auth-token = 'hunter2'\nport = 'x'",
                                 "auth-token = 'hunter2\x7f'",
                                 "auth-token = \"hunter2\\n\""}) {
    expect_not_shown({"--config", write("case.toml", std::string(line) + "\n")});
  }
}

TEST_F(TokenTest, what_a_token_file_holds_is_wiped_once_the_configuration_is) {
  const std::string marker = "hunter2-and-more-than-a-short-string";
  const std::string token = token_file(marker + "\n");
  const std::string toml = write("d.toml", "auth-token-file = \"" + token + "\"");
  const std::string bad = token_file(marker + "\n" + marker);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--auth-token-file", token},
        std::vector<std::string>{"--config", toml},
        std::vector<std::string>{"--auth-token-file", bad},
        std::vector<std::string>{"--check-config", "--config", toml}}) {
    const base::FreedMemoryWatch watch(marker);
    static_cast<void>(load_from(arguments));
    EXPECT_FALSE(watch.seen()) << testing::PrintToString(arguments);
  }
}

}  // namespace
}  // namespace dflockd::config
