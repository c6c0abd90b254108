#include "ctl/text.hpp"

#include <array>
#include <charconv>
#include <cstdint>
#include <iostream>
#include <utility>

namespace dflockd::ctl {

using std::chrono::milliseconds;

void say(const std::string& what) {
  std::cerr << "dflockctl: " + what + '\n' << std::flush;
}

std::optional<milliseconds> parse_duration(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, milliseconds>, 5> kUnits{
      {{"ms", milliseconds(1)},
       {"s", std::chrono::seconds(1)},
       {"m", std::chrono::minutes(1)},
       {"h", std::chrono::hours(1)},
       {"", std::chrono::seconds(1)}}};
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc()) return std::nullopt;
  for (const auto& [name, unit] : kUnits) {
    if (std::string_view(rest, end) != name) continue;
    const auto most = static_cast<std::uint64_t>(milliseconds(base::kMaxSeconds) / unit);
    if (number > most) return std::nullopt;
    return unit * static_cast<std::int64_t>(number);
  }
  return std::nullopt;
}

std::string short_text(milliseconds duration) {
  constexpr std::int64_t kMinute = 60;
  constexpr std::int64_t kHour = 60 * kMinute;
  constexpr std::int64_t kDay = 24 * kHour;
  const auto two_digits = [](std::int64_t number) {
    return (number < 10 ? "0" : "") + std::to_string(number);
  };
  if (duration < std::chrono::seconds(1)) return std::to_string(duration.count()) + "ms";
  const std::int64_t s = duration / std::chrono::seconds(1);
  if (s < kMinute) return std::to_string(s) + "s";
  if (s < kHour) return std::to_string(s / kMinute) + "m" + two_digits(s % kMinute) + "s";
  if (s < kDay) return std::to_string(s / kHour) + "h" + two_digits(s % kHour / kMinute) + "m";
  return std::to_string(s / kDay) + "d" + two_digits(s % kDay / kHour) + "h";
}

}  // namespace dflockd::ctl
