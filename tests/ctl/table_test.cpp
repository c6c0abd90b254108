#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ctl/commands.hpp"

namespace dflockd::ctl {
namespace {

using testing::ElementsAre;

constexpr const char* kStats =
    R"({"connections":3,"locks":[)"
    R"({"key":"zoo","owner_conn_id":1,"owner":"10.0.0.1:4000","held_s":12.3,"lease_expires_in_s":20.9,"waiters":12},)"
    R"({"key":"ape","owner_conn_id":2,"owner":"http:[::1]","held_s":0.5,"lease_expires_in_s":-0.1,"waiters":0}],)"
    R"("semaphores":[{"key":"slots","limit":10,"holders":3,"waiters":0}],)"
    R"("idle_locks":[{"key":"old","idle_s":3}],"idle_semaphores":[]})";

TEST(Table, aligns_its_columns_and_sorts_by_key) {
  EXPECT_THAT(stats_table("host:1", kStats, 0),
              ElementsAre("host:1: 3 connections, 2 locks and 1 semaphore held, 1 idle key",
                          "KIND       KEY    HOLDER          HELD  LEASE  WAITERS",
                          "lock       ape    http:[::1]     500ms    0ms        0",
                          "lock       zoo    10.0.0.1:4000    12s    20s       12",
                          "semaphore  slots  3 of 10                            0"));
}

TEST(Table, is_its_head_alone_if_nothing_is_held) {
  EXPECT_THAT(stats_table("host:1",
                          R"({"connections":1,"locks":[],"semaphores":[],"idle_locks":[],)"
                          R"("idle_semaphores":[]})",
                          80),
              ElementsAre("host:1: 1 connection, 0 locks and 0 semaphores held, 0 idle keys"));
}

TEST(Table, cuts_long_keys_to_the_width) {
  const std::string json =
      R"({"connections":1,"locks":[{"key":")" + std::string(30, 'k') +
      R"(","owner":"10.0.0.1:4000","held_s":1,"lease_expires_in_s":1,"waiters":0}],)"
      R"("semaphores":[],"idle_locks":[],"idle_semaphores":[]})";
  EXPECT_THAT(stats_table("host:1", json, 60).back(),
              "lock  kkkkkkkkkkkkkkkk…  10.0.0.1:4000    1s     1s        0");
}

TEST(Table, of_something_else_is_an_error_that_names_the_server) {
  for (const char* json : {"", "{}", "[]", R"({"connections":1,"locks":3})"}) {
    try {
      static_cast<void>(stats_table("host:1", json, 0));
      ADD_FAILURE() << json;
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), testing::StartsWith("host:1: "));
    }
  }
}

std::string with_numbers(const std::string& held, const std::string& waiters) {
  return R"({"connections":1,"locks":[{"key":"job","owner":"a:1","held_s":)" + held +
         R"(,"lease_expires_in_s":1,"waiters":)" + waiters +
         R"(}],"semaphores":[],"idle_locks":[],"idle_semaphores":[]})";
}

// No server says them, but converting them would be undefined.
TEST(Table, shows_a_time_beyond_all_times_as_the_longest) {
  EXPECT_THAT(stats_table("host:1", with_numbers("1e300", "0"), 0).back(),
              "lock  job  a:1     106751d23h     1s        0");
  EXPECT_THAT(stats_table("host:1", with_numbers("-1e300", "0"), 0).back(),
              "lock  job  a:1      0ms     1s        0");
}

TEST(Table, of_counts_that_are_no_counts_is_an_error) {
  for (const char* const waiters : {"1e300", "1.5", "-1", "null", "\"1\""}) {
    EXPECT_THROW(static_cast<void>(stats_table("host:1", with_numbers("1", waiters), 0)),
                 std::runtime_error)
        << waiters;
  }
}

}  // namespace
}  // namespace dflockd::ctl
