// The low level: one method a command.

#include <csignal>
#include <future>
#include <nlohmann/json.hpp>

#include <dflockd/connection.hpp>

#include "fixture.hpp"

namespace dflockd::client_test {
namespace {

ConnectionOptions to(const Server& server) {
  ConnectionOptions options;
  options.server = address_of(server);
  return options;
}

TEST(Connections, locks) {
  Server server;
  Connection connection(to(server));
  const auto grant = connection.acquire("job", 0s);
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->lease_ttl, 33s);
  EXPECT_NE(grant->fence(), 0U);
  EXPECT_FALSE(connection.acquire("job", 0s));
  EXPECT_EQ(connection.renew("job", grant->token), 33s);
  EXPECT_EQ(connection.renew("job", grant->token, 60s), 60s);
  connection.release("job", grant->token);
  EXPECT_EQ(code_of([&](auto& e) { connection.release("job", grant->token, e); }), errc::not_held);
  EXPECT_EQ(code_of([&](auto& e) { connection.renew("job", grant->token, 0s, e); }),
            errc::not_held);
  EXPECT_EQ(connection.acquire("job", 0s, 5s)->lease_ttl, 5s);
}

TEST(Connections, semaphores) {
  Server server;
  Connection connection(to(server));
  const auto first = connection.semaphore_acquire("pool", 0s, 2);
  const auto second = connection.semaphore_acquire("pool", 0s, 2, 60s);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(connection.semaphore_acquire("pool", 0s, 2));
  EXPECT_EQ(code_of([&](auto& e) { connection.semaphore_acquire("pool", 0s, 3, 0s, e); }),
            errc::limit_mismatch);
  EXPECT_EQ(connection.semaphore_renew("pool", first->token, 7s), 7s);
  connection.semaphore_release("pool", first->token);
  connection.semaphore_release("pool", second->token);
  EXPECT_EQ(code_of([&](auto& e) { connection.semaphore_release("pool", second->token, e); }),
            errc::not_held);
}

TEST(Connections, two_phases) {
  Server server;
  Connection holder(to(server));
  Connection other(to(server));
  const auto grant = holder.enqueue("job");
  ASSERT_TRUE(grant);
  EXPECT_FALSE(other.enqueue("job"));
  EXPECT_EQ(code_of([&](auto& e) { other.enqueue("job", 0s, e); }), errc::already_enqueued);
  holder.release("job", grant->token);
  EXPECT_TRUE(other.wait("job", 10s));
  EXPECT_EQ(code_of([&](auto& e) { holder.wait("job", 0s, e); }), errc::not_enqueued);

  const auto slot = holder.semaphore_enqueue("pool", 1, 60s);
  ASSERT_TRUE(slot);
  EXPECT_FALSE(other.semaphore_enqueue("pool", 1));
  EXPECT_FALSE(other.semaphore_wait("pool", 0s));
  EXPECT_EQ(code_of([&](auto& e) { other.semaphore_wait("pool", 0s, e); }), errc::not_enqueued);
}

TEST(Connections, ping_and_stats) {
  Server server;
  Connection connection(to(server));
  connection.ping();
  ASSERT_TRUE(connection.acquire("job", 0s));
  const auto stats = nlohmann::json::parse(connection.stats());
  EXPECT_EQ(stats["connections"], 1);
  EXPECT_EQ(stats["locks"][0]["key"], "job");
}

TEST(Connections, stats_of_megabytes) {
  Server server({"--max-locks", "0"});
  Connection connection(to(server));
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(connection.acquire("key-with-a-long-name-" + std::to_string(i), 0s));
  }
  EXPECT_GT(connection.stats().size(), 1'000'000U);
}

TEST(Connections, arguments_are_checked_before_anything_is_sent) {
  Server server;
  Connection connection(to(server));
  EXPECT_EQ(code_of([&](auto& e) { connection.acquire("a b", 0s, 0s, e); }),
            errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& e) { connection.acquire("a", -1s, 0s, e); }), errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& e) { connection.acquire("a", 0s, -1s, e); }), errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& e) { connection.semaphore_acquire("a", 0s, 0, 0s, e); }),
            errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& e) { connection.release("a", "x", e); }), errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& e) { connection.renew("a", "x\ny", 0s, e); }),
            errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& e) { connection.wait("", 0s, e); }), errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& e) { connection.enqueue("", 0s, e); }), errc::invalid_argument);
  connection.ping();
}

TEST(Connections, stop_ends_the_wait_and_the_connection) {
  Server server;
  test::Client observer(server);
  Connection holder(to(server));
  Connection other(to(server));
  ASSERT_TRUE(holder.acquire("job", 0s));
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    return code_of([&](auto& e) { other.acquire("job", 60s, 0s, e, stop.get_token()); });
  });
  test::await_waiters(observer, test::lock("job"), 1);
  stop.request_stop();
  EXPECT_EQ(waiting.get(), errc::canceled);
  EXPECT_EQ(code_of([&](auto& e) { other.ping(e); }), errc::connection);
}

TEST(Connections, close_ends_a_call_on_another_thread) {
  Server server;
  test::Client observer(server);
  Connection holder(to(server));
  Connection other(to(server));
  ASSERT_TRUE(holder.acquire("job", 0s));
  auto waiting = std::async(std::launch::async, [&] {
    return code_of([&](auto& e) { other.acquire("job", 60s, 0s, e); });
  });
  test::await_waiters(observer, test::lock("job"), 1);
  other.close();
  EXPECT_EQ(waiting.get(), errc::canceled);
  holder.close();
  EXPECT_EQ(code_of([&](auto& e) { holder.ping(e); }), errc::connection);
}

TEST(Connections, frozen_server_times_out) {
  Server server;
  ConnectionOptions options = to(server);
  options.response_timeout = 100ms;
  Connection connection(options);
  server.signal(SIGSTOP);
  EXPECT_EQ(message_of([&] { connection.ping(); }),
            options.server + ": cannot ping: no answer in time");
  EXPECT_EQ(code_of([&](auto& e) { connection.ping(e); }), errc::connection);
  server.signal(SIGCONT);
}

TEST(Connections, constructor_says_what_is_wrong) {
  ConnectionOptions options;
  options.server = "::1";
  EXPECT_NE(message_of([&] { const Connection c(options); }).find("expected host:port"),
            std::string::npos);
  Server server({"--auth-token", "open sesame"});
  options = to(server);
  options.auth_token = "open barley";
  EXPECT_EQ(message_of([&] { const Connection c(options); }),
            options.server + ": cannot connect: the server wants another secret");
  options.auth_token.clear();
  Connection unauthenticated(options);
  EXPECT_EQ(code_of([&](auto& e) { unauthenticated.ping(e); }), errc::auth);
}

}  // namespace
}  // namespace dflockd::client_test
