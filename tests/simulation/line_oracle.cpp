// What the oracle knows of the line protocol.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

#include "oracle.hpp"

namespace dflockd::simulation {

namespace {

using locks::Key;
using locks::Outcome;
using locks::OwnerId;
using net::Want;
using std::chrono::seconds;

constexpr std::int64_t kMaxSeconds = 9'223'372'036;
constexpr std::int64_t kMaxLimit = 1'048'576;
constexpr std::size_t kMaxLine = 256;
constexpr std::size_t kMaxSecret = 65'536;
constexpr std::size_t kTokenLength = 32;
constexpr std::size_t kMaxRef = 64;
constexpr std::size_t kMaxName = 128;
/// How many holders, and waiters, `stat` tells of.
constexpr std::size_t kMostTold = 1000;
/// How much a client may send ahead of a request that blocks, and what is carried out in one turn.
constexpr std::size_t kMostAhead = 1024UL * 1024;
constexpr int kRequestsATurn = 64;

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : line) {
    if (c != ' ' && c != '\t') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

/// A decimal number from `least` to `most`.
std::optional<std::int64_t> number(std::string_view word, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  if (word.empty()) return std::nullopt;
  for (const char c : word) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
    if (value > most) return std::nullopt;
  }
  return value < least ? std::nullopt : std::optional(value);
}

bool is_token(std::string_view word) {
  return word.size() == kTokenLength &&
         word.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::uint64_t hex(std::string_view digits) {
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return value;
}

std::string hex_of(std::uint64_t value) {
  std::string digits(16, '0');
  for (std::size_t at = 16; at-- > 0; value /= 16) digits[at] = "0123456789abcdef"[value % 16];
  return digits;
}

locks::Token token_of(std::string_view digits) {
  return {hex(digits.substr(0, kTokenLength / 2)), hex(digits.substr(kTokenLength / 2))};
}

/// The reply that says so.
std::string line_of(const locks::Answer& answer, bool to_enqueue) {
  switch (answer.outcome) {
    case Outcome::kGranted:
      return (to_enqueue ? "acquired " : "ok ") + hex_of(answer.token.fence) +
             hex_of(answer.token.salt) + " " + std::to_string(answer.lease.count()) + "\n";
    case Outcome::kQueued:
      return "queued\n";
    case Outcome::kTimeout:
      return "timeout\n";
    case Outcome::kMaxLocks:
      return "error_max_locks\n";
    case Outcome::kMaxWaiters:
      return "error_max_waiters\n";
    case Outcome::kLimitMismatch:
      return "error_limit_mismatch\n";
    case Outcome::kAlreadyEnqueued:
      return "error_already_enqueued\n";
    case Outcome::kNotEnqueued:
      return "error_not_enqueued\n";
    case Outcome::kLeaseExpired:
      return "error_lease_expired\n";
    case Outcome::kDraining:
      return "error_draining\n";
    case Outcome::kModeMismatch:
    case Outcome::kHasRef:
    case Outcome::kNoFence:
    case Outcome::kNotHeld:
      return "error\n";
    case Outcome::kDone:
      return answer.lease.count() == 0 ? "ok\n"
                                       : "ok " + std::to_string(answer.lease.count()) + "\n";
  }
  return {};
}

std::string_view shown(Want want) {
  constexpr std::array<std::string_view, 7> kNames{"input", "turn",  "answer", "park",
                                                   "pause", "close", "drop"};
  return kNames.at(static_cast<std::size_t>(want));
}

bool may_be_key(std::string_view key) {
  return !key.empty() && key.size() <= kMaxLine &&
         key.find_first_of(" \t\r\n") == std::string_view::npos;
}

bool may_be_ref(std::string_view ref) {
  return !ref.empty() && ref.size() <= kMaxRef &&
         std::ranges::all_of(ref, [](char c) { return c >= 0x20 && c <= 0x7e; });
}

/// UTF-8 without control characters. Of longer characters clients send those of two bytes alone.
bool may_be_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (std::size_t at = 0; at < name.size(); ++at) {
    const auto byte = static_cast<unsigned char>(name[at]);
    if (byte < 0x20 || byte == 0x7f) return false;
    if (byte < 0x80) continue;
    const unsigned next = ++at < name.size() ? static_cast<unsigned char>(name[at]) : 0;
    if (byte < 0xc2 || byte > 0xdf || next < 0x80 || next > 0xbf) return false;
    if (byte == 0xc2 && next < 0xa0) return false;
  }
  return true;
}

/// A string of JSON. Bytes that are not UTF-8 are U+FFFD.
std::string json(std::string_view text) {
  std::string result = "\"";
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20) {
      result += "\\u00" + hex_of(byte).substr(14);
    } else if (byte == '"' || byte == '\\') {
      result += {'\\', text[at]};
    } else if (byte < 0x7f) {
      result += text[at];
    } else if (may_be_name(text.substr(at, 2))) {
      result += text.substr(at++, 2);
    } else {
      result += "\xef\xbf\xbd";
    }
  }
  return result + "\"";
}

/// Seconds, cut to the millisecond.
std::string json(Time time) {
  const auto most = std::chrono::floor<std::chrono::milliseconds>(time);
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3f", std::chrono::duration<double>(most).count());
  return text.data();
}

/// What a browser can be made to send to any port.
bool is_http(std::string_view unread) {
  const std::string_view line = unread.substr(0, unread.find('\n'));
  return line.size() < unread.size() && line.starts_with("GET ") &&
         line.find(" HTTP/1.") != std::string_view::npos;
}

}  // namespace

// --- Requests as bytes ---

std::optional<Oracle::Frame> Oracle::read_frame(std::string_view unread) {
  Frame frame;
  while (frame.lines.size() < 3) {
    const bool is_secret = frame.lines.size() == 2 && frame.lines[0] == "auth";
    const std::size_t end = unread.find('\n', frame.size);
    const std::size_t length = std::min(end, unread.size()) - frame.size;
    if (length > (is_secret ? kMaxSecret : kMaxLine)) {
      frame.too_long = true;
      return frame;
    }
    if (end == std::string_view::npos) return std::nullopt;
    std::string line(unread.substr(frame.size, length));
    while (!line.empty() && line.back() == '\r') line.pop_back();
    frame.lines.push_back(line);
    frame.size = end + 1;
  }
  return frame;
}

/// The command that a request is, unless the reply does not depend on the table.
std::optional<locks::Command> Oracle::parse(OwnerId owner,
                                            const std::vector<std::string>& lines) const {
  const std::string& command = lines[0];
  const bool semaphore = command.size() == 2 && command[0] == 's';
  const bool shared = command == "rl" || command == "re";
  const char letter = command.size() == 1 || semaphore || shared ? command.back() : '?';
  const Key key = locks::kept({semaphore ? locks::Kind::kSemaphore : locks::Kind::kLock, lines[1]});
  if (std::string_view("lrnew").find(letter) == std::string_view::npos || !may_be_key(lines[1])) {
    return std::nullopt;
  }

  // What the argument line must be made of, in order: timeout, limit, token, then perhaps a lease.
  const std::vector<std::string> words = words_of(lines[2]);
  std::size_t at = 0;
  const auto next = [&] { return at < words.size() ? words[at++] : std::string(); };
  bool good = true;
  std::int64_t timeout = 0;
  std::int64_t limit = 1;
  std::int64_t lease = rules_.default_lease;
  std::string token;
  const auto take = [&](std::int64_t& value, std::int64_t least, std::int64_t most) {
    const std::optional<std::int64_t> taken = number(next(), least, most);
    good = good && taken;
    value = taken.value_or(0);
  };
  if (letter == 'l' || letter == 'w') take(timeout, 0, kMaxSeconds);
  if (semaphore && (letter == 'l' || letter == 'e')) take(limit, 1, kMaxLimit);
  if (letter == 'r' || letter == 'n') {
    token = next();
    good = good && is_token(token);
  }
  const bool may_have_lease = letter == 'l' || letter == 'e' || letter == 'n';
  if (may_have_lease && at < words.size()) take(lease, 1, kMaxSeconds);
  if (rules_.max_lease > 0) lease = std::min(lease, rules_.max_lease);
  if (!good || at < words.size()) return std::nullopt;

  if (letter == 'w') return locks::Wait{owner, key, seconds(timeout)};
  if (letter == 'r') return locks::Release{key, token_of(token)};
  if (letter == 'n') return locks::Renew{owner, key, token_of(token), seconds(lease)};
  const locks::Request request{key, static_cast<std::uint32_t>(limit), seconds(lease), 0, shared};
  if (letter == 'e') return locks::Enqueue{owner, request};
  return locks::Acquire{owner, request, seconds(timeout)};
}

// --- Steps ---

/// A session was advanced: what it took, said and wants must be just this.
void Oracle::advance_line(Peer& line, const Advance& advance) {
  // What was read last may be still on its way to it.
  if (!line.arrived.starts_with(advance.unread) && line.phase < Phase::kClosing) {
    wrong(id(), "it to be given what has arrived", "it is given something else");
  }
  std::string replies;
  const Want want =
      advance.silent ? silence(line, advance, replies) : go_on(line, advance, replies);
  if (advance.said != replies || advance.want != want) {
    wrong(id(), "'" + shown(replies) + "' and then " + std::string(shown(want)),
          "'" + shown(advance.said) + "' and then " + std::string(shown(advance.want)));
  }
  line.arrived.erase(0, advance.taken);
  if (advance.taken > 0) line.since = now_;
}

Want Oracle::go_on(Peer& line, const Advance& advance, std::string& replies) {
  switch (line.phase) {
    case Phase::kDenied:
    case Phase::kDropped:
      return Want::kDrop;
    case Phase::kClosing:
      return Want::kClose;
    case Phase::kWaiting:
      if (line.hung_up) return drop(line);
      if (!line.answer) {
        return advance.unread.size() >= kMostAhead ? refuse(line, replies) : Want::kAnswer;
      }
      replies = line_of(*std::exchange(line.answer, std::nullopt), false);
      line.phase = Phase::kOpen;
      break;
    case Phase::kNew:
      if (is_http(advance.unread)) return drop(line);
      break;
    default:
      if (line.left) return drop(line);
  }
  return carry_out(line, advance, replies);
}

/// What was taken is carried out, and it must be all that can be.
Want Oracle::carry_out(Peer& line, const Advance& advance, std::string& replies) {
  std::string_view rest = advance.unread;
  for (int count = 0; count < kRequestsATurn; ++count) {
    const std::optional<Frame> frame = read_frame(rest);
    if (!frame) return Want::kInput;
    if (frame->too_long) return refuse(line, replies);
    if (advance.unread.size() - rest.size() >= advance.taken)
      wrong(id(), "a request to be taken", "it is not");
    line.phase = Phase::kOpen;
    ++requests_;
    const Want want = carry_out(line, *frame, replies);
    rest.remove_prefix(frame->size);
    if (want != Want::kInput) return want;
  }
  return rest.empty() ? Want::kInput : Want::kTurn;
}

Want Oracle::carry_out(Peer& line, const Frame& frame, std::string& replies) {
  const bool is_auth = frame.lines[0] == "auth";
  if (!line.authenticated || (is_auth && !rules_.secret.empty())) {
    if (!is_auth || frame.lines[2] != rules_.secret) return deny(line, replies);
    line.authenticated = true;
    replies += "ok\n";
    return Want::kInput;
  }
  if (const auto want = carry_out_word(line, frame, replies)) return *want;
  line.served = true;
  const auto command = parse(line.owner, frame.lines);
  if (!command) {
    replies += "error\n";
    return Want::kInput;
  }
  const Call call = take_call();
  if (!ask_alike(call.command, *command)) wrong(id(), shown(*command), shown(call.command));
  const bool to_enqueue = std::holds_alternative<locks::Enqueue>(*command);
  if (call.answer.outcome != Outcome::kQueued || to_enqueue) {
    replies += line_of(call.answer, to_enqueue);
    return Want::kInput;
  }
  line.phase = Phase::kWaiting;
  line.waits = true;
  if (line.hung_up) return drop(line);
  return Want::kAnswer;
}

/// A request whose command is a word, if it is one.
std::optional<Want> Oracle::carry_out_word(Peer& line, const Frame& frame, std::string& replies) {
  const std::string& word = frame.lines[0];
  const std::string& key = frame.lines[1];
  const bool is_ref = word == "stable-ref" && may_be_ref(key);
  if (is_ref || (word == "name" && may_be_name(key))) {
    if (is_ref) {
      const Call call = take_call();
      const locks::SetRef expected{line.owner, key};
      if (!ask_alike(call.command, expected)) wrong(id(), shown(expected), shown(call.command));
      replies += std::exchange(line.has_ref, true) ? "error\n" : "ok\n";
    } else {
      describe(line.owner, id(), "peer:1", key);
      replies += "ok\n";
    }
    return Want::kInput;
  }
  if (word == "ping" || word == "barrier") {
    line.served = true;
    replies += "ok\n";
    return Want::kInput;
  }
  const std::vector<std::string> words = words_of(frame.lines[2]);
  const bool is_stat = word == "stat" && may_be_key(key) && words.size() == 1 &&
                       (words[0] == "lock" || words[0] == "semaphore");
  if (!is_stat) return std::nullopt;
  line.served = true;
  const Call call = take_call();  // what it tells is of now
  if (!std::holds_alternative<locks::Advance>(call.command)) {
    wrong(id(), "time to be noted", shown(call.command));
  }
  replies += stat_of({words[0] == "lock" ? locks::Kind::kLock : locks::Kind::kSemaphore, key});
  return Want::kTurn;
}

/// What is said of a key, by what the second table knows of it.
std::string Oracle::stat_of(const Key& key) const {
  std::array<std::string, 2> lists;  // holders, waiters
  std::array<std::uint32_t, 2> listed{};
  const auto info = table_.visit_claims(key, [&](const locks::ClaimInfo& claim) {
    const std::size_t which = claim.held ? 0 : 1;
    if (++listed.at(which) > kMostTold) return;
    std::string& list = lists.at(which);
    list += (list.empty() ? "{" : ",{") +
            described_.at({claim.owner.index, claim.owner.generation}) + R"(,"shared":)" +
            (claim.shared ? "true" : "false");
    if (claim.held) {
      list += R"(,"fence":")" + std::to_string(claim.fence) + R"(","held_s":)" + json(claim.age) +
              R"(,"lease_expires_in_s":)" + json(claim.ends_in) + "}";
    } else {
      list += R"(,"waited_s":)" + json(claim.age) + R"(,"times_out_in_s":)" +
              (claim.ends_in == kNever ? "null" : json(claim.ends_in)) + "}";
    }
  });
  if (!info) return "error\n";
  return R"(ok {"key":)" + json(key.name) + R"(,"kind":")" +
         (key.kind == locks::Kind::kLock ? "lock" : "semaphore") + R"(","limit":)" +
         std::to_string(info->limit) + R"(,"holders":[)" + lists[0] + R"(],"holder_count":)" +
         std::to_string(listed[0]) + R"(,"waiters":[)" + lists[1] + R"(],"waiter_count":)" +
         std::to_string(listed[1]) + "}\n";
}

void Oracle::describe(OwnerId owner, std::uint64_t connection, std::string_view peer,
                      std::string_view name) {
  described_[{owner.index, owner.generation}] = R"("owner_conn_id":)" + std::to_string(connection) +
                                                R"(,"owner":")" + std::string(peer) +
                                                R"(","name":)" + json(name);
}

bool Oracle::is_legacy(const locks::Legacy& legacy) const {
  return legacy.keeps_grants != rules_.release_on_disconnect &&
         legacy.orphan_ttl == rules_.orphan_ttl;
}

/// It was silent for too long.
Want Oracle::silence(Peer& line, const Advance& advance, std::string& replies) const {
  const bool is_request = !advance.unread.empty() || line.phase == Phase::kNew;
  const Time timeout = is_request ? rules_.read_timeout : rules_.idle_timeout;
  if (timeout == Time(0) || now_ - line.since < timeout) {
    wrong(id(), "patience", "there is none");
  }
  if (is_request) return refuse(line, replies);
  return !has_claims(line) ? drop(line) : Want::kInput;
}

Want Oracle::refuse(Peer& line, std::string& replies) const {
  if (!line.authenticated) return deny(line, replies);
  replies += "error\n";
  line.phase = Phase::kClosing;
  return Want::kClose;
}

Want Oracle::deny(Peer& line, std::string& replies) {
  replies += "error_auth\n";
  line.phase = Phase::kDenied;
  return Want::kPause;
}

Want Oracle::drop(Peer& line) {
  line.phase = Phase::kDropped;
  return Want::kDrop;
}

/// Its owner is closed; with the grants that it has not been told of, if others stay.
void Oracle::close_owner(Peer& line, bool with_undelivered) {
  std::vector<std::uint64_t> undelivered;
  if (!rules_.release_on_disconnect && with_undelivered) {
    std::string_view unsent = line.said;
    for (std::size_t end = 0; (end = unsent.find('\n')) != std::string_view::npos;) {
      const std::vector<std::string> words = words_of(unsent.substr(0, end));
      if (words.size() == 3 && is_token(words[1])) undelivered.push_back(token_of(words[1]).fence);
      unsent.remove_prefix(end + 1);
    }
    if (line.answer && line.answer->outcome == Outcome::kGranted) {
      undelivered.push_back(line.answer->token.fence);
    }
    std::ranges::sort(undelivered);
  }
  const Call call = take_call();
  const auto* const close = std::get_if<locks::CloseOwner>(&call.command);
  if (close == nullptr || close->owner != line.owner || !is_legacy(close->legacy) ||
      call.undelivered != undelivered) {
    wrong(id(),
          "its owner to be closed, with " + std::to_string(undelivered.size()) + " undelivered",
          shown(call.command));
  }
  line.left = true;
  lines_.erase({line.owner.index, line.owner.generation});
}

void Oracle::rest_line(ConnectionId id, const Peer& line) {
  if (line.answer) wrong(id, "its answer to be said", "it is not");
  if (line.hung_up) wrong(id, "it to end with its peer", "it does not");
  if (line.phase == Phase::kWaiting) return;
  if (!line.wire->unread().empty()) wrong(id, "it to read", "it does not");
  if (read_frame(line.arrived)) wrong(id, "its request to be carried out", "it is not");
}

}  // namespace dflockd::simulation
