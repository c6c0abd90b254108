// /metrics: what is counted and shown, and that no client can make it grow. And the access log.

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/http_client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

using Samples = std::map<std::string, double>;

/// The series that have changed, and by how much.
Samples growth(const Samples& before, const Samples& after) {
  Samples grown;
  for (const auto& [series, value] : after) {
    const auto was = before.find(series);
    const double change = value - (was == before.end() ? 0 : was->second);
    if (change != 0) grown[series] = change;
  }
  return grown;
}

std::string requests(const std::string& method, const std::string& path, int status) {
  return "dflockd_http_requests_total{method=\"" + method + "\",path=\"" + path + "\",status=\"" +
         std::to_string(status) + "\"}";
}

class HttpMetrics : public testing::Test {
 protected:
  /// Growth of what begins with `name`, while `act` is done.
  template <class Act>
  Samples counted(const std::string& name, Act&& act) {
    const Samples before = observer_.metrics();
    act();
    Samples grown = growth(before, observer_.metrics());
    std::erase_if(grown, [&](const auto& sample) { return !sample.first.starts_with(name); });
    return grown;
  }
  void await(const std::string& series, double value) {
    if (!eventually([&] { return observer_.metric(series) == value; })) {
      throw std::runtime_error(series + " does not become " + std::to_string(value));
    }
  }

  const Server server_{{"--lease-sweep-interval", "1"}, Http::kOn};
  HttpClient observer_{server_};
  HttpClient client_{server_};
  std::string session_ = client_.open_session();
};

TEST_F(HttpMetrics, are_those_of_the_documentation_and_their_names_say_what_they_are) {
  std::map<std::string, std::string> types;
  std::istringstream lines(client_.get("/metrics").body);
  for (std::string line; std::getline(lines, line);) {
    std::smatch type;
    if (!std::regex_match(line, type, std::regex("# TYPE (\\S+) (\\S+)"))) continue;
    EXPECT_EQ(line.find("_total ") != std::string::npos, type[2] == "counter") << line;
    types[type[1]] = type[2];
  }
  const std::map<std::string, std::string> expected{
      {"dflockd_build_info", "gauge"},
      {"dflockd_ready", "gauge"},
      {"dflockd_uptime_seconds", "gauge"},
      {"dflockd_connections", "gauge"},
      {"dflockd_http_sessions", "gauge"},
      {"dflockd_locks_held", "gauge"},
      {"dflockd_lock_waiters", "gauge"},
      {"dflockd_semaphore_holders", "gauge"},
      {"dflockd_semaphore_waiters", "gauge"},
      {"dflockd_http_requests_total", "counter"},
      {"dflockd_http_request_duration_seconds", "histogram"},
      {"dflockd_commands_total", "counter"},
      {"dflockd_grants_total", "counter"},
      {"dflockd_lease_expirations_total", "counter"},
      {"dflockd_grant_wait_seconds", "histogram"},
      {"dflockd_connections_rejected_total", "counter"},
      {"dflockd_auth_failures_total", "counter"},
      {"process_cpu_seconds_total", "counter"},
      {"process_open_fds", "gauge"},
      {"process_max_fds", "gauge"},
      {"process_resident_memory_bytes", "gauge"},
      {"process_virtual_memory_bytes", "gauge"},
      {"process_start_time_seconds", "gauge"}};
  for (const auto& [name, type] : expected) EXPECT_EQ(types[name], type) << name;
  Samples samples = client_.metrics();
  EXPECT_LT(
      std::abs(samples["process_start_time_seconds"] - static_cast<double>(std::time(nullptr))),
      120);
  EXPECT_GT(samples["process_resident_memory_bytes"], 1 << 20);
  EXPECT_GT(samples["dflockd_http_request_duration_seconds_sum{path=\"/metrics\"}"], 0);
}

TEST_F(HttpMetrics, show_what_is_held_and_waited_for) {
  HttpClient blocked(server_);
  client_.hold(session_, lock("job"));
  client_.hold(session_, semaphore("job", 1));
  blocked.begin_acquire(client_.open_session(), lock("job"));
  EXPECT_EQ(client_.enqueue(client_.open_session(), semaphore("job", 1)).summary(), "200 queued");
  await("dflockd_lock_waiters", 1);
  Samples samples = observer_.metrics();
  EXPECT_EQ(samples["dflockd_http_sessions"], 3);
  EXPECT_EQ(samples["dflockd_locks_held"], 1);
  EXPECT_EQ(samples["dflockd_semaphore_holders"], 1);
  EXPECT_EQ(samples["dflockd_semaphore_waiters"], 1);
  EXPECT_EQ(samples["dflockd_ready"], 1);
  blocked.close();
  await("dflockd_lock_waiters", 0);
  await(requests("POST", "/v1/locks/{key}", 408), 1);
}

TEST_F(HttpMetrics, count_requests_by_the_pattern_of_their_route) {
  const Samples grown = counted("dflockd_", [&] {
    for (const char* const key : {"a", "b%2Fc", "d"}) client_.hold(session_, lock(key));
    client_.release(session_, lock("a"), std::string(32, '0'));
    client_.request("HEAD", "/health");
    for (const char* const key : {"a", "b%2Fc"}) client_.get("/v1/semaphores/" + std::string(key));
  });
  for (const auto& [series, count] :
       {std::pair(requests("POST", "/v1/locks/{key}", 200), 3),
        std::pair(requests("POST", "/v1/locks/{key}/release", 404), 1),
        std::pair(requests("HEAD", "/health", 200), 1),
        std::pair(requests("GET", "/v1/semaphores/{key}", 404), 2),
        std::pair(std::string("dflockd_http_request_duration_seconds_count"
                              "{path=\"/v1/locks/{key}\"}"),
                  3),
        std::pair(std::string("dflockd_http_request_duration_seconds_bucket"
                              "{path=\"/v1/locks/{key}\",le=\"+Inf\"}"),
                  3),
        std::pair(std::string("dflockd_grants_total"), 3),
        std::pair(std::string("dflockd_grant_wait_seconds_count"), 3)}) {
    EXPECT_TRUE(grown.contains(series) && grown.at(series) == count) << series;
  }
}

TEST_F(HttpMetrics, count_requests_that_are_refused_or_of_unknown_methods_as_others) {
  client_.get("/health");
  const Samples grown = counted("dflockd_http_request", [&] {
    client_.send("nonsense\r\n\r\n");
    EXPECT_EQ(client_.read_response().status, 400);
    HttpClient other(server_);
    for (const char* const method : {"BREW", "get", "!#$%&'*+-.^_`|~"}) {
      EXPECT_EQ(other.request(method, "/nowhere", "tea").status, 404);
      EXPECT_EQ(other.request(method, "/v1/locks/a", "tea").header("allow"), "POST, GET, HEAD");
    }
  });
  EXPECT_EQ(grown.at(requests("OTHER", "-", 400)), 1);
  EXPECT_EQ(grown.at(requests("OTHER", "-", 404)), 3);
  EXPECT_EQ(grown.at(requests("OTHER", "/v1/locks/{key}", 405)), 3);
  EXPECT_LT(grown.at("dflockd_http_request_duration_seconds_sum{path=\"-\"}"), 60);
}

TEST_F(HttpMetrics, count_commands_of_the_line_protocol) {
  Client lines(server_);
  const Samples grown = counted("dflockd_commands_total", [&] {
    lines.hold(lock("job"));
    EXPECT_EQ(lines.acquire(lock("job"), 0), "timeout");
    EXPECT_EQ(lines.ping(), "ok");
  });
  EXPECT_EQ(grown, (Samples{{R"(dflockd_commands_total{command="l",status="ok"})", 1},
                            {R"(dflockd_commands_total{command="l",status="timeout"})", 1},
                            {R"(dflockd_commands_total{command="ping",status="ok"})", 1}}));
}

/// Every operation over HTTP, with each of its answers.
void operate(HttpClient& client, HttpClient& waiting, Client& observer, const Key& key) {
  const std::string holder = client.open_session();
  const std::string other = client.open_session();
  const Grant grant = client.hold(holder, key);
  client.acquire(holder, key, 0);
  client.renew(holder, key, grant.token);
  client.renew(holder, key, std::string(32, '0'));
  client.enqueue(holder, key);
  client.enqueue(holder, key);
  waiting.begin_wait(holder, key);
  await_waiters(observer, key, 1);
  client.release(other, key, grant.token);
  grant_in(waiting.read_response());
  client.release(other, key, grant.token);
  const Key free{key.name + "-too", key.limit};
  client.wait(other, free, 0);
  client.enqueue(other, free);
  // What does not get as far as the table is no command.
  client.post(path_of(key), "{}", holder);
  client.acquire("", key, 0);
  client.acquire("gone", key, 0);
}

TEST_F(HttpMetrics, count_operations_as_the_commands_that_they_are) {
  Client lines(server_);
  HttpClient waiting(server_);
  Samples grown = counted("dflockd_commands_total", [&] {
    for (const Key& key : {lock("job"), semaphore("job", 1)}) {
      operate(client_, waiting, lines, key);
    }
    client_.acquire(session_, semaphore("job", 2), 0);
  });
  Samples expected{{R"(dflockd_commands_total{command="sl",status="error_limit_mismatch"})", 1}};
  for (const std::string prefix : {"", "s"}) {
    for (const auto& [command, status] :
         std::vector<std::pair<std::string, std::string>>{{"l", "ok"},
                                                          {"l", "timeout"},
                                                          {"n", "ok"},
                                                          {"n", "error"},
                                                          {"e", "queued"},
                                                          {"e", "error_already_enqueued"},
                                                          {"w", "ok"},
                                                          {"r", "ok"},
                                                          {"r", "error"},
                                                          {"w", "error_not_enqueued"},
                                                          {"e", "acquired"}}) {
      expected["dflockd_commands_total{command=\"" + prefix + command + "\",status=\"" + status +
               "\"}"] = 1;
    }
  }
  grown.erase(R"(dflockd_commands_total{command="stats",status="ok"})");  // the observer's
  EXPECT_EQ(grown, expected);
}

TEST_F(HttpMetrics, count_leases_that_run_out) {
  client_.hold(session_, lock("job"), 1);
  await("dflockd_lease_expirations_total", 1);
}

TEST_F(HttpMetrics, do_not_grow_by_what_clients_say) {
  const auto provoke = [&](const std::string& round) {
    for (int i = 0; i < 30; ++i) {
      const std::string name = round + std::to_string(i);
      client_.get("/random-" + name);
      client_.ping_session(name);
      client_.acquire("", lock(name), 0);
    }
    for (const std::string& method : {std::string("PUT"), std::string("M-SEARCH"), "R" + round}) {
      client_.request(method, "/health");
      client_.request(method, "/random-" + round);
    }
  };
  const auto series = [&] {
    std::set<std::string> names;
    for (const auto& [name, value] : observer_.metrics()) names.insert(name);
    return names;
  };
  provoke("A");
  series();  // which is counted itself
  const std::set<std::string> before = series();
  for (const char* const round : {"B", "C", "D"}) provoke(round);
  EXPECT_EQ(series(), before);
}

TEST_F(HttpMetrics, please_promtool) {
  const std::string promtool = "PATH=$PATH:" DFLOCKD_SOURCE "/build/tools; promtool ";
  if (std::system((promtool + "--version >/dev/null 2>&1").c_str()) != 0) {
    GTEST_SKIP() << "no promtool; `make promtool` gets it";
  }
  client_.hold(session_, lock("job"));
  Client(server_).hold(lock("lines"));
  for (const char* const method : {"GET", "PUT", "BREW", "a'b", "!#$%&'*+-.^_`|~"}) {
    for (const char* const path :
         {"/health", "/metrics", "/%22%5C%0A", "/v1/locks/%22%5C%0A", "/\"\\", "*"}) {
      client_.send(client_.request_bytes(method, path));
      client_.read_response();
    }
  }
  const TemporaryDirectory directory;
  const std::string text = directory.write("metrics", client_.get("/metrics").body);
  const std::string said = directory.file("said");
  EXPECT_EQ(std::system((promtool + "check metrics <" + text + " >" + said + " 2>&1").c_str()), 0);
  EXPECT_EQ(read_file(said), "");
}

TEST(HttpAccessLog, has_a_line_for_every_request_and_no_secrets) {
  const Server server({"--debug"}, Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  client.hold(session, lock("logged-key"));
  const std::string line = server.wait_for_log_line("/v1/locks/{key}").value_or("");
  for (const char* const word : {"http_request", "POST", "200"}) {
    EXPECT_NE(line.find(word), std::string::npos) << line;
  }
  client.get("/nowhere?secret=1");
  EXPECT_TRUE(server.wait_for_log_line("404")) << server.log();
  EXPECT_EQ(server.log().find(session), std::string::npos);
  EXPECT_EQ(server.log().find("secret"), std::string::npos);
}

TEST(HttpAccessLog, is_silent_at_info) {
  const Server server(Http::kOn);
  EXPECT_EQ(HttpClient(server).get("/health").status, 200);
  EXPECT_EQ(server.log().find("http_request"), std::string::npos) << server.log();
}

}  // namespace

}  // namespace dflockd::test
