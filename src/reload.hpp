// What can change while the server runs: certificate, key, client authorities, shared secret and
// log level. Read at the start, and again on SIGHUP.
#pragma once

#include <span>

#include "config/config.hpp"
#include "server/credentials.hpp"

namespace dflockd {

/// A check for `config::load` that loads what the configuration names into `credentials`: so a
/// file that cannot be used is reported like any other bad value, before anything has started. For
/// `Purpose::kCheckConfig` it looks at the fence state file too.
[[nodiscard]] config::Check check_into(server::Credentials& credentials);

void set_log_level(const config::Config& config);

/// Logs which certificate is shown, and until when it is valid.
void log_certificate(const net::CertificateInfo& certificate);

class Reloader {
 public:
  /// `arguments` are the command line's, `config` what they gave, without the secret: that must not
  /// stay in memory. `credentials`, which connections to come are served with, must outlive the
  /// reloader.
  Reloader(std::span<const char* const> arguments, config::Config config,
           server::Credentials& credentials);

  /// Reads everything again and applies it, or keeps everything if something is wrong. Logs the
  /// result. Never throws and never waits for anything.
  void reload() noexcept;

 private:
  void reload_or_throw();

  std::span<const char* const> arguments_;
  config::Config config_;
  server::Credentials& credentials_;
};

}  // namespace dflockd
