#include "oracle.hpp"

#include <algorithm>
#include <charconv>

namespace dflockd::simulation {

namespace {

constexpr std::int64_t kMaxSeconds = 9'223'372'036;
constexpr std::int64_t kMaxLimit = 1'048'576;
constexpr std::size_t kMaxLine = 256;
constexpr std::size_t kMaxSecret = 65'536;
constexpr std::size_t kTokenLength = 32;

Time after(Time start, std::int64_t seconds) {
  const std::int64_t room = (kNever - start).count() / 1'000'000'000;
  return seconds >= room ? kNever : start + std::chrono::seconds(seconds);
}

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

std::string of(ConnectionId id) {
  return "connection " + std::to_string(id);
}

std::string shown(const std::pair<bool, std::string>& name) {
  constexpr std::size_t kShown = 24;
  const std::string key = shown(std::string_view(name.second).substr(0, kShown));
  return (name.first ? "semaphore '" : "lock '") + key +
         (name.second.size() > kShown ? "...'" : "'");
}

[[noreturn]] void complain(const std::string& where, const std::string& expected,
                           const std::string& happened) {
  throw Violation(where + ": expected " + expected + ", but " + happened);
}

template <class Value>
void compare(const std::string& where, const Value& expected, const Value& seen) {
  if (expected == seen) return;
  complain(where, std::to_string(expected), "it is " + std::to_string(seen));
}

void compare(const std::string& where, Time expected, Time seen) {
  compare(where, expected.count(), seen.count());
}

}  // namespace

// --- What happens besides steps ---

void Oracle::started(Time now, std::uint64_t fences, const Salts& salts) {
  now_ = Time{0};  // the table has seen no time yet
  last_collection_ = now;
  fences_left_ = fences;
  salts_ = salts;
  salts_drawn_ = 2;  // for the secret of its hash table
  draining_ = false;
}

void Oracle::crashed() {
  keys_.clear();
  streams_.clear();
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

// --- Steps ---

void Oracle::request(Time now, ConnectionId id, const Sight& sight) {
  begin(now, sight);
  const std::optional<Frame> frame = read(streams_.at(id));
  if (!frame || streams_.at(id).blocked) complain(of(id), "no request", "one was carried out");
  if (frame->too_long) {
    expect(id, "error");
    leave(id, {}, false);
  } else {
    streams_.at(id).unread.erase(0, frame->size);
    carry_out(id, frame->lines);
  }
  finish(sight);
}

void Oracle::closed(Time now, ConnectionId id, std::string_view unsent, bool release_all,
                    const Sight& sight) {
  leaving_ = id;
  begin(now, sight);
  leave(id, unsent, release_all);
  finish(sight);
}

void Oracle::wait_cancelled(Time now, ConnectionId id, const Sight& sight) {
  for (auto& [name, key] : keys_) {  // first: who waits no more is granted nothing
    std::erase_if(key.queue,
                  [&](const Claim& claim) { return claim.owner == id && claim.blocked; });
  }
  streams_.at(id).blocked = false;
  begin(now, sight);
  finish(sight);
}

void Oracle::time_passed(Time now, const Sight& sight) {
  begin(now, sight);
  finish(sight);
}

void Oracle::ticked(Time reading, const Sight& sight) {
  begin(reading, sight);
  if (reading - last_collection_ >= rules_.gc_interval) {
    last_collection_ = reading;
    std::erase_if(keys_, [&](const Keys::value_type& entry) {
      const Key& key = entry.second;
      return key.holders.empty() && key.spent.empty() &&
             now_ - key.idle_since >= rules_.gc_max_idle;
    });
  }
  finish(sight);
}

void Oracle::drained(Time now, const Sight& sight) {
  begin(now, sight);
  draining_ = true;
  for (auto& [name, key] : keys_) {
    for (const Claim& claim : key.queue) {
      if (claim.blocked) expect(claim.owner, "error_draining");
    }
    key.queue.clear();
    // Grants that nobody has been told of are nobody's, since `w` will not tell any more.
    if (std::erase_if(key.holders, [](const Claim& claim) { return claim.told == 0; }) > 0 &&
        key.holders.empty()) {
      key.idle_since = now_;
    }
  }
  finish(sight);
}

void Oracle::begin(Time now, const Sight& sight) {
  ++step_;
  now_ = std::max(now_, now);
  sight_ = &sight;
  unheard_.clear();
  for (const Said& said : sight.said) {
    if (!unheard_.emplace(said.to, &said.line).second) {
      complain(of(said.to), "one reply at most", "there were two");
    }
  }
  scarce_ = fences_scarce();
  refused_for_fences_ = false;
  advance();
}

/// Ends the leases and waits that are over, in the order of their deadlines.
void Oracle::advance() {
  for (Time due = next_deadline(); due <= now_; due = next_deadline()) {
    for (auto& entry : keys_) end_at(entry, due);
  }
}

/// Ends what ends at the same instant. Whether a lease that ends comes before a wait that ends with
/// it is open: both a grant and a timeout are right for a waiter then.
void Oracle::end_at(Keys::value_type& entry, Time deadline) {
  Key& key = entry.second;
  const auto is_due = [&](const Claim& claim) { return claim.deadline == deadline; };
  const auto time_out = [&](const Claim& claim) { expect(claim.owner, "timeout"); };
  std::size_t freed = 0;
  for (const Claim& claim : key.holders) {
    if (!is_due(claim)) continue;
    ++freed;
    if (claim.phase_one) key.spent.push_back({claim.owner, "error_lease_expired"});
  }
  std::erase_if(key.holders, is_due);
  const std::uint32_t limit = key.limit;
  for (key.limit -= static_cast<std::uint32_t>(freed); freed > 0; --freed) {
    ++key.limit;  // one slot after the other
    serve(entry, deadline);
  }
  if (key.limit != limit) complain(shown(entry.first), "its limit", "it has changed");
  for (const Claim& claim : key.queue) {
    if (is_due(claim)) time_out(claim);
  }
  std::erase_if(key.queue, is_due);
}

/// Compares what there is to be seen.
void Oracle::finish(const Sight& sight) {
  for (const auto& [id, line] : unheard_) {
    complain(of(id), "no reply", "it got '" + shown(*line) + "'");
  }
  if (refused_for_fences_ && fences_left_ > 0) {
    complain("fences", "grants while there are any", "a grant was refused for want of one");
  }
  std::size_t locks_held = 0;
  std::size_t slots_held = 0;
  std::size_t lock_waiters = 0;
  std::size_t slot_waiters = 0;
  for (const auto& [name, key] : keys_) {
    (name.first ? slots_held : locks_held) += key.holders.size();
    (name.first ? slot_waiters : lock_waiters) += key.queue.size();
  }
  claim_count_ = locks_held + slots_held + lock_waiters + slot_waiters;
  compare("number of keys", keys_.size(), sight.key_count);
  compare_keys(sight);
  compare("count of keys", keys_.size(), sight.counted_keys);
  compare("count of locks held", locks_held, sight.locks_held);
  compare("count of slots held", slots_held, sight.semaphore_holders);
  compare("count of those who wait for locks", lock_waiters, sight.lock_waiters);
  compare("count of those who wait for slots", slot_waiters, sight.semaphore_waiters);
  compare("next deadline", next_deadline(), sight.next_deadline);
  sight_ = nullptr;
  leaving_ = 0;
}

void Oracle::compare_keys(const Sight& sight) const {
  Name name;
  for (std::size_t at = 0; at < sight.key_count; ++at) {
    const KeySight& seen = sight.keys[at];
    name.first = seen.semaphore;
    name.second = seen.name;
    const auto found = keys_.find(name);
    if (found == keys_.end()) complain(shown(name), "no such key", "there is one");
    const Key& key = found->second;
    const bool held = !key.holders.empty();
    const Time idle = held ? Time{0} : now_ - key.idle_since;
    if (key.limit == seen.limit && key.holders.size() == seen.holders &&
        key.queue.size() == seen.waiters && idle == seen.idle &&
        (!held || (key.holders.front().owner == seen.owner &&
                   now_ - key.holders.front().granted_at == seen.held &&
                   key.holders.front().deadline - now_ == seen.lease_left))) {
      continue;
    }
    const std::string where = shown(name);
    compare(where + ", limit", key.limit, seen.limit);
    compare(where + ", holders", key.holders.size(), std::size_t{seen.holders});
    compare(where + ", waiters", key.queue.size(), std::size_t{seen.waiters});
    compare(where + ", idle for", idle, seen.idle);
    if (!held) continue;
    const Claim& oldest = key.holders.front();
    compare(where + ", connection of the oldest grant", oldest.owner, seen.owner);
    compare(where + ", held for", now_ - oldest.granted_at, seen.held);
    compare(where + ", what is left of the lease", oldest.deadline - now_, seen.lease_left);
  }
}

// --- Requests ---

void Oracle::carry_out(ConnectionId id, const std::vector<std::string>& lines) {
  const std::string& command = lines[0];
  if (command == "ping") return expect(id, "ok");
  const bool semaphore = command.size() == 2 && command[0] == 's';
  const char letter = command.size() == 1 || semaphore ? command.back() : '?';
  const Name name{semaphore, lines[1]};
  const bool bad_key = lines[1].empty() || lines[1].size() > kMaxLine ||
                       lines[1].find_first_of(" \t\r\n") != std::string::npos;
  if (std::string_view("lrnew").find(letter) == std::string_view::npos || bad_key) {
    return expect(id, "error");
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
  if (!good || at < words.size()) return expect(id, "error");

  switch (letter) {
    case 'l':
      return acquire(id, name, static_cast<std::uint32_t>(limit), lease, timeout);
    case 'e':
      return acquire(id, name, static_cast<std::uint32_t>(limit), lease, std::nullopt);
    case 'w':
      return wait(id, name, timeout);
    case 'r':
      return release(id, name, token);
    default:
      return renew(id, name, token, lease);
  }
}

/// `l` with a timeout, `e` without.
void Oracle::acquire(ConnectionId id, const Name& name, std::uint32_t limit, std::int64_t lease,
                     std::optional<std::int64_t> timeout) {
  Claim claim{.owner = id, .salt = salts_.at(salts_drawn_++), .lease = lease};
  claim.phase_one = !timeout;
  if (draining_) return expect(id, "error_draining");
  auto found = keys_.find(name);
  if (claim.phase_one && found != keys_.end()) {
    Key& key = found->second;
    const auto is_ours = [&](const Claim& other) { return other.owner == id && other.phase_one; };
    if (std::ranges::any_of(key.holders, is_ours) || std::ranges::any_of(key.queue, is_ours)) {
      return expect(id, "error_already_enqueued");
    }
    for (std::size_t at = key.spent.size(); at-- > 0;) {
      if (key.spent[at].owner == id) drop_spent(key, at);
    }
  }
  if (found != keys_.end() && found->second.limit != limit) {
    return expect(id, "error_limit_mismatch");
  }
  if (found == keys_.end() || found->second.holders.size() < limit) {
    if (fences_left_ == 0) return expect(id, "error");
    if (full_of_claims()) return expect(id, "error_max_locks");
    if (found == keys_.end()) {
      if (!make_room()) return expect(id, "error_max_locks");
      found = keys_.emplace(name, Key{.limit = limit}).first;
    }
    claim.told = 1;
    grant(*found, claim);
    expect_grant(id, timeout ? "ok" : "acquired", name, found->second.holders.back());
    return;
  }
  Key& key = found->second;
  if (timeout == 0) return expect(id, "timeout");
  if (rules_.max_waiters > 0 && key.queue.size() >= rules_.max_waiters) {
    return expect(id, "error_max_waiters");
  }
  if (full_of_claims()) return expect(id, "error_max_locks");
  if (timeout) {
    claim.blocked = streams_.at(id).blocked = true;
    claim.deadline = after(now_, *timeout);
  } else {
    expect(id, "queued");
  }
  key.queue.push_back(claim);
}

void Oracle::wait(ConnectionId id, const Name& name, std::int64_t timeout) {
  if (draining_) return expect(id, "error_draining");
  const auto found = keys_.find(name);
  if (found == keys_.end()) return expect(id, "error_not_enqueued");
  Key& key = found->second;
  const auto is_ours = [&](const Claim& claim) { return claim.owner == id && claim.phase_one; };
  if (const auto held = std::ranges::find_if(key.holders, is_ours); held != key.holders.end()) {
    held->phase_one = false;
    ++held->told;
    held->deadline = after(now_, held->lease);
    return expect_grant(id, "ok", name, *held);
  }
  if (const auto queued = std::ranges::find_if(key.queue, is_ours); queued != key.queue.end()) {
    if (timeout == 0) {
      key.queue.erase(queued);
      return expect(id, "timeout");
    }
    queued->phase_one = false;
    queued->blocked = streams_.at(id).blocked = true;
    queued->deadline = after(now_, timeout);
    return;
  }
  for (std::size_t at = 0; at < key.spent.size(); ++at) {
    if (key.spent[at].owner != id) continue;
    expect(id, key.spent[at].why);
    return drop_spent(key, at);
  }
  expect(id, "error_not_enqueued");
}

void Oracle::release(ConnectionId id, const Name& name, std::string_view token) {
  const auto found = keys_.find(name);
  if (found == keys_.end()) return expect(id, "error");
  Key& key = found->second;
  const auto held = holder_of(key, token);
  if (held == key.holders.end()) return expect(id, "error");
  key.holders.erase(held);
  expect(id, "ok");
  serve(*found);
}

void Oracle::renew(ConnectionId id, const Name& name, std::string_view token, std::int64_t lease) {
  const auto found = keys_.find(name);
  if (found == keys_.end()) return expect(id, "error");
  const auto held = holder_of(found->second, token);
  if (held == found->second.holders.end()) return expect(id, "error");
  held->deadline = after(now_, lease);
  expect(id, "ok " + std::to_string(lease));
}

bool Oracle::full_of_claims() const {
  std::size_t claims = 0;
  for (const auto& [name, key] : keys_) {
    claims += key.holders.size() + key.queue.size() + key.spent.size();
  }
  return rules_.max_claims > 0 && claims >= rules_.max_claims;
}

/// Drops the key that has been idle for longest if there are as many as there may be.
bool Oracle::make_room() {
  if (rules_.max_locks == 0 || keys_.size() < rules_.max_locks) return true;
  auto longest = keys_.end();
  const auto is_seen = [&](const Name& name) {
    for (std::size_t at = 0; at < sight_->key_count; ++at) {
      const KeySight& key = sight_->keys[at];
      if (key.semaphore == name.first && key.name == name.second) return true;
    }
    return false;
  };
  for (auto entry = keys_.begin(); entry != keys_.end(); ++entry) {
    if (!entry->second.holders.empty()) continue;
    if (longest == keys_.end() || entry->second.idle_since < longest->second.idle_since ||
        // Of several, whichever the server dropped.
        (entry->second.idle_since == longest->second.idle_since && is_seen(longest->first))) {
      longest = entry;
    }
  }
  if (longest == keys_.end()) return false;
  keys_.erase(longest);
  return true;
}

// --- Ends and grants ---

void Oracle::leave(ConnectionId id, std::string_view unsent, bool release_all) {
  streams_.erase(id);
  const bool keeps = !rules_.release_on_disconnect && !release_all;
  std::vector<std::string> untold;
  for (std::size_t end = 0; (end = unsent.find('\n')) != std::string_view::npos;) {
    const std::vector<std::string> words = words_of(unsent.substr(0, end));
    if (words.size() == 3) untold.push_back(words[1]);
    unsent.remove_prefix(end + 1);
  }
  for (auto& [name, key] : keys_) {
    std::erase_if(key.queue, [&](const Claim& claim) { return claim.owner == id; });
    for (std::size_t at = key.spent.size(); at-- > 0;) {
      if (key.spent[at].owner == id) drop_spent(key, at);
    }
  }
  for (auto& entry : keys_) {
    const std::size_t before = entry.second.holders.size();
    std::erase_if(entry.second.holders, [&](Claim& claim) {
      if (claim.owner != id) return false;
      const auto lost = std::ranges::count_if(untold, [&](const std::string& token) {
        return hex(std::string_view(token).substr(0, kTokenLength / 2)) == claim.fence;
      });
      if (!keeps || claim.told <= lost) return true;
      claim.phase_one = false;
      return false;
    });
    if (entry.second.holders.size() < before) serve(entry);
  }
}

/// Gives free slots to the head of the queue. To be called when a holder has left. Whoever's wait
/// is over at the instant `due` may have timed out before.
void Oracle::serve(Keys::value_type& entry, Time due) {
  Key& key = entry.second;
  while (key.holders.size() < key.limit && !key.queue.empty()) {
    Claim head = key.queue.front();
    key.queue.erase(key.queue.begin());
    const ConnectionId owner = head.owner;
    if (head.deadline == due && heard(owner) != nullptr && *heard(owner) == "timeout\n") {
      expect(owner, "timeout");
      continue;
    }
    if (!gets_fence(entry)) {
      refused_for_fences_ = true;
      if (head.blocked) {
        expect(owner, "error");
      } else {
        key.spent.push_back({owner, "error"});
      }
      continue;
    }
    const bool blocked = std::exchange(head.blocked, false);
    head.told = blocked ? 1 : 0;
    grant(entry, head);
    if (blocked) expect_grant(owner, "ok", entry.first, key.holders.back());
  }
  if (key.holders.empty()) key.idle_since = now_;
}

/// Whether there is a fence for the one who was at the head of the key's queue. While several keys
/// compete for the last ones, who comes first is open.
bool Oracle::gets_fence(const Keys::value_type& entry) const {
  if (fences_left_ == 0) return false;
  if (!scarce_) return true;
  std::size_t stay = 0;
  for (const Claim& claim : entry.second.holders) stay += claim.deadline > now_ ? 1 : 0;
  for (std::size_t at = 0; at < sight_->key_count; ++at) {
    const KeySight& seen = sight_->keys[at];
    if (seen.semaphore == entry.first.first && seen.name == entry.first.second) {
      return seen.holders > stay;
    }
  }
  return false;
}

void Oracle::grant(Keys::value_type& entry, Claim claim) {
  --fences_left_;
  claim.granted_in = step_;
  claim.grant_number = ++grants_;
  claim.granted_at = now_;
  claim.deadline = after(now_, claim.lease);
  entry.second.holders.push_back(claim);
}

/// A key that is idle begins to be so anew with that.
void Oracle::drop_spent(Key& key, std::size_t at) {
  key.spent.erase(key.spent.begin() + static_cast<std::ptrdiff_t>(at));
  if (key.holders.empty()) key.idle_since = now_;
}

std::vector<Oracle::Claim>::iterator Oracle::holder_of(Key& key, std::string_view token) {
  const std::uint64_t fence = hex(token.substr(0, kTokenLength / 2));
  const std::uint64_t salt = hex(token.substr(kTokenLength / 2));
  return std::ranges::find_if(
      key.holders, [&](const Claim& claim) { return claim.fence == fence && claim.salt == salt; });
}

// --- Replies ---

const std::string* Oracle::heard(ConnectionId id) const {
  const auto found = unheard_.find(id);
  return found == unheard_.end() ? nullptr : found->second;
}

void Oracle::expect(ConnectionId id, std::string_view reply) {
  const std::string* line = heard(id);
  if (line == nullptr && id == leaving_) return;
  if (line == nullptr) complain(of(id), "'" + std::string(reply) + "'", "it got no reply");
  if (*line != std::string(reply) + "\n") {
    complain(of(id), "'" + std::string(reply) + "'", "it got '" + shown(*line) + "'");
  }
  unheard_.erase(id);
  if (const auto stream = streams_.find(id); stream != streams_.end()) {
    stream->second.blocked = false;
  }
}

void Oracle::expect_grant(ConnectionId id, std::string_view word, const Name& name, Claim& claim) {
  const std::string* line = heard(id);
  if (line == nullptr && id == leaving_) {
    claim.told = 0;  // nobody has been told
    return;
  }
  const std::vector<std::string> words =
      line == nullptr ? std::vector<std::string>{} : words_of(*line);
  if (words.size() == 3 && is_token(words[1])) {
    learn(name, claim, hex(std::string_view(words[1]).substr(0, kTokenLength / 2)));
  }
  const std::string fence = claim.fence ? hex_of(*claim.fence) : std::string("<a new fence>");
  expect(id,
         std::string(word) + " " + fence + hex_of(claim.salt) + " " + std::to_string(claim.lease));
}

/// Takes a fence in, if it is where it belongs among those that are known.
void Oracle::learn(const Name& name, Claim& claim, std::uint64_t fence) {
  if (claim.fence) return;
  claim.fence = fence;
  const auto [at, is_new] =
      fences_.emplace(fence, Grant{claim.granted_in, claim.grant_number, name});
  if (!is_new) complain("fence " + hex_of(fence), "to be granted once", "it was granted again");
  // Of grants in the same step only those of the same key are in a certain order.
  const auto in_order = [](const Grant& earlier, const Grant& later) {
    return earlier.step < later.step ||
           (earlier.step == later.step &&
            (earlier.key != later.key || earlier.number < later.number));
  };
  const bool after_those_before =
      at == fences_.begin() || in_order(std::prev(at)->second, at->second);
  const bool before_those_after =
      std::next(at) == fences_.end() || in_order(at->second, std::next(at)->second);
  if (!after_those_before || !before_those_after) {
    complain("fence " + hex_of(fence), "fences in the order of the grants", "it is out of order");
  }
}

// --- Looking ---

std::vector<std::pair<ConnectionId, bool>> Oracle::claims() const {
  std::vector<std::pair<ConnectionId, bool>> result;
  result.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) result.emplace_back(id, false);
  const auto note = [&](const Claim& claim) {
    const auto found =
        std::ranges::lower_bound(result, claim.owner, {}, &std::pair<ConnectionId, bool>::first);
    if (found != result.end() && found->first == claim.owner) found->second = true;
  };
  for (const auto& [name, key] : keys_) {
    std::ranges::for_each(key.holders, note);
    std::ranges::for_each(key.queue, note);
  }
  return result;
}

Time Oracle::next_deadline() const {
  Time next = kNever;
  for (const auto& [name, key] : keys_) {
    for (const Claim& claim : key.holders) next = std::min(next, claim.deadline);
    for (const Claim& claim : key.queue) next = std::min(next, claim.deadline);
  }
  return next;
}

Time Oracle::some_deadline(Random& random) const {
  if (keys_.empty()) return kNever;
  auto entry = keys_.begin();
  std::advance(entry, static_cast<std::ptrdiff_t>(random.below(keys_.size())));
  const Key& key = entry->second;
  const std::size_t all = key.holders.size() + key.queue.size();
  if (all == 0) return key.idle_since + rules_.gc_max_idle;
  const std::size_t at = random.below(all);
  return at < key.holders.size() ? key.holders[at].deadline
                                 : key.queue[at - key.holders.size()].deadline;
}

bool Oracle::may_get_either(ConnectionId id, Time now) const {
  return std::ranges::any_of(keys_, [&](const Keys::value_type& entry) {
    const Key& key = entry.second;
    return std::ranges::any_of(key.queue, [&](const Claim& claim) {
      return claim.owner == id && claim.deadline <= now &&
             std::ranges::count(key.holders, claim.deadline, &Claim::deadline) > 0;
    });
  });
}

bool Oracle::fences_scarce() const {
  if (fences_left_ == 0 || fences_left_ > claim_count_) return false;
  std::size_t waiting = 0;
  for (const auto& [name, key] : keys_) waiting += key.queue.size();
  return fences_left_ < waiting;
}

}  // namespace dflockd::simulation
