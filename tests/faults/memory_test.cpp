// The server bounds what it takes. If the system gives it no memory all the same, it ends with one
// line and a status of its own, whatever it was doing, and the fences go on after it.

#include <csignal>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

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
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kOutOfMemory = 71;
constexpr std::int64_t kAlways = std::numeric_limits<std::int32_t>::max();

class OutOfMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizers' library must be loaded first";
  }

  void start(std::vector<std::string> flags, Http http = Http::kOff) {
    server_.emplace(Launch{.flags = std::move(flags), .environment = faults_.environment()}, http);
  }

  /// Takes all memory away, and makes requests until the server has noticed.
  void take_memory_away() {
    faults_->fail_after(0, kAlways);
    try {
      for (;;) Client(*server_).hold(lock("a_name_too_long_to_be_kept_without_an_allocation"));
    } catch (const std::exception&) {
    }
  }

  /// The server has ended as it should.
  void expect_end(const char* line = "Z error out_of_memory status=71\n") {
    EXPECT_EQ(server_->wait_for_exit(), kOutOfMemory);
    const std::string log = server_->log();
    EXPECT_THAT(log, HasSubstr(line));  // last, but for what was still queued
    EXPECT_EQ(log.find("out_of_memory"), log.rfind("out_of_memory")) << "one line: " << log;
    server_.reset();
  }

  /// Makes `requests` again and again, each time with another of the server's allocations failing,
  /// until they are over before one fails. A server that has ended is started again.
  template <class Start, class Requests>
  void with_single_failures(const Start& start_server, const Requests& requests) {
    int ends = 0;
    bool failed = true;
    for (std::int64_t spared = 0; failed; spared += 1 + spared / 8) {
      SCOPED_TRACE("with allocation " + std::to_string(spared) + " failing");
      if (!server_) start_server();
      const std::uint64_t before = faults_->failed();
      faults_->fail_after(spared);
      try {
        requests();
      } catch (const std::exception&) {  // the server has ended, or closed a connection
      }
      faults_->stop();
      failed = faults_->failed() != before;
      if (still_serves()) continue;
      ++ends;
      expect_end();
      if (HasFailure()) return;
    }
    EXPECT_GT(ends, 0);
  }

  /// Whether a client that comes now is served.
  virtual bool still_serves() {
    try {
      return Client(*server_).ping() == "ok";
    } catch (const std::exception&) {
      return false;
    }
  }

  TemporaryDirectory directory_;
  SharedMemoryFaults faults_{directory_.file("memory")};
  std::optional<Server> server_;
};

TEST_F(OutOfMemory, ends_the_server_with_one_line_and_a_status_of_its_own) {
  start({});
  take_memory_away();
  expect_end();
}

TEST_F(OutOfMemory, line_has_the_format_of_the_log) {
  start({"--log-format", "json"});
  take_memory_away();
  EXPECT_THAT(
      (server_->wait_for_exit(), server_->log()),
      ContainsRegex(
          R"("time":"20[0-9-]+T[0-9:]+\.[0-9]+Z","level":"error","event":"out_of_memory",)"));
  expect_end(R"(,"level":"error","event":"out_of_memory","status":71})"
             "\n");
}

TEST_F(OutOfMemory, no_fence_comes_twice_after_it) {
  std::string latest;
  for (int run = 0; run < 4; ++run) {
    faults_->stop();
    start({"--fence-state-file", directory_.file("fences")});
    Client client(*server_);
    for (int grant = 0; grant < 3; ++grant) {
      const std::string token = client.hold(lock("job-" + std::to_string(grant))).token;
      EXPECT_GT(token.substr(0, 16), latest);
      latest = token.substr(0, 16);
    }
    take_memory_away();
    expect_end();
  }
}

TEST_F(OutOfMemory, whatever_the_server_is_doing_it_serves_on_or_ends_so) {
  with_single_failures(
      [&] {
        start({"--max-locks", "0"}, Http::kOn);
      },
      [&] {
        Client holder(*server_);
        Client waiter(*server_);
        const Grant grant = holder.hold(lock("job"));
        waiter.begin_acquire(lock("job"));
        holder.enqueue(semaphore("pool", 2));
        HttpClient http(*server_);
        const std::string session = http.open_session();
        http.begin_acquire(session, lock("other"), 0);
        EXPECT_THAT(http.read_response().status, AnyOf(200, 503));
        http.send(http.request_bytes("GET", "/metrics"));
        http.read_response();
        holder.request("stats", "_", "_");
        holder.read_line();
        await_waiters(holder, lock("job"), 1);
        holder.request("r", "job", grant.token);
        EXPECT_EQ(holder.read_line(), "ok");
        EXPECT_THAT(waiter.read_line(), StartsWith("ok "));
      });
}

class OutOfMemoryOverTls : public OutOfMemory {
 protected:
  bool still_serves() override { return failure_of(*server_, options_).empty(); }

  const TlsFixture files_{{}};
  const TlsOptions options_{.trusted = &files_.authority, .host = "localhost"};
};

TEST_F(OutOfMemoryOverTls, handshake_succeeds_or_is_refused_or_the_server_ends_so) {
  with_single_failures([&] { start(files_.flags({})); },
                       [&] { EXPECT_EQ(TlsClient(*server_, options_).ping(), "ok"); });
}

TEST_F(OutOfMemory, at_the_start_ends_it_too) {
  for (const int spared : {2'000, 4'000}) {
    faults_->fail_after(spared, kAlways);
    Process process({.flags = {"--port", "0"}, .environment = faults_.environment()});
    // It may need no more than that to start.
    if (process.wait_for_log_line("listening", std::chrono::milliseconds(500))) continue;
    EXPECT_EQ(process.wait_for_exit(), kOutOfMemory);
    EXPECT_THAT(process.log(), HasSubstr(" error out_of_memory status=71\n"));
  }
}

TEST(BoundedMemory, caps_bound_what_keys_and_claims_take) {
  Server server({"--max-locks", "1000", "--max-claims", "2000"});
  Client client(server);
  const auto flood = [&](int requests) {
    std::string bytes;
    for (int i = 0; i < requests; ++i) {
      bytes += request_bytes("l", "a_key_as_long_as_a_name_may_want_to_be_" + std::to_string(i),
                             "0 3600");
    }
    client.send(bytes);
    std::string reply;
    for (int i = 0; i < requests; ++i) reply = client.read_line();
    return reply;
  };
  EXPECT_EQ(flood(3'000), "error_max_locks");
  const std::size_t full = server.resident_memory();
  for (int round = 0; round < 10; ++round) EXPECT_EQ(flood(3'000), "error_max_locks");
  EXPECT_LT(server.resident_memory(), full + 1'048'576);
}

}  // namespace

}  // namespace dflockd::test
