#include <array>
#include <cstdint>

#include <dflockd/shard.hpp>

namespace dflockd {
namespace {

/// The remainders of all bytes by the reflected polynomial of IEEE 802.3.
constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) {
      remainder = (remainder >> 1U) ^ ((remainder & 1U) != 0 ? 0xedb88320U : 0U);
    }
    table[byte] = remainder;
  }
  return table;
}

constexpr auto kTable = make_table();

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffU;
  for (const char byte : bytes) {
    crc = (crc >> 8U) ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xffU];
  }
  return ~crc;
}

}  // namespace

int crc32_shard(std::string_view key, int servers) noexcept {
  return servers < 1 ? 0 : static_cast<int>(crc32(key) % static_cast<std::uint32_t>(servers));
}

}  // namespace dflockd
