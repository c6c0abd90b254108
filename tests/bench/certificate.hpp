// A certificate that signs itself, and its key, in files for as long as this lives.
#pragma once

#include <filesystem>
#include <string>

namespace dflockd::bench {

class Certificate {
 public:
  /// `names` is what OpenSSL calls a subjectAltName: "DNS:localhost,IP:127.0.0.1". Throws
  /// `std::runtime_error`.
  explicit Certificate(const std::string& names);
  ~Certificate();
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  /// PEM files.
  [[nodiscard]] std::string file() const { return directory_ / "certificate.pem"; }
  [[nodiscard]] std::string key_file() const { return directory_ / "key.pem"; }

  /// Another file beside them. Gives its path.
  [[nodiscard]] std::string write(const std::string& name, const std::string& text) const;

 private:
  std::filesystem::path directory_;
};

}  // namespace dflockd::bench
