// A client that knows how the table hashes, but not its secret, chooses what to keep so that it
// collides: the fences of semaphores by releasing every other grant, phase-1 states by the order in
// which keys and owners come. That must not make look-ups slower.
#include <cstdint>
#include <string>
#include <vector>

#include "locks/sip_hash.hpp"
#include "test_table.hpp"

namespace dflockd::locks {

namespace {

constexpr std::uint32_t kManySlots = 1'048'576;

/// As many as an index of 65,536 entries takes.
constexpr std::size_t kKept = 30'000;
constexpr std::uint64_t kIndexMask = 65'535;

/// By chance the longest search among so many is about 40. The attacks make it `kKept`.
constexpr std::size_t kAtMost = 200;

/// Of the attacker, who does not know that of the table.
constexpr HashKey kOtherSecret{.low = 1, .high = 2};

constexpr std::uint64_t kPublicConstant = 0x9E3779B97F4A7C15;

/// Holds slots of one semaphore, with fences for which `place_of` gives places close together.
template <class PlaceOf>
std::size_t longest_search_with_chosen_fences(PlaceOf place_of) {
  TestTable t;
  const OwnerId owner = t.owner();
  std::size_t kept = 0;
  for (std::uint64_t fence = 2; kept < kKept; ++fence) {
    if ((place_of(fence) & kIndexMask) >= kKept / 10) continue;
    t.apply(ReserveFences{fence, fence + 1});
    EXPECT_EQ(t.hold(owner, kPool, {.limit = kManySlots}).fence, fence);
    ++kept;
  }
  return t.table.longest_search();
}

TEST(CollisionTest, fences_that_collide_under_a_public_function_do_not_collide) {
  const auto longest = longest_search_with_chosen_fences(
      [](std::uint64_t fence) { return (fence * kPublicConstant) >> 32U; });
  EXPECT_LT(longest, kAtMost);
}

TEST(CollisionTest, fences_that_collide_under_another_secret_do_not_collide) {
  const auto longest = longest_search_with_chosen_fences([](std::uint64_t fence) {
    const auto kept = static_cast<std::uint32_t>(sip_hash(kOtherSecret, fence));
    return (kept * kPublicConstant) >> 32U;
  });
  EXPECT_LT(longest, kAtMost);
}

TEST(CollisionTest, places_that_collide_under_a_public_function_do_not_collide) {
  TestTable t({.max_locks = 0}, 10'000'000);
  const auto place_of = [](std::uint64_t owner, std::uint64_t key) {
    return (((owner << 32U | key) * kPublicConstant * kPublicConstant) >> 32U) & kIndexMask;
  };
  // Keys and owners have numbers in the order in which they come.
  std::vector<OwnerId> owners;
  for (int i = 0; i < 100; ++i) owners.push_back(t.owner());
  const OwnerId holder = t.owner();
  std::size_t kept = 0;
  for (std::uint32_t key = 0; kept < kKept; ++key) {
    const std::string name = std::to_string(key);
    t.hold(holder, {Kind::kLock, name}, {.lease = 1'000s});
    for (const OwnerId& owner : owners) {
      if (place_of(owner.index, key) >= kKept / 10) continue;
      EXPECT_EQ(t.enqueue(owner, {Kind::kLock, name}).outcome, Outcome::kQueued);
      ++kept;
    }
  }
  EXPECT_LT(t.table.longest_search(), kAtMost);
}

TEST(CollisionTest, nothing_that_can_be_seen_depends_on_the_secret) {
  TestTable one({.hash_key = {.low = 1, .high = 2}});
  TestTable other({.hash_key = {.low = 3, .high = 4}});
  for (TestTable* t : {&one, &other}) {
    for (int i = 0; i < 1'000; ++i) {
      const OwnerId owner = t->owner();
      const std::string name = std::to_string(i % 100);
      t->acquire(owner, {Kind::kSemaphore, name}, seconds(i % 3), {.limit = 3});
      t->enqueue(owner, {Kind::kLock, name}, {.lease = seconds(1 + i % 5)});
      t->advance_to(t->now + 100ms);
      if (i % 7 == 0) t->close(owner);
    }
  }
  EXPECT_EQ(one.heard(), other.heard());
  std::vector<std::string> keys;
  one.table.visit_keys(0, SIZE_MAX, [&](const KeyInfo& key) {
    keys.push_back(std::string(key.key.name) + ' ' + std::to_string(key.holders) + ' ' +
                   std::to_string(key.waiters));
  });
  std::size_t at = 0;
  other.table.visit_keys(0, SIZE_MAX, [&](const KeyInfo& key) {
    ASSERT_LT(at, keys.size());
    EXPECT_EQ(keys[at++], std::string(key.key.name) + ' ' + std::to_string(key.holders) + ' ' +
                              std::to_string(key.waiters));
  });
  EXPECT_EQ(at, keys.size());
}

}  // namespace

}  // namespace dflockd::locks
