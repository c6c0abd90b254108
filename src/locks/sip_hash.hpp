// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a hash under a
// secret key. A client chooses the keys of locks, and which grants to keep, but it cannot choose
// ones that collide, and so cannot turn a look-up into a search through all of them. Pure and
// thread-safe.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace dflockd::locks {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

/// The secret. All zero is a key like any other.
struct HashKey {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};

namespace internal {

struct SipState {
  std::uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v2 += v3;
    v1 = std::rotl(v1, 13) ^ v0;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 = std::rotl(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = std::rotl(v1, 17) ^ v2;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 = std::rotl(v2, 32);
  }
  explicit SipState(const HashKey& key)
      : v0(key.low ^ 0x736f6d6570736575),
        v1(key.high ^ 0x646f72616e646f6d),
        v2(key.low ^ 0x6c7967656e657261),
        v3(key.high ^ 0x7465646279746573) {}

  void take(std::uint64_t word) {
    v3 ^= word;
    round();
    v0 ^= word;
  }
  std::uint64_t finish() {
    v2 ^= 0xff;
    round();
    round();
    round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace internal

/// Of one number. All numbers have the same length, so the last step of the paper's function is
/// left out. Not comparable with the hash of a text.
[[nodiscard]] inline std::uint64_t sip_hash(const HashKey& key, std::uint64_t number) {
  internal::SipState state(key);
  state.take(number);
  return state.finish();
}

[[nodiscard]] inline std::uint64_t sip_hash(const HashKey& key, std::string_view text) {
  internal::SipState state(key);
  const char* rest = text.data();
  std::size_t left = text.size();
  for (; left >= sizeof(std::uint64_t); left -= sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, rest, sizeof word);
    state.take(word);
    rest += sizeof word;
  }
  std::uint64_t last = std::uint64_t{text.size()} << 56U;
  for (std::size_t i = 0; i < left; ++i) {
    last |= std::uint64_t{static_cast<unsigned char>(rest[i])} << (8 * i);
  }
  state.take(last);
  return state.finish();
}

}  // namespace dflockd::locks
