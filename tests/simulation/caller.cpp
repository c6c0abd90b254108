#include "caller.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace dflockd::simulation {

namespace {

using What = Asked::What;

constexpr std::size_t kMostKnown = 6;

std::string encoded(std::string_view key) {
  std::string result;
  for (const char c : key) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      result += c;
    } else {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      result += {'%', kDigits[byte / 16], kDigits[byte % 16]};
    }
  }
  return result;
}

std::string member(std::string_view name, std::uint64_t value) {
  return "\"" + std::string(name) + "\":" + std::to_string(value);
}

std::uint64_t seconds(Random& random, std::uint64_t longest) {
  return 1 + random.below(random.one_in(2) ? std::min<std::uint64_t>(longest, 3) : longest);
}

/// What stands in `text` between `before` and the next `end`.
std::string between(std::string_view text, std::string_view before, char end) {
  const std::size_t at = text.find(before);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + before.size());
  return std::string(text.substr(0, text.find(end)));
}

locks::Token token_of(std::string_view digits) {
  locks::Token token{};
  std::from_chars(digits.data(), digits.data() + 16, token.fence, 16);
  std::from_chars(digits.data() + 16, digits.data() + 32, token.salt, 16);
  return token;
}

template <class T>
void remember(std::vector<T>& known, const T& one, Random& random) {
  if (known.size() < kMostKnown) {
    known.push_back(one);
  } else {
    random.pick(known) = one;
  }
}

}  // namespace

std::optional<Response> take_response(std::string& bytes) {
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  if (bytes.starts_with(kContinue)) bytes.erase(0, kContinue.size());
  const std::size_t head = bytes.find("\r\n\r\n");
  if (head == std::string::npos) return std::nullopt;
  const std::string_view fields = std::string_view(bytes).substr(0, head + 2);
  const std::string length = between(fields, "Content-Length: ", '\r');
  const std::size_t size = length.empty() ? 0 : std::stoul(length);
  if (bytes.size() < head + 4 + size) return std::nullopt;
  Response response{std::stoi(bytes.substr(9, 3)), bytes.substr(head + 4, size)};
  bytes.erase(0, head + 4 + size);
  return response;
}

std::string Caller::move(Random& random, const Neighbourhood& neighbourhood,
                         std::vector<KnownSession>& sessions, std::string_view secret,
                         Asked& asked) {
  // Somebody else's session now and then: what is asked on it has to wait for its turn.
  std::optional<KnownSession> session = session_;
  if (!sessions.empty() && random.one_in(6)) session = random.pick(sessions);
  std::string method = "POST";
  std::string path;
  std::string body;
  if (random.one_in(40)) {
    asked.what = What::kNowhere;
    path = "/v1/nowhere";
  } else if (random.one_in(25)) {
    asked.what = What::kHealth;
    method = "GET";
    path = "/health";
  } else if (!session) {
    asked.what = What::kOpen;
    path = "/v1/sessions";
    body = open(random, asked);
  } else if (random.one_in(15)) {
    asked.what = What::kPing;
    path = "/v1/sessions/" + session->id + "/ping";
  } else if (random.one_in(25)) {
    asked.what = What::kClose;
    method = "DELETE";
    path = "/v1/sessions/" + session->id;
  } else {
    asked.what = What::kLocks;
    body = body_of(random, neighbourhood, asked, path);
  }
  if (asked.what == What::kPing || asked.what == What::kClose || asked.what == What::kLocks) {
    asked.session = session->number;
  }
  asked.authorized = secret.empty() || !random.one_in(20);
  std::string bytes = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n";
  if (!secret.empty()) {
    bytes +=
        "Authorization: Bearer " + std::string(secret) + (asked.authorized ? "" : "!") + "\r\n";
  }
  if (asked.what == What::kLocks) bytes += "X-Dflockd-Session: " + session->id + "\r\n";
  if (!body.empty()) bytes += "Content-Type: application/json\r\n";
  if (method == "POST") bytes += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  bytes += "\r\n" + body;
  if (random.one_in(60)) {
    asked.half = true;
    bytes.resize(bytes.size() - random.between(1, body.size() + 2));
  }
  asked.size = bytes.size();
  return bytes;
}

std::string Caller::open(Random& random, Asked& asked) const {
  if (!ref_.empty() && !random.one_in(8)) asked.ref = ref_;
  if (random.one_in(3))
    asked.name = "caller of the " + std::to_string(random.below(4)) + "th floor";
  std::string members;
  if (!asked.ref.empty()) members += R"(,"stable_ref":")" + asked.ref + '"';
  if (!asked.name.empty()) members += R"(,"name":")" + asked.name + '"';
  return members.empty() ? "" : "{" + members.substr(1) + "}";
}

/// A key to ask for; of a caller that comes back, often one of those that it left behind.
KnownToken Caller::some_key(Random& random, const Neighbourhood& neighbourhood) const {
  if (!left_behind_.empty() && random.one_in(2)) return random.pick(left_behind_);
  const std::size_t at =
      random.percent(neighbourhood.hot) ? 0 : random.below(neighbourhood.keys.size());
  return {.semaphore = random.percent(neighbourhood.semaphores),
          .key = neighbourhood.keys[at],
          .token = {},
          .shared = random.percent(neighbourhood.shared)};
}

/// Draws an operation on locks: its command, path and body.
std::string Caller::body_of(Random& random, const Neighbourhood& neighbourhood, Asked& asked,
                            std::string& path) {
  KnownToken about = some_key(random, neighbourhood);
  const std::uint64_t drawn = random.below(100);
  if (drawn < 35 && !held_.empty()) {
    about = random.pick(held_);
  } else if (drawn < 40 && !neighbourhood.seen.empty()) {
    const KnownToken& seen = random.pick(neighbourhood.seen);
    if (std::ranges::count(neighbourhood.keys, seen.key) > 0) about = seen;
  } else if (drawn >= 80 && !enqueued_.empty()) {
    about = random.pick(enqueued_);
  }
  const locks::Key key{about.semaphore ? locks::Kind::kSemaphore : locks::Kind::kLock,
                       locks::kept(about.key)};
  path = std::string(about.semaphore ? "/v1/semaphores/" : "/v1/locks/") + encoded(about.key);
  const std::uint64_t lease = random.one_in(3) ? 0 : seconds(random, neighbourhood.longest_lease);
  const std::uint64_t timeout =
      random.one_in(4) ? 0 : seconds(random, neighbourhood.longest_timeout);
  const std::string lease_member = lease == 0 ? "" : "," + member("lease_ttl_s", lease);
  if (!about.token.empty()) {
    const std::string token = "\"token\":\"" + about.token + "\"";
    if (random.one_in(3)) {
      asked.command = locks::Release{key, token_of(about.token)};
      path += "/release";
      return "{" + token + "}";
    }
    asked.command = locks::Renew{{}, key, token_of(about.token), std::chrono::seconds(lease)};
    path += "/renew";
    return "{" + token + lease_member + "}";
  }
  if (drawn >= 80 && !enqueued_.empty()) {
    asked.command = locks::Wait{{}, key, std::chrono::seconds(timeout)};
    path += "/wait";
    return "{" + member("timeout_s", timeout) + "}";
  }
  const auto at = std::ranges::find(neighbourhood.keys, about.key) - neighbourhood.keys.begin();
  const std::uint32_t limit =
      about.semaphore ? neighbourhood.limits[static_cast<std::size_t>(at)] : 1;
  const bool shared = about.shared && !about.semaphore;
  const std::string kind_member = about.semaphore    ? "," + member("limit", limit)
                                  : shared           ? ",\"shared\":true"
                                  : random.one_in(4) ? ",\"shared\":false"
                                                     : "";
  const locks::Request request{key, limit, std::chrono::seconds(lease), 0, shared};
  if (random.one_in(3)) {
    asked.command = locks::Enqueue{{}, request};
    path += "/enqueue";
    remember(enqueued_, about, random);
    const std::string members = kind_member + lease_member;
    return members.empty() ? "" : "{" + members.substr(1) + "}";
  }
  asked.command = locks::Acquire{{}, request, std::chrono::seconds(timeout)};
  return "{" + member("acquire_timeout_s", timeout) + kind_member + lease_member + "}";
}

void Caller::sends(const Asked& asked) {
  asked_.push_back(asked);
  is_stuck_ = is_stuck_ || asked.half;
}

bool Caller::hear(std::string_view bytes, std::vector<KnownSession>& sessions, Random& random) {
  unread_ += bytes;
  bool granted = false;
  while (const std::optional<Response> response = take_response(unread_)) {
    if (asked_.empty()) return granted;
    const Asked asked = asked_.front();
    asked_.pop_front();
    if (response->status == 410) session_.reset();
    if (response->status != 200) continue;
    if (asked.what == What::kOpen) {
      session_ = {asked.session, between(response->body, R"("session_id":")", '"')};
      remember(sessions, *session_, random);
      left_behind_.clear();
      if (!ref_.empty()) {
        left_behind_ = held_;
        left_behind_.insert(left_behind_.end(), enqueued_.begin(), enqueued_.end());
      }
      for (KnownToken& left : left_behind_) left.token.clear();
      held_.clear();
      enqueued_.clear();
    }
    const std::string token = between(response->body, R"("token":")", '"');
    if (token.empty()) continue;
    granted = true;
    std::visit(
        [&](const auto& command) {
          const auto keep = [&](const locks::Key& key, bool shared = false) {
            remember(held_,
                     {key.kind == locks::Kind::kSemaphore, std::string(key.name), token, shared},
                     random);
          };
          if constexpr (requires { command.request; }) {
            keep(command.request.key, command.request.shared);
          }
          if constexpr (requires {
                          command.timeout;
                          command.key;
                        })
            keep(command.key);
        },
        asked.command);
  }
  return granted;
}

void Caller::disconnected() {
  connection = 0;
  asked_.clear();
  unread_.clear();
  is_stuck_ = false;
}

}  // namespace dflockd::simulation
