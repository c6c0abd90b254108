// The header's promise for the moment when memory is short: what allocates changes nothing, and the
// rest does not allocate.
#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "locks/lock_table.hpp"

namespace {

/// How many more allocations succeed; nothing for all of them.
std::optional<std::size_t> allocations_left;

bool may_allocate() {
  if (!allocations_left) return true;
  if (*allocations_left == 0) return false;
  --*allocations_left;
  return true;
}

}  // namespace

void* operator new(std::size_t size) {
  void* const memory = may_allocate() ? std::malloc(size) : nullptr;
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace dflockd::locks {
namespace {

using namespace std::chrono_literals;

/// Runs `call` with room for `allocations` only. False if that is not enough.
template <class Call>
bool succeeds_with(std::size_t allocations, const Call& call) {
  allocations_left = allocations;
  try {
    call();
  } catch (const std::bad_alloc&) {
    allocations_left.reset();
    return false;
  }
  allocations_left.reset();
  return true;
}

/// Notes what it hears without allocating.
class Listener : public EffectSink {
 public:
  void take(const Effect& effect) noexcept override {
    if (effect.answer.outcome == Outcome::kGranted) ++granted;
    if (effect.answer.outcome == Outcome::kLeaseExpired) ++expired;
  }

  std::size_t granted = 0;
  std::size_t expired = 0;
};

/// What can be seen of a key, by its name.
struct Sight {
  std::string name;
  std::uint32_t limit = 0;
  std::uint32_t holders = 0;
  std::uint32_t waiters = 0;
  Instant idle{0};
  friend bool operator==(const Sight&, const Sight&) = default;
};

class ShortOfMemory : public testing::Test {
 protected:
  ShortOfMemory() { table_.apply(0s, ReserveFences{1, 1'000'000}); }

  std::vector<Sight> sight() const {
    std::vector<Sight> keys;
    table_.visit_keys(0, SIZE_MAX, [&keys](const KeyInfo& key) {
      keys.push_back({std::string(key.key.name), key.limit, key.holders, key.waiters, key.idle});
    });
    return keys;
  }

  /// Makes a call that may allocate again and again, each time with room for one allocation more,
  /// until it succeeds. Every failure must have changed nothing.
  template <class Call>
  void insist(const Call& call) {
    const std::vector<Sight> before = sight();
    const std::uint64_t fence = table_.next_fence();
    for (std::size_t allocations = 0; !succeeds_with(allocations, call); ++allocations) {
      ++failures_;
      ASSERT_LT(allocations, 100U);
      ASSERT_TRUE(table_.consistent());
      ASSERT_EQ(sight(), before);
      ASSERT_EQ(table_.next_fence(), fence);
    }
  }

  /// Makes a call that must not allocate.
  template <class Call>
  void expect_no_allocation(const Call& call) {
    EXPECT_TRUE(succeeds_with(0, call));
  }

  Listener listener_;
  LockTable table_{{.max_locks = 200}, listener_};
  std::size_t failures_ = 0;
};

TEST_F(ShortOfMemory, requests_change_nothing_and_everything_else_succeeds) {
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same sequence in every run
  const auto one_of = [&random](std::size_t count) { return random() % count; };
  std::vector<OwnerId> owners;
  std::vector<std::string> names;
  for (int i = 0; i < 250; ++i)
    names.push_back("a name that is too long for its place " + std::to_string(i));
  struct Grant {
    Key key;
    Token token;
  };
  std::vector<Grant> grants;
  Instant now = 1s;

  for (int step = 0; step < 5000; ++step) {
    now += 50ms;
    expect_no_allocation([&] { table_.apply(now, Advance{}); });
    if (owners.size() < 100) {
      insist([&] { owners.push_back(table_.apply(now, OpenOwner{}).owner); });
    }
    const OwnerId owner = owners[one_of(owners.size())];
    const std::string& name = names[one_of(step < 2500 ? names.size() : 5)];
    const bool semaphore = one_of(2) == 0;
    const Key key{semaphore ? Kind::kSemaphore : Kind::kLock, name};
    const Request request{.key = key, .limit = semaphore ? 3U : 1U, .lease = 20s, .salt = 7};
    Answer answer;
    switch (one_of(8)) {
      case 0:
      case 1:
        // Its owner is blocked then, and is not used any more for anything but to be closed.
        insist([&] { answer = table_.apply(now, Acquire{owner, request, 30s}); });
        if (answer.outcome == Outcome::kQueued) std::erase(owners, owner);
        break;
      case 2:
        insist([&] { answer = table_.apply(now, Acquire{owner, request, 0s}); });
        break;
      case 3:
      case 4:
        insist([&] { answer = table_.apply(now, Enqueue{owner, request}); });
        break;
      case 5:
        expect_no_allocation([&] { answer = table_.apply(now, Wait{owner, key, 0s}); });
        break;
      case 6:
        if (grants.empty()) break;
        expect_no_allocation([&] {
          table_.apply(now, Release{grants.back().key, grants.back().token});
        });
        grants.pop_back();
        break;
      default:
        std::erase(owners, owner);
        expect_no_allocation(
            [&] { table_.apply(now, CloseOwner{.owner = owner, .keeps_grants = step % 2 != 0}); });
    }
    if (answer.outcome == Outcome::kGranted) grants.push_back({key, answer.token});
    ASSERT_TRUE(table_.consistent()) << step;
    if (HasFatalFailure()) return;
  }
  expect_no_allocation([&] { table_.apply(now, StartDraining{}); });
  expect_no_allocation([&] { table_.apply(now + 1h, Advance{}); });
  EXPECT_TRUE(table_.consistent());
  EXPECT_EQ(table_.held(), 0U);
  EXPECT_GT(failures_, 300U);
  EXPECT_GT(listener_.granted, 50U);
  EXPECT_GT(listener_.expired, 100U);
}

}  // namespace
}  // namespace dflockd::locks
