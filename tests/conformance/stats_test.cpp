// `stats`: one JSON object on one line, of the shape that PROTOCOL promises.

#include "support/stats.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::test {

namespace {

using Names = std::vector<std::string>;

Names names(const Json& object) {
  Names found;
  for (const auto& [name, value] : object.items()) found.push_back(name);
  return found;
}

class Stats : public testing::Test {
 protected:
  Server server_;
  Client client_{server_};
  Client other_{server_};
};

// "Arrays are never null."
TEST_F(Stats, of_an_empty_table_has_empty_arrays) {
  other_.ping();
  EXPECT_EQ(client_.ask("stats", "_", "_"),
            R"(ok {"connections":2,"locks":[],"semaphores":[],"idle_locks":[],)"
            R"("idle_semaphores":[]})");
}

TEST_F(Stats, names_the_members_that_the_protocol_lists) {
  client_.hold(lock("held"));
  client_.hold(semaphore("held", 2));
  EXPECT_EQ(client_.release(lock("idle"), client_.hold(lock("idle")).token), "ok");
  const Key idle = semaphore("idle", 2);
  EXPECT_EQ(client_.release(idle, client_.hold(idle).token), "ok");
  const Json all = stats(client_);
  EXPECT_EQ(names(all),
            (Names{"connections", "locks", "semaphores", "idle_locks", "idle_semaphores"}));
  EXPECT_EQ(names(all.at("locks").at(0)),
            (Names{"key", "owner_conn_id", "owner", "name", "shared", "holders", "held_s",
                   "lease_expires_in_s", "waiters", "oldest_wait_s"}));
  EXPECT_EQ(names(all.at("semaphores").at(0)),
            (Names{"key", "limit", "holders", "owner", "name", "held_s", "lease_expires_in_s",
                   "waiters", "oldest_wait_s"}));
  EXPECT_EQ(names(all.at("idle_locks").at(0)), (Names{"key", "idle_s"}));
  EXPECT_EQ(names(all.at("idle_semaphores").at(0)), (Names{"key", "idle_s"}));
}

TEST_F(Stats, counts_connections_as_they_come_and_go) {
  std::vector<Client> more = connect_many(server_, 10);
  EXPECT_TRUE(eventually([&] { return stats(client_).at("connections") == 12; }));
  more.clear();
  EXPECT_TRUE(eventually([&] { return stats(client_).at("connections") == 2; }));
}

// "owner answers the question that every operator of a lock asks, who holds it: the peer's
// address:port".
TEST_F(Stats, names_the_holder_of_a_lock) {
  client_.hold(lock("mine"));
  client_.hold(lock("mine-too"));
  other_.hold(lock("theirs"));
  const Json mine = held(client_, lock("mine"));
  const Json mine_too = held(client_, lock("mine-too"));
  const Json theirs = held(client_, lock("theirs"));
  EXPECT_EQ(mine.at("owner"), client_.local_endpoint());
  EXPECT_EQ(mine_too.at("owner"), client_.local_endpoint());
  EXPECT_EQ(theirs.at("owner"), other_.local_endpoint());
  EXPECT_TRUE(mine.at("owner_conn_id").is_number_integer());
  EXPECT_EQ(mine.at("owner_conn_id"), mine_too.at("owner_conn_id"));
  EXPECT_NE(mine.at("owner_conn_id"), theirs.at("owner_conn_id"));
}

TEST_F(Stats, names_the_next_holder_after_a_release) {
  const Grant grant = client_.hold(lock("job"));
  other_.begin_acquire(lock("job"));
  await_waiters(client_, lock("job"), 1);
  EXPECT_EQ(client_.release(lock("job"), grant.token), "ok");
  EXPECT_EQ(held(client_, lock("job")).at("owner"), other_.local_endpoint());
}

// "held_s counts from the grant."
TEST_F(Stats, times_grow_and_shrink_in_seconds) {
  const auto before = Clock::now();
  const Grant grant = client_.hold(lock("job"), 60);
  const auto after = Clock::now();
  const auto seconds = [](Duration duration) {
    return std::chrono::duration<double>(duration).count();
  };
  std::this_thread::sleep_until(after + 100ms);
  const double least = seconds(Clock::now() - after);
  const Json job = held(client_, lock("job"));
  const double most = seconds(Clock::now() - before);
  constexpr double kRounding = 0.0011;
  EXPECT_GE(job.at("held_s").get<double>(), least - kRounding);
  EXPECT_LE(job.at("held_s").get<double>(), most + kRounding);
  EXPECT_LE(job.at("lease_expires_in_s").get<double>(), 60 - least + kRounding);
  EXPECT_GE(job.at("lease_expires_in_s").get<double>(), 60 - most - kRounding);

  EXPECT_EQ(client_.renew(lock("job"), grant.token, 100), "ok 100");
  const Json renewed = held(client_, lock("job"));
  EXPECT_GT(renewed.at("lease_expires_in_s").get<double>(), 60.0) << "renewed";
  EXPECT_GE(renewed.at("held_s").get<double>(), least - kRounding) << "renewal is no new grant";
}

TEST_F(Stats, shows_limit_holders_and_waiters_of_semaphores) {
  const Key pool = semaphore("pool", 2);
  client_.hold(pool);
  Json seen = held(client_, pool);
  EXPECT_EQ(seen.at("limit"), 2);
  EXPECT_EQ(seen.at("holders"), 1);
  EXPECT_EQ(seen.at("waiters"), 0);
  EXPECT_EQ(seen.at("oldest_wait_s"), 0.0);
  EXPECT_EQ(seen.at("owner"), client_.local_endpoint()) << "of the oldest grant";
  client_.hold(pool);
  EXPECT_EQ(client_.enqueue(pool), "queued");
  other_.begin_acquire(pool);
  await_waiters(client_, pool, 2);
  seen = held(client_, pool);
  EXPECT_EQ(seen.at("holders"), 2);
  EXPECT_EQ(seen.at("waiters"), 2);
}

TEST_F(Stats, counts_blocked_and_enqueued_waiters_of_a_lock) {
  Client third(server_);
  client_.hold(lock("job"));
  EXPECT_EQ(client_.enqueue(lock("job")), "queued");
  other_.begin_acquire(lock("job"));
  third.begin_acquire(lock("job"));
  await_waiters(client_, lock("job"), 3);
}

TEST_F(Stats, lists_a_released_key_as_idle_and_no_longer_as_held) {
  for (const Key& key : {lock("job"), semaphore("job", 1)}) {
    const Grant grant = client_.hold(key);
    EXPECT_FALSE(is_idle(client_, key));
    EXPECT_EQ(client_.release(key, grant.token), "ok");
    EXPECT_TRUE(held(client_, key).is_null());
    EXPECT_TRUE(is_idle(client_, key));
    client_.hold(key);
    EXPECT_FALSE(is_idle(client_, key));
  }
}

TEST_F(Stats, idle_time_counts_from_the_release) {
  const Grant grant = client_.hold(lock("job"));
  const auto before = Clock::now();
  EXPECT_EQ(client_.release(lock("job"), grant.token), "ok");
  const Json job = element_of(stats(client_).at("idle_locks"), "job");
  EXPECT_GE(job.at("idle_s").get<double>(), 0.0);
  EXPECT_LE(job.at("idle_s").get<double>(),
            std::chrono::duration<double>(Clock::now() - before).count() + 0.001);
}

TEST_F(Stats, escapes_what_json_requires) {
  const std::string key = "quote\"backslash\\control\x01\x1f\x7fslash/";
  client_.hold(lock(key));
  EXPECT_EQ(held(client_, lock(key)).at("key"), key);
}

// "a key that is not valid UTF-8 is legal, and JSON output shows its bad bytes as U+FFFD".
TEST_F(Stats, shows_bytes_that_are_not_utf_8_as_replacement_characters) {
  client_.hold(lock("a\xff\x62"));
  client_.hold(semaphore("\xfe", 1));
  client_.hold(lock("gr\xc3\xbc\xc3\x9f"));
  EXPECT_EQ(client_.release(lock("idle\x80"), client_.hold(lock("idle\x80")).token), "ok");
  const Json all = stats(client_);
  EXPECT_FALSE(element_of(all.at("locks"), "a\xef\xbf\xbd\x62").is_null()) << all;
  EXPECT_FALSE(element_of(all.at("locks"), "gr\xc3\xbc\xc3\x9f").is_null()) << all;
  EXPECT_FALSE(element_of(all.at("semaphores"), "\xef\xbf\xbd").is_null()) << all;
  EXPECT_FALSE(element_of(all.at("idle_locks"), "idle\xef\xbf\xbd").is_null()) << all;
}

class LargeStats : public testing::Test {
 protected:
  static constexpr int kKeys = 50'000;

  LargeStats() { holder_.hold_many("job-", kKeys); }

  // Who is deaf is so for longer than a busy machine lets a test take.
  Server server_{{"--max-locks", std::to_string(kKeys + 1), "--write-timeout", "60"}};
  Client holder_{server_};
};

// "The line may be megabytes long with 100,000 keys: producing it must not stall other clients for
// longer than 50 ms."
TEST_F(LargeStats, do_not_stall_other_clients) {
  // What a ping waits for is measured in the server's processor time, to which the other programs
  // of a busy machine add nothing.
  Client asking(server_);
  Client pinging(server_);
  asking.request("stats", "_", "_");
  std::chrono::nanoseconds longest_stall{0};
  do {
    const auto before = server_.cpu_time();
    EXPECT_EQ(pinging.ping(), "ok");
    longest_stall = std::max(longest_stall, server_.cpu_time() - before);
  } while (!asking.has_input());
  EXPECT_LE(longest_stall, within(50ms));
  const std::string reply = asking.read_line();
  EXPECT_EQ(Json::parse(reply.substr(3)).at("locks").size(), static_cast<std::size_t>(kKeys));
}

// "Disconnect ... is noticed within 100 ms"
TEST_F(LargeStats, do_not_hide_a_disconnect) {
  for (const bool reset : {true, false}) {
    Client leaving(server_);
    Client next(server_);
    leaving.hold(lock("job"));
    next.begin_acquire(lock("job"));
    std::vector<Client> asking = connect_many(server_, 50);
    for (Client& client : asking) client.request("stats", "_", "_");
    leaving.request("stats", "_", "_");
    const auto left = Clock::now();
    if (reset) {
      leaving.reset();
    } else {
      leaving.half_close();
    }
    const std::string token = next.read_grant().token;
    EXPECT_LE(Clock::now() - left, within(300ms));
    EXPECT_EQ(next.release(lock("job"), token), "ok");
  }
}

TEST_F(LargeStats, are_shared_among_those_who_ask_at_the_same_time) {
  std::vector<Client> asking = connect_many(server_, 40);
  const auto before = server_.cpu_time();
  asking.front().request("stats", "_", "_");
  asking.front().read_line();
  const auto one = server_.cpu_time() - before;
  for (Client& client : asking) client.request("stats", "_", "_");
  for (Client& client : asking) EXPECT_TRUE(client.read_line().starts_with("ok {"));
  EXPECT_LT(server_.cpu_time() - before - one, 30 * one);
}

// Whoever asks again hears what it has done in between, however many others ask.
TEST_F(LargeStats, show_what_was_done_before_they_were_asked_for) {
  std::vector<Client> asking = connect_many(server_, 10);
  Client client(server_);
  const auto shows_mine = [&client] {  // without reading all of it as JSON, which takes seconds
    const std::string reply = client.ask("stats", "_", "_");
    return reply.find(R"("key":"mine","owner_conn_id")") != std::string::npos;
  };
  for (int round = 0; round < 5; ++round) {
    for (Client& other : asking) other.request("stats", "_", "_");
    const Grant grant = client.hold(lock("mine"));
    EXPECT_TRUE(shows_mine());
    EXPECT_EQ(client.release(lock("mine"), grant.token), "ok");
    EXPECT_FALSE(shows_mine());
    for (Client& other : asking) other.read_line();
  }
}

// Five megabytes each.
TEST_F(LargeStats, of_those_who_do_not_read_them_take_little_memory) {
  constexpr std::size_t kFewReports = 40U << 20U;
  const std::size_t before = server_.resident_memory();
  std::vector<Client> deaf;
  for (int i = 0; i < 20; ++i) {
    deaf.emplace_back(server_, 32'768).request("stats", "_", "_");
    EXPECT_EQ(holder_.ping(), "ok");
    EXPECT_TRUE(eventually([&] { return i >= 4 || deaf.back().has_input(); }));
  }
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(holder_.ping(), "ok");
  // The sanitizers keep what has been freed.
  if (!kSanitized) {
    EXPECT_LT(server_.resident_memory(), before + kFewReports);
  }
  for (std::size_t i = 0; i < deaf.size(); ++i) {
    EXPECT_TRUE(deaf[i].read_line().ends_with("]}")) << i;
  }
}

}  // namespace

}  // namespace dflockd::test
