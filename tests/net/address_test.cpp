#include "net/address.hpp"

#include <string>

#include <asio/ip/address_v6.hpp>
#include <gtest/gtest.h>

namespace dflockd::net {
namespace {

using asio::ip::make_address;
using asio::ip::tcp;

std::string canonical_text(const std::string& address) {
  return canonical(make_address(address)).to_string();
}

std::string text_of(const std::string& address, std::uint16_t port) {
  return to_text(tcp::endpoint(make_address(address), port));
}

TEST(AddressTest, mapped_ipv4_address_is_that_ipv4_address) {
  EXPECT_EQ(canonical_text("::ffff:192.0.2.7"), "192.0.2.7");
  EXPECT_EQ(canonical_text("::ffff:c000:207"), "192.0.2.7");
  EXPECT_EQ(canonical_text("::ffff:0.0.0.0"), "0.0.0.0");
  EXPECT_EQ(canonical_text("::ffff:255.255.255.255"), "255.255.255.255");
  EXPECT_EQ(canonical(make_address("::ffff:127.0.0.1")), make_address("127.0.0.1"));
}

TEST(AddressTest, other_addresses_are_themselves) {
  for (const char* const address :
       {"127.0.0.1", "0.0.0.0", "::1", "::", "2001:db8::ffff:c000:207", "fe80::1",
        "64:ff9b::c000:207", "::fffe:c000:207", "0:1::ffff:c000:207"}) {
    EXPECT_EQ(canonical(make_address(address)), make_address(address)) << address;
  }
}

// RFC 4291, section 2.5.5.1: these are deprecated, and not what a dual-stack socket shows.
TEST(AddressTest, ipv4_compatible_address_is_not_taken_for_a_mapped_one) {
  EXPECT_EQ(canonical(make_address("::192.0.2.7")), make_address("::192.0.2.7"));
}

TEST(AddressTest, zone_is_kept) {
  const asio::ip::address address =
      asio::ip::address_v6(make_address("fe80::1").to_v6().to_bytes(), 7);
  EXPECT_EQ(canonical(address).to_v6().scope_id(), 7U);
}

TEST(AddressTest, host_and_port_are_joined_with_brackets_around_what_has_colons) {
  EXPECT_EQ(joined("127.0.0.1", 6388), "127.0.0.1:6388");
  EXPECT_EQ(joined("localhost", 0), "localhost:0");
  EXPECT_EQ(joined("::1", 65535), "[::1]:65535");
  EXPECT_EQ(joined("fe80::1%eth0", 1), "[fe80::1%eth0]:1");
}

TEST(AddressTest, text_of_an_endpoint_is_canonical) {
  EXPECT_EQ(text_of("127.0.0.1", 6388), "127.0.0.1:6388");
  EXPECT_EQ(text_of("::ffff:127.0.0.1", 6388), "127.0.0.1:6388");
  EXPECT_EQ(text_of("::1", 6388), "[::1]:6388");
  EXPECT_EQ(text_of("2001:DB8:0:0::1", 1), "[2001:db8::1]:1");
}

}  // namespace
}  // namespace dflockd::net
