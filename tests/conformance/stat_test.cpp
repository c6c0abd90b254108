// `stat`: one key in full.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/stats.hpp"

namespace dflockd::test {

namespace {

class Stat : public testing::Test {
 protected:
  Json stat(const Key& key) {
    const std::string reply = observer_.ask("stat", key.name, key.limit ? "semaphore" : "lock");
    if (!reply.starts_with("ok ")) throw std::runtime_error("stat: " + reply);
    return Json::parse(reply.substr(3));
  }

  Server server_;
  Client observer_{server_};
  Client client_{server_};
  Client other_{server_};
};

std::vector<std::string> names(const Json& object) {
  std::vector<std::string> result;
  for (const auto& member : object.items()) result.push_back(member.key());
  return result;
}

TEST_F(Stat, unknown_key_or_kind_is_an_error) {
  EXPECT_EQ(observer_.ask("stat", "job", "lock"), "error");
  client_.hold(lock("job"));
  EXPECT_EQ(observer_.ask("stat", "job", "semaphore"), "error") << "another namespace";
  for (const char* kind : {"", "_", "locks", "lock lock"}) {
    EXPECT_EQ(observer_.ask("stat", "job", kind), "error") << kind;
  }
  EXPECT_EQ(observer_.ask("stat", "a b", "lock"), "error");
  EXPECT_EQ(observer_.ping(), "ok");
}

TEST_F(Stat, shows_each_holder_and_waiter_with_the_members_that_the_protocol_lists) {
  EXPECT_EQ(client_.ask("name", "deploy", "_"), "ok");
  const Grant grant = client_.hold(lock("job"), 44);
  other_.begin_acquire(lock("job"), 60);
  await_waiters(observer_, lock("job"), 1);
  EXPECT_EQ(client_.ask("re", "job", ""), "queued");
  const Json all = stat(lock("job"));
  EXPECT_EQ(names(all), (std::vector<std::string>{"key", "kind", "limit", "holders", "holder_count",
                                                  "waiters", "waiter_count"}));
  EXPECT_EQ(all.at("key"), "job");
  EXPECT_EQ(all.at("kind"), "lock");
  EXPECT_EQ(all.at("limit"), 1);
  EXPECT_EQ(all.at("holder_count"), 1);
  EXPECT_EQ(all.at("waiter_count"), 2);

  const Json& holder = all.at("holders").at(0);
  EXPECT_EQ(names(holder), (std::vector<std::string>{"owner_conn_id", "owner", "name", "shared",
                                                     "fence", "held_s", "lease_expires_in_s"}));
  EXPECT_EQ(holder.at("owner"), client_.local_endpoint());
  EXPECT_EQ(holder.at("name"), "deploy");
  EXPECT_EQ(holder.at("shared"), false);
  EXPECT_EQ(holder.at("fence"), std::to_string(grant.fence()));
  EXPECT_NE(holder.at("owner_conn_id"), 0);
  EXPECT_LE(holder.at("lease_expires_in_s"), 44.0);
  EXPECT_GT(holder.at("lease_expires_in_s"), 30.0);

  const Json& blocked = all.at("waiters").at(0);
  EXPECT_EQ(names(blocked), (std::vector<std::string>{"owner_conn_id", "owner", "name", "shared",
                                                      "waited_s", "times_out_in_s"}));
  EXPECT_EQ(blocked.at("owner"), other_.local_endpoint());
  EXPECT_EQ(blocked.at("name"), "");
  EXPECT_GT(blocked.at("times_out_in_s"), 40.0);
  const Json& enqueued = all.at("waiters").at(1);
  EXPECT_EQ(enqueued.at("shared"), true);
  EXPECT_TRUE(enqueued.at("times_out_in_s").is_null()) << "a place in phase 1";
}

TEST_F(Stat, shows_an_idle_key_without_anybody) {
  const Key pool = semaphore("pool", 3);
  EXPECT_EQ(client_.release(pool, client_.hold(pool).token), "ok");
  EXPECT_EQ(stat(pool), Json::parse(R"({"key":"pool","kind":"semaphore","limit":3,"holders":[],
                                        "holder_count":0,"waiters":[],"waiter_count":0})"));
}

TEST_F(Stat, shows_a_thousand_of_many_the_oldest_first) {
  const Key pool = semaphore("pool", 3000);
  std::string requests;
  for (int i = 0; i < 1500; ++i) requests += request_bytes("sl", "pool", "0 3000 60");
  client_.send(requests);
  std::vector<Grant> grants;
  for (int i = 0; i < 1500; ++i) grants.push_back(granted(client_.read_line()));
  const Json all = stat(pool);
  EXPECT_EQ(all.at("holder_count"), 1500);
  ASSERT_EQ(all.at("holders").size(), 1000U);
  EXPECT_EQ(all.at("holders").at(0).at("fence"), std::to_string(grants[0].fence()));
  EXPECT_EQ(all.at("holders").at(999).at("fence"), std::to_string(grants[999].fence()));
}

TEST_F(Stat, bad_bytes_of_a_key_show_as_the_replacement_character) {
  const Key key = lock("a\xff\"b");
  client_.hold(key);
  EXPECT_EQ(stat(key).at("key"), "a\xef\xbf\xbd\"b");
}

TEST_F(Stat, of_many_claims_many_at_once_hold_nobody_up) {
  const Key pool = semaphore("pool", 3000);
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += request_bytes("sl", "pool", "0 3000 60");
  client_.send(requests);
  for (int i = 0; i < 1000; ++i) granted(client_.read_line());
  std::string questions;
  for (int i = 0; i < 200; ++i) questions += request_bytes("stat", "pool", "semaphore");
  Client curious(server_);
  curious.send(questions);
  const auto start = Clock::now();
  EXPECT_EQ(other_.ping(), "ok");
  EXPECT_LT(Clock::now() - start, 2s);
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(curious.read_line().starts_with("ok {"));
}

}  // namespace

}  // namespace dflockd::test
