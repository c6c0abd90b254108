#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "base/text.hpp"
#include "config/sources.hpp"

namespace dflockd::config {
namespace {

/// How many characters have to be put in, left out or exchanged to make one of the other, by the
/// algorithm of Wagner and Fischer; of the first, only as many characters count as names have.
std::size_t edit_distance(std::string_view left, std::string_view right) {
  constexpr std::size_t kLongestName = 64;
  left = left.substr(0, kLongestName);
  std::vector<std::size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::size_t exchanged = diagonal + (left[i] == right[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({exchanged, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

Refusal about_file(std::string_view error, std::string_view source) {
  return Refusal(base::escaped(error) + " (" + std::string(source) + ")");
}

std::string_view nearest(std::string_view name, const std::vector<std::string_view>& names) {
  return *std::ranges::min_element(
      names, {}, [name](std::string_view other) { return edit_distance(name, other); });
}

std::string in_quotes(std::string_view text) {
  return "'" + base::escaped(text) + "'";
}

std::string why_refused(const Value& value, std::string_view text) {
  if (is_secret(value) && text == kMask) {
    return in_quotes(text) + " is the mask that --check-config prints, not a secret";
  }
  return (is_secret(value) ? kNotShown : in_quotes(text)) + " is not allowed; expected " +
         allowed(value);
}

}  // namespace dflockd::config
