// The proof that a grant was given: a fence that orders grants, and a salt that nobody can guess.
#pragma once

#include <cstdint>

namespace dflockd::locks {

/// Names one grant. The fence strictly increases with every grant of a server; the salt is 64
/// random bits, so that knowing a fence does not let anyone release someone else's lock.
struct Token {
  std::uint64_t fence = 0;
  std::uint64_t salt = 0;

  /// Takes a time that does not depend on where the tokens differ.
  friend constexpr bool operator==(const Token& left, const Token& right) {
    return ((left.fence ^ right.fence) | (left.salt ^ right.salt)) == 0;
  }
};

}  // namespace dflockd::locks
