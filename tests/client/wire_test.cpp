// The client's side of the line protocol, byte for byte.

#include <string>
#include <vector>

#include <dflockd/detail/wire.hpp>
#include <dflockd/error.hpp>
#include <gtest/gtest.h>

namespace dflockd::detail {
namespace {

using namespace std::chrono_literals;

const std::string kToken = "00000000000000ff0123456789abcdef";

TEST(Wire, requests_are_as_the_protocol_has_them) {
  const Target lock{.key = "job"};
  const Target semaphore{.key = "job", .limit = 4};
  const auto text = [](auto append) {
    std::string out = "kept ";
    append(out);
    return out.substr(5);
  };
  EXPECT_EQ(text([&](auto& out) { append_acquire(out, lock, 10s, 0s); }), "l\njob\n10\n");
  EXPECT_EQ(text([&](auto& out) { append_acquire(out, lock, 0s, 30s); }), "l\njob\n0 30\n");
  EXPECT_EQ(text([&](auto& out) { append_acquire(out, semaphore, 10s, 0s); }), "sl\njob\n10 4\n");
  EXPECT_EQ(text([&](auto& out) { append_acquire(out, semaphore, 9223372036s, 30s); }),
            "sl\njob\n9223372036 4 30\n");
  EXPECT_EQ(text([&](auto& out) { append_release(out, lock, kToken); }),
            "r\njob\n" + kToken + "\n");
  EXPECT_EQ(text([&](auto& out) { append_release(out, semaphore, kToken); }),
            "sr\njob\n" + kToken + "\n");
  EXPECT_EQ(text([&](auto& out) { append_renew(out, lock, kToken, 0s); }),
            "n\njob\n" + kToken + "\n");
  EXPECT_EQ(text([&](auto& out) { append_renew(out, semaphore, kToken, 60s); }),
            "sn\njob\n" + kToken + " 60\n");
  EXPECT_EQ(text([&](auto& out) { append_enqueue(out, lock, 0s); }), "e\njob\n\n");
  EXPECT_EQ(text([&](auto& out) { append_enqueue(out, lock, 30s); }), "e\njob\n30\n");
  EXPECT_EQ(text([&](auto& out) { append_enqueue(out, semaphore, 0s); }), "se\njob\n4\n");
  EXPECT_EQ(text([&](auto& out) { append_enqueue(out, semaphore, 30s); }), "se\njob\n4 30\n");
  EXPECT_EQ(text([&](auto& out) { append_wait(out, lock, 0s); }), "w\njob\n0\n");
  EXPECT_EQ(text([&](auto& out) { append_wait(out, semaphore, 5s); }), "sw\njob\n5\n");
  EXPECT_EQ(text([&](auto& out) { append_auth(out, "a secret"); }), "auth\n_\na secret\n");
  EXPECT_EQ(text([&](auto& out) { append_ping(out); }), "ping\n_\n_\n");
  EXPECT_EQ(text([&](auto& out) { append_stats(out); }), "stats\n_\n_\n");
}

TEST(Wire, grants_are_read) {
  std::optional<Grant> grant;
  EXPECT_FALSE(read_grant("ok " + kToken + " 33", grant));
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->token, kToken);
  EXPECT_EQ(grant->lease_ttl, 33s);
  EXPECT_EQ(grant->fence(), 255U);
  grant.reset();
  EXPECT_FALSE(read_enqueued("acquired " + kToken + " 33", grant));
  EXPECT_TRUE(grant);
  grant.reset();
  EXPECT_FALSE(read_enqueued("queued", grant));
  EXPECT_FALSE(grant);
}

TEST(Wire, refusals_have_their_codes) {
  std::optional<Grant> grant;
  EXPECT_EQ(read_grant("timeout", grant), errc::timeout);
  EXPECT_EQ(read_grant("error_max_locks", grant), errc::max_locks);
  EXPECT_EQ(read_grant("error_max_waiters", grant), errc::max_waiters);
  EXPECT_EQ(read_grant("error_limit_mismatch", grant), errc::limit_mismatch);
  EXPECT_EQ(read_enqueued("error_already_enqueued", grant), errc::already_enqueued);
  EXPECT_EQ(read_grant("error_not_enqueued", grant), errc::not_enqueued);
  EXPECT_EQ(read_grant("error_lease_expired", grant), errc::lease_expired);
  EXPECT_EQ(read_grant("error_draining", grant), errc::draining);
  EXPECT_EQ(read_grant("error_auth", grant), errc::auth);
  EXPECT_EQ(read_grant("error", grant), errc::protocol);
  EXPECT_EQ(read_ok("error_auth"), errc::auth);
  EXPECT_EQ(read_released("error"), errc::not_held);
  std::chrono::seconds remaining{0};
  EXPECT_EQ(read_remaining("error", remaining), errc::not_held);
}

TEST(Wire, what_is_no_answer_is_a_protocol_error) {
  std::optional<Grant> grant;
  std::chrono::seconds remaining{0};
  for (const std::string& line : std::vector<std::string>{
           std::string(), std::string("ok"), std::string("OK"), std::string("ok "), "ok " + kToken,
           "ok " + kToken + " ", "ok " + kToken + " -1", "ok " + kToken + " -0",
           std::string("ok -0"), "ok " + kToken + " 1x", "ok " + kToken + " 9223372037",
           "ok " + kToken.substr(1) + " 1", "ok 00000000000000FF0123456789ABCDEF 1",
           "ok  " + kToken + " 1", "acquired " + kToken + " 1", "error_", "timeouts",
           std::string("HTTP/1.1 400 Bad Request"), std::string("\0ok", 3)}) {
    EXPECT_EQ(read_grant(line, grant), errc::protocol) << line;
    EXPECT_FALSE(grant);
    EXPECT_EQ(read_ok(line), line == "ok" ? std::error_code() : errc::protocol) << line;
    EXPECT_EQ(read_remaining(line, remaining), errc::protocol) << line;
  }
  EXPECT_EQ(read_enqueued("ok " + kToken + " 1", grant), errc::protocol);
  std::string_view json;
  EXPECT_EQ(read_stats("ok", json), errc::protocol);
  EXPECT_FALSE(read_stats("ok {}", json));
  EXPECT_EQ(json, "{}");
}

TEST(Wire, checks_throw_errors_that_say_what_is_allowed) {
  EXPECT_NO_THROW(check_key(std::string(256, 'k')));
  EXPECT_NO_THROW(check_token(kToken));
  EXPECT_NO_THROW(check_limit(1'048'576));
  EXPECT_NO_THROW(check_timeout(9223372036s));
  EXPECT_NO_THROW(check_lease(9223372036s));
  const auto message = [](auto check) -> std::string {
    try {
      check();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), errc::invalid_argument);
      return error.what();
    }
    return "nothing thrown";
  };
  EXPECT_EQ(message([] { check_key(""); }), "the key is empty; expected 1 to 256 bytes");
  EXPECT_EQ(message([] { check_key(std::string(257, 'k')); }),
            "a key of 257 bytes is too long; expected 1 to 256");
  EXPECT_EQ(message([] { check_key("a\nb"); }),
            "key \"a\\x0ab\" has a space, tab or line end in it, which is not allowed");
  EXPECT_EQ(message([] { check_token("ABC"); }), "a token has 32 lowercase hex characters");
  EXPECT_EQ(message([] { check_limit(0); }), "limit 0 is not allowed; expected 1 to 1048576");
  EXPECT_EQ(message([] { check_limit(1'048'577); }),
            "limit 1048577 is not allowed; expected 1 to 1048576");
  EXPECT_EQ(message([] { check_timeout(-1s); }),
            "timeout of -1 s is not allowed; expected 0 to 9223372036 s");
  EXPECT_EQ(message([] { check_timeout(std::chrono::seconds::max()); }),
            "timeout of 9223372036854775807 s is not allowed; expected 0 to 9223372036 s");
  EXPECT_EQ(message([] { check_lease(9223372037s); }),
            "lease_ttl of 9223372037 s is not allowed; expected 0, for the server's default, to "
            "9223372036");
}

}  // namespace
}  // namespace dflockd::detail
