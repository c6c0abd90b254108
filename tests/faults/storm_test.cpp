// Ten thousand at once.

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

const std::size_t kMany = kSanitized ? 2'000 : 10'000;

/// How many descriptors the server has open.
std::ptrdiff_t open_files(const Server& server) {
  const std::string directory = "/proc/" + std::to_string(server.pid()) + "/fd";
  return std::distance(std::filesystem::directory_iterator(directory), {});
}

/// Connects from several addresses: one has not ports enough for all tests that run.
std::vector<Client> connect_all(const Server& server) {
  std::vector<Client> clients;
  clients.reserve(kMany);
  for (std::size_t i = 0; i < kMany; ++i) {
    clients.emplace_back(server, Route{.from = "127.0.1." + std::to_string(1 + i % 8)});
  }
  return clients;
}

class Storm : public testing::Test {
 protected:
  Storm() { allow_many_connections(); }
};

TEST_F(Storm, of_ten_thousand_that_connect_ask_and_vanish_leaves_nothing_behind) {
  const Server server({"--max-locks", "0"});
  Client holder(server);
  const Grant grant = holder.hold(lock("held"), 3'600);
  const std::ptrdiff_t files = open_files(server);
  std::size_t memory = 0;
  for (int storm = 0; storm < 3; ++storm) {
    {
      std::vector<Client> clients = connect_all(server);
      for (std::size_t i = 0; i < clients.size(); ++i) {
        const std::string own = "job-" + std::to_string(i);
        const std::string shared = "shared-" + std::to_string(i % 10);
        clients[i].send(request_bytes("l", own, "0 3600") + request_bytes("e", shared, "3600") +
                        request_bytes("sl", shared, "0 3 3600") +
                        (i % 100 == 0 ? request_bytes("stats", "_", "_") : "") +
                        (i % 2 == 0 ? request_bytes("l", "held", "3600") : "l\nhalf\n"));
      }
      for (std::size_t i = 0; i < clients.size(); ++i) {
        if (i % 3 == 0) clients[i].reset();
      }
    }  // and the others close
    const auto left = Clock::now();
    // All of it at once: some may be in the backlog still when the first have gone.
    EXPECT_TRUE(eventually([&] {
      const Json now = stats(holder);
      return now.at("connections") == 1 && now.at("locks").size() == 1 &&
             now.at("semaphores").empty() && waiters(holder, lock("held")) == 0 &&
             open_files(server) == files;
    })) << stats(holder)
        << open_files(server);
    EXPECT_LT(Clock::now() - left, within(5s));
    if (storm == 1) memory = server.resident_memory();
  }
  if (!kSanitized) {
    EXPECT_LT(server.resident_memory(), memory + (8U << 20U)) << "the third storm leaked";
  }
  EXPECT_EQ(holder.renew(lock("held"), grant.token, 3'600), "ok 3600");
  const Duration longest = best_measured(within(50ms), [&] {
    const auto asked = Clock::now();
    EXPECT_EQ(Client(server).ping(), "ok");
    return Clock::now() - asked;
  });
  EXPECT_LT(longest, within(50ms));
}

// Each has heard that its request was carried out, or of the one before it in the same write,
// before the next asks: so their order is certain, and it is the order of the grants.
TEST_F(Storm, of_ten_thousand_who_want_one_key_is_served_in_order) {
  const Server server;
  Client holder(server);
  std::string token = holder.hold(lock("job"), 3'600).token;
  std::vector<Client> clients = connect_all(server);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    if (i % 2 == 0) {
      clients[i].send(request_bytes("ping", "_", "_") + request_bytes("l", "job", "3600 3600"));
      ASSERT_EQ(clients[i].read_line(), "ok");
    } else {
      ASSERT_EQ(clients[i].enqueue(lock("job"), 3'600), "queued");
    }
  }
  for (std::size_t i = 1; i < clients.size(); i += 2) clients[i].begin_wait(lock("job"), 3'600);
  EXPECT_EQ(waiters(holder, lock("job")), static_cast<std::int64_t>(kMany));
  std::uint64_t fence = 0;
  Client* last = &holder;
  for (std::size_t i = 0; i < clients.size(); ++i) {
    ASSERT_EQ(last->release(lock("job"), token), "ok") << i;
    const Grant next = clients[i].read_grant();
    ASSERT_GT(next.fence(), fence) << i;
    if (i % 1'000 == 0 && i + 2 < clients.size()) {
      ASSERT_FALSE(clients[i + 1].has_input() || clients[i + 2].has_input()) << i;
    }
    fence = next.fence();
    token = next.token;
    last = &clients[i];
  }
}

}  // namespace

}  // namespace dflockd::test
