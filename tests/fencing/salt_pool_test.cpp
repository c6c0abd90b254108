#include "fencing/salt_pool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <tuple>
#include <unordered_set>

#include <gtest/gtest.h>

namespace dflockd::fencing {
namespace {

/// A source that counts up and misbehaves on demand. Sources are plain functions: its state is
/// static.
struct Source {
  static inline std::size_t longest = 0;  ///< the most bytes it gives at once
  static inline int interruptions = 0;    ///< how often in a row a call is interrupted
  static inline int error = 0;            ///< what it fails with, if not 0
  static inline unsigned char last = 0;   ///< the byte given last

  static void reset() {
    longest = 1'000'000;
    interruptions = 0;
    error = 0;
    last = 0;
  }

  static ssize_t draw(void* bytes, std::size_t size, unsigned int /*flags*/) {
    if (error != 0 || interruptions-- > 0) {
      errno = error != 0 ? error : EINTR;
      return -1;
    }
    const std::size_t given = std::min(size, longest);
    for (unsigned char& byte : std::span(static_cast<unsigned char*>(bytes), given)) {
      byte = ++last;
    }
    return static_cast<ssize_t>(given);
  }
};

class SaltPoolTest : public testing::Test {
 protected:
  void SetUp() override { Source::reset(); }
};

/// Whether the object's memory holds the value anywhere.
bool holds(const SaltPool& pool, std::uint64_t value) {
  const std::span bytes(reinterpret_cast<const unsigned char*>(&pool), sizeof pool);
  const std::span wanted(reinterpret_cast<const unsigned char*>(&value), sizeof value);
  return !std::ranges::search(bytes, wanted).empty();
}

TEST_F(SaltPoolTest, a_failing_source_throws_at_construction) {
  Source::error = ENOSYS;
  try {
    const SaltPool pool(Source::draw);
    FAIL() << "made without randomness";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::function_not_supported);
  }
}

TEST_F(SaltPoolTest, a_source_that_fails_later_gives_no_salt_until_it_works_again) {
  SaltPool pool(Source::draw);
  for (std::size_t i = 0; i < SaltPool::kSalts; ++i) std::ignore = pool.next();
  Source::error = EIO;
  EXPECT_THROW(std::ignore = pool.next(), std::system_error);
  EXPECT_THROW(std::ignore = pool.next(), std::system_error);
  Source::error = 0;
  EXPECT_NE(pool.next(), 0U);
}

TEST_F(SaltPoolTest, short_draws_and_interruptions_leave_no_salt_unfilled) {
  Source::longest = 3;
  Source::interruptions = 2;
  SaltPool pool(Source::draw);
  for (std::size_t i = 0; i < SaltPool::kSalts; ++i) {
    std::uint64_t salt = pool.next();
    // The source counts modulo 256, so that every run of eight bytes has at most one zero.
    EXPECT_LE(std::ranges::count(std::span(reinterpret_cast<unsigned char*>(&salt), 8), 0), 1);
  }
}

TEST_F(SaltPoolTest, a_salt_is_wiped_when_taken) {
  SaltPool pool;
  for (std::size_t i = 0; i < 2 * SaltPool::kSalts; ++i) {
    EXPECT_FALSE(holds(pool, pool.next())) << "salt " << i;
  }
}

TEST_F(SaltPoolTest, salts_do_not_repeat) {
  SaltPool pool;
  SaltPool other;
  std::unordered_set<std::uint64_t> seen;
  for (std::size_t i = 0; i < 20 * SaltPool::kSalts; ++i) {
    EXPECT_TRUE(seen.insert(pool.next()).second);
    EXPECT_TRUE(seen.insert(other.next()).second);
  }
}

}  // namespace
}  // namespace dflockd::fencing
