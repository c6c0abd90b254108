#include "client.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace dflockd::simulation {

namespace {

constexpr std::array kTemperaments{
    // l   e   w   r   n  stale forged others burst trifle bad garbage long half stop vanish
    Temperament{"worker", {40, 3, 3, 40, 8, 2, 1, 1, 8, 2, 2, 0, 0, 0, 1, 1}, 3, 3, 20},
    Temperament{"renewer", {25, 2, 2, 10, 50, 4, 1, 1, 4, 1, 1, 0, 0, 0, 0, 1}, 2, 2, 10},
    Temperament{"two-phase", {6, 38, 38, 18, 6, 3, 1, 1, 8, 1, 2, 0, 0, 0, 8, 2}, 4, 6, 20},
    Temperament{"vanisher", {30, 15, 15, 8, 4, 1, 1, 1, 8, 1, 1, 0, 0, 4, 4, 14}, 35, 25, 40},
    Temperament{"sleeper", {50, 12, 6, 3, 3, 8, 1, 1, 4, 1, 1, 0, 0, 0, 2, 1}, 2, 2, 10},
    Temperament{"forger", {20, 5, 5, 8, 5, 14, 14, 20, 6, 1, 6, 0, 0, 0, 0, 1}, 2, 3, 20},
    Temperament{"babbler", {14, 5, 5, 10, 5, 2, 2, 2, 6, 14, 24, 5, 8, 4, 3, 3}, 5, 5, 70},
};

constexpr std::size_t kMostSeen = 64;
constexpr std::size_t kMostHeld = 40;

std::string text(std::uint64_t number) {
  return std::to_string(number);
}

/// A number of seconds up to `longest`, short ones more often, or one of the longest that there
/// are.
std::uint64_t seconds(Random& random, std::uint64_t longest) {
  if (random.one_in(40)) return random.one_in(2) ? 9'223'372'036 : random.below(9'223'372'036) + 1;
  return 1 + random.below(random.one_in(2) ? std::min<std::uint64_t>(longest, 3) : longest);
}

std::string timeout(Random& random, const Neighbourhood& neighbourhood) {
  return text(random.one_in(4) ? 0 : seconds(random, neighbourhood.longest_timeout));
}

/// A blank and a lease, or nothing for the default.
std::string lease(Random& random, const Neighbourhood& neighbourhood) {
  return random.one_in(4) ? "" : " " + text(seconds(random, neighbourhood.longest_lease));
}

/// The limit of the key's semaphore; rarely another one.
std::string limit(Random& random, const Neighbourhood& neighbourhood, const KnownToken& about) {
  const auto at = std::ranges::find(neighbourhood.keys, about.key) - neighbourhood.keys.begin();
  if (at == std::ssize(neighbourhood.keys)) return "1";  // one that was not allowed
  const std::uint64_t right = neighbourhood.limits[static_cast<std::size_t>(at)];
  if (!random.one_in(25)) return text(right);
  return text(random.one_in(5) ? 1'048'576 : right + random.below(3) + (right == 1 ? 0 : -1));
}

void remember(std::vector<KnownToken>& tokens, const KnownToken& token, std::size_t most,
              Random& random) {
  if (tokens.size() < most) {
    tokens.push_back(token);
  } else {
    random.pick(tokens) = token;
  }
}

std::string hex_digits(Random& random, std::size_t count) {
  std::string digits;
  while (digits.size() < count) digits += "0123456789abcdef"[random.below(16)];
  return digits;
}

/// Whether a reply is to a grant.
bool names_token(std::string_view reply) {
  return reply.size() > 33 && reply.find('{') == std::string_view::npos;
}

/// A token that looks like a given one.
std::string forged(std::string token, Random& random) {
  if (token.empty()) return hex_digits(random, 32);
  switch (random.below(5)) {
    case 0:  // the fence right
      return token.substr(0, 16) + hex_digits(random, 16);
    case 1:  // the salt right
      return hex_digits(random, 16) + token.substr(16);
    case 2:
      return token.substr(0, 16) + "0000000000000000";
    case 3:
      return token.substr(16) + token.substr(0, 16);
    default: {
      char& digit = token[random.below(token.size())];
      digit = digit == '0' ? '1' : '0';
      return token;
    }
  }
}

}  // namespace

std::span<const Temperament> temperaments() {
  return kTemperaments;
}

/// A key to ask for; of a client that comes back, mostly one of those that it left behind.
KnownToken Client::some_key(Random& random, const Neighbourhood& neighbourhood) const {
  if (!left_behind_.empty() && random.percent(60)) {
    KnownToken again = random.pick(left_behind_);
    again.token.clear();
    if (random.one_in(12)) again.shared = !again.shared;
    return again;
  }
  const std::size_t at =
      random.percent(neighbourhood.hot) ? 0 : random.below(neighbourhood.keys.size());
  const bool semaphore = random.percent(neighbourhood.semaphores);
  return {.semaphore = semaphore,
          .key = neighbourhood.keys[at],
          .token = {},
          .shared = !semaphore && random.percent(neighbourhood.shared)};
}

Act Client::draw(Random& random, Act end) const {
  const std::span weights(temperament_->weights, static_cast<std::size_t>(end));
  std::uint64_t drawn = random.below(std::accumulate(weights.begin(), weights.end(), 0U));
  std::size_t at = 0;
  while (drawn >= weights[at]) drawn -= weights[at++];
  return static_cast<Act>(at);
}

Act Client::move(Random& random, Neighbourhood& neighbourhood, std::string& bytes) {
  const Act act = draw(random, Act::kCount);
  if (act != Act::kBurst) {
    ask(random, neighbourhood, act, bytes);
    return act;
  }
  const std::uint64_t most = random.one_in(30) ? 200 : 6;
  for (std::uint64_t count = random.between(2, most); count > 0; --count) {
    ask(random, neighbourhood, draw(random, Act::kBurst), bytes);
  }
  return act;
}

/// Now and then a wrong secret, or none; and a ref later, or never.
void Client::greet(Random& random, std::string_view secret, std::string& bytes) {
  if (!secret.empty() && !random.one_in(30)) {
    say(bytes, "auth", "_", std::string(secret) + (random.one_in(20) ? "!" : ""));
  }
  if (!ref_.empty() && !random.one_in(8)) say(bytes, "stable-ref", ref_, "_");
}

void Client::ask(Random& random, Neighbourhood& neighbourhood, Act act, std::string& bytes) {
  if (act == Act::kRelease && held_.empty()) act = Act::kAcquire;
  if (act == Act::kRenew && held_.empty()) act = Act::kAcquire;
  if (act == Act::kUseStale && stale_.empty()) act = Act::kUseForged;
  if (act == Act::kUseOthers && neighbourhood.seen.empty()) act = Act::kUseForged;
  if (act == Act::kAcquire && held_.size() > kMostHeld) act = Act::kRelease;
  switch (act) {
    case Act::kAcquire: {
      const KnownToken about = some_key(random, neighbourhood);
      std::string argument = timeout(random, neighbourhood);
      if (about.semaphore) argument += " " + limit(random, neighbourhood, about);
      return send(bytes, 'l', about, argument + lease(random, neighbourhood), random);
    }
    case Act::kEnqueue: {
      const KnownToken about = some_key(random, neighbourhood);
      const std::string argument = about.semaphore ? limit(random, neighbourhood, about) : "";
      remember(enqueued_, about, kMostHeld, random);
      return send(bytes, 'e', about, argument + lease(random, neighbourhood), random);
    }
    case Act::kWait: {
      const bool begun = !enqueued_.empty() && !random.one_in(12);
      const KnownToken about = begun ? random.pick(enqueued_) : some_key(random, neighbourhood);
      return send(bytes, 'w', about, timeout(random, neighbourhood), random);
    }
    case Act::kRelease:
      return send(bytes, 'r', random.pick(held_), "", random);
    case Act::kRenew:
      return send(bytes, 'n', random.pick(held_), lease(random, neighbourhood), random);
    case Act::kUseStale:
    case Act::kUseOthers:
    case Act::kUseForged:
      return use_token(random, neighbourhood, act, bytes);
    case Act::kTrifle:
      return trifle(random, neighbourhood, bytes);
    case Act::kMalformed:
      return malformed(random, neighbourhood, bytes);
    case Act::kGarbage:
      if (random.one_in(4)) bytes += "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
      for (std::uint64_t count = random.between(1, 60); count > 0; --count) {
        bytes += random.one_in(8) ? '\n' : static_cast<char>(random.below(256));
      }
      return;
    case Act::kOverlong:
      return overlong(random, neighbourhood, bytes);
    case Act::kHalf: {
      std::string whole;
      send(whole, 'l', some_key(random, neighbourhood), "5 1", random);
      bytes += whole.substr(0, random.below(whole.size()));
      return;
    }
    case Act::kStopReading:
      return ask_again(random, neighbourhood, bytes);
    default:
      return;
  }
}

/// With a token that is not its own any more, or never was.
void Client::use_token(Random& random, const Neighbourhood& neighbourhood, Act act,
                       std::string& bytes) {
  KnownToken token = act == Act::kUseStale         ? random.pick(stale_)
                     : !neighbourhood.seen.empty() ? random.pick(neighbourhood.seen)
                                                   : some_key(random, neighbourhood);
  if (act == Act::kUseForged) token.token = forged(token.token, random);
  if (random.one_in(8)) token.key = random.pick(neighbourhood.keys);
  if (random.one_in(12)) token.semaphore = !token.semaphore;
  send(bytes, random.one_in(2) ? 'r' : 'n', token, "", random);
}

void Client::trifle(Random& random, const Neighbourhood& neighbourhood, std::string& bytes) {
  constexpr std::array kCommands{"ping", "auth", "L",    "sping", "x",  "ll",  "s",      "",
                                 "sx",   "lr",   "Ping", "ping ", "rw", "srl", "ssl",    "rr",
                                 "stat", "name", "rn",   "name ", "re", "rse", "barrier"};
  constexpr std::array kNames{"worker", "Zo\xc3\xab", "the \"other\" one", "\\", "\xc3",
                              "\xff",   "tab\there",  "\xc2\x85",          "",   "\x7f"};
  constexpr std::array kKinds{"lock", "semaphore", " lock\t", "", "lock lock", "locks"};
  switch (random.below(5)) {
    case 0:
      return say(
          bytes, "name",
          random.one_in(6) ? std::string(random.between(127, 129), 'n') : random.pick(kNames), "_");
    case 1: {
      const KnownToken about = some_key(random, neighbourhood);
      const std::string kind = about.semaphore ? "semaphore" : "lock";
      return say(bytes, "stat", about.key, random.one_in(4) ? random.pick(kKinds) : kind);
    }
    case 2:
      if (ref_.empty()) return say(bytes, "barrier", "", "");
      return say(bytes, "stable-ref",
                 random.one_in(2)   ? ref_
                 : random.one_in(2) ? random.pick(neighbourhood.refs)
                                    : std::string(random.below(3) * 33, 'r') + random.pick(kNames),
                 "_");
    default:
      return say(bytes, random.pick(kCommands), random.one_in(2) ? "_" : "some key",
                 hex_digits(random, random.below(20)));
  }
}

/// A request that is about none of its tokens.
void Client::say(std::string& bytes, const std::string& command, const std::string& key,
                 const std::string& argument) {
  asked_.push_back({'?', {}});
  bytes += command + "\n" + key + "\n" + argument + "\n";
}

/// With a line that is too long, or just not.
void Client::overlong(Random& random, const Neighbourhood& neighbourhood, std::string& bytes) {
  const KnownToken about = some_key(random, neighbourhood);
  const bool secret = random.one_in(6);
  const std::size_t most = secret ? 65'536 : 256;
  const std::size_t length = most - 2 + random.below(5);
  asked_.push_back({'?', {}});
  switch (random.below(3)) {
    case 0:
      bytes += std::string(length, 'l') + "\n" + about.key + "\n0\n";
      return;
    case 1:
      bytes +=
          (secret ? "auth\n" : "l\n") +
          std::string(secret && random.one_in(2) ? 257 : length, random.one_in(3) ? '\r' : 'k') +
          "\n0 1\n";
      return;
    default:
      bytes += (secret ? "auth\n_\n" : "l\n" + about.key + "\n") +
               std::string(length, secret ? 's' : '0') + "\n";
  }
}

/// For what an answer has named already.
void Client::ask_again(Random& random, const Neighbourhood& neighbourhood, std::string& bytes) {
  for (const KnownToken& begun : enqueued_) {
    const bool held = std::ranges::any_of(held_, [&](const KnownToken& grant) {
      return grant.semaphore == begun.semaphore && grant.key == begun.key;
    });
    if (held) send(bytes, 'w', begun, timeout(random, neighbourhood), random);
  }
}

/// A request as it should be, in one of the ways in which it may be written.
void Client::send(std::string& bytes, char letter, const KnownToken& about,
                  const std::string& argument, Random& random) {
  asked_.push_back({letter, about});
  const std::string ending = random.one_in(10) ? random.one_in(2) ? "\r\n" : "\r\r\r\n" : "\n";
  std::string words = about.token.empty() ? argument : about.token + argument;
  if (random.one_in(10)) {
    for (std::size_t at = words.find(' '); at != std::string::npos; at = words.find(' ', at + 3)) {
      words.replace(at, 1, " \t ");
    }
    words = " " + words + "\t";
  }
  if (about.semaphore) bytes += 's';
  if (about.shared && !about.semaphore && (letter == 'l' || letter == 'e')) bytes += 'r';
  bytes += letter + ending + about.key + ending + words + ending;
}

/// A request in which something is not as it should be.
void Client::malformed(Random& random, const Neighbourhood& neighbourhood, std::string& bytes) {
  constexpr std::array kNumbers{
      "-1", "+1",  "1.5",     "0x1", "9223372037", "99999999999999999999",   "1e3",  "0",
      "00", "007", "1048577", "",    "ten",        "0000000000000000000009", "1 1 1"};
  KnownToken about = some_key(random, neighbourhood);
  std::string argument = random.pick(kNumbers);
  if (random.one_in(2)) argument = "1 " + argument;
  if (random.one_in(4)) argument += " 1";
  constexpr std::string_view kLetters = "lrnew";
  const char letter = kLetters[random.below(kLetters.size())];
  if ((letter == 'r' || letter == 'n') && !held_.empty()) {
    const KnownToken& held = random.pick(held_);
    about = held;
    about.token.clear();
    std::string token = held.token;
    switch (random.below(4)) {
      case 0:
        std::ranges::transform(token, token.begin(), [](char c) {
          return c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
        });
        break;
      case 1:
        token.pop_back();
        break;
      case 2:
        token += "0";
        break;
      default:
        break;
    }
    argument = token + (random.one_in(2) ? " 0" : "");
  }
  if (random.one_in(4)) {
    constexpr std::array kKeys{"", " ", "a b", "tab\there", "carriage\rreturn", " key"};
    about.key = random.pick(kKeys);
  }
  send(bytes, letter, about, argument, random);
}

bool Client::hear(std::string_view bytes, Neighbourhood& neighbourhood, Random& random) {
  half_line_ += bytes;
  bool granted = false;
  for (std::size_t end = 0; (end = half_line_.find('\n')) != std::string::npos;) {
    const std::string line = half_line_.substr(0, end);
    half_line_.erase(0, end + 1);
    granted = granted || names_token(line);
    take(line, neighbourhood, random);
  }
  return granted;
}

void Client::take(std::string_view line, Neighbourhood& neighbourhood, Random& random) {
  if (asked_.empty()) return;  // to something that it did not take for a request
  const Asked asked = std::move(asked_.front());
  asked_.pop_front();
  const bool ok = line.starts_with("ok") || line.starts_with("acquired");
  const auto is_it = [&](const KnownToken& token) { return token.token == asked.about.token; };
  const auto is_its_key = [&](const KnownToken& key) {
    return key.semaphore == asked.about.semaphore && key.key == asked.about.key;
  };
  if (names_token(line)) {
    KnownToken token = asked.about;
    const std::size_t at = line.find(' ') + 1;
    token.token = line.substr(at, 32);
    remember(held_, token, kMostHeld, random);
    if (!left_behind_.empty()) std::erase_if(left_behind_, is_its_key);
    remember(neighbourhood.seen, token, kMostSeen, random);
  } else if ((asked.letter == 'r' && ok) || (asked.letter == 'n' && !ok)) {
    if (std::erase_if(held_, is_it) > 0) remember(stale_, asked.about, kMostHeld, random);
  }
  if (asked.letter == 'w') {
    std::erase_if(enqueued_, is_its_key);
  }
}

void Client::disconnected() {
  connection = 0;
  if (!ref_.empty()) {
    left_behind_ = held_;
    left_behind_.insert(left_behind_.end(), enqueued_.begin(), enqueued_.end());
    for (const Asked& asked : asked_) {
      if (asked.letter == 'l') left_behind_.push_back(asked.about);
    }
  }
  asked_.clear();
  enqueued_.clear();
  half_line_.clear();
  stale_.insert(stale_.end(), held_.begin(), held_.end());
  held_.clear();
  if (stale_.size() > kMostHeld) stale_.erase(stale_.begin(), stale_.end() - kMostHeld);
}

}  // namespace dflockd::simulation
