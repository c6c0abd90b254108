#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <dflockd/detail/wire.hpp>

#include "base/terms.hpp"
#include "client/arguments.hpp"
#include "client/failure.hpp"

namespace dflockd {

std::uint64_t Grant::fence() const noexcept {
  const auto parsed = base::parse_token(token);
  return parsed ? parsed->fence : 0;
}

namespace detail {
namespace {

void append(std::string& out, const Target& target, char command, std::string_view first,
            std::string_view second = {}, std::string_view third = {}) {
  if (target.limit != 0) out += 's';
  out.append({command, '\n'}).append(target.key).append("\n").append(first);
  for (const std::string_view word : {second, third}) {
    if (word.empty()) continue;
    if (out.back() != '\n') out += ' ';
    out += word;
  }
  out += '\n';
}

/// A number as text.
class Digits {
 public:
  explicit Digits(std::int64_t number)
      : end_(std::to_chars(text_.data(), text_.data() + text_.size(), number).ptr) {}
  explicit Digits(std::chrono::seconds length) : Digits(length.count()) {}
  [[nodiscard]] std::string_view view() const { return {text_.data(), end_}; }

 private:
  std::array<char, 24> text_{};
  char* end_;
};

/// Nothing for what a request leaves out: the limit of a lock, the default lease.
class OptionalDigits {
 public:
  explicit OptionalDigits(std::int64_t number) : digits_(number), given_(number != 0) {}
  [[nodiscard]] std::string_view view() const { return given_ ? digits_.view() : ""; }

 private:
  Digits digits_;
  bool given_;
};

std::optional<std::chrono::seconds> parse_seconds(std::string_view text) {
  std::uint64_t seconds = 0;  // of a signed type, -0 would be a number
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() ||
      seconds > static_cast<std::uint64_t>(base::kMaxSeconds.count())) {
    return std::nullopt;
  }
  return std::chrono::seconds(seconds);
}

/// `<token> <lease_ttl>`.
std::optional<Grant> parse_grant(std::string_view text) {
  const std::size_t space = std::min(text.find(' '), text.size());
  const std::string_view token = text.substr(0, space);
  if (space == text.size() || !base::parse_token(token)) return std::nullopt;
  const auto lease = parse_seconds(text.substr(space + 1));
  if (!lease) return std::nullopt;
  return Grant{.token = std::string(token), .lease_ttl = *lease};
}

/// The meaning of a line that is no success.
std::error_code refusal(std::string_view line, errc plain_error) {
  constexpr auto kRefusals = std::to_array<std::pair<std::string_view, errc>>({
      {"timeout", errc::timeout},
      {"error_max_locks", errc::max_locks},
      {"error_max_waiters", errc::max_waiters},
      {"error_limit_mismatch", errc::limit_mismatch},
      {"error_already_enqueued", errc::already_enqueued},
      {"error_not_enqueued", errc::not_enqueued},
      {"error_lease_expired", errc::lease_expired},
      {"error_draining", errc::draining},
      {"error_auth", errc::auth},
  });
  for (const auto& [text, code] : kRefusals) {
    if (line == text) return code;
  }
  return line == "error" ? plain_error : errc::protocol;
}

std::error_code read_grant_after(std::string_view word, std::string_view line,
                                 std::optional<Grant>& grant) {
  if (!line.starts_with(word)) return refusal(line, errc::protocol);
  grant = parse_grant(line.substr(word.size()));
  return grant ? std::error_code() : errc::protocol;
}

template <class Check>
void checked(const Check& check) {
  try {
    check();
  } catch (const client::Failure& failure) {
    throw client::to_error(failure, "", "");
  }
}

}  // namespace

void append_acquire(std::string& out, const Target& target, std::chrono::seconds timeout,
                    std::chrono::seconds lease_ttl) {
  append(out, target, 'l', Digits(timeout).view(), OptionalDigits(target.limit).view(),
         OptionalDigits(lease_ttl.count()).view());
}

void append_release(std::string& out, const Target& target, std::string_view token) {
  append(out, target, 'r', token);
}

void append_renew(std::string& out, const Target& target, std::string_view token,
                  std::chrono::seconds lease_ttl) {
  append(out, target, 'n', token, OptionalDigits(lease_ttl.count()).view());
}

void append_enqueue(std::string& out, const Target& target, std::chrono::seconds lease_ttl) {
  append(out, target, 'e', OptionalDigits(target.limit).view(),
         OptionalDigits(lease_ttl.count()).view());
}

void append_wait(std::string& out, const Target& target, std::chrono::seconds timeout) {
  append(out, target, 'w', Digits(timeout).view());
}

void append_auth(std::string& out, std::string_view secret) {
  out.append("auth\n_\n").append(secret).append("\n");
}

void append_ping(std::string& out) {
  out += "ping\n_\n_\n";
}

void append_stats(std::string& out) {
  out += "stats\n_\n_\n";
}

std::error_code read_grant(std::string_view line, std::optional<Grant>& grant) {
  return read_grant_after("ok ", line, grant);
}

std::error_code read_enqueued(std::string_view line, std::optional<Grant>& grant) {
  if (line == "queued") return {};
  return read_grant_after("acquired ", line, grant);
}

std::error_code read_remaining(std::string_view line, std::chrono::seconds& remaining) {
  if (!line.starts_with("ok ")) return refusal(line, errc::not_held);
  const auto seconds = parse_seconds(line.substr(3));
  if (!seconds) return errc::protocol;
  remaining = *seconds;
  return {};
}

std::error_code read_released(std::string_view line) {
  return line == "ok" ? std::error_code() : refusal(line, errc::not_held);
}

std::error_code read_ok(std::string_view line) {
  return line == "ok" ? std::error_code() : refusal(line, errc::protocol);
}

std::error_code read_stats(std::string_view line, std::string_view& json) {
  if (!line.starts_with("ok {")) return refusal(line, errc::protocol);
  json = line.substr(3);
  return {};
}

void check_key(std::string_view key) {
  checked([key] { client::check_key(key); });
}

void check_token(std::string_view token) {
  checked([token] { client::check_token(token); });
}

void check_limit(int limit) {
  checked([limit] { client::check_limit(limit); });
}

void check_timeout(std::chrono::seconds timeout) {
  checked([timeout] { client::check_timeout("timeout", timeout); });
}

void check_lease(std::chrono::seconds lease_ttl) {
  checked([lease_ttl] { client::check_lease(lease_ttl); });
}

}  // namespace detail
}  // namespace dflockd
