#include "oracle.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "recorder.hpp"

namespace dflockd::simulation {

namespace {

using locks::Key;
using locks::Outcome;
using locks::OwnerId;
using std::chrono::seconds;

constexpr std::int64_t kMaxSeconds = 9'223'372'036;
constexpr std::int64_t kMaxLimit = 1'048'576;
constexpr std::size_t kMaxLine = 256;
constexpr std::size_t kMaxSecret = 65'536;
constexpr std::size_t kTokenLength = 32;

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

std::string shown(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
    } else if (c < ' ' || c > '~') {
      result += '?';
    } else {
      result += c;
    }
  }
  return result;
}

locks::Token token_of(std::string_view digits) {
  return {hex(digits.substr(0, kTokenLength / 2)), hex(digits.substr(kTokenLength / 2))};
}

/// The owner that a connection is.
OwnerId owner_of(ConnectionId id) {
  return {.index = static_cast<std::uint32_t>(id), .generation = 0};
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
    case Outcome::kNoFence:
    case Outcome::kNotHeld:
    case Outcome::kModeMismatch:
    case Outcome::kHasRef:
      return "error\n";
    case Outcome::kDone:
      return answer.lease.count() == 0 ? "ok\n"
                                       : "ok " + std::to_string(answer.lease.count()) + "\n";
  }
  return {};
}

/// What can be seen of a table, and what was said, for a message.
std::string shown(const std::vector<Said>& said, const std::vector<locks::KeyInfo>& keys,
                  const locks::TableCounts& counts, Time next_deadline) {
  std::ostringstream out;
  for (const Said& each : said) out << each.to << " got '" << shown(each.line) << "', ";
  out << counts << ", next deadline " << next_deadline.count();
  for (const locks::KeyInfo& key : keys) {
    locks::KeyInfo legible = key;
    const std::string name = shown(key.key.name.substr(0, 24));
    legible.key.name = name;
    out << "; " << legible;
  }
  return out.str();
}

}  // namespace

// --- What happens besides steps ---

void Oracle::started(Time now, std::uint64_t first, std::uint64_t end, const Salts& salts) {
  if (first < next_fence_) {
    throw Violation("fence " + hex_of(first) +
                    ": expected fences in the order of the grants, but " + hex_of(next_fence_ - 1) +
                    " has been granted");
  }
  now_ = Time{0};  // the table has seen no time yet
  last_collection_ = now;
  salts_ = salts;
  salts_drawn_ = 2;  // for the secret of its hash table
  next_fence_ = first;
  locks::Choices none;
  models_ = {Model(options_)};
  models_.front().apply(now_, locks::ReserveFences{first, end}, {none, {}, {}});
}

void Oracle::crashed() {
  streams_.clear();
}

void Oracle::connected(ConnectionId id) {
  streams_[id];
  locks::Choices none;
  for (Model& model : models_) model.apply(now_, locks::OpenOwner{}, {none, owner_of(id), {}});
}

// --- Requests as bytes ---

std::optional<Oracle::Frame> Oracle::read(const Stream& stream) {
  Frame frame;
  while (frame.lines.size() < 3) {
    const bool is_secret = frame.lines.size() == 2 && frame.lines[0] == "auth";
    const std::size_t end = stream.unread.find('\n', frame.size);
    const std::size_t length = std::min(end, stream.unread.size()) - frame.size;
    if (length > (is_secret ? kMaxSecret : kMaxLine)) {
      frame.too_long = true;
      return frame;
    }
    if (end == std::string::npos) return std::nullopt;
    std::string line = stream.unread.substr(frame.size, length);
    while (!line.empty() && line.back() == '\r') line.pop_back();
    frame.lines.push_back(line);
    frame.size = end + 1;
  }
  return frame;
}

bool Oracle::has_request(ConnectionId id) const {
  const auto stream = streams_.find(id);
  return stream != streams_.end() && !stream->second.blocked && read(stream->second);
}

/// The command that a request is, unless the reply does not depend on the table.
std::optional<locks::Command> Oracle::parse(ConnectionId id,
                                            const std::vector<std::string>& lines) {
  const std::string& command = lines[0];
  const bool semaphore = command.size() == 2 && command[0] == 's';
  const char letter = command.size() == 1 || semaphore ? command.back() : '?';
  const Key key = locks::kept({semaphore ? locks::Kind::kSemaphore : locks::Kind::kLock, lines[1]});
  const bool bad_key = key.name.empty() || key.name.size() > kMaxLine ||
                       key.name.find_first_of(" \t\r\n") != std::string_view::npos;
  if (std::string_view("lrnew").find(letter) == std::string_view::npos || bad_key) {
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

  const OwnerId owner = owner_of(id);
  if (letter == 'w') return locks::Wait{owner, key, seconds(timeout)};
  if (letter == 'r') return locks::Release{key, token_of(token)};
  if (letter == 'n') return locks::Renew{owner, key, token_of(token), seconds(lease)};
  const locks::Request request{key, static_cast<std::uint32_t>(limit), seconds(lease),
                               salts_.at(salts_drawn_++)};
  if (letter == 'e') return locks::Enqueue{owner, request};
  return locks::Acquire{owner, request, seconds(timeout)};
}

// --- Steps ---

void Oracle::request(Time now, ConnectionId id, const Sight& sight) {
  const std::optional<Frame> frame = read(streams_.at(id));
  if (!frame || streams_.at(id).blocked) {
    throw Violation("connection " + std::to_string(id) +
                    ": expected no request, but one was carried out");
  }
  Step step{.now = now, .caller = id};
  if (frame->too_long) {
    step.refusal = "error\n";
    step.commands = {close(id, {}, false)};
    step.leaving = id;
    return judge(step, sight);
  }
  streams_.at(id).unread.erase(0, frame->size);
  if (frame->lines[0] == "ping") {
    step.refusal = "ok\n";
  } else if (const auto command = parse(id, frame->lines)) {
    step.commands = {*command};
  } else {
    step.refusal = "error\n";
  }
  judge(step, sight);
}

void Oracle::closed(Time now, ConnectionId id, std::string_view unsent, bool release_all,
                    const Sight& sight) {
  judge({.now = now, .commands = {close(id, unsent, release_all)}, .leaving = id}, sight);
}

void Oracle::wait_cancelled(Time now, ConnectionId id, const Sight& sight) {
  streams_.at(id).blocked = false;
  judge({.now = now, .commands = {locks::CancelWait{owner_of(id)}}}, sight);
}

void Oracle::time_passed(Time now, const Sight& sight) {
  judge({.now = now}, sight);
}

void Oracle::ticked(Time reading, const Sight& sight) {
  Step step{.now = reading};
  if (reading - last_collection_ >= rules_.gc_interval) {
    last_collection_ = reading;
    step.commands = {locks::CollectIdle{rules_.gc_max_idle, 4096}};
  }
  judge(step, sight);
}

void Oracle::fences_reserved(Time now, std::uint64_t end, const Sight& sight) {
  const std::uint64_t first = models_.front().next_fence();
  judge({.now = now, .commands = {locks::ReserveFences{first, end}}}, sight);
}

void Oracle::drained(Time now, const Sight& sight) {
  judge({.now = now, .commands = {locks::StartDraining{}}}, sight);
}

locks::CloseOwner Oracle::close(ConnectionId id, std::string_view unsent, bool release_all) {
  streams_.erase(id);
  undelivered_.clear();
  for (std::size_t end = 0; (end = unsent.find('\n')) != std::string_view::npos;) {
    const std::vector<std::string> words = words_of(unsent.substr(0, end));
    if (words.size() == 3) undelivered_.push_back(token_of(words[1]).fence);
    unsent.remove_prefix(end + 1);
  }
  const bool keeps_grants = !rules_.release_on_disconnect && !release_all;
  return {owner_of(id), {.keeps_grants = keeps_grants}, undelivered_};
}

/// The replies that there must be, in order.
std::vector<Said> Oracle::replies(const Step& step, const locks::Answer& answer,
                                  const std::vector<locks::Effect>& effects) {
  std::vector<Said> said;
  if (step.caller != 0 && !step.refusal.empty()) said.push_back({step.caller, step.refusal});
  for (const locks::Effect& effect : effects) {
    const bool silent =
        effect.answer.outcome == Outcome::kLeaseExpired || effect.owner == owner_of(step.leaving);
    if (!silent) said.push_back({effect.owner.index, line_of(effect.answer, false)});
  }
  const bool to_enqueue =
      !step.commands.empty() && std::holds_alternative<locks::Enqueue>(step.commands.front());
  const bool blocks = answer.outcome == Outcome::kQueued && !to_enqueue;
  if (step.caller != 0 && step.refusal.empty() && !blocks) {
    said.push_back({step.caller, line_of(answer, to_enqueue)});
  }
  return said;
}

/// Takes the models on, and keeps those that agree with what was seen.
void Oracle::judge(const Step& step, const Sight& sight) {
  now_ = std::max(now_, step.now);
  const std::uint64_t fence_before = models_.front().next_fence();
  std::string expected;
  bool blocks = false;
  const auto possible = [&](const std::vector<locks::Effect>& before, const locks::Effect& effect) {
    std::vector<locks::Effect> effects = before;
    effects.push_back(effect);
    Step unanswered = step;
    if (step.refusal.empty()) unanswered.caller = 0;
    const std::vector<Said> said = replies(unanswered, {}, effects);
    return said.size() <= sight.said.size() &&
           std::equal(said.begin(), said.end(), sight.said.begin());
  };
  std::vector<Model> models = agreeing(models_, [&](Model& model, locks::Choices& choices) {
    locks::Answer answer;
    for (const locks::Command& command : step.commands) {
      answer = model.apply(step.now, command, {choices, {}, possible});
    }
    model.apply(step.now, locks::Advance{}, {choices, {}, possible});
    const std::vector<Said> said = replies(step, answer, model.take_effects());
    const bool agrees = said == sight.said && model.counts() == sight.counts &&
                        model.next_deadline() == sight.next_deadline && model.keys() == sight.keys;
    if (agrees) blocks = step.caller != 0 && answer.outcome == Outcome::kQueued;
    if (!agrees && expected.empty()) {
      expected = shown(said, model.keys(), model.counts(), model.next_deadline());
    }
    return agrees;
  });
  if (models.empty()) {
    throw Violation("expected " + expected + ", but " +
                    shown(sight.said, sight.keys, sight.counts, sight.next_deadline));
  }
  models_ = std::move(models);
  for (const Said& said : sight.said) {
    if (const auto stream = streams_.find(said.to); stream != streams_.end()) {
      stream->second.blocked = false;
    }
  }
  if (blocks && (sight.said.empty() || sight.said.back().to != step.caller)) {
    streams_.at(step.caller).blocked = true;
  }
  next_fence_ = models_.front().next_fence();
  grants_ += next_fence_ - fence_before;
}

// --- Looking ---

std::vector<std::pair<ConnectionId, bool>> Oracle::claims() const {
  std::vector<OwnerId> active = models_.front().active_owners();
  std::ranges::sort(active, {}, &OwnerId::index);
  std::vector<std::pair<ConnectionId, bool>> result;
  result.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) {
    result.emplace_back(
        id, std::ranges::binary_search(active, owner_of(id).index, {}, &OwnerId::index));
  }
  return result;
}

Time Oracle::next_deadline() const {
  return models_.front().next_deadline();
}

Time Oracle::some_deadline(Random& random) const {
  std::vector<Time> times = models_.front().deadlines();
  for (const locks::KeyInfo& key : models_.front().keys()) {
    if (key.holders == 0) times.push_back(now_ - key.idle + rules_.gc_max_idle);
  }
  return times.empty() ? kNever : random.pick(times);
}

}  // namespace dflockd::simulation
