#include "protocol/commands.hpp"

#include <string>

#include <gtest/gtest.h>

namespace dflockd::protocol {
namespace {

TEST(reply, statuses_are_exact_to_the_byte) {
  const std::pair<Status, std::string> expected[] = {
      {Status::kOk, "ok\n"},
      {Status::kError, "error\n"},
      {Status::kTimeout, "timeout\n"},
      {Status::kQueued, "queued\n"},
      {Status::kMaxLocks, "error_max_locks\n"},
      {Status::kMaxWaiters, "error_max_waiters\n"},
      {Status::kLimitMismatch, "error_limit_mismatch\n"},
      {Status::kAlreadyEnqueued, "error_already_enqueued\n"},
      {Status::kNotEnqueued, "error_not_enqueued\n"},
      {Status::kLeaseExpired, "error_lease_expired\n"},
      {Status::kDraining, "error_draining\n"},
      {Status::kAuth, "error_auth\n"},
  };
  for (const auto& [status, line] : expected) {
    std::string out;
    append_status(out, status);
    EXPECT_EQ(out, line);
  }
}

TEST(reply, token_is_32_lowercase_hex_characters_fence_first) {
  std::string out;
  append_grant(out, {0x18a4f0c2b7d9e1f3, 0x3a0c5d7e9b1f2a4c}, std::chrono::seconds(33));
  EXPECT_EQ(out, "ok 18a4f0c2b7d9e1f33a0c5d7e9b1f2a4c 33\n");
}

TEST(reply, small_halves_of_a_token_are_padded_with_zeros) {
  std::string out;
  append_acquired(out, {1, 0}, std::chrono::seconds(1));
  EXPECT_EQ(out, "acquired 00000000000000010000000000000000 1\n");
}

TEST(reply, longest_replies_fit) {
  std::string out;
  append_acquired(out, {UINT64_MAX, UINT64_MAX}, base::kMaxSeconds);
  EXPECT_EQ(out, "acquired ffffffffffffffffffffffffffffffff 9223372036\n");
  out.clear();
  append_remaining(out, base::kMaxSeconds);
  EXPECT_EQ(out, "ok 9223372036\n");
}

TEST(reply, tokens_of_grants_are_found_among_other_replies) {
  std::string replies;
  append_status(replies, Status::kOk);
  append_grant(replies, {1, 2}, std::chrono::seconds(33));
  append_remaining(replies, std::chrono::seconds(60));
  append_status(replies, Status::kMaxLocks);
  append_acquired(replies, {UINT64_MAX, 4}, base::kMaxSeconds);
  append_status(replies, Status::kQueued);
  const std::vector<base::Token> tokens = granted_tokens(replies);
  ASSERT_EQ(tokens.size(), 2U);
  EXPECT_EQ(tokens[0].fence, 1U);
  EXPECT_EQ(tokens[0].salt, 2U);
  EXPECT_EQ(tokens[1].fence, UINT64_MAX);
  EXPECT_TRUE(granted_tokens("").empty());
}

TEST(reply, replies_are_appended) {
  std::string out = "ok\n";
  append_remaining(out, std::chrono::seconds(60));
  append_status(out, Status::kTimeout);
  EXPECT_EQ(out, "ok\nok 60\ntimeout\n");
}

}  // namespace
}  // namespace dflockd::protocol
