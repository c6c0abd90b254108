// Feeds words that people give to the parsers of server names and of durations, and to the text
// that is shown of them.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "check.hpp"
#include "client/arguments.hpp"
#include "client/failure.hpp"
#include "ctl/text.hpp"

namespace {

using dflockd::client::Endpoint;
using dflockd::fuzz::check;
using std::chrono::milliseconds;

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7f;
  });
}

void check_endpoint(std::string_view word) {
  Endpoint endpoint;
  try {
    endpoint = dflockd::client::parse_endpoint(word);
  } catch (const dflockd::client::Failure& failure) {
    check(is_printable(failure.what()), "a name is refused on one line");
    check(failure.code() == dflockd::errc::invalid_argument, "a name is refused as an argument");
    return;
  }
  unsigned int port = 0;
  const char* const end = endpoint.port.data() + endpoint.port.size();
  const auto [stop, error] = std::from_chars(endpoint.port.data(), end, port);
  check(error == std::errc() && stop == end && port >= 1 && port <= 65'535, "a port is a port");
  check(!endpoint.host.empty(), "a server has a host");
  check(endpoint.host.find_first_of(" \t\r\n/@") == std::string::npos, "a host is one word");
  const Endpoint again = dflockd::client::parse_endpoint(endpoint.text());
  check(again.host == endpoint.host && again.port == endpoint.port, "a name can be given again");
  check(word == endpoint.text() || std::string(word) + ":6388" == endpoint.text(),
        "a server is the one that was named");
}

/// A simple reading of the rules.
std::optional<milliseconds> duration_in(std::string word) {
  std::size_t digits = word.find_first_not_of("0123456789");
  digits = std::min(digits, word.size());
  if (digits == 0) return std::nullopt;
  const std::string unit = word.substr(digits);
  std::string number = word.substr(0, digits);
  number.erase(0, std::min(number.find_first_not_of('0'), number.size() - 1));
  if (number.size() > 15) return std::nullopt;
  const long long count = std::stoll(number);
  long long factor = 0;
  if (unit == "ms") factor = 1;
  if (unit == "s" || unit.empty()) factor = 1'000;
  if (unit == "m") factor = 60'000;
  if (unit == "h") factor = 3'600'000;
  constexpr long long kMost = 9'223'372'036'000;
  if (factor == 0 || count > kMost / factor) return std::nullopt;
  return milliseconds(count * factor);
}

void check_duration(std::string_view word) {
  const std::optional<milliseconds> duration = dflockd::ctl::parse_duration(word);
  check(duration == duration_in(std::string(word)), "a duration is read by the rules");
  if (!duration) return;
  const std::string text = dflockd::ctl::short_text(*duration);
  check(!text.empty() && text.size() <= 12, "a duration is told briefly");
  const auto again = dflockd::ctl::parse_duration(text);  // unless it is told in two units
  check(!again || (*again <= *duration && *duration - *again < std::chrono::seconds(1)),
        "a duration that is told is about what it was");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view word(reinterpret_cast<const char*>(data), size);
  check_endpoint(word);
  check_duration(word);
  check(is_printable(dflockd::ctl::escaped(word)), "any text can be shown");
  check(is_printable(dflockd::client::in_quotes(word)), "any text can be quoted");
  return 0;
}
