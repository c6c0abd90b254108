#include "fencing/fence_slot.hpp"

#include <algorithm>
#include <stdexcept>

#include <openssl/evp.h>

namespace dflockd::fencing {
namespace {

using Checksum = std::array<std::byte, kChecksumSize>;

void store(SlotBytes& bytes, std::size_t at, std::uint64_t value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
  }
}

std::uint64_t load(std::span<const std::byte, kSlotSize> bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  }
  return value;
}

Checksum checksum_of(std::span<const std::byte, kSlotSize> bytes) {
  Checksum checksum;
  if (EVP_Digest(bytes.data(), kChecksumAt, reinterpret_cast<unsigned char*>(checksum.data()),
                 nullptr, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL cannot compute a SHA-256 checksum");
  }
  return checksum;
}

}  // namespace

SlotBytes encode(const Slot& slot) {
  SlotBytes bytes{};
  std::ranges::copy(std::as_bytes(std::span(kMagic)), bytes.begin() + kMagicAt);
  store(bytes, kVersionAt, slot.version);
  store(bytes, kSequenceAt, slot.sequence);
  store(bytes, kLimitAt, slot.limit);
  store(bytes, kStepAt, slot.step);
  std::ranges::copy(checksum_of(bytes), bytes.begin() + kChecksumAt);
  return bytes;
}

std::optional<Slot> decode(std::span<const std::byte, kSlotSize> bytes) {
  const auto magic = bytes.subspan(kMagicAt, kMagic.size());
  const auto checksum = bytes.subspan(kChecksumAt, kChecksumSize);
  if (!std::ranges::equal(magic, std::as_bytes(std::span(kMagic)))) return std::nullopt;
  if (!std::ranges::equal(checksum, checksum_of(bytes))) return std::nullopt;
  return Slot{.sequence = load(bytes, kSequenceAt),
              .limit = load(bytes, kLimitAt),
              .step = load(bytes, kStepAt),
              .version = load(bytes, kVersionAt)};
}

}  // namespace dflockd::fencing
