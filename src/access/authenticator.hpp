// Checks whether a client knows the shared secret, in a time that depends only on the length of
// what the client sent.
//
// The secret itself is not kept. Its HMAC-SHA-256 (RFC 2104) under a key drawn for this object is
// compared with that of the guess. So timing reveals neither the length of the secret nor how much
// of a guess is right. For one thread.
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
