// What becomes of an operation when the server is not there, vanishes, freezes or talks nonsense.
#include <csignal>
#include <string>
#include <vector>

#include "fixture.hpp"

namespace dflockd::client_asio {
namespace {

class Failures : public AsyncTest {
 protected:
  AsyncConnection connection{io};
};

TEST_F(Failures, operation_without_a_connection) {
  run([&]() -> Task {
    std::error_code error;
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

TEST_F(Failures, nobody_listens) {
  run([&]() -> Task {
    asio::ip::tcp::acceptor closed(io, {asio::ip::address_v4::loopback(), 0});
    const std::string port = std::to_string(closed.local_endpoint().port());
    closed.close();
    std::error_code error;
    co_await connection.async_connect(options_for("127.0.0.1:" + port), into(error));
    EXPECT_EQ(error, errc::connection);
    co_await connection.async_connect(options_for("[::1]:" + port), into(error));
    EXPECT_EQ(error, errc::connection);
    co_await connection.async_connect(options_for("nobody.invalid:" + port), into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

TEST_F(Failures, server_does_not_accept_in_time) {
  asio::ip::tcp::acceptor busy(io, {asio::ip::address_v4::loopback(), 0});
  busy.listen(0);  // one may wait to be accepted, and those after it are not heard
  std::vector<asio::ip::tcp::socket> before;
  for (int number = 0; number < 3; ++number) {
    before.emplace_back(io).async_connect(busy.local_endpoint(), asio::detached);
  }
  run([&]() -> Task {
    ConnectionOptions options =
        options_for("127.0.0.1:" + std::to_string(busy.local_endpoint().port()));
    options.connect_timeout = 50ms;
    std::error_code error;
    co_await connection.async_connect(options, into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

TEST_F(Failures, server_vanishes_during_an_operation) {
  Server server;
  AsyncConnection holder(io);
  run([&]() -> Task {
    co_await holder.async_connect(options_for(server), use_awaitable);
    co_await holder.async_acquire("key", 0s, 30s, use_awaitable);
    co_await connection.async_connect(options_for(server), use_awaitable);
    server.crash();
    std::error_code error;
    co_await connection.async_acquire("key", 60s, 30s, into(error));
    EXPECT_EQ(error, errc::connection);
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

TEST_F(Failures, connection_is_made_anew) {
  Server first;
  Server second;
  run([&]() -> Task {
    co_await connection.async_connect(options_for(first), use_awaitable);
    first.crash();
    std::error_code error;
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
    co_await connection.async_connect(options_for(second), use_awaitable);
    co_await connection.async_ping(use_awaitable);
    co_await connection.async_connect(options_for(second), use_awaitable);
    co_await connection.async_ping(use_awaitable);
  });
}

TEST_F(Failures, frozen_server_times_out) {
  Server server;
  run([&]() -> Task {
    ConnectionOptions options = options_for(server);
    options.response_timeout = 50ms;
    co_await connection.async_connect(options, use_awaitable);
    server.signal(SIGSTOP);
    std::error_code error;
    const auto start = test::Clock::now();
    co_await connection.async_acquire("key", 1s, 30s, into(error));
    EXPECT_EQ(error, errc::connection);
    EXPECT_GE(test::Clock::now() - start, 1'050ms);
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
    server.signal(SIGCONT);
  });
}

TEST_F(Failures, frozen_server_does_not_authenticate_in_time) {
  Server server({"--auth-token", "secret"});
  run([&]() -> Task {
    ConnectionOptions options = options_for(server);
    options.auth_token = "secret";
    options.connect_timeout = 50ms;
    server.signal(SIGSTOP);
    std::error_code error;
    co_await connection.async_connect(options, into(error));
    EXPECT_EQ(error, errc::connection);
    server.signal(SIGCONT);
  });
}

TEST_F(Failures, secret_is_wanted) {
  Server server({"--auth-token", "secret"});
  run([&]() -> Task {
    ConnectionOptions options = options_for(server);
    std::error_code error;
    co_await connection.async_connect(options, use_awaitable);
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::auth);
    options.auth_token = "another";
    co_await connection.async_connect(options, into(error));
    EXPECT_EQ(error, errc::auth);
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
    options.auth_token = "secret";
    co_await connection.async_connect(options, use_awaitable);
    co_await connection.async_ping(use_awaitable);
  });
}

TEST_F(Failures, secret_is_not_wanted) {
  Server server;
  run([&]() -> Task {
    ConnectionOptions options = options_for(server);
    options.auth_token = "secret";
    std::error_code error;
    co_await connection.async_connect(options, into(error));
    EXPECT_EQ(error, errc::auth);
  });
}

TEST_F(Failures, nonsense_is_a_protocol_error) {
  for (const std::string& line : {std::string("ok nonsense\n"), std::string("220 mail\n"),
                                  std::string(257, 'x') + '\n', std::string(1'000, 'x')}) {
    ScriptedServer server(io, {line});
    run([&]() -> Task {
      co_await connection.async_connect(options_for(server.address()), use_awaitable);
      std::error_code error;
      co_await connection.async_acquire("key", 0s, 0s, into(error));
      EXPECT_EQ(error, errc::protocol) << line;
      co_await connection.async_ping(into(error));
      EXPECT_EQ(error, errc::connection);
    });
  }
}

TEST_F(Failures, end_instead_of_an_answer) {
  ScriptedServer server(io, {"ok\n", std::nullopt});
  run([&]() -> Task {
    co_await connection.async_connect(options_for(server.address()), use_awaitable);
    co_await connection.async_ping(use_awaitable);
    std::error_code error;
    co_await connection.async_ping(into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

TEST_F(Failures, farewell_of_an_idle_connection_is_no_answer) {
  ScriptedServer server(io, {"ok\n"});
  run([&]() -> Task {
    co_await connection.async_connect(options_for(server.address()), use_awaitable);
    co_await connection.async_ping(use_awaitable);
    server.say_farewell("error\n");
    std::error_code error;
    co_await connection.async_release("key", std::string(32, 'a'), into(error));
    EXPECT_EQ(error, errc::connection);
  });
}

}  // namespace
}  // namespace dflockd::client_asio
