// HTTP connections at the level of their bytes, their times and their number. tests/http has every
// request that is refused, in memory.

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/files.hpp"
#include "support/http_client.hpp"

namespace dflockd::test {

namespace {

using namespace std::string_literals;

const std::vector<std::string> kGetRoutes{"/v1/stats", "/health",          "/ready",
                                          "/metrics",  "/v1/openapi.json", "/v1/sessions"};

/// An answer, and then nothing but the end of the connection.
void expect_refused(HttpClient& client, const std::string& summary) {
  const HttpResponse response = client.read_response();
  EXPECT_EQ(response.summary(), summary) << response.body;
  EXPECT_EQ(response.header("connection"), "close");
  EXPECT_EQ(client.connection().read_to_end(), "");
}

/// Sends what the server may not want to hear.
void send_in_vain(HttpClient& client, const std::string& bytes) {
  try {
    client.send(bytes);
  } catch (const std::runtime_error&) {  // it has closed the connection
  }
}

bool is_served(const Server& server, const Route& route = {}) {
  try {
    return HttpClient(server, route).get("/health").status == 200;
  } catch (const std::runtime_error&) {
    return false;
  }
}

/// The head of an acquire, which has these further lines.
std::string head(const std::string& session, const std::string& fields) {
  return "POST /v1/locks/job HTTP/1.1\r\nHost: localhost\r\nX-Dflockd-Session: " + session +
         "\r\n" + fields + "\r\n";
}

TEST(HttpConnections, go_on_until_either_side_is_through) {
  const Server server(Http::kOn);
  for (const std::string& path : kGetRoutes) {
    HttpClient closing(server);
    closing.send(closing.request_bytes("GET", path, {}, {}, "Connection: close\r\n") +
                 closing.request_bytes("POST", "/v1/sessions"));
    EXPECT_EQ(closing.read_response().header("connection"), "close") << path;
    EXPECT_EQ(closing.connection().read_to_end(), "") << path;
    HttpClient old(server);
    old.send("GET " + path + " HTTP/1.0\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(old.read_response().status, 200) << path;
    EXPECT_EQ(old.connection().read_to_end(), "") << path;
    HttpClient half_closed(server);
    half_closed.send(half_closed.request_bytes("GET", path));
    half_closed.half_close();
    EXPECT_EQ(half_closed.read_response().status, 200) << path;
    EXPECT_EQ(half_closed.connection().read_to_end(), "") << path;
  }
  EXPECT_EQ(HttpClient(server).metric("dflockd_http_sessions"), 0) << "something behind was done";
}

TEST(HttpAnswers, to_head_are_those_to_get_without_the_body) {
  const Server server(Http::kOn);
  HttpClient client(server);
  for (const std::string& path : kGetRoutes) {
    HttpResponse to_head = client.request("HEAD", path);
    HttpResponse to_get = client.get(path);
    EXPECT_EQ(to_head.status, 200) << path;
    EXPECT_NE(to_head.header("content-length"), "0") << path;
    for (HttpResponse* const response : {&to_head, &to_get}) {
      std::erase_if(response->headers, [&](const auto& field) {
        return field.first == "date" || (field.first == "content-length" && path == "/metrics");
      });
    }
    EXPECT_EQ(to_head.headers, to_get.headers) << path;
  }
  EXPECT_EQ(client.request("HEAD", "/nowhere").status, 404);
  EXPECT_EQ(client.request("HEAD", "/v1/locks/a").status, 404);
  EXPECT_EQ(client.request("HEAD", "/v1/locks/a/release").status, 405);
  EXPECT_EQ(client.get("/health").summary(), "200 ok");
}

TEST(HttpAnswers, say_what_time_it_is) {
  const Server server(Http::kOn);
  const std::string date = HttpClient(server).get("/health").header("date").value();
  std::tm said{};
  ASSERT_NE(::strptime(date.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &said), nullptr) << date;
  EXPECT_LT(std::abs(std::difftime(::timegm(&said), std::time(nullptr))), 30) << date;
}

TEST(HttpDescription, is_the_one_of_the_documentation) {
  const Server server(Http::kOn);
  EXPECT_EQ(HttpClient(server).get("/v1/openapi.json").json(),
            nlohmann::json::parse(read_file(DFLOCKD_SOURCE "/docs/openapi.json")));
}

// --- Heads and bodies ---

TEST(HttpBodies, are_asked_for_when_they_are_expected_and_wanted) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  const std::string body = R"({"acquire_timeout_s":0})";
  const std::pair<std::string, std::string> framings[] = {
      {"Content-Length: 23\r\n", body},
      {"Transfer-Encoding: chunked\r\n", "17\r\n" + body + "\r\n0\r\n\r\n"}};
  for (const auto& [fields, data] : framings) {
    client.send(head(session, fields + "Expect: 100-Continue\r\n"));
    EXPECT_EQ(client.read_response().status, 100);
    client.send(data);
    EXPECT_EQ(client.read_response().status, 200);
  }
  client.send(head(std::string(32, '0'), "Content-Length: 10\r\nExpect: 100-continue\r\n"));
  expect_refused(client, "410 session_gone");
}

TEST(HttpBodies, may_have_1_mib_and_not_a_byte_more) {
  const Server server(Http::kOn);
  HttpClient client(server);
  const std::string session = client.open_session();
  std::string body = R"({"acquire_timeout_s":0})";
  body.resize(std::size_t{1} << 20U, ' ');
  EXPECT_EQ(client.post("/v1/locks/job", body, session).status, 200);
  send_in_vain(client, client.request_bytes("POST", "/v1/locks/job", body + " ", session));
  expect_refused(client, "413 body_too_large");
  HttpClient asking(server);
  asking.send(head(session, "Content-Length: 1048577\r\nExpect: 100-continue\r\n"));
  expect_refused(asking, "413 body_too_large");
}

TEST(HttpHeads, may_have_64_kib_and_100_fields_and_no_more) {
  const Server server(Http::kOn);
  for (const std::string& fields :
       {"X: " + std::string(std::size_t{64} << 10U, 'x') + "\r\n", repeated(100, "X: x\r\n")}) {
    HttpClient client(server);
    send_in_vain(client, client.request_bytes("GET", "/health", {}, {}, fields));
    expect_refused(client, "431 headers_too_large");
  }
}

// Requests of which two readers could see different ends.
TEST(HttpSmuggling, is_refused_and_nothing_behind_it_is_done) {
  const Server server(Http::kOn);
  const std::string chunks = "Transfer-Encoding: chunked\r\n";
  for (const std::string& fields :
       {"Content-Length: 4\r\n" + chunks, chunks + "Content-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n"s, "Content-Length : 4\r\n"s,
        "X: y\nContent-Length: 4\r\n"s, "X: y\rContent-Length: 4\r\n"s,
        "X: y\r\n Content-Length: 4\r\n"s, "Content-Length: 4\0\r\n"s, chunks + chunks,
        "Transfer-Encoding: gzip, chunked\r\n"s, chunks + "\r\n1\n{\r\n0\r\n",
        chunks + "\r\n0\r\n X: y\r\n"}) {
    HttpClient client(server);
    // Whoever takes it for the end of a body carries the rest out.
    send_in_vain(client, client.request_bytes("GET", "/health", {}, {}, fields) + "0\r\n\r\n" +
                             client.request_bytes("POST", "/v1/sessions"));
    expect_refused(client, "400 bad_request");
  }
  EXPECT_EQ(HttpClient(server).metric("dflockd_http_sessions"), 0);
}

// --- Timeouts ---

class HttpTimeouts : public testing::Test {
 protected:
  /// Both timeouts are a second.
  static void expect_a_second(Clock::time_point began) {
    EXPECT_GE(Clock::now() - began, 900ms);
    EXPECT_LE(Clock::now() - began, within(3s));
  }

  const Server server_{
      {"--read-timeout", "1", "--write-timeout", "1", "--max-locks", "40000", "--debug"},
      Http::kOn};
};

TEST_F(HttpTimeouts, request_must_be_whole_in_time_though_its_bytes_dribble_in) {
  const std::string post = "POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\n";
  const std::pair<std::string, std::string> starts_and_drops[] = {
      {"G", "E"},
      {"GET /health HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n"},
      {post + "Content-Length: 1000\r\n\r\n", " "},
      {post + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"}};
  for (const auto& [start, drop] : starts_and_drops) {
    HttpClient client(server_);
    const auto began = Clock::now();
    client.send(start);
    while (!client.connection().has_input() && Clock::now() - began < kPatience) {
      std::this_thread::sleep_for(50ms);  // the pace of the client
      send_in_vain(client, drop);
    }
    expect_a_second(began);
    expect_refused(client, "400 bad_request");
  }
}

TEST_F(HttpTimeouts, first_request_is_due_from_the_connection_on) {
  const auto began = Clock::now();
  HttpClient silent(server_);
  HttpClient slow(server_);
  std::this_thread::sleep_for(700ms);  // the pace of the client
  slow.send("GET /hea");
  EXPECT_EQ(silent.connection().read_to_end(), "");
  expect_a_second(began);
  expect_refused(slow, "400 bad_request");
  expect_a_second(began);
}

TEST_F(HttpTimeouts, further_requests_are_due_from_their_first_byte_on) {
  HttpClient idle(server_);
  HttpClient half(server_);
  HttpClient whole(server_);
  for (HttpClient* const client : {&idle, &half, &whole})
    EXPECT_EQ(client->get("/health").status, 200);
  half.send("\r");
  whole.send("\r");
  HttpClient blocked(server_);
  const std::string session = blocked.open_session();
  blocked.hold(blocked.open_session(), lock("job"));
  whole.send("\n");
  EXPECT_EQ(blocked.acquire(session, lock("job"), 2).summary(), "200 timeout");
  half.send("\n");
  for (HttpClient* const client : {&idle, &half, &whole, &blocked}) {
    EXPECT_EQ(client->get("/health").status, 200) << "silence and empty lines are no request";
  }
  const auto began = Clock::now();
  idle.send("GET /hea");
  expect_refused(idle, "400 bad_request");
  expect_a_second(began);
}

TEST_F(HttpTimeouts, client_that_does_not_read_is_dropped) {
  Client holder(server_);
  constexpr std::size_t kKeys = 30'000;
  holder.hold_many(std::string(240, 'k'), kKeys);
  HttpClient deaf(server_);
  const auto began = Clock::now();
  deaf.send(deaf.request_bytes("GET", "/v1/stats"));
  EXPECT_TRUE(server_.wait_for_log_line("warn write_timeout")) << server_.log();
  expect_a_second(began);
  EXPECT_LT(deaf.connection().read_to_end().size(), kKeys * 240);
}

// --- Caps on connections ---

TEST(HttpMaxConnectionsPerIp, is_for_each_address_and_this_port_alone) {
  const Server server({"--http-max-connections-per-ip", "2"}, Http::kOn);
  const Route route{.from = "127.0.0.3"};
  HttpClient first(server, route);
  HttpClient second(server, route);
  for (HttpClient* const client : {&first, &second}) EXPECT_EQ(client->get("/health").status, 200);
  EXPECT_FALSE(is_served(server, route));
  EXPECT_TRUE(is_served(server, {.from = "127.0.0.2"}));
  EXPECT_EQ(HttpClient(server).metric(
                R"(dflockd_connections_rejected_total{reason="http_max_connections_per_ip"})"),
            1);
  for (Client& line : connect_many(server, 5, route)) EXPECT_EQ(line.ping(), "ok");
  first.close();
  EXPECT_TRUE(eventually([&] { return is_served(server, route); }));
  EXPECT_EQ(second.get("/health").status, 200);
}

/// Connections that say nothing take `cap` places, and no descriptor more.
void expect_http_connections(const Server& server, std::size_t cap) {
  HttpClient client(server);
  EXPECT_EQ(client.get("/health").status, 200);
  std::vector<Client> silent =
      connect_many(server, cap + 20, {.to = "127.0.0.1", .port = server.http_port()});
  EXPECT_TRUE(eventually([&] {
    return client.metric(R"(dflockd_connections_rejected_total{reason="http_max_connections"})") ==
           21;
  }));
  const std::string limit = std::to_string(cap) + " ";
  EXPECT_TRUE(server.wait_for_log_line(
      "connections_refused listener=http reason=max_connections limit=" + limit));
  EXPECT_NE(server.log().find(" http_max_connections=" + limit), std::string::npos);
  EXPECT_EQ(server.log().find("cannot_accept"), std::string::npos) << server.log();
  EXPECT_FALSE(is_served(server));
  silent.front().close();
  EXPECT_TRUE(eventually([&] { return is_served(server); }));
}

void expect_line_connections(const Server& server, std::size_t count) {
  std::vector<Client> lines = connect_many(server, count);
  for (Client& line : lines) EXPECT_EQ(line.ping(), "ok");
}

TEST(HttpMaxConnections, are_what_the_cap_of_the_line_port_leaves) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers need descriptors themselves";
  const Server server(Launch{.flags = {"--max-connections", "100"}, .max_open_files = 220},
                      Http::kOn);
  expect_http_connections(server, 220 - 32 - 100);
  expect_line_connections(server, 100);
  EXPECT_EQ(server.log().find("too_few_descriptors"), std::string::npos) << server.log();
}

TEST(HttpMaxConnections, are_half_if_the_line_port_has_no_cap) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers need descriptors themselves";
  const Server server(Launch{.max_open_files = 200}, Http::kOn);
  expect_http_connections(server, (200 - 32) / 2);
  expect_line_connections(server, (200 - 32) / 2);
}

TEST(HttpMaxConnections, can_be_given) {
  expect_http_connections(Server({"--http-max-connections", "5"}, Http::kOn), 5);
}

TEST(HttpMaxConnections, need_more_descriptors_than_there_are) {
  const Server server(Launch{.flags = {"--max-connections", "200"}, .max_open_files = 256},
                      Http::kOn);
  EXPECT_TRUE(server.wait_for_log_line("warn too_few_descriptors descriptors=256 needed=296"));
}

// --- Networks of IPv6: whoever has an address has a network of them ---

class Ipv6Networks : public testing::Test {
 protected:
  /// Moves this process to a network namespace whose loopback interface has the addresses.
  static void SetUpTestSuite() {
    const std::string root = "0 " + std::to_string(::getuid()) + " 1";
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return;
    write_file("/proc/self/uid_map", root);
    std::string commands = "ip link set lo up";
    for (const Route& route : kRoutes) {
      commands += " && ip -6 address add " + route.from + "/128 dev lo nodad";
    }
    has_networks_ = std::system(commands.c_str()) == 0;
  }
  void SetUp() override {
    if (!has_networks_) GTEST_SKIP() << "no namespace may be made here";
  }

  /// What `ask` of a connection from each of the addresses gives.
  template <class Ask>
  static std::string answers(const Server& server, Ask&& ask) {
    std::string all;
    std::vector<HttpClient> clients;
    for (const Route& route : kRoutes) {
      try {
        all += ask(clients.emplace_back(server, route)) + " ";
      } catch (const std::runtime_error&) {
        all += "closed ";
      }
    }
    return all;
  }
  static std::string open(HttpClient& client) {
    return std::to_string(client.post("/v1/sessions").status);
  }

  /// Three addresses of a network, the last of them the server's, and one of another.
  static inline const std::vector<Route> kRoutes{{.from = "fd00:1::1", .to = "fd00:1::1"},
                                                 {.from = "fd00:1::2", .to = "fd00:1::1"},
                                                 {.from = "fd00:1::ffff:0:0:3", .to = "fd00:1::1"},
                                                 {.from = "fd00:1:0:1::1", .to = "fd00:1::1"}};

 private:
  static inline bool has_networks_ = false;
};

TEST_F(Ipv6Networks, share_http_connections) {
  const Server server({"--http-max-connections-per-ip", "2"}, Http::kOnEveryAddress);
  EXPECT_EQ(answers(server, [](HttpClient& client) { return client.get("/health").summary(); }),
            "200 ok 200 ok closed 200 ok ");
  EXPECT_TRUE(server.wait_for_log_line(" last_peer=fd00:1::/64 ")) << server.log();
}

TEST_F(Ipv6Networks, share_connections_of_the_line_protocol) {
  const Server server({"--host", "::", "--max-connections-per-ip", "2"});
  std::vector<Client> clients;
  for (const Route& route : kRoutes) clients.emplace_back(server, route);
  for (const std::size_t i : {0U, 1U, 3U}) EXPECT_EQ(clients[i].ping(), "ok");
  EXPECT_EQ(clients[2].read_to_end(), "");
}

TEST_F(Ipv6Networks, share_sessions_which_come_back_when_they_end) {
  const Server server({"--http-max-sessions-per-ip", "2"}, Http::kOnEveryAddress);
  HttpClient first(server, kRoutes[0]);
  const std::string session = first.open_session();
  EXPECT_EQ(answers(server, open), "200 503 503 200 ");
  EXPECT_EQ(first.delete_session(session).status, 204);
  HttpClient last(server, kRoutes[2]);
  EXPECT_EQ(open(last), "200");
}

TEST_F(Ipv6Networks, share_requests) {
  const Server server({"--http-rate-limit-per-ip", "1", "--http-rate-limit-burst", "100"},
                      Http::kOnEveryAddress);
  const auto ask = [](HttpClient& client) {
    client.send(repeated(40, client.request_bytes("GET", "/nowhere")));
    int last = 0;
    for (int i = 0; i < 40; ++i) last = client.read_response().status;
    return std::to_string(last);
  };
  EXPECT_EQ(answers(server, ask), "404 404 429 404 ");
}

TEST_F(Ipv6Networks, are_as_large_as_the_prefix_says) {
  for (const auto& [prefix, expected] :
       {std::pair("128", "200 200 200 200 "), std::pair("48", "200 503 503 503 ")}) {
    const Server server({"--http-max-sessions-per-ip", "1", "--ipv6-prefix", prefix},
                        Http::kOnEveryAddress);
    EXPECT_EQ(answers(server, open), expected);
  }
}

}  // namespace

}  // namespace dflockd::test
