#include "locks/sip_hash.hpp"

#include <array>
#include <cstring>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

namespace dflockd::locks {
namespace {

constexpr HashKey kKey{.low = 0x0706050403020100, .high = 0x0f0e0d0c0b0a0908};

/// OpenSSL's SipHash with one round a word and three at the end.
std::uint64_t openssl_sip_hash(const HashKey& key, const std::string& text) {
  struct Deleter {
    void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MAC, Deleter> mac(EVP_MAC_fetch(nullptr, "SIPHASH", nullptr));
  const std::unique_ptr<EVP_MAC_CTX, Deleter> context(EVP_MAC_CTX_new(mac.get()));
  std::size_t size = sizeof(std::uint64_t);
  unsigned int rounds = 1;
  unsigned int last_rounds = 3;
  const std::array parameters{
      OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
      OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_C_ROUNDS, &rounds),
      OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_D_ROUNDS, &last_rounds),
      OSSL_PARAM_construct_end(),
  };
  std::array<unsigned char, 16> secret{};
  std::memcpy(secret.data(), &key.low, 8);
  std::memcpy(secret.data() + 8, &key.high, 8);
  std::uint64_t hash = 0;
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  if (EVP_MAC_init(context.get(), secret.data(), secret.size(), parameters.data()) != 1 ||
      EVP_MAC_update(context.get(), bytes, text.size()) != 1 ||
      EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(&hash), &size, sizeof hash) !=
          1) {
    throw std::runtime_error("OpenSSL has no SipHash-1-3");
  }
  return hash;
}

TEST(SipHash, equals_openssls_for_every_length_of_the_last_word) {
  std::string text;
  for (int length = 0; length <= 256; ++length) {
    EXPECT_EQ(sip_hash(kKey, text), openssl_sip_hash(kKey, text)) << length;
    text += static_cast<char>(length * 7);
  }
}

TEST(SipHash, depends_on_every_bit_of_the_key) {
  const std::uint64_t hash = sip_hash(kKey, "job");
  for (unsigned int bit = 0; bit < 64; ++bit) {
    const std::uint64_t flip = std::uint64_t{1} << bit;
    EXPECT_NE(sip_hash({kKey.low ^ flip, kKey.high}, "job"), hash);
    EXPECT_NE(sip_hash({kKey.low, kKey.high ^ flip}, "job"), hash);
  }
}

TEST(SipHash, of_numbers_depends_on_every_bit_of_number_and_key_and_repeats_none) {
  const std::uint64_t hash = sip_hash(kKey, std::uint64_t{42});
  EXPECT_EQ(sip_hash(kKey, std::uint64_t{42}), hash);
  for (unsigned int bit = 0; bit < 64; ++bit) {
    const std::uint64_t flip = std::uint64_t{1} << bit;
    EXPECT_NE(sip_hash(kKey, std::uint64_t{42} ^ flip), hash);
    EXPECT_NE(sip_hash({kKey.low ^ flip, kKey.high}, std::uint64_t{42}), hash);
    EXPECT_NE(sip_hash({kKey.low, kKey.high ^ flip}, std::uint64_t{42}), hash);
  }
  std::set<std::uint64_t> seen;
  for (std::uint64_t number = 0; number < 10'000; ++number) seen.insert(sip_hash(kKey, number));
  EXPECT_EQ(seen.size(), 10'000U);
}

}  // namespace
}  // namespace dflockd::locks
