#include "reload.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "fencing/fence_file.hpp"
#include "logging/logging.hpp"

namespace dflockd {

namespace {

constexpr std::array<std::string_view, 6> kReloadable{
    "tls-cert", "tls-key", "tls-client-ca", "auth-token", "auth-token-file", "log-level"};

/// What is wrong with a fence state file that exists.
std::optional<config::Problem> check_fences(const config::Config& config) {
  std::error_code missing;
  if (!std::filesystem::exists(config.fence_state_file, missing)) return std::nullopt;
  try {
    fencing::FenceFile::check(config.fence_state_file);
  } catch (const fencing::FenceFileError& error) {
    return config::Problem{.setting = "fence-state-file", .what = error.what()};
  }
  return std::nullopt;
}

void load_tls(const config::Config& config, server::Credentials& credentials,
              config::Findings& findings) {
  try {
    credentials.tls = net::TlsContext::load(
        {.certificate = config.tls_cert, .key = config.tls_key, .client_ca = config.tls_client_ca});
  } catch (const net::TlsFileError& error) {
    findings.problem = {.setting = error.setting(), .what = error.what()};
    return;
  }
  const net::CertificateInfo& certificate = credentials.tls->certificate();
  if (certificate.expired) {
    findings.warnings.push_back("the certificate in '" + config.tls_cert.string() +
                                "' has expired: it was valid until " + certificate.not_after);
  }
}

/// Why `fresh` cannot follow `old` in a server that runs; empty if it can.
std::string_view needs_restart(const server::Credentials& old, const server::Credentials& fresh) {
  if (old.tls.has_value() != fresh.tls.has_value()) {
    return "turning TLS on or off needs a restart";
  }
  if (old.tls && !old.tls->client_authorities().empty() &&
      fresh.tls->client_authorities().empty()) {
    return "turning client certificates off needs a restart";
  }
  if (old.authenticator.required() != fresh.authenticator.required()) {
    return "turning authentication on or off needs a restart";
  }
  return {};
}

/// Names what differs, such as "certificate,log_level"; "nothing" if nothing does.
std::string changes(const config::Config& before, const server::Credentials& old,
                    const config::Config& after, const server::Credentials& fresh) {
  std::string names;
  const auto add = [&names](bool changed, std::string_view name) {
    if (!changed) return;
    if (!names.empty()) names += ',';
    names += name;
  };
  if (old.tls && fresh.tls) {
    add(old.tls->certificate().sha256 != fresh.tls->certificate().sha256, "certificate");
    add(old.tls->client_authorities() != fresh.tls->client_authorities(), "client_ca");
  }
  add(old.authenticator.required() && !old.authenticator.accepts(after.auth_token.view()),
      "auth_token");
  add(before.log_level != after.log_level, "log_level");
  return names.empty() ? "nothing" : names;
}

}  // namespace

config::Check check_into(server::Credentials& credentials) {
  return [&credentials](const config::Config& config, config::Purpose purpose) {
    config::Findings findings;
    credentials.authenticator = access::Authenticator(config.auth_token.view());
    if (!config.tls_cert.empty()) load_tls(config, credentials, findings);
    if (!findings.problem && purpose == config::Purpose::kCheckConfig) {
      findings.problem = check_fences(config);
    }
    return findings;
  };
}

void set_log_level(const config::Config& config) {
  constexpr std::array kLevels{logging::Level::kDebug, logging::Level::kInfo, logging::Level::kWarn,
                               logging::Level::kError};
  logging::set_level(kLevels[static_cast<std::size_t>(config.log_level)]);
}

void log_certificate(const net::CertificateInfo& certificate) {
  logging::info("tls_certificate", {{"subject", certificate.subject},
                                    {"not_after", certificate.not_after},
                                    {"sha256", certificate.sha256}});
}

Reloader::Reloader(std::span<const char* const> arguments, config::Config config,
                   server::Credentials& credentials)
    : arguments_(arguments), config_(std::move(config)), credentials_(credentials) {
  assert(config_.auth_token.empty());
}

void Reloader::reload() noexcept {
  try {
    reload_or_throw();
  } catch (const std::exception& error) {
    logging::error("reload_failed", {{"error", error.what()}});
  }
}

void Reloader::reload_or_throw() {
  server::Credentials fresh;
  auto result = config::load(arguments_, config::process_environment(), check_into(fresh));
  if (const auto* refused = std::get_if<config::Exit>(&result)) {
    const std::string_view text = refused->text;
    logging::error("reload_failed", {{"error", text.substr(0, text.find('\n'))}});
    return;
  }
  auto& [config, warnings, reported] = std::get<config::Loaded>(result);
  if (const std::string_view reason = needs_restart(credentials_, fresh); !reason.empty()) {
    logging::error("reload_failed", {{"error", reason}});
    return;
  }
  for (const std::string& warning : warnings) {
    logging::warn("configuration", {{"message", warning}});
  }
  for (const std::string_view setting : config::differing(config_, config)) {
    if (std::ranges::find(kReloadable, setting) == kReloadable.end()) {
      logging::warn("reload_needs_restart", {{"setting", setting}});
    }
  }

  const std::string changed = changes(config_, credentials_, config, fresh);
  // At whichever level lets the line through.
  if (config.log_level < config_.log_level) set_log_level(config);
  logging::info("reloaded", {{"changed", changed}});
  if (fresh.tls) log_certificate(fresh.tls->certificate());
  set_log_level(config);

  credentials_ = std::move(fresh);
  config_.tls_cert = config.tls_cert;
  config_.tls_key = config.tls_key;
  config_.tls_client_ca = config.tls_client_ca;
  config_.auth_token_file = config.auth_token_file;
  config_.log_level = config.log_level;
}

}  // namespace dflockd
