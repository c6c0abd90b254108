// Tells whether a client knows the shared secret, in a time that depends on nothing but the length
// of what the client sent.
//
// The secret itself is not kept: what is compared are its and the guess's HMAC-SHA-256 (RFC 2104)
// under a key drawn for this object. So neither how long the secret is nor how much of a guess is
// right can be timed. For one thread.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace dflockd::access {

class Authenticator {
 public:
  /// Demands `secret`, or nothing if that is empty. Throws std::runtime_error if OpenSSL fails.
  explicit Authenticator(std::string_view secret = {});
  Authenticator(const Authenticator&) = default;
  Authenticator& operator=(const Authenticator&) = default;
  /// Wipes what it remembers of the secret; so does assigning over it.
  ~Authenticator();

  /// Whether clients have to authenticate at all.
  [[nodiscard]] bool required() const { return required_; }

  /// Whether `guess` is the secret that is demanded.
  [[nodiscard]] bool accepts(std::string_view guess) const;

 private:
  using Digest = std::array<unsigned char, 32>;

  [[nodiscard]] bool digest(std::string_view text, Digest& result) const;

  Digest key_{};
  Digest expected_{};
  bool required_;
};

}  // namespace dflockd::access
