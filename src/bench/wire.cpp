#include "bench/wire.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdio>

namespace dflockd::bench {
namespace {

constexpr std::size_t kTokenSize = 32;
// Redis and memcached have no default of their own; this is dflockd's.
constexpr std::chrono::seconds kDefaultLease{33};

bool is_lower_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string redis_command(std::initializer_list<std::string_view> words) {
  std::string out = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string_view word : words) {
    out.append("$").append(std::to_string(word.size())).append("\r\n");
    out.append(word).append("\r\n");
  }
  return out;
}

}  // namespace

std::string to_text(const Reply& reply) {
  if (reply.status == 0) return std::string(reply.text);
  return std::to_string(reply.status).append(reply.text.empty() ? "" : " ").append(reply.text);
}

std::string http_request(const Options& options, std::string_view method, std::string_view target,
                         std::string_view session, std::string_view body) {
  std::string out(method);
  out.append(" ").append(target).append(" HTTP/1.1\r\nHost: ").append(address(options));
  if (options.auth_token) out.append("\r\nAuthorization: Bearer ").append(*options.auth_token);
  if (!session.empty()) out.append("\r\nX-Dflockd-Session: ").append(session);
  if (!body.empty()) out.append("\r\nContent-Type: application/json");
  out.append("\r\nContent-Length: ").append(std::to_string(body.size()));
  return out.append("\r\n\r\n").append(body);
}

std::string key_name(std::size_t number) {
  assert(number < 100'000'000);
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "bench:%08zu", number);
  return {text.data(), kKeySize};
}

Wire::Wire(const Options& options, std::string_view session) {
  switch (options.protocol) {
    case Protocol::kDflockd:
      options.http ? speak_http(options, session) : speak_dflockd(options);
      break;
    case Protocol::kRedis:
      speak_redis(options);
      break;
    case Protocol::kMemcached:
      speak_memcached(options);
      break;
  }
}

void Wire::append_acquire(std::string& out, std::string_view key) const {
  out.append(acquire_prefix_).append(key).append(acquire_suffix_);
}

void Wire::append_release(std::string& out, std::string_view key, std::string_view token) const {
  out.append(release_prefix_).append(key);
  out.append(release_infix_).append(token).append(release_suffix_);
}

std::optional<std::string_view> Wire::granted_token(const Reply& reply) const {
  std::string_view rest = reply.text;
  if (reply.status != 0 && reply.status != 200) return std::nullopt;
  if (reply.status == 200 && rest.ends_with('\n')) rest.remove_suffix(1);
  if (!has_tokens_) return rest == granted_ ? std::optional("") : std::nullopt;
  if (!rest.starts_with(granted_)) return std::nullopt;

  const std::string_view token = rest.substr(granted_.size(), kTokenSize);
  rest.remove_prefix(granted_.size() + token.size());
  if (rest.size() <= granted_infix_.size() + granted_suffix_.size() ||
      !rest.starts_with(granted_infix_) || !rest.ends_with(granted_suffix_)) {
    return std::nullopt;
  }
  rest.remove_prefix(granted_infix_.size());
  rest.remove_suffix(granted_suffix_.size());
  const bool is_grant = token.size() == kTokenSize && std::ranges::all_of(token, is_lower_hex) &&
                        std::ranges::all_of(rest, is_digit);
  return is_grant ? std::optional(token) : std::nullopt;
}

void Wire::speak_dflockd(const Options& options) {
  std::string argument = std::to_string(options.timeout.count());
  if (options.semaphore) argument += " " + std::to_string(*options.semaphore);
  if (options.lease) argument += " " + std::to_string(options.lease->count());

  const std::string kind = options.semaphore ? "s" : "";
  acquire_prefix_ = (options.readers ? "r" : kind) + "l\n";
  acquire_suffix_ = "\n" + argument + "\n";
  release_prefix_ = kind + "r\n";
  release_infix_ = "\n";
  release_suffix_ = "\n";
  granted_ = "ok ";
  granted_infix_ = " ";
  released_ = "ok";
  has_tokens_ = true;
}

void Wire::speak_http(const Options& options, std::string_view session) {
  std::string wish = R"({"acquire_timeout_s":)" + std::to_string(options.timeout.count());
  if (options.lease) wish += R"(,"lease_ttl_s":)" + std::to_string(options.lease->count());
  if (options.semaphore) wish += R"(,"limit":)" + std::to_string(*options.semaphore);
  if (options.readers) wish += R"(,"shared":true)";
  wish += "}";

  const std::string key = key_name(0);
  const std::string token(kTokenSize, '-');
  const std::string target = (options.semaphore ? "/v1/semaphores/" : "/v1/locks/") + key;
  const std::string acquire = http_request(options, "POST", target, session, wish);
  acquire_prefix_ = acquire.substr(0, acquire.find(key));
  acquire_suffix_ = acquire.substr(acquire_prefix_.size() + key.size());
  const std::string release = http_request(options, "POST", target + "/release", session,
                                           R"({"token":")" + token + R"("})");
  release_prefix_ = acquire_prefix_;
  const std::size_t infix = release_prefix_.size() + key.size();
  release_infix_ = release.substr(infix, release.rfind(token) - infix);
  release_suffix_ = release.substr(infix + release_infix_.size() + token.size());
  granted_ = R"({"status":"ok","token":")";
  granted_infix_ = R"(","lease_ttl_s":)";
  granted_suffix_ = "}";
  has_tokens_ = true;
}

void Wire::speak_redis(const Options& options) {
  const std::string lease_ms =
      std::to_string(std::chrono::milliseconds(options.lease.value_or(kDefaultLease)).count());
  const std::string key = key_name(0);
  const std::string token(kTokenSize, '0');

  const std::string acquire = redis_command({"SET", key, token, "NX", "PX", lease_ms});
  acquire_prefix_ = acquire.substr(0, acquire.find(key));
  acquire_suffix_ = acquire.substr(acquire_prefix_.size() + key.size());
  const std::string release = redis_command({"DEL", key});
  release_prefix_ = release.substr(0, release.find(key));
  release_suffix_ = release.substr(release_prefix_.size() + key.size());
  granted_ = "+OK\r";
  released_ = ":1\r";
}

void Wire::speak_memcached(const Options& options) {
  const std::string lease = std::to_string(options.lease.value_or(kDefaultLease).count());
  acquire_prefix_ = "add ";
  acquire_suffix_ = " 0 " + lease + " 1\r\nx\r\n";
  release_prefix_ = "delete ";
  release_suffix_ = "\r\n";
  granted_ = "STORED\r";
  released_ = "DELETED\r";
}

}  // namespace dflockd::bench
