#include "fencing/fence_slot.hpp"

#include <algorithm>
#include <string>
#include <system_error>

#include <openssl/err.h>
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

/// OpenSSL has failed and does not say why. None of its own codes.
constexpr int kUnexplained = 1;

/// OpenSSL's error codes, as they are in its queue.
class OpensslCategory : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "OpenSSL"; }
  [[nodiscard]] std::string message(int code) const override {
    const char* const reason = ::ERR_reason_error_string(static_cast<unsigned int>(code));
    return std::string("OpenSSL cannot compute SHA-256: ") + (reason ? reason : "no reason given");
  }
};

[[noreturn]] void throw_openssl_error() {
  static const OpensslCategory kCategory;
  const auto code = static_cast<int>(::ERR_peek_last_error());
  ::ERR_clear_error();
  throw std::system_error(code == 0 ? kUnexplained : code, kCategory);  // 0 would be no error
}

Checksum checksum_of(std::span<const std::byte, kSlotSize> bytes) {
  Checksum checksum;
  if (EVP_Digest(bytes.data(), kChecksumAt, reinterpret_cast<unsigned char*>(checksum.data()),
                 nullptr, EVP_sha256(), nullptr) != 1) {
    throw_openssl_error();
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
