// What servers refuse, and what they or the network do wrong: each has its code and a message.

#include <csignal>
#include <future>
#include <limits>
#include <thread>

#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include "fixture.hpp"
#include "support/relay.hpp"
#include "support/small_server.hpp"

namespace dflockd::client_test {
namespace {

TEST(Errors, full_table) {
  Server server({"--max-locks", "1"});
  Lock first(lock_options(address_of(server), "one"));
  Lock second(lock_options(address_of(server), "two"));
  ASSERT_TRUE(first.acquire());
  EXPECT_EQ(code_of([&](auto& error) { second.acquire(error); }), errc::max_locks);
  EXPECT_EQ(message_of([&] { second.acquire(); }),
            address_of(server) + ": cannot acquire \"two\": the server has as many keys as it may");
}

TEST(Errors, full_queue) {
  Server server({"--max-waiters", "1"});
  Lock holder(lock_options(address_of(server)));
  Lock waiter(lock_options(address_of(server)));
  Lock other(lock_options(address_of(server)));
  ASSERT_TRUE(holder.acquire());
  ASSERT_EQ(waiter.enqueue(), EnqueueStatus::kQueued);
  EXPECT_EQ(code_of([&](auto& error) { other.acquire(error); }), errc::max_waiters);
  EXPECT_EQ(code_of([&](auto& error) { other.enqueue(error); }), errc::max_waiters);
}

TEST(Errors, another_limit) {
  Server server;
  SemaphoreOptions options;
  options.key = "pool";
  options.servers = {address_of(server)};
  options.limit = 2;
  Semaphore two(options);
  EXPECT_EQ(two.limit(), 2);
  ASSERT_TRUE(two.acquire());
  options.limit = 3;
  Semaphore three(options);
  EXPECT_EQ(code_of([&](auto& error) { three.acquire(error); }), errc::limit_mismatch);
}

TEST(Errors, draining_server) {
  Server server;
  test::Client observer(server);
  Lock holder(lock_options(address_of(server)));
  Lock other(lock_options(address_of(server)));
  ASSERT_TRUE(holder.acquire());
  auto waiting = std::async(std::launch::async,
                            [&] { return code_of([&](auto& error) { other.acquire(error); }); });
  test::await_waiters(observer, test::lock("job"), 1);
  server.signal(SIGTERM);
  EXPECT_EQ(waiting.get(), errc::draining);
  EXPECT_TRUE(holder.held()) << "and is renewed, and released";
  holder.release();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(Errors, no_server) {
  std::uint16_t port = 0;
  {
    Server server;
    port = server.port();
  }
  const std::string address = "127.0.0.1:" + std::to_string(port);
  Lock job(lock_options(address));
  EXPECT_EQ(code_of([&](auto& error) { job.acquire(error); }), errc::connection);
  EXPECT_EQ(message_of([&] { job.acquire(); }),
            address + ": cannot acquire \"job\": Connection refused");
}

TEST(Errors, name_that_does_not_resolve) {
  Lock job(lock_options("host.invalid:1"));
  EXPECT_EQ(code_of([&](auto& error) { job.acquire(error); }), errc::connection);
  EXPECT_NE(message_of([&] { job.acquire(); }).find("cannot resolve \"host.invalid\""),
            std::string::npos);
}

TEST(Errors, name_that_resolves) {
  Server server;
  Lock job(lock_options("localhost:" + std::to_string(server.port())));
  EXPECT_TRUE(job.acquire());
}

TEST(Errors, secret) {
  Server server({"--auth-token", "open sesame"});
  LockOptions options = lock_options(address_of(server));
  const auto acquire = [&options](std::error_code& error) { Lock(options).acquire(error); };
  EXPECT_EQ(code_of(acquire), errc::auth) << "none was given";
  options.auth_token = "open barley";
  EXPECT_EQ(code_of(acquire), errc::auth);
  const std::string message = message_of([&options] { Lock(options).acquire(); });
  EXPECT_EQ(message,
            address_of(server) + ": cannot acquire \"job\": the server wants another secret");
  options.auth_token = "open sesame";
  EXPECT_EQ(code_of(acquire), std::error_code());
}

TEST(Errors, secret_for_a_server_without_one) {
  Server server;
  LockOptions options = lock_options(address_of(server));
  options.auth_token = "open sesame";
  EXPECT_EQ(
      message_of([&options] { Lock(options).acquire(); }),
      address_of(server) + ": cannot acquire \"job\": the server has no secret, but one was given");
}

TEST(Errors, frozen_server_is_waited_for_as_long_as_the_options_say) {
  Server server;
  LockOptions options = lock_options(address_of(server));
  options.response_timeout = 200ms;
  options.connect_timeout = 200ms;
  Lock job(options);
  ASSERT_TRUE(job.acquire());
  job.release();
  server.signal(SIGSTOP);
  const auto begun = Time::now();
  EXPECT_EQ(code_of([&](auto& error) { job.try_acquire(error); }), errc::connection);
  EXPECT_GE(Time::now() - begun, 200ms);
  EXPECT_LE(Time::now() - begun, within(1500ms));
  server.signal(SIGCONT);
  EXPECT_TRUE(job.acquire());
}

TEST(Errors, connection_lost_while_waiting) {
  Server server;
  Relay relay(server.port());
  test::Client observer(server);
  Lock holder(lock_options(address_of(server)));
  Lock other(lock_options(relay.address()));
  ASSERT_TRUE(holder.acquire());
  std::thread breaker([&] {
    test::await_waiters(observer, test::lock("job"), 1);
    relay.reset_all();
  });
  EXPECT_EQ(code_of([&](auto& error) { other.acquire(error); }), errc::connection);
  breaker.join();
  holder.release();
  EXPECT_TRUE(other.acquire()) << "over a new connection";
}

TEST(Errors, place_in_the_queue_is_lost_with_the_connection) {
  Server server;
  Relay relay(server.port());
  Lock holder(lock_options(address_of(server)));
  Lock other(lock_options(relay.address()));
  ASSERT_TRUE(holder.acquire());
  ASSERT_EQ(other.enqueue(), EnqueueStatus::kQueued);
  relay.reset_all();
  EXPECT_EQ(code_of([&](auto& error) { other.wait(5s, error); }), errc::connection);
  EXPECT_EQ(code_of([&](auto& error) { other.wait(5s, error); }), errc::not_enqueued);
  EXPECT_EQ(other.enqueue(), EnqueueStatus::kQueued);
}

TEST(Errors, idle_connection_that_the_server_closed_is_replaced_unnoticed) {
  Server server({"--idle-timeout", "1"});
  test::Client observer(server);
  Lock job(lock_options(address_of(server)));
  ASSERT_TRUE(job.acquire());
  job.release();
  ASSERT_TRUE(eventually([&] { return test::stats(observer)["connections"] == 1; }));
  EXPECT_TRUE(job.acquire());
  EXPECT_TRUE(job.held());
}

/// Answers every request with the same bytes.
test::SmallServer::Serve answering(std::string answer) {
  return [answer = std::move(answer)](asio::ip::tcp::socket& peer) {
    std::string received;
    std::error_code ended;
    while (!ended) {
      for (int line = 0; line < 3 && !ended; ++line) {
        received.erase(0, asio::read_until(peer, asio::dynamic_buffer(received), '\n', ended));
      }
      if (!ended) asio::write(peer, asio::buffer(answer), ended);
    }
  };
}

TEST(Errors, what_is_no_dflockd) {
  test::SmallServer server(answering("HTTP/1.1 400 Bad Request\r\n\r\n"));
  Lock job(lock_options(server.address()));
  EXPECT_EQ(message_of([&] { job.acquire(); }),
            server.address() +
                ": cannot acquire \"job\": the server answered \"HTTP/1.1 400 Bad Request\\x0d\"");
}

TEST(Errors, answer_that_never_ends) {
  test::SmallServer server(answering(std::string(10'000, 'x')));
  Lock job(lock_options(server.address()));
  EXPECT_EQ(code_of([&](auto& error) { job.acquire(error); }), errc::protocol);
}

TEST(Errors, token_in_an_answer_that_cannot_be_read_is_not_shown) {
  const std::string token = "00000000000000ff0123456789abcdef";
  test::SmallServer server(answering("ok " + token + " 9223372037\n"));
  Lock job(lock_options(server.address()));
  const std::string message = message_of([&] { job.acquire(); });
  EXPECT_EQ(message, server.address() + ": cannot acquire \"job\": the server answered \"ok ...\"");
}

TEST(Errors, longest_timeouts_are_no_overflow) {
  Server server;
  LockOptions options = lock_options(address_of(server));
  options.acquire_timeout = options.connect_timeout = options.response_timeout = 9223372036s;
  options.lease_ttl = 9223372036s;
  Lock job(options);
  ASSERT_TRUE(job.acquire());
  EXPECT_TRUE(job.held());
  Lock other(options);
  EXPECT_FALSE(other.acquire_for(100ms));
  options.connect_timeout = std::chrono::milliseconds::max();
  EXPECT_EQ(
      message_of([&] { const Lock refused(options); }),
      "connect_timeout of 9223372036854775807 ms is not allowed; expected more than 0 and at most "
      "9223372036 s");
}

TEST(Errors, plain_refusal) {
  test::SmallServer server(answering("error\n"));
  Lock job(lock_options(server.address()));
  EXPECT_EQ(code_of([&](auto& error) { job.acquire(error); }), errc::protocol);
}

// --- Options ---

TEST(Options, what_is_not_allowed_is_refused_by_the_constructor) {
  const auto refusal = [](auto change) {
    LockOptions options;
    options.key = "job";
    change(options);
    try {
      const Lock job(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), errc::invalid_argument);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refusal([](LockOptions&) {}), "accepted");
  EXPECT_EQ(refusal([](LockOptions& o) { o.key = ""; }),
            "the key is empty; expected 1 to 256 bytes");
  EXPECT_EQ(refusal([](LockOptions& o) { o.servers = {}; }),
            "servers is empty; expected at least one");
  EXPECT_NE(refusal([](LockOptions& o) {
              o.servers = {"a:1", "::1"};
            }).find("\"::1\""),
            std::string::npos);
  EXPECT_EQ(refusal([](LockOptions& o) { o.acquire_timeout = -1ms; }),
            "acquire_timeout of -1 ms is not allowed; expected 0 to 9223372036 s");
  EXPECT_EQ(
      refusal([](LockOptions& o) { o.lease_ttl = -1s; }),
      "lease_ttl of -1 s is not allowed; expected 0, for the server's default, to 9223372036");
  for (const double ratio : {-0.1, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_NE(refusal([=](LockOptions& o) {
                o.renew_ratio = ratio;
              }).find("expected at least 0 and less than 1"),
              std::string::npos);
  }
  EXPECT_EQ(refusal([](LockOptions& o) { o.renew_ratio = 0; }), "accepted");
  EXPECT_EQ(refusal([](LockOptions& o) { o.shard = nullptr; }),
            "shard is empty; expected a function, such as crc32_shard");
  EXPECT_EQ(
      refusal([](LockOptions& o) { o.connect_timeout = 0ms; }),
      "connect_timeout of 0 ms is not allowed; expected more than 0 and at most 9223372036 s");
  EXPECT_EQ(
      refusal([](LockOptions& o) { o.response_timeout = -5ms; }),
      "response_timeout of -5 ms is not allowed; expected more than 0 and at most 9223372036 s");
  EXPECT_EQ(refusal([](LockOptions& o) { o.auth_token = "a\nb"; }),
            "auth_token has a line end in it, which is not allowed");
  EXPECT_EQ(refusal([](LockOptions& o) { o.auth_token = std::string(65'537, 'x'); }),
            "auth_token is longer than 65536 bytes");
  EXPECT_EQ(refusal([](LockOptions& o) { o.tls = TlsOptions{.cert_file = "a"}; }),
            "tls.cert_file and tls.key_file need each other");
}

TEST(Options, limits_are_checked) {
  for (const int limit : {0, -1, 1'048'577}) {
    SemaphoreOptions options;
    options.key = "pool";
    options.limit = limit;
    EXPECT_EQ(message_of([&] { const Semaphore pool(options); }),
              "limit " + std::to_string(limit) + " is not allowed; expected 1 to 1048576");
  }
}

TEST(Options, shard_chooses_the_server_by_the_key) {
  LockOptions options;
  options.servers = {"a:1", "b:1", "c:1"};
  options.key = "user:42:profile";
  EXPECT_EQ(Lock(options).server(), "a:1");
  options.key = "deploy";
  EXPECT_EQ(Lock(options).server(), "b:1");
  options.shard = [](std::string_view key, int servers) {
    EXPECT_EQ(key, "deploy");
    EXPECT_EQ(servers, 3);
    return 2;
  };
  EXPECT_EQ(Lock(options).server(), "c:1");
}

TEST(Options, shard_that_is_out_of_range_is_a_clear_error) {
  LockOptions options;
  options.key = "job";
  for (const int chosen : {-1, 1}) {
    options.shard = [chosen](std::string_view, int) { return chosen; };
    EXPECT_EQ(message_of([&] { const Lock job(options); }),
              "shard returned " + std::to_string(chosen) + " for \"job\"; expected 0 to 0");
  }
}

TEST(Options, invalid_arguments_of_calls) {
  Server server;
  Lock job(lock_options(address_of(server)));
  EXPECT_EQ(code_of([&](auto& error) { job.acquire_for(-1ms, error); }), errc::invalid_argument);
  EXPECT_EQ(code_of([&](auto& error) { job.wait(-1ms, error); }), errc::invalid_argument);
}

}  // namespace
}  // namespace dflockd::client_test
