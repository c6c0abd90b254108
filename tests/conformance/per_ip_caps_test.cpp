// --max-connections-per-ip, alone and together with --max-connections, and storms of connections.

#include <array>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/log.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

const Route kFirst{.from = "127.0.0.2"};
const Route kSecond{.from = "127.0.0.3"};
const Route kThird{.from = "127.0.0.4"};

/// That many clients, which must all be served.
std::vector<Client> served(const Server& server, std::size_t count, const Route& route) {
  std::vector<Client> clients = connect_many(server, count, route);
  for (Client& client : clients) EXPECT_EQ(client.ping(), "ok") << "from " << route.from;
  return clients;
}

bool is_refused(const Server& server, const Route& route) {
  return Client(server, route).read_to_end() == "";
}

TEST(MaxConnectionsPerIp, is_for_each_address_alone) {
  const Server server({"--max-connections-per-ip", "2"});
  std::vector<Client> first = served(server, 2, kFirst);
  EXPECT_TRUE(is_refused(server, kFirst));
  std::vector<Client> second = served(server, 2, kSecond);
  EXPECT_TRUE(is_refused(server, kSecond));
  EXPECT_TRUE(is_refused(server, kFirst));
  for (Client& client : first) EXPECT_EQ(client.ping(), "ok") << "one that was there already";
  EXPECT_EQ(stats(second.front()).at("connections"), 4);
}

TEST(MaxConnectionsPerIp, of_zero_is_no_cap) {
  const Server server({"--max-connections-per-ip", "0"});
  served(server, 100, kFirst);
}

TEST(MaxConnectionsPerIp, place_returns_when_a_connection_ends) {
  const Server server({"--max-connections-per-ip", "2"});
  Client observer(server, kSecond);
  std::vector<Client> clients = served(server, 2, kFirst);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(is_refused(server, kFirst));
    if (i % 2 == 0) {
      clients.back().close();
    } else {
      clients.back().reset();
    }
    clients.pop_back();
    ASSERT_TRUE(eventually([&] { return stats(observer).at("connections") == 2; }));
    clients.emplace_back(server, kFirst);
    ASSERT_EQ(clients.back().ping(), "ok");
  }
}

TEST(MaxConnectionsPerIp, place_returns_when_the_server_ends_a_connection) {
  const Server server({"--max-connections-per-ip", "1"});
  Client observer(server, kSecond);
  Client wordy(server, kFirst);
  wordy.send(std::string(300, 'x'));
  EXPECT_EQ(wordy.read_to_end(), "error\n");
  wordy.close();
  ASSERT_TRUE(eventually([&] { return stats(observer).at("connections") == 1; }));
  served(server, 1, kFirst);
}

TEST(MaxConnectionsPerIp, works_together_with_the_cap_on_all) {
  const Server server({"--max-connections-per-ip", "2", "--max-connections", "3"});
  std::vector<Client> first = served(server, 2, kFirst);
  EXPECT_TRUE(is_refused(server, kFirst));
  EXPECT_TRUE(server.wait_for_log_line(
      "warn connections_refused listener=tcp reason=max_connections_per_ip limit=2 "
      "last_peer=127.0.0.2 count=1"))
      << server.log();

  std::vector<Client> second = served(server, 1, kSecond);
  EXPECT_TRUE(is_refused(server, kThird));
  EXPECT_TRUE(server.wait_for_log_line(
      "warn connections_refused listener=tcp reason=max_connections limit=3 "
      "last_peer=127.0.0.4 count=1"))
      << server.log();

  first.pop_back();
  ASSERT_TRUE(eventually([&] { return stats(second.front()).at("connections") == 2; }));
  served(server, 1, kThird);
}

// --- Both families on one listener ---

TEST(MaxConnectionsPerIp, counts_an_ipv4_client_as_one_address_on_a_dual_stack_listener) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  const Server server({"--host", "::", "--max-connections-per-ip", "2"});
  const Route by_ipv4{.from = "127.0.0.1", .to = "127.0.0.1"};
  const Route by_mapped_address{.from = "::ffff:127.0.0.1", .to = "::ffff:127.0.0.1"};
  const Route by_ipv6{.from = "::1", .to = "::1"};
  const Route by_other_ipv4{.from = "127.0.0.2", .to = "127.0.0.1"};
  std::vector<Client> plain = served(server, 1, by_ipv4);
  std::vector<Client> mapped = served(server, 1, by_mapped_address);
  EXPECT_TRUE(is_refused(server, by_ipv4));
  EXPECT_TRUE(is_refused(server, by_mapped_address));
  EXPECT_TRUE(server.wait_for_log_line(" last_peer=127.0.0.1 ")) << server.log();
  std::vector<Client> other = served(server, 2, by_other_ipv4);
  std::vector<Client> six = served(server, 2, by_ipv6);
  EXPECT_TRUE(is_refused(server, by_ipv6));
  EXPECT_TRUE(eventually([&] { return stats(six.front()).at("connections") == 6; }));

  plain.front().hold(lock("job"));
  EXPECT_EQ(held(six.front(), lock("job")).at("owner"), plain.front().local_endpoint());
}

// --- Storms ---

const std::array kStormRoutes{Route{.from = "127.0.1.1"}, Route{.from = "127.0.1.2"},
                              Route{.from = "127.0.1.3"}, Route{.from = "127.0.1.4"}};

/// Connects `each` clients from each address by turns, and keeps them.
std::vector<std::vector<Client>> storm(const Server& server, std::size_t each) {
  std::vector<std::vector<Client>> clients(kStormRoutes.size());
  for (std::size_t i = 0; i < each; ++i) {
    for (std::size_t route = 0; route < kStormRoutes.size(); ++route) {
      clients[route].emplace_back(server, kStormRoutes[route]);
    }
  }
  return clients;
}

/// How many are still connected; each of them must be served.
std::size_t count_served(std::vector<Client>& clients) {
  std::size_t count = 0;
  for (Client& client : clients) {
    if (client.has_input()) {
      EXPECT_EQ(client.read_to_end(), "");
      continue;
    }
    EXPECT_EQ(client.ping(), "ok");
    ++count;
  }
  return count;
}

class ConnectStorm : public testing::Test {
 protected:
  ConnectStorm() { allow_many_connections(); }

  /// The refusals for `reason` so far must have been told once a second.
  static void expect_few_lines(const Server& server, const std::string& reason, Duration time) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
    EXPECT_LE(lines_with(server.log(), "connections_refused listener=tcp reason=" + reason).size(),
              static_cast<std::size_t>(seconds) + 1)
        << server.log();
  }

  static constexpr std::size_t kEach = 1'000;
  static constexpr std::size_t kAll = kEach * kStormRoutes.size();
  /// For accepting and refusing a connection, which costs some system calls.
  static inline const Duration kTimeForOne = within(200us);
};

TEST_F(ConnectStorm, leaves_each_address_with_its_cap_and_every_refusal_is_counted) {
  constexpr std::size_t kCap = 20;
  const Server server({"--max-connections-per-ip", std::to_string(kCap)});
  const auto start = Clock::now();
  const auto cpu_time_before = server.cpu_time();
  std::vector<std::vector<Client>> clients = storm(server, kEach);
  const std::size_t refused = kAll - kCap * kStormRoutes.size();
  EXPECT_TRUE(eventually([&] { return told(server.log(), "connections_refused") == refused; }))
      << server.log();
  EXPECT_LT(server.cpu_time() - cpu_time_before, kAll * kTimeForOne);
  expect_few_lines(server, "max_connections_per_ip", Clock::now() - start);
  for (std::vector<Client>& group : clients) EXPECT_EQ(count_served(group), kCap);

  Client observer(server);
  clients.clear();
  ASSERT_TRUE(eventually([&] { return stats(observer).at("connections") == 1; }));
  for (const Route& route : kStormRoutes) served(server, kCap, route);
  EXPECT_EQ(told(server.log(), "connections_refused"), refused) << "and nobody after it";
}

TEST_F(ConnectStorm, is_held_off_by_both_caps_and_each_is_counted_on_its_own) {
  constexpr std::size_t kCap = 20;
  constexpr std::size_t kCapOnAll = 50;  // of the four addresses' 80
  const Server server({"--max-connections-per-ip", std::to_string(kCap), "--max-connections",
                       std::to_string(kCapOnAll)});
  const auto start = Clock::now();
  std::vector<std::vector<Client>> clients = storm(server, kEach);
  EXPECT_TRUE(eventually([&] {
    return told(server.log(), "connections_refused") == kAll - kCapOnAll;
  })) << server.log();
  expect_few_lines(server, "max_connections_per_ip ", Clock::now() - start);
  expect_few_lines(server, "max_connections ", Clock::now() - start);
  std::size_t count = 0;
  for (std::vector<Client>& group : clients) {
    const std::size_t of_group = count_served(group);
    EXPECT_LE(of_group, kCap);
    count += of_group;
  }
  EXPECT_EQ(count, kCapOnAll);
}

// Those who are connected are served while it lasts.
TEST_F(ConnectStorm, does_not_keep_those_connected_waiting) {
  const Duration bound = within(20ms);
  const Server server({"--max-connections-per-ip", "1"});
  Client client(server);
  EXPECT_EQ(client.ping(), "ok");
  const Duration delay = best_measured(bound, [&] {
    const std::vector<std::vector<Client>> clients = storm(server, 50);
    const auto start = Clock::now();
    EXPECT_EQ(client.ping(), "ok");
    return Clock::now() - start;
  });
  EXPECT_LT(delay, bound);
}

}  // namespace

}  // namespace dflockd::test
