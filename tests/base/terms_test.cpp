#include "base/terms.hpp"

#include <gtest/gtest.h>

namespace dflockd::base {

namespace {

TEST(TokenTest, equal_tokens_are_equal) {
  EXPECT_TRUE((Token{0, 0} == Token{0, 0}));
  EXPECT_TRUE((Token{1, 2} == Token{1, 2}));
}

TEST(TokenTest, one_different_bit_anywhere_makes_a_difference) {
  const Token token{0x0123456789abcdef, 0xfedcba9876543210};
  for (int bit = 0; bit < 64; ++bit) {
    const std::uint64_t flip = std::uint64_t{1} << bit;
    EXPECT_FALSE(token == (Token{token.fence ^ flip, token.salt}));
    EXPECT_FALSE(token == (Token{token.fence, token.salt ^ flip}));
    EXPECT_FALSE(token == (Token{token.fence ^ flip, token.salt ^ flip}));
  }
}

TEST(TokenTest, fence_and_salt_are_not_interchangeable) {
  EXPECT_FALSE((Token{1, 2} == Token{2, 1}));
}

}  // namespace

}  // namespace dflockd::base
