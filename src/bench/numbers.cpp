#include "bench/numbers.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace dflockd::bench {

std::string decimal(double value, int digits) {
  std::array<char, 400> buffer{};  // the largest double has 309 digits
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::fixed, digits);
  std::string text(buffer.data(), end);
  const std::size_t point = std::min(text.find('.'), text.size());
  for (std::size_t i = point; i > 3; i -= 3) text.insert(i - 3, 1, ',');
  return text;
}

}  // namespace dflockd::bench
