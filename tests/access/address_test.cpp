#include "access/address.hpp"

#include <bit>
#include <string>

#include <asio/ip/address_v6.hpp>
#include <gtest/gtest.h>

namespace dflockd::access {
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

std::string network(const std::string& address, std::size_t prefix) {
  return network_text(make_address(address), prefix);
}

TEST(AddressTest, ipv6_address_is_counted_by_its_first_bits) {
  const std::string all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  EXPECT_EQ(network(all, 64), "ffff:ffff:ffff:ffff::/64");
  EXPECT_EQ(network(all, 63), "ffff:ffff:ffff:fffe::/63");
  EXPECT_EQ(network(all, 65), "ffff:ffff:ffff:ffff:8000::/65");
  EXPECT_EQ(network(all, 1), "8000::/1");
  EXPECT_EQ(network(all, 8), "ff00::/8");
  EXPECT_EQ(network(all, 127), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127");
  EXPECT_EQ(network(all, 128), all);
  EXPECT_EQ(network("2001:db8:0:1:2::3", 48), "2001:db8::/48");
  for (std::size_t prefix = 1; prefix <= 128; ++prefix) {
    const auto bytes = network_of(make_address(all), prefix).to_v6().to_bytes();
    std::size_t ones = 0;
    for (const unsigned char byte : bytes) ones += static_cast<std::size_t>(std::popcount(byte));
    EXPECT_EQ(ones, prefix);
  }
}

TEST(AddressTest, ipv4_address_is_counted_by_itself_however_it_came) {
  for (const std::size_t prefix : {1U, 64U, 128U}) {
    EXPECT_EQ(network("192.0.2.7", prefix), "192.0.2.7");
    EXPECT_EQ(network("::ffff:192.0.2.7", prefix), "192.0.2.7");
    EXPECT_EQ(network_of(make_address("::ffff:192.0.2.7"), prefix), make_address("192.0.2.7"));
  }
}

TEST(AddressTest, networks_of_two_interfaces_are_two) {
  const auto on = [](unsigned int scope) {
    return asio::ip::address_v6(make_address("fe80::1").to_v6().to_bytes(), scope);
  };
  EXPECT_EQ(network_of(on(1), 64), network_of(on(1), 64));
  EXPECT_NE(network_of(on(1), 64), network_of(on(2), 64));
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
}  // namespace dflockd::access
