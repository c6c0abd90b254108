#include "history.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

namespace dflockd::history {

namespace {

template <class Value>
using Words = std::pair<std::string_view, Value>;

constexpr std::array<std::string_view, kEvents> kEventNames = {
    "server_starting", "server_up",   "server_kill",    "server_term",
    "server_dead",     "server_stop", "server_cont",    "server_reload",
    "client_start",    "client_kill", "client_stop",    "client_cont",
    "network_begin",   "network_end", "pressure_begin", "pressure_end"};

constexpr std::array kVerbs = {
    Words<Verb>{"acquire", Verb::kAcquire}, Words<Verb>{"enqueue", Verb::kEnqueue},
    Words<Verb>{"wait", Verb::kWait}, Words<Verb>{"release", Verb::kRelease},
    Words<Verb>{"renew", Verb::kRenew}};

constexpr std::array kReplies = {Words<Reply>{"ok", Reply::kOk},
                                 Words<Reply>{"acquired", Reply::kOk},
                                 Words<Reply>{"queued", Reply::kQueued},
                                 Words<Reply>{"timeout", Reply::kTimeout},
                                 Words<Reply>{"error", Reply::kError},
                                 Words<Reply>{"error_already_enqueued", Reply::kAlreadyEnqueued},
                                 Words<Reply>{"error_not_enqueued", Reply::kNotEnqueued},
                                 Words<Reply>{"error_lease_expired", Reply::kLeaseExpired},
                                 Words<Reply>{"error_limit_mismatch", Reply::kLimitMismatch},
                                 Words<Reply>{"error_draining", Reply::kDraining},
                                 Words<Reply>{"gone", Reply::kGone}};

template <class Table>
auto find_word(const Table& table, std::string_view word)
    -> std::optional<decltype(table[0].second)> {
  for (const auto& [text, value] : table) {
    if (text == word) return value;
  }
  return std::nullopt;
}

template <class Number>
bool parse_number(std::string_view text, Number& number, int base = 10) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, base);
  return error == std::errc() && rest == end;
}

}  // namespace

struct Reader::Line {
  std::string_view rest;
  Place place;
  Time time = 0;

  std::string_view word() {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view taken = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return taken;
  }
};

std::string_view name_of(Event event) {
  return kEventNames[static_cast<std::size_t>(event)];
}

Token parse_token(std::string_view text) {
  Token token;
  constexpr std::size_t kHalf = 16;
  if (text.size() != 2 * kHalf || !parse_number(text.substr(0, kHalf), token.fence, 16) ||
      !parse_number(text.substr(kHalf), token.salt, 16)) {
    return {};
  }
  return token;
}

std::string to_string(const Token& token) {
  std::string text(32, '0');
  for (std::size_t i = 0; i < 16; ++i) {
    text[15 - i] = "0123456789abcdef"[(token.fence >> (4 * i)) & 0xf];
    text[31 - i] = "0123456789abcdef"[(token.salt >> (4 * i)) & 0xf];
  }
  return text;
}

std::string History::where(Place place) const {
  return files[place.file].name + ":" + std::to_string(place.line);
}

void Reader::add_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::system_error(errno, std::generic_category(), path);
  add(path, std::string(std::istreambuf_iterator<char>(file), {}));
}

void Reader::add(const std::string& path, std::string_view text) {
  constexpr std::string_view kSuffix = ".history";
  std::string name = path.substr(path.rfind('/') + 1);
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  std::string slot = name.substr(0, name.find('.'));
  history_.files.push_back({std::move(name), std::move(slot)});
  operations_.clear();
  connections_.clear();

  Place place{static_cast<std::uint32_t>(history_.files.size() - 1), 0};
  for (std::size_t end = 0; (end = text.find('\n')) != std::string_view::npos;) {
    ++place.line;
    Line line{text.substr(0, end), place};
    text.remove_prefix(end + 1);
    take(line);
  }
}

void Reader::take(Line& line) {
  const std::string_view kind = line.word();
  if (kind.size() != 1 || !parse_number(line.word(), line.time)) return refuse(line, "no record");
  Time& last = history_.files.back().last;
  last = std::max(last, line.time);
  switch (kind[0]) {
    case 'O':
      return take_open(line);
    case 'I':
      return take_invocation(line);
    case 'S':
      if (Operation* const op = operation(line)) op->seen = std::min(op->seen, line.time);
      return;
    case 'U':
      if (Operation* const op = operation(line)) op->abandoned = line.time;
      return;
    case 'R':
      return take_reply(line);
    case 'X':
    case 'Y':
    case 'D':
      return take_ending(line, kind[0]);
    case 'E':
      return take_event(line);
    default:
      return refuse(line, "no such record");
  }
}

void Reader::refuse(const Line& line, std::string_view why) {
  history_.malformed.push_back(history_.where(line.place) + ": " + std::string(why));
}

Operation* Reader::operation(Line& line) {
  std::uint64_t number = 0;
  if (parse_number(line.word(), number)) {
    const auto found = operations_.find(number);
    if (found != operations_.end()) return &history_.operations[found->second];
  }
  refuse(line, "no such operation");
  return nullptr;
}

Connection* Reader::connection(Line& line) {
  std::uint64_t number = 0;
  if (parse_number(line.word(), number)) {
    const auto found = connections_.find(number);
    if (found != connections_.end()) return &history_.connections[found->second];
  }
  refuse(line, "no such connection");
  return nullptr;
}

std::uint32_t Reader::key_index(std::string_view name) {
  const auto [found, is_new] =
      key_indexes_.try_emplace(std::string(name), static_cast<std::uint32_t>(history_.keys.size()));
  if (is_new) history_.keys.emplace_back(name);
  return found->second;
}

void Reader::take_open(Line& line) {
  std::uint64_t number = 0;
  if (!parse_number(line.word(), number)) return refuse(line, "no connection");
  const Door door = line.word().starts_with("http") ? Door::kSession : Door::kConnection;
  connections_[number] = static_cast<std::uint32_t>(history_.connections.size());
  history_.connections.push_back({.place = line.place, .door = door, .opened = line.time});
  if (const std::string ref(line.word()); !ref.empty()) {
    const auto next = static_cast<std::uint32_t>(ref_indexes_.size());
    history_.connections.back().ref = ref_indexes_.try_emplace(ref, next).first->second;
  }
}

void Reader::take_invocation(Line& line) {
  Operation op{.place = line.place, .invoked = line.time};
  std::uint64_t number = 0;
  std::uint64_t connection = 0;
  if (!parse_number(line.word(), number) || !parse_number(line.word(), connection) ||
      !connections_.contains(connection)) {
    return refuse(line, "no such connection");
  }
  op.connection = connections_[connection];
  const auto verb = find_word(kVerbs, line.word());
  if (!verb) return refuse(line, "no such request");
  op.verb = *verb;
  op.key = key_index(line.word());
  while (!line.rest.empty()) {
    const std::string_view word = line.word();
    const std::size_t equals = std::min(word.find('='), word.size());
    const std::string_view name = word.substr(0, equals);
    const std::string_view value = word.substr(std::min(equals + 1, word.size()));
    bool good = true;
    if (name == "timeout") {
      good = parse_number(value, op.timeout);
      op.timeout *= kSecond;
    } else if (name == "lease") {
      good = parse_number(value, op.lease);
      op.lease *= kSecond;
    } else if (name == "limit") {
      good = parse_number(value, op.limit);
    } else if (name == "token") {
      op.token = parse_token(value);
    } else if (word == "shared") {
      op.shared = true;
    } else {
      good = false;
    }
    if (!good) return refuse(line, "no such argument");
  }
  operations_[number] = static_cast<std::uint32_t>(history_.operations.size());
  history_.operations.push_back(op);
}

void Reader::take_reply(Line& line) {
  Operation* const op = operation(line);
  if (op == nullptr) return;
  op->completed = line.time;
  op->reply = find_word(kReplies, line.word()).value_or(Reply::kOther);
  while (!line.rest.empty()) {
    const std::string_view word = line.word();
    if (word.starts_with("token=")) {
      op->token = parse_token(word.substr(6));
      op->reply = Reply::kGranted;
    } else if (word.starts_with("lease=") && parse_number(word.substr(6), op->reply_lease)) {
      op->reply_lease *= kSecond;
    } else {
      op->reply = Reply::kOther;
    }
  }
}

void Reader::take_ending(Line& line, char kind) {
  Connection* const ending = connection(line);
  if (ending == nullptr) return;
  const std::string_view how = line.word();
  if (kind == 'Y') {
    ending->confirmed = line.time;
    return;
  }
  if (ending->ending != Ending::kNone) return;  // what came first counts
  ending->ended = line.time;
  if (kind == 'D') {
    ending->ending = how == "peer" ? Ending::kLost : Ending::kFailed;
  } else if (how == "close") {
    ending->ending = Ending::kClosed;
  } else {
    ending->ending = how == "delete" ? Ending::kDeleted : Ending::kReset;
  }
}

void Reader::take_event(Line& line) {
  const std::string_view word = line.word();
  const auto* const found = std::ranges::find(kEventNames, word);
  if (found == kEventNames.end()) return refuse(line, "no such event");
  history_.happenings.push_back({.place = line.place,
                                 .event = static_cast<Event>(found - kEventNames.begin()),
                                 .time = line.time,
                                 .subject = std::string(line.word())});
}

History Reader::finish() {
  std::ranges::stable_sort(history_.operations, {}, &Operation::invoked);
  std::ranges::stable_sort(history_.happenings, {}, &Happening::time);
  return std::move(history_);
}

}  // namespace dflockd::history
