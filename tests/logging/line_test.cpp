// What a line looks like, whatever its values hold.
#include "logging/line.hpp"

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace dflockd::logging {
namespace {

using std::string_literals::operator""s;

std::string text(std::initializer_list<Field> fields) {
  std::string line;
  append_text(Level::kInfo, "event", fields, line);
  return line;
}

/// What a text line shows for the value.
std::string text_value(std::string_view value) {
  const std::string line = text({{"k", value}});
  const std::string start = "info event k=";
  EXPECT_EQ(line.substr(0, start.size()), start);
  return line.substr(start.size());
}

std::string json(std::initializer_list<Field> fields) {
  std::string line;
  append_json(Level::kInfo, "event", fields, line);
  return line;
}

std::string json_value(std::string_view value) {
  const std::string line = json({{"k", value}});
  const std::string start = R"("level":"info","event":"event","k":)";
  EXPECT_EQ(line.substr(0, start.size()), start);
  return line.substr(start.size());
}

TEST(TextLineTest, value_cannot_forge_a_line) {
  EXPECT_EQ(text_value("x\n2026-11-23T22:12:54.123Z info exit"),
            R"("x\n2026-11-23T22:12:54.123Z info exit")");
  EXPECT_EQ(text_value("x\r"), R"("x\x0d")");
}

TEST(TextLineTest, value_cannot_forge_a_field) {
  EXPECT_EQ(text_value("x owner=me"), R"("x owner=me")");
  EXPECT_EQ(text_value("owner=me"), R"("owner=me")");
  EXPECT_EQ(text_value(R"(x" owner="me)"), R"("x\" owner=\"me")");
  EXPECT_EQ(text_value(R"(x\)"), R"("x\\")");
}

TEST(TextLineTest, bytes_that_are_not_printable_ascii_are_escaped) {
  EXPECT_EQ(text_value("\0\x01\t\x1b[31m\x7f"s), R"("\x00\x01\t\x1b[31m\x7f")");
  EXPECT_EQ(text_value("\xc3\xa9\xff"), R"("\xc3\xa9\xff")");
}

TEST(TextLineTest, empty_value_is_quoted) {
  EXPECT_EQ(text_value(""), R"("")");
}

TEST(TextLineTest, plain_value_is_not_quoted) {
  EXPECT_EQ(text_value("[::1]:6388"), "[::1]:6388");
  EXPECT_EQ(text_value("!#$%&'()*+,-./:;<>?@[]^_`{|}~"), "!#$%&'()*+,-./:;<>?@[]^_`{|}~");
}

TEST(TextLineTest, every_type_is_shown) {
  const std::string string = "s";
  EXPECT_EQ(text({{"a", string},
                  {"b", "literal"},
                  {"c", std::numeric_limits<std::int64_t>::min()},
                  {"d", std::numeric_limits<std::uint64_t>::max()},
                  {"e", std::uint16_t{65535}},
                  {"f", 0.5},
                  {"g", true},
                  {"h_s", std::chrono::seconds(33)},
                  {"i", std::size_t{0}}}),
            "info event a=s b=literal c=-9223372036854775808 d=18446744073709551615 e=65535 f=0.5 "
            "g=true h_s=33 i=0");
}

TEST(TextLineTest, levels_are_named) {
  std::string line;
  append_text(Level::kDebug, "a", {}, line);
  append_text(Level::kInfo, "b", {}, line += ',');
  append_text(Level::kWarn, "c", {}, line += ',');
  append_text(Level::kError, "d", {}, line += ',');
  EXPECT_EQ(line, "debug a,info b,warn c,error d");
}

TEST(JsonLineTest, value_cannot_leave_its_string) {
  EXPECT_EQ(json_value(R"(x","owner":"me)"), R"("x\",\"owner\":\"me")");
  EXPECT_EQ(json_value(R"(x\)"), R"("x\\")");
}

TEST(JsonLineTest, control_characters_are_escaped) {
  EXPECT_EQ(json_value("\0\n\t\x1f"s), R"("\u0000\u000a\u0009\u001f")");
  EXPECT_EQ(json_value("a\x7f[31m"), R"("a\u007f[31m")");
  EXPECT_EQ(json_value("\xc2\x80\xc2\x9b\xc2\x9f"), R"("\u0080\u009b\u009f")");
  EXPECT_EQ(json_value("\xc2\xa0"), "\"\xc2\xa0\"") << "a no-break space is no control character";
}

TEST(JsonLineTest, utf8_is_kept) {
  for (const char* valid :
       {"~", "\xc2\xa0", "\xdf\xbf", "\xe0\xa0\x80", "\xe2\x82\xac", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf0\x9f\x94\x92", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(json_value(valid), "\"" + std::string(valid) + "\"");
  }
}

TEST(JsonLineTest, every_byte_that_is_not_utf8_is_replaced) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(json_value("a\xff"), "\"a" + r + "\"");
  EXPECT_EQ(json_value("\x80z"), "\"" + r + "z\"") << "continuation without a start";
  EXPECT_EQ(json_value("\xc0\xaf"), "\"" + r + r + "\"") << "longer than needed";
  EXPECT_EQ(json_value("\xe0\x9f\xbf"), "\"" + r + r + r + "\"") << "longer than needed";
  EXPECT_EQ(json_value("\xed\xa0\x80"), "\"" + r + r + r + "\"") << "surrogate";
  EXPECT_EQ(json_value("\xf4\x90\x80\x80"), "\"" + r + r + r + r + "\"") << "beyond U+10FFFF";
  EXPECT_EQ(json_value("\xe2\x82"), "\"" + r + r + "\"") << "cut short";
  EXPECT_EQ(json_value("\xc3"), "\"" + r + "\"") << "cut short";
  EXPECT_EQ(json_value("\xf0\x9f\x94\""), "\"" + r + r + r + "\\\"\"") << "cut short by a quote";
}

TEST(JsonLineTest, numbers_and_booleans_are_no_strings) {
  EXPECT_EQ(json({{"a", -1}, {"b", 18446744073709551615U}, {"c", 0.25}, {"d", false}}),
            R"("level":"info","event":"event","a":-1,"b":18446744073709551615,"c":0.25,"d":false)");
}

TEST(JsonLineTest, numbers_that_json_does_not_have_are_null) {
  EXPECT_EQ(json({{"a", std::numeric_limits<double>::infinity()},
                  {"b", std::numeric_limits<double>::quiet_NaN()}}),
            R"("level":"info","event":"event","a":null,"b":null)");
}

}  // namespace
}  // namespace dflockd::logging
