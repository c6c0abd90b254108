// That secrets leave no traces.
#include "base/secret.hpp"

#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include "support/freed_memory.hpp"

namespace dflockd::base {
namespace {

constexpr std::string_view kShort = "hunter2";
const std::string kLong = std::string(100, 'x') + "hunter2";

template <typename T>
concept Printable = requires(std::ostream& out, const T& value) {
  out << value;
};

static_assert(Printable<std::string_view>);
static_assert(!Printable<Secret>, "a secret must not get into a log");
static_assert(!std::is_convertible_v<Secret, std::string_view>);
static_assert(std::is_nothrow_move_constructible_v<Secret>);

TEST(SecretTest, watch_finds_what_is_not_wiped) {
  const FreedMemoryWatch watch(kShort);
  std::make_unique<std::string>(kLong).reset();
  EXPECT_TRUE(watch.seen());
}

TEST(SecretTest, holds_any_bytes) {
  EXPECT_TRUE(Secret().empty());
  EXPECT_EQ(Secret().view(), "");
  EXPECT_FALSE(Secret("\n").empty());
  EXPECT_EQ(Secret(std::string_view("a\0b", 3)).view(), std::string_view("a\0b", 3));
}

TEST(SecretTest, is_wiped_when_destroyed) {
  for (const std::string_view text : {kShort, std::string_view(kLong)}) {
    const FreedMemoryWatch watch(kShort);
    { const Secret secret(text); }
    EXPECT_FALSE(watch.seen());
  }
}

TEST(SecretTest, is_wiped_when_assigned_to) {
  const FreedMemoryWatch watch(kShort);
  const Secret shorter("y");
  Secret copied_over(kLong);
  Secret moved_over(kLong);
  const char* const before = copied_over.view().data();
  copied_over = shorter;
  moved_over = Secret("z");
  EXPECT_EQ(copied_over.view(), "y");
  EXPECT_EQ(moved_over.view(), "z");
  EXPECT_NE(copied_over.view().data(), before) << "a longer one's end would stay";
  EXPECT_FALSE(watch.seen());
}

TEST(SecretTest, keeps_its_value_when_assigned_to_itself) {
  Secret secret(kShort);
  const Secret& itself = secret;
  secret = itself;
  EXPECT_EQ(secret.view(), kShort);
}

TEST(SecretTest, copy_is_on_its_own) {
  Secret secret(kShort);
  const Secret copy = secret;
  secret = Secret();
  EXPECT_EQ(copy.view(), kShort);
}

TEST(SecretTest, moving_leaves_nothing_behind) {
  Secret secret(kShort);
  Secret target = std::move(secret);
  EXPECT_TRUE(secret.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(target.view(), kShort);
  secret = std::move(target);
  EXPECT_TRUE(target.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(secret.view(), kShort);
}

TEST(SecretTest, short_one_is_not_kept_within_the_object) {
  alignas(Secret) char storage[sizeof(Secret)] = {};
  Secret* const secret = new (storage) Secret(kShort);
  EXPECT_EQ(std::string_view(storage, sizeof storage).find(kShort), std::string_view::npos);
  secret->~Secret();
}

TEST(SecretTest, growing_buffer_is_wiped) {
  const FreedMemoryWatch watch(kShort);
  {
    WipedBytes bytes;
    for (const char c : kLong) bytes.push_back(c);
    for (int i = 0; i < 1000; ++i) bytes.push_back('y');
  }
  EXPECT_FALSE(watch.seen());
}

}  // namespace
}  // namespace dflockd::base
