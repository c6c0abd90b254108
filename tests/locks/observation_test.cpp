// What can be seen of a table: keys in slices, counts, the next deadline.
#include <map>

#include "test_table.hpp"

namespace dflockd::locks {

namespace {

// Visits to the end in slices of `slots`, with a change after each, and counts the visits.
template <class Change>
std::map<std::string, int> visits(TestTable& t, std::size_t slots, Change change) {
  std::map<std::string, int> seen;
  std::optional<std::size_t> cursor = 0;
  while (cursor) {
    cursor = t.table.visit_keys(*cursor, slots,
                                [&](const KeyInfo& info) { ++seen[std::string(info.key.name)]; });
    if (cursor) change();
  }
  return seen;
}

TEST(VisitKeysTest, empty_table_ends_at_once) {
  TestTable t;
  EXPECT_EQ(t.table.visit_keys(0, 100, [](const KeyInfo&) { FAIL(); }), std::nullopt);
}

TEST(VisitKeysTest, held_key_shows_its_oldest_holder) {
  TestTable t;
  const OwnerId first = t.owner();
  const OwnerId second = t.owner();
  const Token token = t.hold(first, kPool, {.lease = 10s, .limit = 2});
  t.now = 2s;
  t.hold(second, kPool, {.lease = 50s, .limit = 2});
  t.acquire(t.owner(), kPool, 60s, {.limit = 2});
  t.advance_to(3s);
  KeyInfo info = *t.info(kPool);
  EXPECT_EQ(info.limit, 2U);
  EXPECT_EQ(info.holders, 2U);
  EXPECT_EQ(info.waiters, 1U);
  EXPECT_EQ(info.owner, first);
  EXPECT_EQ(info.held, 3s);
  EXPECT_EQ(info.lease_left, 7s);
  EXPECT_EQ(info.idle, 0s);
  EXPECT_TRUE(t.renew(kPool, token, 20s));
  EXPECT_EQ(t.info(kPool)->lease_left, 20s);
  EXPECT_EQ(t.info(kPool)->held, 3s) << "held counts from the grant";
  EXPECT_TRUE(t.release(kPool, token));
  info = *t.info(kPool);
  EXPECT_EQ(info.owner, second);
  EXPECT_EQ(info.held, 1s);
  EXPECT_EQ(info.holders, 2U);
}

TEST(VisitKeysTest, idle_key_shows_how_long) {
  TestTable t;
  const Token token = t.hold(kJob);
  t.now = 3s;
  EXPECT_TRUE(t.release(kJob, token));
  t.advance_to(10s);
  EXPECT_EQ(t.info(kJob)->holders, 0U);
  EXPECT_EQ(t.info(kJob)->waiters, 0U);
  EXPECT_EQ(t.info(kJob)->idle, 7s);
}

TEST(VisitKeysTest, slices_of_any_size_show_every_key_once) {
  TestTable t;
  for (int i = 0; i < 300; ++i) t.hold({Kind::kLock, std::to_string(i)});
  for (const std::size_t slots : {1U, 7U, 64U, 299U, 300U, 301U, 100'000U}) {
    const auto seen = visits(t, slots, [] {});
    EXPECT_EQ(seen.size(), 300U);
    for (const auto& [name, count] : seen) EXPECT_EQ(count, 1) << name;
  }
}

TEST(VisitKeysTest, key_that_lives_through_all_slices_is_visited_once) {
  TestTable t({.max_locks = 0});
  for (int i = 0; i < 100; ++i) t.hold({Kind::kLock, "lasting " + std::to_string(i)});
  int changes = 0;
  const auto seen = visits(t, 5, [&] {
    // Keys that come and go, and may take each other's slots.
    const std::string name = "passing " + std::to_string(changes++);
    const Token token = t.hold({Kind::kLock, name});
    if (changes % 2 == 0) return;
    EXPECT_TRUE(t.release({Kind::kLock, name}, token));
    EXPECT_EQ(t.collect_idle(0s, 1), 1U);
  });
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(seen.at("lasting " + std::to_string(i)), 1);
  }
}

TEST(CountsTest, follow_every_change) {
  TestTable t;
  const auto expect = [&](std::size_t keys, std::size_t locks, std::size_t slots,
                          std::size_t lock_waiters, std::size_t semaphore_waiters) {
    const TableCounts& counts = t.table.counts();
    EXPECT_EQ(counts.keys, keys);
    EXPECT_EQ(counts.locks_held, locks);
    EXPECT_EQ(counts.semaphore_holders, slots);
    EXPECT_EQ(counts.lock_waiters, lock_waiters);
    EXPECT_EQ(counts.semaphore_waiters, semaphore_waiters);
    EXPECT_EQ(t.table.held(), locks + slots);
  };
  expect(0, 0, 0, 0, 0);
  const Token job = t.hold(kJob);
  const OwnerId owner = t.owner();
  t.hold(owner, kPool, {.limit = 2});
  t.hold(owner, kPool, {.limit = 2});
  expect(2, 1, 2, 0, 0);
  const OwnerId enqueued = t.owner();
  t.acquire(t.owner(), kJob, 5s);
  t.enqueue(enqueued, kJob);
  t.enqueue(enqueued, kPool, {.limit = 2});
  expect(2, 1, 2, 2, 1);
  EXPECT_TRUE(t.release(kJob, job));
  expect(2, 1, 2, 1, 1);
  t.close(owner);
  expect(2, 1, 1, 1, 0);
  t.advance_to(10s);
  expect(2, 1, 0, 0, 0);
  t.advance_to(20s);
  expect(2, 0, 0, 0, 0);
  t.close(enqueued);
  EXPECT_EQ(t.collect_idle(0s, 9), 2U);
  expect(0, 0, 0, 0, 0);
}

TEST(NextDeadlineTest, is_the_earliest_of_leases_and_waits) {
  TestTable t;
  EXPECT_EQ(t.table.next_deadline(), kNever);
  const Token token = t.hold(kJob, {.lease = 30s});
  EXPECT_EQ(t.table.next_deadline(), 30s);
  const OwnerId waiter = t.owner();
  t.acquire(waiter, kJob, 20s);
  EXPECT_EQ(t.table.next_deadline(), 20s);
  t.hold(kOther, {.lease = 10s});
  EXPECT_EQ(t.table.next_deadline(), 10s);
  t.advance_to(10s);
  EXPECT_EQ(t.table.next_deadline(), 20s);
  t.apply(CancelWait{waiter});
  EXPECT_EQ(t.table.next_deadline(), 30s);
  EXPECT_TRUE(t.release(kJob, token));
  EXPECT_EQ(t.table.next_deadline(), kNever);
}

}  // namespace

}  // namespace dflockd::locks
