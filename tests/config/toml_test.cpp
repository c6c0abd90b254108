// What is accepted in the file, and what is said about the rest.
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include "fixture.hpp"

namespace dflockd::config {
namespace {

class TomlTest : public DirectoryTest {
 protected:
  /// What is said about a file with this content, from behind its name on.
  [[nodiscard]] std::string complaint(std::string_view content) const {
    const std::string path = write("d.toml", content);
    const std::string line = refused({"--config", path});
    const std::string start = "dflockd: " + path;
    EXPECT_EQ(line.substr(0, start.size()), start);
    return line.substr(start.size());
  }

  [[nodiscard]] Config read(std::string_view content) const {
    return accepted({"--config", write("d.toml", content)}).config;
  }
};

TEST_F(TomlTest, unreadable_file_is_refused) {
  const std::string missing = (directory_ / "none.toml").string();
  EXPECT_EQ(refused({"--config", missing}),
            "dflockd: --config: '" + missing + "' cannot be read: No such file or directory");
  EXPECT_EQ(refused({}, {{"DFLOCKD_CONFIG", missing}}),
            "dflockd: DFLOCKD_CONFIG: '" + missing + "' cannot be read: No such file or directory");
  EXPECT_EQ(
      refused({"--config", directory_.string()}),
      "dflockd: --config: '" + directory_.string() + "' cannot be read: it is not a regular file");
  EXPECT_EQ(refused({"--config", "/dev/zero"}),
            "dflockd: --config: '/dev/zero' cannot be read: it is not a regular file");
}

TEST_F(TomlTest, fifo_is_refused_and_not_waited_for) {
  const std::string fifo = (directory_ / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(refused({"--config", fifo}),
            "dflockd: --config: '" + fifo + "' cannot be read: it is not a regular file");
}

TEST_F(TomlTest, file_larger_than_a_mebibyte_is_refused) {
  const std::string mebibyte = "port = 1\n" + std::string((1 << 20) - 9, '#');
  EXPECT_EQ(read(mebibyte).port, 1);
  const std::string path = write("large.toml", mebibyte + "#");
  EXPECT_EQ(refused({"--config", path}),
            "dflockd: --config: '" + path + "' cannot be read: it is larger than 1 MiB");
}

TEST_F(TomlTest, unknown_key_is_refused) {
  EXPECT_EQ(complaint("host = '::1'\nprot = 1\n"), ":2: prot: unknown key");
  EXPECT_EQ(complaint("Port = 1"), ":1: Port: unknown key");
  EXPECT_EQ(complaint("max_locks = 1"), ":1: max_locks: unknown key");
}

TEST_F(TomlTest, key_that_makes_sense_on_the_command_line_only_is_unknown) {
  for (const std::string key : {"config", "check-config", "version", "help"}) {
    EXPECT_EQ(complaint(key + " = true"), ":1: " + key + ": unknown key");
  }
}

TEST_F(TomlTest, key_given_twice_is_refused) {
  EXPECT_EQ(complaint("port = 1\n\nport = 2\n"),
            ":3: port: given twice, first as " + (directory_ / "d.toml").string() + ":1: port");
}

TEST_F(TomlTest, section_is_refused) {
  EXPECT_EQ(complaint("[tls]\ncert = 'x'"), ":1: a section is not allowed; there are none");
  EXPECT_EQ(complaint("\n [[a]] # b"), ":2: a section is not allowed; there are none");
}

TEST_F(TomlTest, line_that_is_no_setting_is_refused) {
  for (const char* line : {"port", "port 1", "= 1", "port.x = 1", "\"\" = 1", "{", "x"}) {
    EXPECT_EQ(complaint(line), ":1: expected 'key = value'") << line;
  }
}

TEST_F(TomlTest, value_that_is_not_one_is_refused) {
  for (const std::string word : {"", "localhost", "TRUE", "yes", "[1,", "{}", "-"}) {
    EXPECT_EQ(complaint("port = " + word),
              ":1: '" + word + "' is not a value; expected \"text\", a number, true or false");
  }
}

TEST_F(TomlTest, number_in_another_form_is_refused_as_the_row_says) {
  for (const std::string number : {"0x10", "1_000", "1.0", "-1"}) {
    EXPECT_EQ(complaint("port = " + number), ":1: port: '" + number +
                                                 "' is not allowed; expected an integer from 0 to "
                                                 "65535");
  }
}

TEST_F(TomlTest, text_without_quotes_is_refused) {
  EXPECT_EQ(complaint("host = 127.0.0.1"), ":1: host: '127.0.0.1' must stand in quotes");
  EXPECT_EQ(complaint("fence-state-file = 1"), ":1: fence-state-file: '1' must stand in quotes");
  EXPECT_EQ(complaint("log-level = true"), ":1: log-level: 'true' must stand in quotes");
}

TEST_F(TomlTest, rest_of_line_is_refused) {
  EXPECT_EQ(complaint("port = 1 2"), ":1: '2' is not allowed behind the value");
  EXPECT_EQ(complaint("host = \"a\"b"), ":1: 'b' is not allowed behind the value");
  EXPECT_EQ(complaint("host = \"\"\"a\"\"\""), ":1: '\"a\"\"\"' is not allowed behind the value");
}

TEST_F(TomlTest, text_without_its_end_is_refused) {
  EXPECT_EQ(complaint("host = \"a\nb\""), ":1: a closing quote is missing");
  EXPECT_EQ(complaint("host = 'a"), ":1: a closing quote is missing");
  EXPECT_EQ(complaint("host = \"a\\"), ":1: a closing quote is missing");
}

TEST_F(TomlTest, bad_escape_is_refused) {
  EXPECT_EQ(complaint("host = \"\\q\""), ":1: '\\q' is not an escape sequence");
  for (const std::string bad : {"u12", "uzzzz", "u0000", "ud800", "U00110000"}) {
    EXPECT_NE(complaint("host = \"\\" + bad + "\"").find("is not the number of a character"),
              std::string::npos)
        << bad;
  }
}

TEST_F(TomlTest, value_of_an_unknown_key_is_not_shown) {
  EXPECT_EQ(complaint("auth-tokn = hunter2"),
            ":1: <not shown> is not a value; expected \"text\", a number, true or false");
  EXPECT_EQ(complaint("auth-tokn = 'a' hunter2"),
            ":1: <not shown> is not allowed behind the value");
  EXPECT_EQ(complaint("auth-tokn = \"\\hunter2\""), ":1: <not shown> is not an escape sequence");
  EXPECT_EQ(complaint("auth-tokn = \"\\uhunter2\""),
            ":1: <not shown> is not the number of a character");
  EXPECT_EQ(complaint("\"\\hunter2\" = 1"), ":1: <not shown> is not an escape sequence");
}

TEST_F(TomlTest, control_character_is_refused) {
  EXPECT_EQ(complaint(std::string_view("host = \"a\0b\"", 12)), ":1: holds a control character");
  EXPECT_EQ(complaint("\nhost = \"a\rb\""), ":2: holds a control character");
}

TEST_F(TomlTest, empty_file_is_accepted) {
  for (const char* content : {"", "\n", "# only this", " \t\r\n#\n\n"}) {
    EXPECT_EQ(read(content).port, 6388);
  }
}

TEST_F(TomlTest, blanks_comments_and_quoted_keys_are_accepted) {
  const Config config = read("  port=1# one\r\n\t\"host\"\t=\t'::1'\t# two\r\n'max-locks' = 3");
  EXPECT_EQ(config.port, 1);
  EXPECT_EQ(config.host, "::1");
  EXPECT_EQ(config.max_locks, 3U);
}

TEST_F(TomlTest, text_holds_what_its_quotes_hold) {
  const std::vector<std::pair<std::string, std::string>> texts{
      {R"("a # b, c = [d]")", "a # b, c = [d]"},
      {R"("\b\t\n\f\r\"\\")", "\b\t\n\f\r\"\\"},
      {R"("\u0041\u00e9\u20AC\U0001f512")", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x92"},
      {R"('C:\q"')", R"(C:\q")"},
      {"\"\t\xc3\xa9\"", "\t\xc3\xa9"},
  };
  for (const auto& [written, meant] : texts) {
    EXPECT_EQ(read("fence-state-file = " + written).fence_state_file, meant) << written;
  }
}

TEST_F(TomlTest, file_named_in_the_environment_is_read) {
  const std::string path = write("d.toml", "port = 1");
  EXPECT_EQ(accepted({}, {{"DFLOCKD_CONFIG", path}}).config.port, 1);
}

TEST_F(TomlTest, file_named_by_flag_beats_the_one_in_the_environment) {
  const Variables variables{{"DFLOCKD_CONFIG", write("env.toml", "port = 1")}};
  EXPECT_EQ(accepted({"--config", write("flag.toml", "port = 2")}, variables).config.port, 2);
  EXPECT_EQ(accepted({"--config="}, variables).config.port, 6388);
}

}  // namespace
}  // namespace dflockd::config
