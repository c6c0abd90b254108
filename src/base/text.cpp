#include "base/text.hpp"

#include <cstddef>

namespace dflockd::base {

std::string escaped(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F, in UTF-8 0xc2 and one more, are control characters as well.
    const bool is_high =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    const auto value = is_high ? static_cast<unsigned char>(text[++i]) : byte;
    if (is_high || value < 0x20 || value == 0x7f) {
      result += {'\\', 'x', kHex[value >> 4U], kHex[value & 0xfU]};
    } else {
      result += static_cast<char>(byte);
    }
  }
  return result;
}

std::string in_quotes(std::string_view text) {
  return '"' + escaped(text) + '"';
}

bool is_service_address(std::string_view value) {
  return value.starts_with("tcp://") || value.starts_with("udp://");
}

}  // namespace dflockd::base
