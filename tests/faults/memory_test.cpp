// An allocation that fails is answered and survived: the request is refused or its connection
// closed, nobody else notices, and nothing is half-done.

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/http_client.hpp"
#include "support/memory_faults.hpp"
#include "support/stats.hpp"
#include "support/tls_server.hpp"

namespace dflockd::test {

namespace {

using testing::AnyOf;
using testing::EndsWith;
using testing::StartsWith;

/// A server with a lock that is held and a queue of three for it, which no fault may touch.
class ShortOfMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
    server_.emplace(Launch{.flags = {"--max-locks", "0"}, .environment = faults_.environment()},
                    Http::kOn);
    holder_.emplace(*server_);
    grant_ = holder_->hold(lock("held"), 3'600);
    for (int i = 0; i < 3; ++i) {
      queue_.emplace_back(*server_).begin_acquire(lock("held"), 3'600, 3'600);
      await_waiters(*holder_, lock("held"), i + 1);
    }
  }

  /// Runs `request` again and again, each time with another of the server's allocations failing,
  /// the first, the second and so on, until it is over before one fails.
  void with_each_allocation_failing(const std::function<void()>& request) {
    constexpr int kMost = 400;
    int unharmed = 0;
    for (spared_ = 0; unharmed < 3 && spared_ < kMost; ++spared_) {
      SCOPED_TRACE("with allocation " + std::to_string(spared_) + " failing");
      const std::uint64_t before = faults_->failed();
      rearm();
      try {
        request();
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
      faults_->stop();
      unharmed = faults_->failed() == before ? unharmed + 1 : 0;
      ASSERT_TRUE(server_->running()) << "the server has died";
      ASSERT_EQ(holder_->renew(lock("held"), grant_.token, 3'600), "ok 3600");
      if (HasFailure()) return;
    }
    EXPECT_EQ(unharmed, 3) << "there is no end of allocations";
  }

  /// To be used in what `with_each_allocation_failing` runs, behind its preparations.
  void rearm() { faults_->fail_after(spared_); }

  /// The reply to a request, or that the connection was closed instead.
  static std::string outcome(Client& client) {
    try {
      return client.read_line();
    } catch (const std::exception& error) {
      if (std::string_view(error.what()).find("closed") == std::string_view::npos) throw;
    }
    return "closed";
  }

  /// The status of a response, or 0 if the connection was closed instead.
  static int outcome(HttpClient& client) {
    try {
      return client.read_response().status;
    } catch (const std::exception& error) {
      if (std::string_view(error.what()).find("closed") == std::string_view::npos) throw;
    }
    return 0;
  }

  /// How many descriptors the server has open.
  [[nodiscard]] std::ptrdiff_t open_files() const {
    const std::string directory = "/proc/" + std::to_string(server_->pid()) + "/fd";
    return std::distance(std::filesystem::directory_iterator(directory), {});
  }

  /// Memory is back, and all who came meanwhile have left: the server is what it was when it had
  /// `files` open, and as good as new.
  void expect_as_before(std::ptrdiff_t files) {
    ASSERT_TRUE(server_->running()) << "the server has died";
    EXPECT_TRUE(eventually([&] { return open_files() == files; })) << open_files() << files;
    const Json now = stats(*holder_);
    EXPECT_EQ(now.at("locks").size(), 1U) << now;
    EXPECT_EQ(now.at("semaphores").size(), 0U) << now;
    EXPECT_EQ(waiters(*holder_, lock("held")), 3);
    ASSERT_EQ(holder_->renew(lock("held"), grant_.token, 3'600), "ok 3600");
    Client client(*server_);
    const Grant fresh = client.hold(lock("fresh"));
    EXPECT_EQ(client.release(lock("fresh"), fresh.token), "ok");
  }

  TemporaryDirectory directory_;
  SharedMemoryFaults faults_{directory_.file("memory")};
  std::optional<Server> server_;
  std::optional<Client> holder_;
  Grant grant_;
  std::vector<Client> queue_;
  int spared_ = 0;
};

constexpr const char* kClosed = "closed";
constexpr std::int64_t kAlways = std::numeric_limits<std::int32_t>::max();

TEST_F(ShortOfMemory, connections_are_made_later_or_closed) {
  with_each_allocation_failing([&] {
    Client client(*server_);
    client.request("ping", "_", "_");
    EXPECT_THAT(outcome(client), AnyOf("ok", "error", kClosed));
  });
}

TEST_F(ShortOfMemory, requests_are_refused_or_carried_out) {
  for (const Key& key : {lock("job"), semaphore("pool", 2)}) {
    SCOPED_TRACE(key.name);
    with_each_allocation_failing([&] {
      Client client(*server_);
      client.request(key.command("l"), key.name, key.arguments(0, 60));
      const std::string reply = outcome(client);
      EXPECT_THAT(reply, AnyOf(StartsWith("ok "), "error", kClosed));
      faults_->stop();
      // Nothing is half-granted.
      EXPECT_EQ(!held(*holder_, key).is_null(), reply.starts_with("ok ")) << reply;
    });
  }
}

TEST_F(ShortOfMemory, requests_that_block_are_refused_or_wait_behind_those_who_came_before) {
  with_each_allocation_failing([&] {
    Client client(*server_);
    client.begin_acquire(lock("held"), 0);
    EXPECT_THAT(outcome(client), AnyOf("timeout", "error", kClosed));
    Client blocking(*server_);
    blocking.begin_acquire(lock("held"), 1'000);
    Client phased(*server_);
    phased.request("e", "held", "");
    EXPECT_THAT(outcome(phased), AnyOf("queued", "error", kClosed));
    blocking.close();
    phased.close();
    await_waiters(*holder_, lock("held"), 3);
  });
}

TEST_F(ShortOfMemory, grants_reach_who_waits_or_pass_on_to_the_next) {
  with_each_allocation_failing([&] {
    faults_->stop();
    Client first(*server_);
    Client second(*server_);
    Client third(*server_);
    const Grant grant = first.hold(lock("job"));
    second.begin_acquire(lock("job"));
    await_waiters(*holder_, lock("job"), 1);
    third.begin_acquire(lock("job"));
    await_waiters(*holder_, lock("job"), 2);
    rearm();
    first.request("r", "job", grant.token);
    const std::string released = outcome(first);
    EXPECT_THAT(released, AnyOf("ok", "error", kClosed));
    first.close();
    const std::string reply = outcome(second);
    EXPECT_THAT(reply, AnyOf(StartsWith("ok "), kClosed));
    if (reply == kClosed) return granted(outcome(third)), void();
    EXPECT_FALSE(third.has_input());
    second.close();
    granted(outcome(third));
  });
}

TEST_F(ShortOfMemory, leases_run_out_all_the_same) {
  with_each_allocation_failing([&] {
    faults_->stop();
    Client first(*server_);
    Client second(*server_);
    first.hold(lock("job"), 1);
    second.begin_acquire(lock("job"));
    rearm();
    EXPECT_THAT(outcome(second), AnyOf(StartsWith("ok "), kClosed));
  });
}

TEST_F(ShortOfMemory, stats_are_refused_or_whole) {
  with_each_allocation_failing([&] {
    Client client(*server_);
    client.request("stats", "_", "_");
    EXPECT_THAT(outcome(client), AnyOf(EndsWith("]}"), "error", kClosed));
  });
}

TEST_F(ShortOfMemory, requests_in_bulk_are_answered_in_order_or_the_connection_is_closed) {
  std::string pings;
  for (int i = 0; i < 5'000; ++i) pings += request_bytes("ping", "_", "_");
  with_each_allocation_failing([&] {
    Client client(*server_);
    try {
      client.send(pings);
      client.half_close();
    } catch (const std::system_error&) {  // the server was the first to close
    }
    const std::string replies = client.read_to_end();
    EXPECT_EQ(replies.find_first_not_of("okerr\n"), std::string::npos);
  });
}

TEST_F(ShortOfMemory, http_requests_are_refused_or_carried_out) {
  HttpClient opener(*server_);
  const std::string session = opener.open_session();
  const std::vector<std::pair<std::string, std::string>> requests{
      {"POST", "/v1/sessions"},         {"GET", "/v1/stats"}, {"GET", "/metrics"},
      {"GET", "/v1/openapi.json"},      {"GET", "/health"},   {"GET", "/nothing"},
      {"POST", "/v1/locks/job/release"}};
  for (const auto& [method, path] : requests) {
    SCOPED_TRACE(path);
    with_each_allocation_failing([&] {
      HttpClient client(*server_);
      client.send(client.request_bytes(
          method, path,
          path.ends_with("release") ? R"({"token":"0123456789abcdef0123456789abcdef"})" : "",
          session));
      EXPECT_THAT(outcome(client), AnyOf(200, 404, 503, 0));
    });
  }
}

TEST_F(ShortOfMemory, http_grants_are_whole_or_not_made) {
  with_each_allocation_failing([&] {
    faults_->stop();
    HttpClient client(*server_);
    const std::string session = client.open_session();
    rearm();
    client.begin_acquire(session, lock("job"), 0);
    EXPECT_THAT(outcome(client), AnyOf(200, 503, 0));
    faults_->stop();
    EXPECT_EQ(HttpClient(*server_).delete_session(session).status, 204);
    EXPECT_TRUE(held(*holder_, lock("job")).is_null());
  });
}

TEST_F(ShortOfMemory, http_long_polls_are_answered_or_give_up_their_place) {
  with_each_allocation_failing([&] {
    faults_->stop();
    Client first(*server_);
    HttpClient client(*server_);
    const std::string session = client.open_session();
    const Grant grant = first.hold(lock("job"));
    rearm();
    client.begin_acquire(session, lock("job"));
    first.request("r", "job", grant.token);
    EXPECT_THAT(outcome(first), AnyOf("ok", "error", kClosed));
    first.close();
    EXPECT_THAT(outcome(client), AnyOf(200, 503, 0));
    faults_->stop();
    EXPECT_EQ(HttpClient(*server_).delete_session(session).status, 204);
    EXPECT_TRUE(held(*holder_, lock("job")).is_null());
  });
}

// --- No memory for a while ---

TEST_F(ShortOfMemory, while_there_is_none_what_is_held_is_kept_and_what_goes_on_goes_on) {
  const std::ptrdiff_t files = open_files();
  std::vector<Client> clients = connect_many(*server_, 50);
  for (Client& client : clients) ASSERT_EQ(client.ping(), "ok");
  HttpClient http(*server_);
  const std::string session = http.open_session();
  Client first(*server_);
  Client second(*server_);
  Client third(*server_);
  const Grant grant = first.hold(lock("job"), 3'600);
  second.begin_acquire(lock("job"), 60, 1);
  await_waiters(*holder_, lock("job"), 1);
  third.begin_acquire(lock("job"), 60, 60);
  await_waiters(*holder_, lock("job"), 2);

  faults_->fail_after(0, kAlways);
  std::vector<Client> late = connect_many(*server_, 500);
  for (Client& client : late) {
    try {
      client.request("ping", "_", "_");
      EXPECT_THAT(outcome(client), AnyOf("ok", "error", kClosed));
    } catch (const std::system_error&) {  // closed before it could ask
    }
  }
  // There is room for some keys more, and then for none.
  std::string reply;
  for (int key = 0; key < 10'000 && reply != "error"; ++key) {
    Client& client = clients[static_cast<std::size_t>(key) % clients.size()];
    client.begin_acquire(lock(std::string(200, 'k') + std::to_string(key)), 0);
    reply = outcome(client);
    ASSERT_THAT(reply, AnyOf(StartsWith("ok "), "error"));
  }
  EXPECT_EQ(reply, "error");
  EXPECT_EQ(clients.back().enqueue(lock("free")), "error");
  EXPECT_EQ(holder_->renew(lock("held"), grant_.token, 3'600), "ok 3600");
  EXPECT_EQ(first.release(lock("job"), grant.token), "ok");
  second.read_grant();
  third.read_grant();  // when the lease of the second has run out
  http.begin_acquire(session, lock("free"), 0);
  EXPECT_THAT(outcome(http), AnyOf(200, 503, 0));
  EXPECT_GT(faults_->failed(), 0U);
  faults_->stop();

  clients.clear();
  late.clear();
  for (Client* const client : {&first, &second, &third}) client->close();
  HttpClient(*server_).delete_session(session);
  http.close();
  expect_as_before(files);
}

TEST_F(ShortOfMemory, who_came_while_there_was_none_keeps_nobody_out_afterwards) {
  faults_->fail_after(0, kAlways);
  std::vector<Client> late;
  std::string reply = "ok";
  while (reply == "ok" && late.size() < 500) {
    Client& client = late.emplace_back(*server_);
    client.request("ping", "_", "_");
    reply = outcome(client);
  }
  late.pop_back();
  ASSERT_GT(late.size(), 10U);
  // The last one who came has left some room.
  for (int key = 0; key < 10'000 && reply != "error"; ++key) {
    reply = holder_->acquire(lock(std::to_string(key)), 0);
  }
  EXPECT_EQ(reply, "error");
  faults_->stop();
  EXPECT_THAT(holder_->acquire(lock("free"), 0), StartsWith("ok "));
  EXPECT_EQ(Client(*server_).ping(), "ok");
  for (Client& client : late) EXPECT_EQ(client.ping(), "ok");
}

TEST_F(ShortOfMemory, while_there_is_none_a_drain_comes_to_its_end) {
#ifdef DFLOCKD_COVERAGE
  GTEST_SKIP() << "gcov itself needs memory at the end";
#endif
  faults_->fail_after(0, kAlways);
  server_->signal(SIGTERM);
  for (Client& client : queue_) EXPECT_THAT(outcome(client), AnyOf("error_draining", kClosed));
  EXPECT_EQ(holder_->release(lock("held"), grant_.token), "ok");
  EXPECT_EQ(server_->wait_for_exit(), 0);
}

// Every seed is another series of failures.
TEST_F(ShortOfMemory, at_any_moment_nothing_is_lost_and_nothing_leaks) {
  const std::ptrdiff_t files = open_files();
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    faults_->fail_sometimes(seed % 2 == 0 ? 3 : 20, seed);
    for (int round = 0; round < 60; ++round) {
      const std::string name = "job-" + std::to_string(round % 7);
      try {
        Client one(*server_);
        Client other(*server_);
        HttpClient http(*server_);
        one.send(request_bytes("l", name, "0 60") + request_bytes("sl", name, "0 3") +
                 request_bytes("stats", "_", "_") + request_bytes("e", "held", ""));
        other.send(request_bytes("e", name, "") + request_bytes("w", name, "60"));
        http.send(http.request_bytes("POST", "/v1/sessions") +
                  http.request_bytes("GET", "/metrics"));
        static_cast<void>(outcome(one));
        static_cast<void>(outcome(http));
      } catch (const std::system_error&) {  // the server was the first to close
      }
    }
    faults_->stop();
    ASSERT_NO_FATAL_FAILURE(expect_as_before(files));
  }
  EXPECT_GT(faults_->failed(), 100U);
}

TEST_F(ShortOfMemory, handshakes_succeed_or_the_connection_is_closed) {
  const TlsFixture files({});
  server_.emplace(Launch{.flags = files.flags({}), .environment = faults_.environment()});
  const TlsOptions options{.trusted = &files.authority, .host = "localhost"};
  queue_.clear();
  TlsClient holder(*server_, options);
  const Grant grant = holder.hold(lock("held"), 3'600);
  for (int spared = 0, unharmed = 0; unharmed < 3; ++spared) {
    SCOPED_TRACE("with allocation " + std::to_string(spared) + " failing");
    const std::uint64_t before = faults_->failed();
    faults_->fail_after(spared);
    try {
      EXPECT_EQ(TlsClient(*server_, options).ping(), "ok");
    } catch (const std::exception&) {  // closed or refused
    }
    faults_->stop();
    unharmed = faults_->failed() == before ? unharmed + 1 : 0;
    ASSERT_TRUE(server_->running()) << "the server has died";
    ASSERT_EQ(holder.renew(lock("held"), grant.token, 3'600), "ok 3600");
    ASSERT_LT(spared, 5'000);
  }
  EXPECT_EQ(failure_of(*server_, options), "");
}

}  // namespace

}  // namespace dflockd::test
