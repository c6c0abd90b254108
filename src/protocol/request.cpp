#include "protocol/request.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace dflockd::protocol {

namespace {

// For the algorithms, which inline it: see `base::is_key`.
constexpr auto kIsBlank = [](char c) { return c == ' ' || c == '\t'; };

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
  const auto number =
      parse_number(word, least, static_cast<std::uint64_t>(base::kMaxSeconds.count()));
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
  const auto number = parse_number(word, 1, base::kMaxLimit);
  if (number) request.limit = static_cast<std::uint32_t>(*number);
  return number.has_value();
}

bool read_token(std::string_view word, Request& request) {
  const std::optional<base::Token> token = base::parse_token(word);
  if (token) request.token = *token;
  return token.has_value();
}

bool read_kind(std::string_view word, locks::Kind& kind) {
  kind = word == "semaphore" ? locks::Kind::kSemaphore : locks::Kind::kLock;
  return word == "lock" || word == "semaphore";
}

bool read_arguments(std::string_view line, Request& request) {
  Words words(line);
  bool read = false;
  switch (request.verb) {
    case Verb::kAcquire:
      read = read_timeout(words.next(), request) &&
             (request.key.kind == locks::Kind::kLock || read_limit(words.next(), request)) &&
             read_lease(words.next(), request);
      break;
    case Verb::kRelease:
      read = read_token(words.next(), request);
      break;
    case Verb::kRenew:
      read = read_token(words.next(), request) && read_lease(words.next(), request);
      break;
    case Verb::kEnqueue:
      read = (request.key.kind == locks::Kind::kLock || read_limit(words.next(), request)) &&
             read_lease(words.next(), request);
      break;
    case Verb::kWait:
      read = read_timeout(words.next(), request);
      break;
    case Verb::kStat:
      read = read_kind(words.next(), request.key.kind);
      break;
    default:
      return true;
  }
  return read && words.next().empty();
}

Verb verb_of(char letter) {
  switch (letter) {
    case 'l':
      return Verb::kAcquire;
    case 'r':
      return Verb::kRelease;
    case 'n':
      return Verb::kRenew;
    case 'e':
      return Verb::kEnqueue;
    case 'w':
      return Verb::kWait;
    default:
      return Verb::kInvalid;
  }
}

/// A request whose command is a word, if it is one.
bool read_word(const Lines& lines, Request& request) {
  using Word = std::pair<std::string_view, Verb>;
  static constexpr std::array<Word, 7> kWords{{{"ping", Verb::kPing},
                                               {"stats", Verb::kStats},
                                               {"stat", Verb::kStat},
                                               {"auth", Verb::kAuth},
                                               {"name", Verb::kName},
                                               {"stable-ref", Verb::kStableRef},
                                               {"barrier", Verb::kBarrier}}};
  const auto* const word = std::ranges::find(kWords, lines.command, &Word::first);
  if (word == kWords.end()) return false;
  request.verb = word->second;
  request.text = request.verb == Verb::kAuth ? lines.argument : lines.key;
  const bool is_bad = (request.verb == Verb::kStableRef && !base::is_ref(lines.key)) ||
                      (request.verb == Verb::kName && !base::is_name(lines.key));
  if (is_bad) request.verb = Verb::kInvalid;
  return true;
}

/// A request of one letter, behind another for semaphores and for shared locks.
void read_letter(const Lines& lines, Request& request) {
  const std::string_view name = lines.command;
  const bool is_semaphore = name.size() == 2 && name.front() == 's';
  request.shared = name == "rl" || name == "re";
  if (name.size() == 1 || is_semaphore || request.shared) request.verb = verb_of(name.back());
  request.key.kind = is_semaphore ? locks::Kind::kSemaphore : locks::Kind::kLock;
}

}  // namespace

Request parse(const Lines& lines) {
  Request request;
  const bool is_word = lines.command.size() > 2 && read_word(lines, request);
  if (!is_word) read_letter(lines, request);
  if (is_word && request.verb != Verb::kStat) return request;
  request.key.name = lines.key;
  if (!base::is_key(lines.key) || !read_arguments(lines.argument, request)) {
    request.verb = Verb::kInvalid;
  }
  if (request.verb == Verb::kInvalid) {  // all of them have one label
    request.key.kind = locks::Kind::kLock;
    request.shared = false;
  }
  return request;
}

}  // namespace dflockd::protocol
