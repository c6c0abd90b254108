// `rl` and `re`: one lock, any number of readers or one writer, in one strict order.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/stats.hpp"

namespace dflockd::test {

namespace {

const Key kShared = shared_lock("job");
const Key kExclusive = lock("job");

class SharedLocks : public testing::Test {
 protected:
  Server server_;
  Client client_{server_};
  Client other_{server_};
  Client third_{server_};
};

TEST_F(SharedLocks, bad_arguments_are_an_error_and_the_connection_goes_on) {
  for (const char* argument : {"", "x", "-1", "1 0", "1 2 3", "9223372037"}) {
    EXPECT_EQ(client_.ask("rl", "job", argument), "error") << argument;
  }
  for (const char* argument : {"0", "x", "1 2"}) {
    EXPECT_EQ(client_.ask("re", "job", argument), "error") << argument;
  }
  EXPECT_EQ(client_.ask("rl", "a b", "0"), "error");
  for (const char* command : {"rr", "rn", "rw", "rsl"}) {
    EXPECT_EQ(client_.ask(command, "job", "0"), "error") << command;
  }
  EXPECT_EQ(client_.ping(), "ok");
}

TEST_F(SharedLocks, readers_hold_together_each_with_a_token_of_its_own) {
  const Grant first = client_.hold(kShared, 44);
  const Grant second = other_.hold(kShared, 55);
  EXPECT_EQ(second.lease, 55);
  EXPECT_GT(second.fence(), first.fence());
  EXPECT_EQ(third_.renew(kShared, first.token, 66), "ok 66");
  EXPECT_EQ(third_.release(kShared, first.token), "ok");
  EXPECT_EQ(third_.release(kShared, first.token), "error");
  EXPECT_EQ(third_.acquire(kExclusive, 0), "timeout");
  EXPECT_EQ(third_.release(kShared, second.token), "ok");
  third_.hold(kExclusive);
}

TEST_F(SharedLocks, reader_and_writer_keep_each_other_out) {
  const Grant reader = client_.hold(kShared);
  EXPECT_EQ(other_.acquire(kExclusive, 0), "timeout");
  EXPECT_EQ(client_.release(kShared, reader.token), "ok");
  client_.hold(kExclusive);
  EXPECT_EQ(other_.acquire(kShared, 0), "timeout");
}

TEST_F(SharedLocks, waiting_writer_is_overtaken_by_no_reader) {
  const Grant reader = client_.hold(kShared);
  other_.begin_acquire(kExclusive);
  await_waiters(client_, kExclusive, 1);
  EXPECT_EQ(third_.acquire(kShared, 0), "timeout");
  third_.begin_acquire(kShared);
  await_waiters(client_, kExclusive, 2);
  EXPECT_EQ(client_.release(kShared, reader.token), "ok");
  const Grant writer = other_.read_grant();
  EXPECT_FALSE(third_.has_input());
  EXPECT_EQ(other_.release(kExclusive, writer.token), "ok");
  EXPECT_GT(third_.read_grant().fence(), writer.fence());
}

TEST_F(SharedLocks, readers_up_to_the_next_writer_are_granted_together) {
  const Grant writer = client_.hold(kExclusive);
  std::vector<Client> readers = connect_many(server_, 20);
  std::int64_t waiting = 0;
  for (Client& reader : readers) {
    reader.begin_acquire(kShared);
    await_waiters(client_, kExclusive, ++waiting);
  }
  other_.begin_acquire(kExclusive);
  await_waiters(client_, kExclusive, ++waiting);
  third_.begin_acquire(kShared);
  await_waiters(client_, kExclusive, ++waiting);
  EXPECT_EQ(client_.release(kExclusive, writer.token), "ok");
  std::uint64_t fence = writer.fence();
  for (Client& reader : readers) {
    const Grant grant = reader.read_grant();
    EXPECT_GT(grant.fence(), fence) << "in the order in which they came";
    fence = grant.fence();
  }
  EXPECT_EQ(waiters(client_, kExclusive), 2);
  for (Client& reader : readers) reader.close();
  EXPECT_GT(other_.read_grant().fence(), fence);
}

TEST_F(SharedLocks, writer_that_leaves_the_queue_lets_the_readers_behind_it_in) {
  client_.hold(kShared);
  EXPECT_EQ(other_.enqueue(kExclusive), "queued");
  third_.begin_acquire(kShared);
  await_waiters(client_, kExclusive, 2);
  other_.close();
  third_.read_grant();
}

TEST_F(SharedLocks, writer_that_times_out_lets_the_readers_behind_it_in) {
  client_.hold(kShared);
  other_.begin_acquire(kExclusive, 1);
  await_waiters(client_, kExclusive, 1);
  third_.begin_acquire(kShared);
  EXPECT_EQ(other_.read_line(), "timeout");
  third_.read_grant();
}

TEST_F(SharedLocks, two_phases_are_as_those_of_a_lock) {
  const Grant writer = client_.hold(kExclusive);
  EXPECT_EQ(other_.enqueue(kShared, 44), "queued");
  EXPECT_EQ(other_.enqueue(kShared), "error_already_enqueued");
  EXPECT_EQ(other_.enqueue(kExclusive), "error_already_enqueued") << "one state for each key";
  EXPECT_EQ(client_.release(kExclusive, writer.token), "ok");
  EXPECT_EQ(granted(other_.wait(kShared, 60)).lease, 44);
  EXPECT_EQ(acquired(third_.enqueue(kShared, 55)).lease, 55);
  EXPECT_EQ(third_.wait(kShared, 0).substr(0, 3), "ok ");
}

TEST_F(SharedLocks, stats_tells_how_many_share_it) {
  client_.hold(kShared);
  EXPECT_EQ(held(third_, kExclusive).at("shared"), true);
  other_.hold(kShared);
  EXPECT_EQ(held(third_, kExclusive).at("holders"), 2);
  client_.hold(lock("alone"));
  EXPECT_EQ(held(third_, lock("alone")).at("shared"), false);
}

TEST_F(SharedLocks, drain_refuses_new_ones_and_waits_for_those_that_hold) {
  const Grant reader = client_.hold(kShared);
  third_.begin_acquire(kExclusive);
  await_waiters(client_, kExclusive, 1);
  drain(server_);
  EXPECT_EQ(third_.read_line(), "error_draining");
  EXPECT_EQ(client_.acquire(kShared, 0), "error_draining");
  EXPECT_EQ(client_.enqueue(kShared), "error_draining");
  EXPECT_EQ(client_.release(kShared, reader.token), "ok");
  EXPECT_EQ(server_.wait_for_exit(), 0);
}

}  // namespace

}  // namespace dflockd::test
