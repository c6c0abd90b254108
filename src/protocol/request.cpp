#include "protocol/request.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace dflockd::protocol {

namespace {

constexpr std::size_t kTokenLength = 32;

// For the algorithms, which inline them: `string_view::find_first_of` would call memchr for every
// single character.
constexpr auto kIsBlank = [](char c) { return c == ' ' || c == '\t'; };
constexpr auto kIsBarredFromKeys = [](char c) { return kIsBlank(c) || c == '\r' || c == '\n'; };

/// The words of an argument line, taken from its front one at a time.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}

  /// The next word; empty at the end of the line.
  std::string_view next() {
    const char* const start = std::find_if_not(rest_.begin(), rest_.end(), kIsBlank);
    const char* const end = std::find_if(start, rest_.end(), kIsBlank);
    rest_ = {end, rest_.end()};
    return {start, end};
  }

 private:
  std::string_view rest_;
};

std::optional<std::uint64_t> parse_number(std::string_view word, std::uint64_t least,
                                          std::uint64_t most) {
  std::uint64_t number = 0;
  const char* const end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, number);
  if (error != std::errc{} || stop != end || number < least || number > most) return std::nullopt;
  return number;
}

bool read_seconds(std::string_view word, std::uint64_t least, std::chrono::seconds& seconds) {
  const auto number = parse_number(word, least, static_cast<std::uint64_t>(kMaxSeconds.count()));
  if (number) seconds = std::chrono::seconds(*number);
  return number.has_value();
}

bool read_timeout(std::string_view word, Request& request) {
  return read_seconds(word, 0, request.timeout);
}

/// An empty word is a lease that was left out.
bool read_lease(std::string_view word, Request& request) {
  return word.empty() || read_seconds(word, 1, request.lease);
}

bool read_limit(std::string_view word, Request& request) {
  const auto number = parse_number(word, 1, kMaxLimit);
  if (number) request.limit = static_cast<std::uint32_t>(*number);
  return number.has_value();
}

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

bool read_token(std::string_view word, Request& request) {
  const std::optional<Token> token = parse_token(word);
  if (token) request.token = *token;
  return token.has_value();
}

bool read_arguments(std::string_view line, Request& request) {
  Words words(line);
  bool read = false;
  switch (request.command) {
    case Command::kAcquire:
      read = read_timeout(words.next(), request) &&
             (!request.semaphore || read_limit(words.next(), request)) &&
             read_lease(words.next(), request);
      break;
    case Command::kRelease:
      read = read_token(words.next(), request);
      break;
    case Command::kRenew:
      read = read_token(words.next(), request) && read_lease(words.next(), request);
      break;
    case Command::kEnqueue:
      read = (!request.semaphore || read_limit(words.next(), request)) &&
             read_lease(words.next(), request);
      break;
    case Command::kWait:
      read = read_timeout(words.next(), request);
      break;
    default:
      return true;
  }
  return read && words.next().empty();
}

Command command_of(char letter) {
  switch (letter) {
    case 'l':
      return Command::kAcquire;
    case 'r':
      return Command::kRelease;
    case 'n':
      return Command::kRenew;
    case 'e':
      return Command::kEnqueue;
    case 'w':
      return Command::kWait;
    default:
      return Command::kInvalid;
  }
}

}  // namespace

std::span<const std::string_view> labels() {
  static constexpr std::array<std::string_view, 18> kLabels{
      "invalid", "invalid", "l",  "sl",   "r",    "sr",   "n",    "sn",    "e",
      "se",      "w",       "sw", "auth", "auth", "ping", "ping", "stats", "stats"};
  static_assert(label(Command::kStats, true) + 1 == kLabels.size());
  return kLabels;
}

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

Request parse(const Lines& lines) {
  Request request;
  const std::string_view name = lines.command;
  if (name == "ping") {
    request.command = Command::kPing;
  } else if (name == "stats") {
    request.command = Command::kStats;
  } else if (name == "auth") {
    request.command = Command::kAuth;
    request.secret = lines.argument;
  } else {
    request.semaphore = name.size() == 2 && name.front() == 's';
    const bool known = name.size() == 1 || request.semaphore;
    request.command = known ? command_of(name.back()) : Command::kInvalid;
    request.key = lines.key;
    if (!is_key(lines.key) || !read_arguments(lines.argument, request)) {
      request.command = Command::kInvalid;
    }
    request.semaphore = request.semaphore && request.command != Command::kInvalid;
  }
  return request;
}

}  // namespace dflockd::protocol
