#include "base/text.hpp"

#include <gtest/gtest.h>

namespace dflockd::base {
namespace {

TEST(Text, shows_control_characters_instead_of_sending_them) {
  EXPECT_EQ(escaped("plain \xc3\xa9"), "plain \xc3\xa9");
  EXPECT_EQ(escaped(std::string("\x1b[2J\n\0\x7f", 7)), "\\x1b[2J\\x0a\\x00\\x7f");
  EXPECT_EQ(escaped("\xc2\x9b"
                    "2J"),
            "\\x9b2J");  // CSI in one character
  EXPECT_EQ(escaped("\xc2\xa0"), "\xc2\xa0");
  EXPECT_EQ(escaped("\xc2"), "\\xc2");
  EXPECT_EQ(escaped("\xc2"
                    "Abc\x9b"
                    "2J"),
            "\\xc2Abc\\x9b2J");  // no UTF-8: terminals may take the last for CSI too
  EXPECT_EQ(escaped("\xf0\x9f\x94\x92 \xe2\x82"), "\xf0\x9f\x94\x92 \\xe2\\x82");
  EXPECT_EQ(in_quotes("a\tb"), "\"a\\x09b\"");
  EXPECT_EQ(in_quotes("\"\\"), R"("\"\\")");
}

}  // namespace
}  // namespace dflockd::base
