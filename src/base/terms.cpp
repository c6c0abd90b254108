#include "base/terms.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace dflockd::base {

namespace {

constexpr std::size_t kTokenLength = 32;

// For an algorithm, which inlines it: `string_view::find_first_of` would call memchr for every
// single character.
constexpr auto kIsBarredFromKeys = [](char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
};

constexpr std::uint8_t kNoDigit = 0xFF;

/// The value of each byte as a lowercase hex digit, or `kNoDigit`.
constexpr std::array<std::uint8_t, 256> kHexValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (std::uint8_t value = 0; value < 16; ++value) {
    values[static_cast<unsigned char>("0123456789abcdef"[value])] = value;
  }
  return values;
}();

bool read_hex(std::string_view digits, std::uint64_t& number) {
  std::uint8_t seen = 0;
  number = 0;
  for (const char digit : digits) {
    const std::uint8_t value = kHexValues[static_cast<unsigned char>(digit)];
    seen |= value;
    number = number << 4U | value;
  }
  return seen < 16;  // a byte that is no digit has set a bit above
}

}  // namespace

bool is_key(std::string_view key) {
  return !key.empty() && key.size() <= kMaxKey && std::ranges::none_of(key, kIsBarredFromKeys);
}

std::optional<Token> parse_token(std::string_view word) {
  Token token;
  if (word.size() != kTokenLength || !read_hex(word.substr(0, kTokenLength / 2), token.fence) ||
      !read_hex(word.substr(kTokenLength / 2), token.salt)) {
    return std::nullopt;
  }
  return token;
}

bool is_ref(std::string_view ref) {
  constexpr std::size_t kMostBytes = 64;
  const auto is_printable = [](char c) { return c >= ' ' && c <= '~'; };
  return !ref.empty() && ref.size() <= kMostBytes && std::ranges::all_of(ref, is_printable);
}

bool is_name(std::string_view name) {
  constexpr std::size_t kMostBytes = 128;
  if (name.empty() || name.size() > kMostBytes) return false;
  while (!name.empty()) {
    const std::size_t size = utf8_size(name);
    if (size == 0 || is_control(name.substr(0, size))) return false;
    name.remove_prefix(size);
  }
  return true;
}

}  // namespace dflockd::base
