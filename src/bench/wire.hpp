// What an acquire and a release look like on the wire, and which replies say that they succeeded:
// for dflockd, over its own protocol or HTTP, and for the two servers that it is compared with.
//
// Built once from the options and never changed. The calls allocate nothing but what `out` lacks.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "bench/options.hpp"

namespace dflockd::bench {

/// A line without its end, or a reply of HTTP.
struct Reply {
  int status = 0;         ///< 0 for a line
  std::string_view text;  ///< the line, or the body
};

/// Status and text, for a message: `410 {"error":"session_gone"}`.
[[nodiscard]] std::string to_text(const Reply& reply);

/// A request of dflockd's HTTP API with the fields that the server wants, the secret among them if
/// there is one. `session` is the client's, or empty before it has one.
[[nodiscard]] std::string http_request(const Options& options, std::string_view method,
                                       std::string_view target, std::string_view session,
                                       std::string_view body);

/// All keys have this many bytes, so that all requests of a kind have the same size.
inline constexpr std::size_t kKeySize = 14;

/// The key with this number, which is below 100,000,000.
[[nodiscard]] std::string key_name(std::size_t number);

class Wire {
 public:
  /// `session` is the client's, which clients of HTTP have.
  explicit Wire(const Options& options, std::string_view session = {});

  void append_acquire(std::string& out, std::string_view key) const;

  /// `token` is what `granted_token` gave.
  void append_release(std::string& out, std::string_view key, std::string_view token) const;

  /// The token in the reply to an acquire, empty for a server that has no tokens; nothing if the
  /// reply is no grant.
  [[nodiscard]] std::optional<std::string_view> granted_token(const Reply& reply) const;

  /// Whether this reply to a release is the one that is hoped for.
  [[nodiscard]] bool is_released(const Reply& reply) const {
    return reply.status == 0 ? reply.text == released_ : reply.status == 204;
  }

 private:
  void speak_dflockd(const Options& options);
  void speak_http(const Options& options, std::string_view session);
  void speak_redis(const Options& options);
  void speak_memcached(const Options& options);

  // A request is its prefix, the key and its suffix; the token of a release comes in between the
  // last two for dflockd. A grant with a token is what comes before it, the token, what comes
  // after it, digits, and an end.
  std::string acquire_prefix_;
  std::string acquire_suffix_;
  std::string release_prefix_;
  std::string release_infix_;
  std::string release_suffix_;
  std::string granted_;  ///< the reply to an acquire without token, or what comes before the token
  std::string granted_infix_;
  std::string granted_suffix_;
  std::string released_;
  bool has_tokens_ = false;
};

}  // namespace dflockd::bench
