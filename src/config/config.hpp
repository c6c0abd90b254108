// Reads dflockd's configuration: command line, environment, TOML file, defaults, in that order of
// precedence.
//
//   auto result = config::load({argv + 1, argv + argc}, config::process_environment());
//   if (const auto* exit = std::get_if<config::Exit>(&result)) {
//     std::fputs(exit->text.c_str(), exit->is_error() ? stderr : stdout);
//     return exit->status;
//   }
//   const config::Loaded& loaded = std::get<config::Loaded>(result);
//
// This room never prints and never exits: it says what should be printed, and with which status the
// process should end. Nothing in it is shared, so any thread may call it; `Config` is a plain
// value.
//
// A row of the configuration is declared once, in rows.cpp; a field here is where it ends up.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/secret.hpp"

namespace dflockd::config {

using base::Secret;

enum class LogLevel { kDebug, kInfo, kWarn, kError };
enum class LogFormat { kText, kJson };

/// The effective configuration. The initialisers are the defaults.
struct Config {
  std::string host = "127.0.0.1";  ///< IPv4, IPv6 or a name, not resolved yet; never empty
  std::uint16_t port = 6388;       ///< 0 picks a free port
  std::chrono::seconds read_timeout{23};
  std::chrono::seconds idle_timeout{0};  ///< 0 = no limit
  std::chrono::seconds write_timeout{5};
  std::chrono::seconds shutdown_timeout{30};  ///< 0 waits for ever
  std::size_t max_connections = 0;            ///< 0 = no cap
  std::size_t max_connections_per_ip = 0;     ///< 0 = no cap
  std::size_t ipv6_prefix = 64;  ///< 1 to 128: the bits that make one IPv6 address, for all per IP
  bool auto_release_on_disconnect = true;
  std::chrono::seconds orphan_ttl{0};  ///< of claims under a stable ref

  std::chrono::seconds max_lease_ttl{0};  ///< longer leases are cut to it; 0 = no cap
  std::chrono::seconds default_lease_ttl{33};
  std::chrono::seconds lease_sweep_interval{1};
  std::chrono::seconds gc_interval{5};
  std::chrono::seconds gc_max_idle{60};    ///< 0 = collect at the next pass
  std::size_t max_locks = 1024;            ///< 0 = no cap
  std::size_t max_waiters = 0;             ///< per key; 0 = no cap
  std::size_t max_claims = 1'000'000;      ///< grants, waits and phase-1 places; 0 = no cap
  std::filesystem::path fence_state_file;  ///< empty = none

  std::filesystem::path tls_cert;       ///< empty = no TLS
  std::filesystem::path tls_key;        ///< empty exactly if `tls_cert` is
  std::filesystem::path tls_client_ca;  ///< empty = ask clients for no certificate

  /// What clients authenticate with, whatever source it came from; empty = they need not. At most
  /// 65,536 bytes, without a newline, without white space at either end.
  Secret auth_token;
  std::filesystem::path auth_token_file;  ///< the file that it was read from; empty = none

  std::uint16_t http_port = 0;  ///< 0 = no HTTP
  std::string http_host;        ///< as `host`; empty = the same as `host`
  std::chrono::seconds http_session_idle_timeout{20};
  std::size_t http_max_sessions = 0;            ///< 0 = no cap
  std::size_t http_max_sessions_per_ip = 0;     ///< 0 = no cap
  std::size_t http_max_connections = 0;         ///< 0 = what the descriptors allow
  std::size_t http_max_connections_per_ip = 0;  ///< 0 = no cap
  std::size_t http_rate_limit_per_ip = 0;       ///< requests a second; 0 = no limit
  std::size_t http_rate_limit_burst = 0;        ///< 0 = the rate; 0 if that is 0
  /// Host names and addresses as they were given, without ports; IPv6 without brackets.
  std::vector<std::string> http_allowed_hosts;
  std::vector<std::string> http_cors_allowed_origins;  ///< "*" = any; empty = no CORS

  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
};

/// The server should start with `config`.
struct Loaded {
  Config config;
  std::vector<std::string> warnings;  ///< each one sentence, to be logged once logging has started
  /// The same, about the environment, which stays as it is while the process runs.
  std::vector<std::string> environment_warnings;
};

/// The process should print `text`, which ends with a newline, and end with `status`.
struct Exit {
  int status = 0;    ///< 0 after --help, --version and --check-config; 2 when something is refused
  std::string text;  ///< for standard error if `is_error()`, else for standard output

  [[nodiscard]] bool is_error() const { return status != 0; }
};

/// The environment as strings "NAME=value".
using Environment = std::span<const char* const>;

/// That of the process. Valid until somebody changes it.
[[nodiscard]] Environment process_environment();

/// What is wrong with a file that a setting names.
struct Problem {
  std::string_view setting;  ///< the flag without its dashes
  std::string what;          ///< one line, which names the file
};

/// What becomes of the configuration once it has been checked.
enum class Purpose { kRun, kCheckConfig };

/// What there is to say about a valid configuration.
struct Findings {
  std::optional<Problem> problem;
  std::vector<std::string> warnings;  ///< each one sentence on one line
};

/// Looks at what this room cannot judge, such as certificates. It must not change anything, nor
/// block: the configuration may be read again while the server runs.
using Check = std::function<Findings(const Config&, Purpose)>;

/// Reads the configuration. `arguments` are the command line's without the program's name.
///
/// Every value given in any of the sources is checked, whether or not another one overrides it. The
/// first that is refused makes an `Exit` with one line that names the source, the value and what is
/// allowed, but no secret. An empty environment variable counts as not set, and so does one that
/// holds what container platforms set for a service.
///
/// `check` is called, if given, after this room's own checks have passed; not for --help and
/// --version. Its problem is refused like a bad value, named after where the setting was given; its
/// warnings join the others.
///
/// May be called again at any time, with the same arguments to see what has changed: it keeps
/// nothing between calls, and does not wait for anything.
[[nodiscard]] std::variant<Loaded, Exit> load(std::span<const char* const> arguments,
                                              Environment environment,
                                              const Check& check = nullptr);

/// The names of the settings that differ, without dashes. A secret's value does not count.
[[nodiscard]] std::vector<std::string_view> differing(const Config& left, const Config& right);

}  // namespace dflockd::config
