#include "access/gate.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "logging/logging.hpp"

namespace dflockd::access {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::EndsWith;
using testing::IsEmpty;

using Pass = Gate::Pass;

static_assert(std::is_nothrow_move_constructible_v<Pass> && !std::is_copy_constructible_v<Pass>);

constexpr std::chrono::nanoseconds kNow = 100s;

asio::ip::address peer(const char* text = "192.0.2.1") {
  return asio::ip::make_address(text);
}

/// Admits `count` connections, which must all be let in.
std::vector<Pass> let_in(Gate& gate, std::size_t count, const asio::ip::address& from = peer()) {
  std::vector<Pass> passes;
  while (passes.size() < count) {
    std::optional<Pass> pass = gate.admit(from, kNow);
    if (!pass) throw std::runtime_error("not let in: number " + std::to_string(passes.size() + 1));
    passes.push_back(std::move(*pass));
  }
  return passes;
}

bool lets_in(Gate& gate, const asio::ip::address& from = peer()) {
  return gate.admit(from, kNow).has_value();
}

// --- In all ---

TEST(GateTest, without_caps_lets_everybody_in) {
  Gate gate("tcp", {});
  const std::vector<Pass> passes = let_in(gate, 5'000);
  EXPECT_EQ(gate.connections(), 5'000U);
  EXPECT_EQ(gate.addresses(), 0U) << "addresses are counted though nothing depends on it";
}

TEST(GateTest, cap_on_all_connections_is_reached_and_not_exceeded) {
  Gate gate("tcp", {.max_connections = 3});
  const std::vector<Pass> passes = let_in(gate, 3);
  EXPECT_FALSE(lets_in(gate));
  EXPECT_FALSE(lets_in(gate, peer("192.0.2.2")));
  EXPECT_EQ(gate.connections(), 3U);
}

TEST(GateTest, place_returns_with_its_pass) {
  Gate gate("tcp", {.max_connections = 2});
  std::vector<Pass> passes = let_in(gate, 2);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(lets_in(gate));
    passes.pop_back();
    EXPECT_EQ(gate.connections(), 1U);
    passes.push_back(std::move(*gate.admit(peer(), kNow)));
  }
  passes.clear();
  EXPECT_EQ(gate.connections(), 0U);
}

// --- Descriptors ---

TEST(DescriptorsTest, listener_has_what_the_cap_of_the_other_leaves) {
  EXPECT_EQ(share_of_descriptors(400, 100), 400 - kReservedDescriptors - 100);
  EXPECT_EQ(share_of_descriptors(20'000, 10'000), 20'000 - kReservedDescriptors - 10'000);
  EXPECT_EQ(share_of_descriptors(1'000'000'000, 1), 1'000'000'000 - kReservedDescriptors - 1);
}

TEST(DescriptorsTest, listener_has_half_if_the_other_has_no_cap) {
  EXPECT_EQ(share_of_descriptors(1'024, 0), (1'024 - kReservedDescriptors) / 2);
}

TEST(DescriptorsTest, listener_has_64_at_the_least) {
  for (const std::uint64_t descriptors : {0U, 1U, 31U, 32U, 33U, 100U}) {
    EXPECT_EQ(share_of_descriptors(descriptors, 0), 64U) << descriptors;
    EXPECT_EQ(share_of_descriptors(descriptors, 10), 64U) << descriptors;
  }
  EXPECT_EQ(share_of_descriptors(20'000, 20'000), 64U);
  EXPECT_EQ(share_of_descriptors(20'000, UINT64_MAX), 64U);
}

// --- From one address ---

TEST(GateTest, cap_per_address_is_for_each_address_alone) {
  Gate gate("tcp", {.max_connections_per_ip = 2});
  const std::vector<Pass> first = let_in(gate, 2, peer("192.0.2.1"));
  EXPECT_FALSE(lets_in(gate, peer("192.0.2.1")));
  const std::vector<Pass> second = let_in(gate, 2, peer("192.0.2.2"));
  const std::vector<Pass> third = let_in(gate, 2, peer("2001:db8::1"));
  EXPECT_FALSE(lets_in(gate, peer("192.0.2.2")));
  EXPECT_FALSE(lets_in(gate, peer("2001:db8::1")));
  EXPECT_EQ(gate.connections(), 6U);
  EXPECT_EQ(gate.addresses(), 3U);
}

TEST(GateTest, addresses_of_one_ipv6_network_count_together) {
  Gate gate("tcp", {.max_connections_per_ip = 2});
  std::vector<Pass> first = let_in(gate, 1, peer("2001:db8::1"));
  const std::vector<Pass> second = let_in(gate, 1, peer("2001:db8::2"));
  EXPECT_FALSE(lets_in(gate, peer("2001:db8::3")));
  EXPECT_FALSE(lets_in(gate, peer("2001:db8::ffff:ffff:ffff:ffff")));
  EXPECT_TRUE(lets_in(gate, peer("2001:db8:0:1::1")));
  EXPECT_EQ(gate.addresses(), 1U);
  first.clear();
  EXPECT_TRUE(lets_in(gate, peer("2001:db8::3")));
}

TEST(GateTest, prefix_says_how_much_of_an_ipv6_address_counts) {
  Gate whole("tcp", {.max_connections_per_ip = 1, .ipv6_prefix = 128});
  const std::vector<Pass> first = let_in(whole, 1, peer("2001:db8::1"));
  EXPECT_FALSE(lets_in(whole, peer("2001:db8::1")));
  EXPECT_TRUE(lets_in(whole, peer("2001:db8::2")));
  Gate site("tcp", {.max_connections_per_ip = 1, .ipv6_prefix = 48});
  const std::vector<Pass> second = let_in(site, 1, peer("2001:db8:0:1::1"));
  EXPECT_FALSE(lets_in(site, peer("2001:db8:0:2::1")));
  EXPECT_TRUE(lets_in(site, peer("2001:db8:1::1")));
}

TEST(GateTest, place_of_an_address_returns_with_the_pass_of_that_address) {
  Gate gate("tcp", {.max_connections_per_ip = 1});
  std::vector<Pass> first = let_in(gate, 1, peer("192.0.2.1"));
  std::vector<Pass> second = let_in(gate, 1, peer("192.0.2.2"));
  second.clear();
  EXPECT_FALSE(lets_in(gate, peer("192.0.2.1")));
  EXPECT_TRUE(lets_in(gate, peer("192.0.2.2")));
  first.clear();
  EXPECT_TRUE(lets_in(gate, peer("192.0.2.1")));
}

TEST(GateTest, mapped_address_counts_as_the_ipv4_address) {
  Gate gate("tcp", {.max_connections_per_ip = 2});
  const std::vector<Pass> plain = let_in(gate, 1, peer("192.0.2.1"));
  const std::vector<Pass> mapped = let_in(gate, 1, peer("::ffff:192.0.2.1"));
  EXPECT_EQ(gate.addresses(), 1U);
  EXPECT_FALSE(lets_in(gate, peer("192.0.2.1")));
  EXPECT_FALSE(lets_in(gate, peer("::ffff:192.0.2.1")));
  EXPECT_TRUE(lets_in(gate, peer("::192.0.2.1"))) << "which is no mapped address";
}

TEST(GateTest, address_is_forgotten_with_its_last_pass) {
  Gate gate("tcp", {.max_connections_per_ip = 3});
  std::vector<Pass> passes;
  for (const char* address : {"192.0.2.1", "192.0.2.2", "192.0.2.1", "::ffff:192.0.2.2"}) {
    passes.push_back(std::move(*gate.admit(peer(address), kNow)));
  }
  EXPECT_EQ(gate.addresses(), 2U);
  passes.pop_back();
  passes.pop_back();
  EXPECT_EQ(gate.addresses(), 2U);
  passes.pop_back();
  EXPECT_EQ(gate.addresses(), 1U);
  passes.pop_back();
  EXPECT_EQ(gate.addresses(), 0U);
  EXPECT_EQ(gate.connections(), 0U);
}

// Otherwise whoever has many addresses could make the gate remember as many as they like.
TEST(GateTest, address_that_is_refused_is_not_remembered) {
  Gate gate("tcp", {.max_connections = 1, .max_connections_per_ip = 1});
  std::vector<Pass> passes = let_in(gate, 1);
  for (unsigned i = 0; i < 100; ++i) {
    EXPECT_FALSE(lets_in(gate, asio::ip::address_v4(0x0a000000U + i)));
  }
  EXPECT_EQ(gate.addresses(), 1U);
  passes.clear();
  EXPECT_EQ(gate.addresses(), 0U);
}

TEST(GateTest, connection_refused_for_its_address_takes_no_place_among_all) {
  Gate gate("tcp", {.max_connections = 2, .max_connections_per_ip = 1});
  const std::vector<Pass> first = let_in(gate, 1, peer("192.0.2.1"));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(lets_in(gate, peer("192.0.2.1")));
  EXPECT_EQ(gate.connections(), 1U);
  EXPECT_TRUE(lets_in(gate, peer("192.0.2.2")));
}

// --- Passes ---

TEST(GateTest, pass_that_is_moved_is_still_one_pass) {
  Gate gate("tcp", {.max_connections_per_ip = 2});
  std::optional<Pass> pass = gate.admit(peer(), kNow);
  {
    const Pass moved = std::move(*pass);
    EXPECT_EQ(gate.connections(), 1U);
    pass.reset();
    EXPECT_EQ(gate.connections(), 1U) << "what was moved from has given the place back";
    EXPECT_EQ(gate.addresses(), 1U);
  }
  EXPECT_EQ(gate.connections(), 0U);
  EXPECT_EQ(gate.addresses(), 0U);
}

// --- The log ---

class GateLogTest : public testing::Test {
 protected:
  GateLogTest() {
    logging::init(logging::Level::kInfo, logging::Format::kText, [this](std::string_view line) {
      lines_.emplace_back(line);
      return true;
    });
  }
  ~GateLogTest() override { logging::shutdown(); }

  void refuse(const asio::ip::address& from, std::chrono::nanoseconds now) {
    EXPECT_FALSE(gate_.admit(from, now).has_value());
  }

  /// The lines so far, from the event on. Ends the log.
  std::vector<std::string> log() {
    logging::shutdown();
    for (std::string& line : lines_) line.erase(0, std::min(line.find("warn "), line.size()));
    return lines_;
  }

  Gate gate_{"tcp", {.max_connections = 2, .max_connections_per_ip = 1}};
  std::optional<Pass> first_ = gate_.admit(peer("192.0.2.1"), kNow);

 private:
  std::vector<std::string> lines_;
};

TEST_F(GateLogTest, says_nothing_of_those_let_in) {
  first_.reset();
  gate_.tick(kNow + 10s);
  EXPECT_THAT(log(), IsEmpty());
}

TEST_F(GateLogTest, tells_which_cap_was_reached_and_by_whom) {
  refuse(peer("::ffff:192.0.2.1"), kNow);
  const auto second = gate_.admit(peer("192.0.2.2"), kNow);
  refuse(peer("2001:db8::1"), kNow);
  EXPECT_THAT(
      log(),
      ElementsAre("warn connections_refused listener=tcp reason=max_connections_per_ip limit=1 "
                  "last_peer=192.0.2.1 count=1\n",
                  "warn connections_refused listener=tcp reason=max_connections limit=2 "
                  "last_peer=2001:db8::1 count=1\n"));
}

TEST_F(GateLogTest, tells_the_network_that_an_ipv6_address_counts_for) {
  const auto second = gate_.admit(peer("2001:db8::1"), kNow);
  Gate gate("http", {.max_connections_per_ip = 1, .ipv6_prefix = 48});
  const auto third = gate.admit(peer("2001:db8::1"), kNow);
  EXPECT_EQ(gate.admit(peer("2001:db8:0:1::2"), kNow), std::nullopt);
  EXPECT_THAT(log(), ElementsAre(testing::HasSubstr("limit=1 last_peer=2001:db8::/48 count=1")));
}

TEST_F(GateLogTest, tells_the_number_once_a_second) {
  for (int i = 0; i < 100; ++i) refuse(peer("192.0.2.1"), kNow + i * 9ms);
  gate_.tick(kNow + 999ms);
  gate_.tick(kNow + 1s);
  gate_.tick(kNow + 3s);
  refuse(peer("192.0.2.1"), kNow + 4s);
  EXPECT_THAT(log(),
              ElementsAre(EndsWith(" count=1\n"), EndsWith(" count=99\n"), EndsWith(" count=1\n")));
}

TEST_F(GateLogTest, counts_each_cap_on_its_own) {
  refuse(peer("192.0.2.1"), kNow);
  const auto second = gate_.admit(peer("192.0.2.2"), kNow);
  for (int i = 0; i < 3; ++i) refuse(peer("192.0.2.1"), kNow);
  gate_.tick(kNow + 2s);
  EXPECT_THAT(log(), ElementsAre(testing::HasSubstr("per_ip limit=1"),
                                 testing::HasSubstr("max_connections limit=2"),
                                 testing::HasSubstr("max_connections limit=2 last_peer=192.0.2.1 "
                                                    "count=2")));
}

}  // namespace
}  // namespace dflockd::access
