#include "base/text.hpp"

#include <algorithm>
#include <cstddef>

namespace dflockd::base {

namespace {

constexpr unsigned char byte_of(char c) {
  return static_cast<unsigned char>(c);
}

/// How many bytes the character takes that `text` begins with; 0 if that is not UTF-8.
std::size_t size_of_first(std::string_view text) {
  const unsigned char lead = byte_of(text.front());
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const std::size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  const std::string_view rest = text.substr(1, size - 1);
  const bool is_whole = rest.size() == size - 1 && std::ranges::all_of(rest, [](char c) {
                          return (byte_of(c) & 0xc0U) == 0x80U;
                        });
  return is_whole ? size : 0;
}

/// Whether terminals obey it: a control character of ASCII, or of those up to U+009F.
bool is_control(std::string_view character) {
  const unsigned char last = byte_of(character.back());
  if (character.size() == 1) return last < 0x20 || last == 0x7f;
  return byte_of(character.front()) == 0xc2 && last < 0xa0;
}

}  // namespace

std::string escaped(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result;
  while (!text.empty()) {
    const std::size_t size = size_of_first(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(size, 1));
    if (size > 0 && !is_control(character)) {
      result += character;
    } else {
      const unsigned char value = byte_of(character.back());
      result += {'\\', 'x', kHex[value >> 4U], kHex[value & 0xfU]};
    }
    text.remove_prefix(character.size());
  }
  return result;
}

std::string in_quotes(std::string_view text) {
  return '"' + escaped(text) + '"';
}

bool is_service_address(std::string_view value) {
  return value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
}

}  // namespace dflockd::base
