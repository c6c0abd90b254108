// Which server has a key: the same for every client.

#include <array>
#include <string>

#include <zlib.h>

#include <dflockd/shard.hpp>
#include <gtest/gtest.h>

namespace dflockd {
namespace {

struct Vector {
  const char* key;
  std::uint32_t crc;
};

// docs/client.md publishes these.
constexpr auto kVectors = std::to_array<Vector>({{"", 0},
                                                 {"a", 3904355907},
                                                 {"job", 4225294584},
                                                 {"deploy", 2453354746},
                                                 {"etl-job", 3729926062},
                                                 {"nightly", 267906906},
                                                 {"user:42:profile", 210199602},
                                                 {"123456789", 0xcbf43926}});

TEST(Shard, crc32_shard_gives_the_published_vectors) {
  for (const Vector& vector : kVectors) {
    for (const int servers : {1, 2, 3, 5, 7, 16, 1'000'000'007}) {
      EXPECT_EQ(crc32_shard(vector.key, servers),
                static_cast<int>(vector.crc % static_cast<std::uint32_t>(servers)))
          << vector.key << " over " << servers;
    }
  }
}

TEST(Shard, crc32_shard_agrees_with_zlib) {
  std::uint32_t state = 42;
  for (int round = 0; round < 2'000; ++round) {
    std::string key;
    for (int i = 0; i < round % 257; ++i) {
      state = state * 1'664'525 + 1'013'904'223;
      key += static_cast<char>(state >> 24U);
    }
    const auto crc = static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(key.data()), static_cast<uInt>(key.size())));
    EXPECT_EQ(crc32_shard(key, 3), static_cast<int>(crc % 3));
    EXPECT_EQ(crc32_shard(key, 2'147'483'647), static_cast<int>(crc % 2'147'483'647));
  }
}

TEST(Shard, crc32_shard_of_no_servers_is_no_division_by_zero) {
  EXPECT_EQ(crc32_shard("a", 0), 0);
  EXPECT_EQ(crc32_shard("a", -1), 0);
}

}  // namespace
}  // namespace dflockd
