#include "http/authority.hpp"

#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

namespace dflockd::http {
namespace {

using namespace std::string_literals;

TEST(authority, text_that_is_none_is_refused) {
  for (const std::string& text :
       {"a b"s,       "user@x"s,       "user:password@x"s,
        "@x"s,        "x/"s,           "http://x"s,
        "x?"s,        "x#"s,           "x\\"s,
        "x:y"s,       "x:80:80"s,      "x:-1"s,
        "x:+80"s,     "x: 80"s,        "x:0x50"s,
        "::1"s,       "fe80::1%eth0"s, "["s,
        "[]"s,        "[::1"s,         "::1]"s,
        "[::1]x"s,    "[::1]:x"s,      "[[::1]]"s,
        "[x]"s,       "[1.2.3.4]"s,    "[v1.x]"s,
        "[::1.]"s,    "[::1%]"s,       "[::1%25%]"s,
        "[::1%a b]"s, "[::1%a%b]"s,    "x%"s,
        "x%4"s,       "x%zz"s,         "x%eth0"s,
        "\xc3\xa4"s,  "x,\ty"s,        "[" + std::string(100, ':') + "]"}) {
    EXPECT_FALSE(parse_authority(text)) << testing::PrintToString(text);
  }
}

TEST(authority, a_nul_is_refused_however_it_is_written) {
  for (const std::string& text :
       {"localhost\0"s, "localhost\0.evil.example"s, "\0"s, "localhost%00"s, "a%00b:80"s,
        "[::1\0]"s, "[::1%\0]"s, "[::1]\0"s, "x:8\0"s}) {
    EXPECT_FALSE(parse_authority(text)) << testing::PrintToString(text);
  }
}

TEST(authority, host_and_port_are_taken_apart) {
  const std::pair<std::string, std::pair<std::string, std::string>> expected[] = {
      {"", {"", ""}},
      {":80", {"", "80"}},
      {"x", {"x", ""}},
      {"x:", {"x", ""}},
      {"x:6389", {"x", "6389"}},
      {"x:99999", {"x", "99999"}},
      {"Locks.Example:1", {"Locks.Example", "1"}},
      {"127.0.0.1:6389", {"127.0.0.1", "6389"}},
      {"[::1]", {"::1", ""}},
      {"[::1]:", {"::1", ""}},
      {"[::FFFF:127.0.0.1]:6389", {"::FFFF:127.0.0.1", "6389"}},
      {"a_b~c!$&'()*+,;=%C3%A4", {"a_b~c!$&'()*+,;=%C3%A4", ""}},
  };
  for (const auto& [text, parts] : expected) {
    const auto authority = parse_authority(text);
    ASSERT_TRUE(authority) << text;
    EXPECT_EQ(authority->host, parts.first) << text;
    EXPECT_EQ(authority->port, parts.second) << text;
  }
}

TEST(authority, one_final_dot_is_left_off) {
  EXPECT_EQ(parse_authority("locks.example.")->host, "locks.example");
  EXPECT_EQ(parse_authority("locks.example.:80")->host, "locks.example");
  EXPECT_EQ(parse_authority("127.0.0.1.")->host, "127.0.0.1");
  EXPECT_EQ(parse_authority("locks.example..")->host, "locks.example.");
  EXPECT_EQ(parse_authority(".")->host, "");
}

TEST(authority, zone_is_left_off) {
  for (const std::string& text : {"[fe80::1%eth0]:80"s, "[fe80::1%25eth0]:80"s, "[fe80::1%2]:80"s,
                                  "[fe80::1%25]:80"s, "[fe80::1%a-b.c_d~e]:80"s}) {
    const auto authority = parse_authority(text);
    ASSERT_TRUE(authority) << text;
    EXPECT_EQ(authority->host, "fe80::1");
    EXPECT_EQ(authority->port, "80");
  }
}

TEST(authority, names_and_other_numbers_are_no_addresses) {
  for (const std::string& host :
       {""s, "x"s, "localhost"s, "127.1"s, "127.0.0"s, "127.0.0.1.2"s, "0x7f.0.0.1"s, "2130706433"s,
        "127.0.0.01"s, "127.0.0.256"s, " 127.0.0.1"s, "127.0.0.1 "s, "127.0.0.1\0"s, ":"s, "::g"s,
        "1::2::3"s, std::string(1'000, '1')}) {
    EXPECT_FALSE(to_ip_address(host)) << testing::PrintToString(host);
  }
}

TEST(authority, addresses_are_the_same_however_they_are_written) {
  const std::pair<std::string, std::string> same[] = {
      {"127.0.0.1", "::ffff:127.0.0.1"},
      {"127.0.0.1", "::FFFF:7F00:1"},
      {"2001:db8::1", "2001:DB8:0:0:0:0:0:1"},
      {"fe80::1", "fe80::1%eth0"},
      {"::", "0:0:0:0:0:0:0:0"},
  };
  for (const auto& [left, right] : same) {
    ASSERT_TRUE(to_ip_address(left)) << left;
    EXPECT_EQ(to_ip_address(left), to_ip_address(right)) << left << ' ' << right;
  }
  EXPECT_NE(to_ip_address("127.0.0.1"), to_ip_address("127.0.0.2"));
  EXPECT_NE(to_ip_address("127.0.0.1"), to_ip_address("::127.0.0.1"));
}

TEST(authority, loopback_is_a_net_of_ipv4_and_one_address_of_ipv6) {
  for (const char* const address :
       {"127.0.0.0", "127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "::1%lo"}) {
    EXPECT_TRUE(is_loopback(to_ip_address(address).value())) << address;
  }
  for (const char* const address : {"0.0.0.0", "126.255.255.255", "128.0.0.0", "::", "::2",
                                    "::127.0.0.1", "7f00::1", "::fffe:127.0.0.1", "fe80::1"}) {
    EXPECT_FALSE(is_loopback(to_ip_address(address).value())) << address;
  }
}

TEST(authority, names_are_the_same_in_either_case) {
  EXPECT_TRUE(same_name("Locks.EXAMPLE", "lOCKS.example"));
  EXPECT_TRUE(same_name("", ""));
  EXPECT_FALSE(same_name("locks.example", "locks.example."));
  EXPECT_FALSE(same_name("a[", "a{")) << "only letters have cases";
  EXPECT_FALSE(same_name("a@", "a`"));
}

}  // namespace
}  // namespace dflockd::http
