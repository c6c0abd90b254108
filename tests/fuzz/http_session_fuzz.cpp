// Drives HTTP connections in memory: requests on sessions of callers, whole and in pieces and mixed
// with anything else, while peers hang up, fall silent and come back, time passes and the server
// drains. Whatever happens, what is said is responses, and nothing is left of those who have gone.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fuzzer/FuzzedDataProvider.h>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include "connected.hpp"

namespace {

using dflockd::fuzz::check;
using dflockd::http::Answer;
using dflockd::http::Connection;
using dflockd::http::parse_answer;
using dflockd::http::request;
using dflockd::http::Server;
using dflockd::net::Want;

constexpr std::size_t kConnections = 3;
constexpr std::size_t kMostSessions = 6;
constexpr std::chrono::seconds kOrphanTtl{5};

/// What has been said must be responses, the last perhaps one to HEAD.
void check_said(std::string said) {
  while (!said.empty()) {
    if (said.starts_with("HTTP/1.1 100 Continue\r\n\r\n")) {
      said.erase(0, said.find("\r\n\r\n") + 4);
      continue;
    }
    const Answer head = parse_answer(said, true);
    check(head.status >= 200 && head.status < 600, "what is said are responses");
    // A response to HEAD is followed by the next one, or by nothing.
    const bool of_head = head.rest.empty() || head.rest.starts_with("HTTP/1.1 ");
    const Answer answer = parse_answer(said, of_head);
    check(of_head || answer.body.ends_with('\n'), "a body ends with a newline");
    said = answer.rest;
  }
}

/// A request that there may be, mostly.
std::string a_request(FuzzedDataProvider& input, const std::vector<std::string>& sessions) {
  static const std::vector<std::string> kLines{
      "POST /v1/locks/k",       "POST /v1/locks/k/enqueue",
      "POST /v1/locks/k/wait",  "POST /v1/locks/k/release",
      "POST /v1/locks/k/renew", "POST /v1/semaphores/k",
      "GET /v1/stats",          "GET /health",
      "GET /nowhere",           "POST /v1/sessions",
      "PUT /v1/locks/k",        "HEAD /ready",
  };
  static const std::vector<std::string> kBodies{
      "",
      "{}",
      R"({"acquire_timeout_s":5})",
      R"({"timeout_s":5})",
      R"({"acquire_timeout_s":5,"limit":1})",
      R"({"token":"00000000000000010000000000000000"})",
      R"({"acquire_timeout_s":5,"shared":true})",
      R"({"shared":true})",
  };
  const std::string session =
      sessions[input.ConsumeIntegralInRange<std::size_t>(0, sessions.size() - 1)];
  const auto line = input.ConsumeIntegralInRange<std::size_t>(0, kLines.size() + 1);
  if (line == kLines.size()) return request("DELETE /v1/sessions/" + session);
  if (line > kLines.size()) return request("POST /v1/sessions/" + session + "/ping");
  std::string fields = "X-Dflockd-Session: " + session + "\r\n";
  if (input.ConsumeBool()) fields += "Expect: 100-continue\r\n";
  return request(kLines[line],
                 kBodies[input.ConsumeIntegralInRange<std::size_t>(0, kBodies.size() - 1)], fields);
}

/// A session under the one stable ref that there is; where that is refused, one that is unknown.
std::string open_session_with_ref(Server& server) {
  Connection connection(server);
  const Answer answer =
      connection.send(request("POST /v1/sessions", R"({"stable_ref":"r","name":"n"})"));
  constexpr std::string_view kField = R"("session_id":")";
  const std::size_t begin = answer.body.find(kField);
  if (answer.status != 200) return std::string(32, '0');
  check(begin != std::string::npos, "a session that is opened has an id");
  return answer.body.substr(begin + kField.size(), 32);
}

void check_rest(Connection& connection) {
  const Want want = connection.want;
  connection.woken = false;
  check(connection.advance() == want && connection.take().empty(),
        "a session does nothing unless something has happened");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  Server::Setup setup;
  setup.options.rate = {.per_second = 100, .burst = 50};
  setup.service.orphan_ttl = kOrphanTtl;
  Server server(setup);
  std::vector<std::string> sessions{server.open_session(), open_session_with_ref(server),
                                    std::string(32, '0')};
  std::vector<std::unique_ptr<Connection>> connections(kConnections);
  for (auto& connection : connections) connection = std::make_unique<Connection>(server);

  while (input.remaining_bytes() > 0) {
    auto& connection = connections[input.ConsumeIntegralInRange<std::size_t>(0, kConnections - 1)];
    switch (input.ConsumeIntegralInRange<int>(0, 10)) {
      case 0:
        connection->hang_up(input.ConsumeBool());
        break;
      case 1:
        if (connection->want == Want::kInput) connection->be_silent();
        break;
      case 2:
        server.pass(std::chrono::milliseconds(50) * input.ConsumeIntegralInRange<int>(1, 200));
        break;
      case 3:
        server.report();
        break;
      case 4:
        if (input.ConsumeIntegralInRange<int>(0, 15) == 0) server.drain();
        break;
      case 5:
        connection->arrive(input.ConsumeRandomLengthString(100));
        break;
      case 7:
        // The owner of a ref comes back in another session, while the one before may live on.
        if (sessions.size() < kMostSessions) sessions.push_back(open_session_with_ref(server));
        break;
      case 6: {
        const std::string bytes = a_request(input, sessions);
        connection->arrive(bytes.substr(0, input.ConsumeIntegralInRange<std::size_t>(0, 200)));
        break;
      }
      default:
        connection->arrive(a_request(input, sessions));
        break;
    }
    for (auto& each : connections) {
      each->go_on();
      check_said(each->take());
      if (each->want == Want::kPause) continue;
      if (each->want == Want::kClose || each->want == Want::kDrop) {
        each->end();
        each = std::make_unique<Connection>(server);
      }
      check_rest(*each);
    }
  }
  connections.clear();
  server.skip(std::chrono::minutes(2));
  for (int ticks = 0; ticks < 3; ++ticks) server.tick();
  server.pass(2 * kOrphanTtl);
  check(server.counts().locks_held + server.counts().semaphore_holders == 0 &&
            server.counts().lock_waiters + server.counts().semaphore_waiters == 0,
        "nothing is left of sessions that are idle, once the ttl of orphans is over");
  check(server.door().callers.size() == 0, "idle sessions end");
  return 0;
}
