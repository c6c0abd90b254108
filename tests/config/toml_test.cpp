// What is accepted in the file, and what is said about the rest.
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

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

  /// What is said of what is not TOML; the reason only where it may be shown.
  static std::string not_toml(const std::string& where, const std::string& reason = "") {
    return where + ": not TOML" + (reason.empty() ? "" : " (" + reason + ")") +
           "; expected key = \"text\", a number, true or false";
  }

  [[nodiscard]] Config read(std::string_view content) const {
    return accepted({"--config", write("d.toml", content)}).config;
  }
};

TEST_F(TomlTest, unreadable_file_is_refused) {
  const std::string missing = (directory_ / "none.toml").string();
  EXPECT_EQ(refused({"--config", missing}),
            "dflockd: cannot read \"" + missing + "\": No such file or directory (--config)");
  EXPECT_EQ(refused({}, {{"DFLOCKD_CONFIG", missing}}),
            "dflockd: cannot read \"" + missing + "\": No such file or directory (DFLOCKD_CONFIG)");
}

TEST_F(TomlTest, unknown_key_is_refused_with_the_nearest) {
  EXPECT_EQ(complaint("host = '::1'\nprot = 1\n"), ":2:1: prot: unknown key; the nearest is port");
  EXPECT_EQ(complaint("  Port = 1"), ":1:3: Port: unknown key; the nearest is port");
  EXPECT_EQ(complaint("max_locks = 1"), ":1:1: max_locks: unknown key; the nearest is max-locks");
  EXPECT_EQ(complaint("\"\" = 1"), ":1:1: : unknown key; the nearest is host");
  EXPECT_EQ(complaint("\"a\\nb\" = 1"), ":1:1: a\\x0ab: unknown key; the nearest is host");
  EXPECT_EQ(complaint(std::string(100'000, 'x') + " = 1").substr(0, 8), ":1:1: xx");
}

TEST_F(TomlTest, key_that_makes_sense_on_the_command_line_only_is_unknown) {
  for (const std::string key : {"config", "check-config", "version", "help"}) {
    const std::string start = ":1:1: " + key + ": unknown key; the nearest is ";
    EXPECT_EQ(complaint(key + " = true").substr(0, start.size()), start);
  }
}

TEST_F(TomlTest, key_given_twice_is_refused) {
  EXPECT_EQ(complaint("port = 1\n\nport = 2\n"),
            not_toml(":3:8", "key-value pair: cannot redefine existing integer 'port'"));
}

TEST_F(TomlTest, section_is_refused) {
  for (const auto& [text, where] :
       std::vector<std::pair<std::string, std::string>>{{"[tls]\ncert = 'x'", ":1:2: tls"},
                                                        {"\n [[a]] # b", ":2:4: a"},
                                                        {"port.x = 1", ":1:1: port"},
                                                        {"host = {}", ":1:1: host"}}) {
    EXPECT_EQ(complaint(text), where + ": a section is not allowed; there are none");
  }
}

TEST_F(TomlTest, first_complaint_is_about_what_stands_first) {
  EXPECT_EQ(complaint("port = 'b'\nhost = 1").substr(0, 11), ":1:1: port:");
  EXPECT_EQ(complaint("port = 1\nlog-level = 1\nhost = 1").substr(0, 16), ":2:1: log-level:");
}

TEST_F(TomlTest, what_is_not_toml_is_refused) {
  for (const auto& [text, where] : std::vector<std::pair<std::string, std::string>>{
           {"= 1", ":1:1"}, {"{", ":1:1"}, {"x", ":1:2"}, {"[.", ":1:2"}, {"[", ":1:2"}}) {
    EXPECT_EQ(complaint(text), not_toml(where)) << text;
  }
  EXPECT_EQ(complaint("port"), not_toml(":1:5", "key-value pair: encountered end-of-file"));
  EXPECT_EQ(complaint("port 1"), not_toml(":1:6", "key-value pair: expected '=', saw '1'"));
  EXPECT_EQ(complaint("port: 1"), not_toml(":1:5", "key-value pair: expected '=', saw ':'"));
  EXPECT_EQ(complaint("port = "), not_toml(":1:8", "key-value pair: encountered end-of-file"));
  EXPECT_EQ(complaint("\nport = yes"), not_toml(":2:8", "value: could not determine value type"));
  EXPECT_EQ(complaint("port = 1 2"),
            not_toml(":1:10", "key-value pair: expected a comment or whitespace, saw '2'"));
  EXPECT_EQ(complaint("host = \"a\nb\""),
            not_toml(":1:10",
                     "string: unescaped control characters other than TAB (U+0009) are "
                     "explicitly prohibited"));
}

TEST_F(TomlTest, number_that_toml_does_not_know_is_refused) {
  EXPECT_EQ(complaint("port = 07000"),
            not_toml(":1:13", "decimal integer: leading zeroes are prohibited"));
  EXPECT_EQ(
      complaint("port = 99999999999999999999"),
      not_toml(":1:28", "decimal integer: '99999999999999999999' is not representable in 64 bits"));
}

TEST_F(TomlTest, number_out_of_range_is_refused_as_the_row_says) {
  for (const std::string number : {"-1", "65536"}) {
    EXPECT_EQ(complaint("port = " + number), ":1:1: port: '" + number +
                                                 "' is not allowed; expected an integer from 0 to "
                                                 "65535");
  }
}

TEST_F(TomlTest, value_of_another_type_is_refused) {
  for (const auto& [value, type] :
       std::vector<std::pair<std::string, std::string>>{{"'1'", "text"},
                                                        {"true", "a boolean"},
                                                        {"1.0", "a fraction"},
                                                        {"1e3", "a fraction"},
                                                        {"[1]", "an array"},
                                                        {"2026-11-30", "a date"},
                                                        {"nan", "a fraction"}}) {
    EXPECT_EQ(complaint("port = " + value),
              ":1:1: port: " + type + " is not allowed; expected an integer from 0 to 65535");
  }
  for (const auto& [value, type] :
       std::vector<std::pair<std::string, std::string>>{{"1", "an integer"},
                                                        {"true", "a boolean"},
                                                        {"1.5", "a fraction"},
                                                        {"['x']", "an array"}}) {
    for (const std::string key : {"host", "fence-state-file", "log-level", "auth-token"}) {
      EXPECT_EQ(complaint(key + " = " + value),
                ":1:1: " + key + ": " + type + " is not allowed; expected text in quotes");
    }
  }
  EXPECT_EQ(complaint("debug = 1.0"),
            ":1:1: debug: a fraction is not allowed; expected true or false, 1 or 0, yes or no, on "
            "or off");
}

TEST_F(TomlTest, key_of_a_thousand_tables_is_refused) {
  std::string deep = "a";
  for (int i = 0; i < 400'000; ++i) deep += ".a";
  EXPECT_EQ(complaint("\n" + deep + " = 1"),
            ":2:1: more than 10000 dots in a line; expected a setting a line");
  EXPECT_EQ(complaint("x = " + std::string(400'000, '[')).substr(0, 4), ":1:2");
}

TEST_F(TomlTest, value_of_an_unknown_key_is_not_shown) {
  EXPECT_EQ(complaint("auth-tokn = hunter2"), not_toml(":1:13"));
  EXPECT_EQ(complaint("auth-tokn = 'a' hunter2"), not_toml(":1:17"));
  EXPECT_EQ(complaint("auth-tokn = \"\\hunter2\""), not_toml(":1:15"));
  EXPECT_EQ(complaint("auth-tokn = 99999999999999999999"), not_toml(":1:33"));
  EXPECT_EQ(complaint("\"\\hunter2\" = 1"), not_toml(":1:3"));
}

TEST_F(TomlTest, bytes_that_toml_does_not_allow_are_refused) {
  const auto start = [&](std::string_view content) { return complaint(content).substr(0, 11); };
  EXPECT_EQ(start(std::string_view("host = \"a\0b\"", 12)), ":1:10: not ");
  EXPECT_EQ(start("\nhost = \"a\rb\""), ":2:10: not ");
  EXPECT_EQ(start("host = \"caf\xe9\""), ":1:11: not ");
}

TEST_F(TomlTest, characters_beyond_ascii_are_refused_where_toml_has_none) {
  for (const std::string character : {"\u00e9", "\u00a0", "\u048c", "\u0641", "\u1680", "\u2003",
                                      "\u20ac", "\u3042", "\uac00", "\U0001f512"}) {
    for (const auto& [before, after] :
         std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                          {"", "port = 1"},
                                                          {"po", "rt = 1"},
                                                          {"port", " = 1"},
                                                          {"port =", "1"},
                                                          {"port = ", ""},
                                                          {"port = 1", ""},
                                                          {"port = 1 ", "\n"},
                                                          {"[", "]"},
                                                          {"[a]", ""}}) {
      EXPECT_THAT(complaint(before + character + after), testing::HasSubstr(": not TOML"))
          << before + character + after;
    }
    EXPECT_EQ(read("port = 1 # " + character).port, 1);
    EXPECT_EQ(read("fence-state-file = '" + character + "'").fence_state_file, character);
  }
}

TEST_F(TomlTest, path_with_a_nul_is_refused) {
  EXPECT_EQ(complaint("fence-state-file = \"/a\\u0000b\""),
            ":1:1: fence-state-file: '/a\\x00b' is not allowed; expected the path of a file");
}

TEST_F(TomlTest, byte_order_mark_is_skipped) {
  EXPECT_EQ(read("\xef\xbb\xbfport = 7000\r\n").port, 7000);
  EXPECT_EQ(complaint("\xef\xbb\xbfprot = 7000").substr(0, 11), ":1:1: prot:");
}

TEST_F(TomlTest, every_notation_of_integers_and_booleans_is_accepted) {
  for (const std::string number : {"0x1f", "0o37", "0b1_1111", "3_1", "+31"}) {
    EXPECT_EQ(read("port = " + number).port, 31) << number;
  }
  for (const std::string off : {"false", "0", "'off'", "\"NO\""}) {
    EXPECT_FALSE(read("auto-release-on-disconnect = " + off).auto_release_on_disconnect) << off;
  }
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
      {"\"\"\"\na\nb\"\"\"", "a\nb"},
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
