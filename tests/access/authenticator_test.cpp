#include "access/authenticator.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace dflockd::access {
namespace {

using namespace std::string_literals;

// --- Accepting and refusing ---

TEST(AuthenticatorTest, accepts_the_secret_and_nothing_else) {
  const Authenticator authenticator("hunter2");
  EXPECT_TRUE(authenticator.required());
  EXPECT_TRUE(authenticator.accepts("hunter2"));
  for (const std::string& guess :
       {""s, "h"s, "hunter"s, "hunter22"s, "Hunter2"s, "HUNTER2"s, "iunter2"s, "hun7er2"s,
        "hunter3"s, " hunter2"s, "hunter2 "s, "hunter2\r"s, "hunter2\n"s, "hunter2\0"s,
        "\0hunter2"s, "hun\0ter2"s, "hunter2hunter2"s}) {
    EXPECT_FALSE(authenticator.accepts(guess)) << testing::PrintToString(guess);
  }
}

TEST(AuthenticatorTest, secret_may_hold_any_bytes) {
  const std::string secret = "a\0b\xff\n"s;
  const Authenticator authenticator(secret);
  EXPECT_TRUE(authenticator.accepts(secret));
  EXPECT_FALSE(authenticator.accepts("a"));
  EXPECT_FALSE(authenticator.accepts("a\0"s));
  EXPECT_FALSE(authenticator.accepts("a\0c\xff\n"s));
}

// Longer than a block of the hash, whose keys are shortened.
TEST(AuthenticatorTest, secret_may_have_any_length) {
  for (const std::size_t length : {1U, 31U, 32U, 63U, 64U, 65U, 128U, 1'000U, 65'536U}) {
    std::string guess(length, 'x');
    const Authenticator authenticator(guess);
    EXPECT_TRUE(authenticator.accepts(guess)) << length;
    EXPECT_FALSE(authenticator.accepts(guess + 'x')) << length;
    EXPECT_FALSE(authenticator.accepts(guess.substr(1))) << length;
    EXPECT_FALSE(authenticator.accepts(guess + '\0')) << length;
    for (const std::size_t wrong : {std::size_t{0}, length / 2, length - 1}) {
      ++guess[wrong];
      EXPECT_FALSE(authenticator.accepts(guess)) << length << " bytes, number " << wrong;
      --guess[wrong];
    }
  }
}

TEST(AuthenticatorTest, without_a_secret_nothing_is_required_and_nothing_accepted) {
  const Authenticator by_default;
  const Authenticator by_empty_text("");
  for (const Authenticator* authenticator : {&by_default, &by_empty_text}) {
    EXPECT_FALSE(authenticator->required());
    for (const std::string& guess : {""s, "x"s, "\0"s, std::string(32, '\0')}) {
      EXPECT_FALSE(authenticator->accepts(guess)) << testing::PrintToString(guess);
    }
  }
}

TEST(AuthenticatorTest, assigning_replaces_the_secret) {
  Authenticator authenticator;
  authenticator = Authenticator("old");
  EXPECT_TRUE(authenticator.required());
  EXPECT_TRUE(authenticator.accepts("old"));
  authenticator = Authenticator("new");
  EXPECT_TRUE(authenticator.accepts("new"));
  EXPECT_FALSE(authenticator.accepts("old"));
  authenticator = Authenticator();
  EXPECT_FALSE(authenticator.required());
  EXPECT_FALSE(authenticator.accepts("new"));
}

TEST(AuthenticatorTest, copy_accepts_the_same) {
  auto original = std::make_unique<Authenticator>("hunter2");
  const Authenticator copy(*original);
  original.reset();
  EXPECT_TRUE(copy.required());
  EXPECT_TRUE(copy.accepts("hunter2"));
  EXPECT_FALSE(copy.accepts("hunter3"));
}

// --- Nothing stays in memory ---

/// The bytes of an object, whether it lives or not.
using Bytes = std::array<unsigned char, sizeof(Authenticator)>;

Bytes bytes_at(const volatile unsigned char* memory) {
  Bytes bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = memory[i];
  return bytes;
}

/// How many bytes in a row, other than zeros, both have in the same place, at most.
std::size_t longest_common(const Bytes& before, const Bytes& after) {
  std::size_t longest = 0;
  std::size_t length = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    length = before[i] != 0 && before[i] == after[i] ? length + 1 : 0;
    longest = std::max(longest, length);
  }
  return longest;
}

/// As many equal bytes in a row as chance may leave.
constexpr std::size_t kTrace = 4;

class AuthenticatorMemory : public testing::Test {
 protected:
  Authenticator& make(std::string_view secret) {
    return *new (memory_.data()) Authenticator(secret);
  }
  [[nodiscard]] Bytes bytes() const { return bytes_at(memory_.data()); }

 private:
  alignas(Authenticator) Bytes memory_{};
};

TEST_F(AuthenticatorMemory, never_holds_the_secret) {
  const std::string secret = "hunter2!hunter2!hunter2!hunter2!";
  Authenticator& authenticator = make(secret);
  const Bytes held = bytes();
  const std::string_view text(reinterpret_cast<const char*>(held.data()), held.size());
  EXPECT_EQ(text.find("hunter2"), std::string_view::npos);
  EXPECT_GT(longest_common(held, held), kTrace)
      << "it holds neither key nor digest: look elsewhere";
  authenticator.~Authenticator();
}

TEST_F(AuthenticatorMemory, is_wiped_at_the_end) {
  Authenticator& authenticator = make("hunter2");
  const Bytes before = bytes();
  authenticator.~Authenticator();
  EXPECT_LE(longest_common(before, bytes()), kTrace);
}

TEST_F(AuthenticatorMemory, is_wiped_by_assigning_over_it) {
  for (const char* const next : {"hunter3", ""}) {
    Authenticator& authenticator = make("hunter2");
    const Bytes before = bytes();
    authenticator = Authenticator(next);
    EXPECT_LE(longest_common(before, bytes()), kTrace) << next;
    authenticator.~Authenticator();
  }
}

// Who can predict the key can search for guesses whose digests begin like the secret's.
TEST_F(AuthenticatorMemory, differs_each_time_for_the_same_secret) {
  make("hunter2").~Authenticator();
  Authenticator& first = make("hunter2");
  const Bytes before = bytes();
  first.~Authenticator();
  Authenticator& second = make("hunter2");
  EXPECT_LE(longest_common(before, bytes()), kTrace) << "the key is not drawn anew";
  second.~Authenticator();
}

// --- The time that a comparison takes ---

using Clock = std::chrono::steady_clock;

/// So long that comparing it byte by byte would take a noticeable time.
constexpr std::size_t kLength = 65'000;

/// How long one call takes.
Clock::duration time_of(const Authenticator& authenticator, const std::string& guess) {
  const auto start = Clock::now();
  const bool accepted = authenticator.accepts(guess);
  const auto end = Clock::now();
  EXPECT_FALSE(accepted);
  return end - start;
}

double median(std::vector<Clock::duration>& times) {
  std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
  return static_cast<double>(times[times.size() / 2].count());
}

/// By what part the medians of many measurements in turns differ; the best of five attempts, since
/// other programs are running.
double difference(const Authenticator& authenticator, const std::string& one,
                  const std::string& other) {
  constexpr int kTries = 301;
  constexpr double kGoodEnough = 0.05;
  double best = 1;
  for (int attempt = 0; attempt < 5 && best > kGoodEnough; ++attempt) {
    std::vector<Clock::duration> times;
    std::vector<Clock::duration> other_times;
    for (int i = 0; i < kTries; ++i) {
      times.push_back(time_of(authenticator, one));
      other_times.push_back(time_of(authenticator, other));
    }
    const double first = median(times);
    const double second = median(other_times);
    best = std::min(best, std::abs(first - second) / std::max(first, second));
  }
  return best;
}

class AuthenticatorTime : public testing::Test {
 protected:
  /// The secret with one byte changed.
  [[nodiscard]] std::string wrong_at(std::size_t position) const {
    std::string guess = secret_;
    guess[position] = '!';
    return guess;
  }

  const std::string secret_ = std::string(kLength, 'x');
  const Authenticator authenticator_{secret_};
};

TEST_F(AuthenticatorTime, is_the_same_wherever_a_guess_is_wrong) {
  EXPECT_LT(difference(authenticator_, wrong_at(0), wrong_at(kLength - 1)), 0.1);
}

TEST_F(AuthenticatorTime, is_the_same_for_a_guess_of_the_right_length_and_of_another) {
  const std::string right_length = wrong_at(kLength - 1);
  EXPECT_LT(difference(authenticator_, right_length, secret_ + 'x'), 0.1);
  EXPECT_LT(difference(authenticator_, right_length, secret_.substr(1)), 0.1);
}

}  // namespace
}  // namespace dflockd::access
