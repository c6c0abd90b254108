// The layout of a fence state file, and its slots as values and as bytes.
//
// The file is two blocks of 4,096 bytes, so that a write to one never touches the other on the
// disk. Each begins with a slot of 72 bytes; zeros follow, which are never read. Numbers are
// unsigned and little-endian. A slot:
//
//   offset  size
//        0     8  magic, the characters "dflfence"
//        8     8  format version, 1
//       16     8  sequence, one greater with every slot written: the greater one is the newer
//       24     8  limit: fences below it may have been granted, none from it on
//       32     8  step: how far at most the other slot's limit may be above this one's, now or once
//                 it is written again; not how many fences were reserved with this one
//       40    32  checksum, the SHA-256 of the 40 bytes before it
//
// Free functions without state: safe to call from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace dflockd::fencing {

inline constexpr std::size_t kSlotCount = 2;
inline constexpr std::size_t kBlockSize = 4096;
inline constexpr std::size_t kFileSize = kSlotCount * kBlockSize;

inline constexpr std::size_t kMagicAt = 0;
inline constexpr std::size_t kVersionAt = 8;
inline constexpr std::size_t kSequenceAt = 16;
inline constexpr std::size_t kLimitAt = 24;
inline constexpr std::size_t kStepAt = 32;
inline constexpr std::size_t kChecksumAt = 40;
inline constexpr std::size_t kChecksumSize = 32;
inline constexpr std::size_t kSlotSize = 72;

inline constexpr std::array<char, 8> kMagic{'d', 'f', 'l', 'f', 'e', 'n', 'c', 'e'};
inline constexpr std::uint64_t kFormatVersion = 1;

static_assert(kVersionAt == kMagicAt + kMagic.size());
static_assert(kSequenceAt == kVersionAt + sizeof(std::uint64_t));
static_assert(kLimitAt == kSequenceAt + sizeof(std::uint64_t));
static_assert(kStepAt == kLimitAt + sizeof(std::uint64_t));
static_assert(kChecksumAt == kStepAt + sizeof(std::uint64_t));
static_assert(kSlotSize == kChecksumAt + kChecksumSize);
static_assert(kSlotSize <= 512, "a slot fits the smallest sector, which few disks ever tear");

/// What a slot says.
struct Slot {
  std::uint64_t sequence = 0;
  std::uint64_t limit = 0;
  std::uint64_t step = 0;
  std::uint64_t version = kFormatVersion;

  friend bool operator==(const Slot&, const Slot&) = default;
};

using SlotBytes = std::array<std::byte, kSlotSize>;

/// Where in the file a slot begins. `number` is below `kSlotCount`.
[[nodiscard]] constexpr std::size_t slot_offset(std::size_t number) {
  return number * kBlockSize;
}

/// The bytes of a slot. Throws std::system_error if OpenSSL cannot compute SHA-256.
[[nodiscard]] SlotBytes encode(const Slot& slot);

/// The slot in these bytes, or nothing if magic or checksum is wrong: a torn or damaged slot, or
/// something else. The caller has to check the version. Throws as `encode` does.
[[nodiscard]] std::optional<Slot> decode(std::span<const std::byte, kSlotSize> bytes);

}  // namespace dflockd::fencing
