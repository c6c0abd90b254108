// No descriptor is left for a connection, at either door (tests/conformance/caps_test.cpp has the
// line protocol's alone, in more detail), or the connection is gone before it is accepted.

#include <csignal>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

TEST(NoDescriptors, those_connected_are_served_and_others_as_soon_as_there_are_some) {
  // To check a virtual call UBSan opens a pipe, and takes failure for a bad object.
  if (kSanitized) GTEST_SKIP() << "the sanitizers need descriptors themselves";
  Server server(Launch{.max_open_files = 40}, Http::kOn);
  Client holder(server);
  HttpClient http(server);
  const std::string session = http.open_session();
  const Grant grant = holder.hold(lock("job"));
  std::vector<HttpClient> many;
  for (int i = 0; i < 60; ++i) {
    many.emplace_back(server);  // most wait in the listener's backlog
    many.back().send(many.back().request_bytes("GET", "/health"));
  }
  EXPECT_EQ(many.front().read_response().status, 200);
  EXPECT_TRUE(server.wait_for_log_line("warn cannot_accept listener=http")) << server.log();
  Client late(server);
  late.request("ping", "_", "_");

  EXPECT_EQ(holder.renew(lock("job"), grant.token, 60), "ok 60");
  EXPECT_EQ(http.acquire(session, lock("job"), 0).summary(), "200 timeout");
  EXPECT_EQ(http.get("/metrics").status, 200) << "which wants a descriptor for itself";
  EXPECT_FALSE(many.back().connection().has_input()) << "there were descriptors left";
  server.signal(SIGHUP);
  EXPECT_TRUE(server.wait_for_log_line("reloaded")) << "without files there is nothing to open";

  for (std::size_t i = 0; i < 50; ++i) many[i].close();
  EXPECT_EQ(many.back().read_response().status, 200);
  EXPECT_EQ(late.read_line(), "ok");
}

TEST(Backlog, connections_that_were_aborted_in_it_hold_nobody_up) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
  const Server server(
      Launch{.environment = {{"LD_PRELOAD", DFLOCKD_FAULT_SHIM}, {"DFLOCKD_SHIM_ABORTED", "2"}}});
  Client client(server);
  EXPECT_EQ(client.ping(), "ok");
  Client aborted(server);
  EXPECT_EQ(aborted.read_to_end(), "");
  EXPECT_EQ(client.ping(), "ok");
  EXPECT_EQ(Client(server).ping(), "ok");
  EXPECT_EQ(server.log().find("cannot_accept"), std::string::npos) << server.log();
}

}  // namespace

}  // namespace dflockd::test
