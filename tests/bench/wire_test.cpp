#include "bench/wire.hpp"

#include <gtest/gtest.h>

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kToken = "18a4f0c2b7d9e1f33a0c5d7e9b1f2a4c";

std::string acquire(const Options& options) {
  std::string out;
  Wire(options).append_acquire(out, key_name(7));
  return out;
}

/// What goes over HTTP, for the session "s1".
std::string http_acquire(const Options& options) {
  std::string out;
  Wire(options, "s1").append_acquire(out, key_name(7));
  return out;
}

std::string http_release(const Options& options) {
  std::string out;
  Wire(options, "s1").append_release(out, key_name(7), kToken);
  return out;
}

std::string release(const Options& options, std::string_view token) {
  std::string out;
  Wire(options).append_release(out, key_name(7), token);
  return out;
}

Options with(Protocol protocol) {
  Options options;
  options.protocol = protocol;
  return options;
}

TEST(KeyName, is_of_one_size) {
  EXPECT_EQ(key_name(0), "bench:00000000");
  EXPECT_EQ(key_name(51'199'999), "bench:51199999");
  EXPECT_EQ(key_name(0).size(), kKeySize);
}

TEST(Wire, dflockd_requests_are_three_lines) {
  Options options;
  EXPECT_EQ(acquire(options), "l\nbench:00000007\n10\n");
  EXPECT_EQ(release(options, kToken), "r\nbench:00000007\n" + std::string(kToken) + "\n");
  options.lease = 90s;
  options.timeout = 0s;
  EXPECT_EQ(acquire(options), "l\nbench:00000007\n0 90\n");
}

TEST(Wire, dflockd_semaphores_have_their_own_commands) {
  Options options;
  options.semaphore = 5;
  options.lease = 90s;
  EXPECT_EQ(acquire(options), "sl\nbench:00000007\n10 5 90\n");
  EXPECT_EQ(release(options, kToken), "sr\nbench:00000007\n" + std::string(kToken) + "\n");
}

TEST(Wire, dflockd_readers_acquire_locks_shared) {
  Options options;
  options.readers = true;
  EXPECT_EQ(acquire(options), "rl\nbench:00000007\n10\n");
  EXPECT_EQ(release(options, kToken), "r\nbench:00000007\n" + std::string(kToken) + "\n");
}

TEST(Wire, dflockd_grant_carries_the_token) {
  const Wire wire{Options{}};
  EXPECT_EQ(wire.granted_token(Reply{0, "ok " + std::string(kToken) + " 33"}), kToken);
  EXPECT_TRUE(wire.is_released(Reply{0, "ok"}));
}

TEST(Wire, dflockd_replies_that_are_not_exact_are_unexpected) {
  const Wire wire{Options{}};
  const std::string token(kToken);
  for (const std::string& reply :
       {std::string(), std::string("ok"), std::string("ok "), std::string("timeout"), token,
        "ok " + token, "ok " + token + " ", "ok " + token + "33", "ok " + token + " 33\r",
        "ok " + token + " 3x", "ok " + token.substr(1) + " 33", "ok A" + token.substr(1) + " 33",
        "acquired " + token + " 33"}) {
    EXPECT_EQ(wire.granted_token(Reply{0, reply}), std::nullopt) << reply;
  }
  for (const char* reply : {"", "error", "ok ", "ok\r", "OK"}) {
    EXPECT_FALSE(wire.is_released(Reply{0, reply})) << reply;
  }
}

TEST(Wire, http_requests_carry_session_and_json) {
  Options options;
  options.http = true;
  EXPECT_EQ(http_acquire(options),
            "POST /v1/locks/bench:00000007 HTTP/1.1\r\nHost: 127.0.0.1:6388\r\n"
            "X-Dflockd-Session: s1\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n"
            R"({"acquire_timeout_s":10})");
  EXPECT_EQ(http_release(options),
            "POST /v1/locks/bench:00000007/release HTTP/1.1\r\nHost: 127.0.0.1:6388\r\n"
            "X-Dflockd-Session: s1\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\r\n"
            R"({"token":"18a4f0c2b7d9e1f33a0c5d7e9b1f2a4c"})");
}

TEST(Wire, http_requests_carry_what_the_options_ask_for) {
  Options options;
  options.http = true;
  options.host = "::1";
  options.auth_token = "hunter2";
  options.semaphore = 5;
  options.lease = 90s;
  options.timeout = 0s;
  EXPECT_EQ(http_acquire(options),
            "POST /v1/semaphores/bench:00000007 HTTP/1.1\r\nHost: [::1]:6388\r\n"
            "Authorization: Bearer hunter2\r\nX-Dflockd-Session: s1\r\n"
            "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n"
            R"({"acquire_timeout_s":0,"lease_ttl_s":90,"limit":5})");
  EXPECT_TRUE(http_release(options).starts_with("POST /v1/semaphores/bench:00000007/release "));
}

TEST(Wire, http_grant_carries_the_token) {
  Options options;
  options.http = true;
  const Wire wire(options, "s1");
  const std::string token(kToken);
  const std::string grant = R"({"status":"ok","token":")" + token + R"(","lease_ttl_s":33})";
  EXPECT_EQ(wire.granted_token(Reply{200, grant}), kToken);
  EXPECT_EQ(wire.granted_token(Reply{200, grant + "\n"}), kToken);
  EXPECT_EQ(wire.granted_token(Reply{409, grant}), std::nullopt);
  for (const std::string& body :
       {std::string(), std::string(R"({"status":"timeout"})"), grant.substr(1), grant + " ",
        grant + "\n\n", R"({"status":"ok","token":")" + token + R"(","lease_ttl_s":})",
        R"({"status":"ok","token":")" + token + R"(","lease_ttl_s":3x})",
        R"({"status":"ok","token":")" + token.substr(1) + R"(","lease_ttl_s":33})"}) {
    EXPECT_EQ(wire.granted_token(Reply{200, body}), std::nullopt) << body;
  }
  EXPECT_TRUE(wire.is_released(Reply{204, ""}));
  EXPECT_FALSE(wire.is_released(Reply{404, R"({"error":"not_held"})"}));
}

TEST(Wire, redis_sets_with_an_expiry_and_deletes) {
  Options options = with(Protocol::kRedis);
  EXPECT_EQ(acquire(options),
            "*6\r\n$3\r\nSET\r\n$14\r\nbench:00000007\r\n"
            "$32\r\n00000000000000000000000000000000\r\n$2\r\nNX\r\n$2\r\nPX\r\n$5\r\n33000\r\n");
  EXPECT_EQ(release(options, ""), "*2\r\n$3\r\nDEL\r\n$14\r\nbench:00000007\r\n");

  const Wire wire(options);
  EXPECT_EQ(wire.granted_token(Reply{0, "+OK\r"}), "");
  EXPECT_EQ(wire.granted_token(Reply{0, "$-1\r"}), std::nullopt);
  EXPECT_TRUE(wire.is_released(Reply{0, ":1\r"}));
  EXPECT_FALSE(wire.is_released(Reply{0, ":0\r"}));
}

TEST(Wire, memcached_adds_with_an_expiry_and_deletes) {
  Options options = with(Protocol::kMemcached);
  EXPECT_EQ(acquire(options), "add bench:00000007 0 33 1\r\nx\r\n");
  EXPECT_EQ(release(options, ""), "delete bench:00000007\r\n");

  const Wire wire(options);
  EXPECT_EQ(wire.granted_token(Reply{0, "STORED\r"}), "");
  EXPECT_EQ(wire.granted_token(Reply{0, "NOT_STORED\r"}), std::nullopt);
  EXPECT_TRUE(wire.is_released(Reply{0, "DELETED\r"}));
  EXPECT_FALSE(wire.is_released(Reply{0, "NOT_FOUND\r"}));
}

}  // namespace
}  // namespace dflockd::bench
