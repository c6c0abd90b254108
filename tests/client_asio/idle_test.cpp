// Connections that the server closes because nothing was sent on them. It says `error` before it
// does, which must not be taken for the answer to what is sent next.
#include <string>
#include <thread>

#include <dflockd/dflockd.hpp>

#include "fixture.hpp"

namespace dflockd::client_asio {
namespace {

using test::eventually;

TEST(IdleConnection, blocking_release_is_not_answered_by_the_farewell) {
  asio::io_context io;
  ScriptedServer server(io, {"ok\n"});
  std::thread thread([&] { io.run(); });
  Connection connection(options_for(server.address()));
  connection.ping();
  thread.join();
  server.say_farewell("error\n");
  std::error_code error;
  connection.release("key", std::string(32, 'a'), error);
  EXPECT_EQ(error, errc::connection);
}

TEST(IdleConnection, lock_outlives_the_connection_that_renews_it) {
  Server server({"--read-timeout", "1"});
  LockOptions options;
  options.key = "key";
  options.servers = {"127.0.0.1:" + std::to_string(server.port())};
  options.lease_ttl = 3s;  // so that nothing is sent for more than a second
  Lock lock(options);
  ASSERT_TRUE(lock.acquire());
  for (int renewals = 0; renewals < 3; ++renewals) {
    ASSERT_TRUE(eventually([&] { return lock.remaining() < 2s; }));
    ASSERT_TRUE(eventually([&] { return lock.remaining() > 2s || !lock.held(); }));
    ASSERT_TRUE(lock.held()) << renewals;
  }
}

}  // namespace
}  // namespace dflockd::client_asio
