#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace dflockd::base {

namespace {

constexpr unsigned char byte_of(char c) {
  return static_cast<unsigned char>(c);
}

bool is_within(char c, unsigned char least, unsigned char most) {
  return byte_of(c) >= least && byte_of(c) <= most;
}

struct Utf8Form {
  unsigned char first_least, first_most;    ///< range of the first byte
  unsigned char second_least, second_most;  ///< range of the second; later ones are 80..bf
  std::size_t size;                         ///< in bytes
};

/// Well-formed UTF-8 beyond ASCII: table 3-7 of the Unicode standard.
constexpr std::array<Utf8Form, 8> kUtf8Forms{{
    {0xc2, 0xdf, 0x80, 0xbf, 2},
    {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4},
    {0xf4, 0xf4, 0x80, 0x8f, 4},
}};

void append_hex(std::string& text, char c) {
  constexpr std::string_view kHex = "0123456789abcdef";
  text += {'\\', 'x', kHex[byte_of(c) >> 4U], kHex[byte_of(c) & 0xfU]};
}

void append_escaped(std::string& result, std::string_view text, std::string_view also) {
  while (!text.empty()) {
    const std::size_t size = utf8_size(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(size, 1));
    if (size == 0 || is_control(character)) {
      append_hex(result, character.back());
    } else {
      if (also.find(character) != std::string_view::npos) result += '\\';
      result += character;
    }
    text.remove_prefix(character.size());
  }
}

}  // namespace

std::size_t utf8_size(std::string_view text) {
  if (byte_of(text.front()) < 0x80) return 1;
  const auto form = std::ranges::find_if(kUtf8Forms, [&](const Utf8Form& candidate) {
    return is_within(text.front(), candidate.first_least, candidate.first_most);
  });
  if (form == kUtf8Forms.end() || text.size() < form->size) return 0;
  const bool is_whole = is_within(text[1], form->second_least, form->second_most) &&
                        std::ranges::all_of(text.substr(2, form->size - 2),
                                            [](char c) { return is_within(c, 0x80, 0xbf); });
  return is_whole ? form->size : 0;
}

bool is_control(std::string_view character) {
  const unsigned char last = byte_of(character.back());
  if (character.size() == 1) return last < 0x20 || last == 0x7f;
  return byte_of(character.front()) == 0xc2 && last < 0xa0;
}

std::string escaped(std::string_view text) {
  std::string result;
  append_escaped(result, text, "");
  return result;
}

std::string in_quotes(std::string_view text) {
  std::string result = "\"";
  append_escaped(result, text, "\"\\");
  return result + '"';
}

std::string_view trim(std::string_view text, std::string_view blanks) {
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

bool is_service_address(std::string_view value) {
  return value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
}

}  // namespace dflockd::base
