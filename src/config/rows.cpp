#include "config/rows.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "base/small_file.hpp"
#include "base/terms.hpp"
#include "config/hosts.hpp"

namespace dflockd::config {
namespace {

constexpr std::string_view kNetwork = "Network";
constexpr std::string_view kLockTable = "Lock table";
constexpr std::string_view kTls = "TLS";
constexpr std::string_view kAuthentication = "Authentication";
constexpr std::string_view kHttp = "HTTP";
constexpr std::string_view kLogging = "Logging";
constexpr std::string_view kConfiguration = "Configuration";

constexpr std::array kRows{
    Row{"host", kNetwork, Host{&Settings::host}, "bind address: IPv4, IPv6 or a name",
        "DFLOCKD_HOST"},
    Row{"port", kNetwork, Port{&Settings::port}, "TCP port; 0 picks a free one and logs it",
        "DFLOCKD_PORT"},
    Row{"read-timeout", kNetwork, Seconds{&Settings::read_timeout, 1},
        "longest time for a request to arrive", "DFLOCKD_READ_TIMEOUT_S",
        "It runs from the first byte on, and for a connection's first request from the accept."},
    Row{"idle-timeout", kNetwork, Seconds{&Settings::idle_timeout, 0},
        "longest silence between requests; 0 = no limit", "DFLOCKD_IDLE_TIMEOUT_S",
        "A client that holds or waits for something is never too silent."},
    Row{"write-timeout", kNetwork, Seconds{&Settings::write_timeout, 1},
        "longest wait for a client to take its replies", "DFLOCKD_WRITE_TIMEOUT_S"},
    Row{"shutdown-timeout", kNetwork, Seconds{&Settings::shutdown_timeout, 0},
        "longest drain after SIGTERM or SIGINT; 0 waits for ever", "DFLOCKD_SHUTDOWN_TIMEOUT_S",
        "Under systemd it must be shorter than the unit's `TimeoutStopSec`, which is 45 s."},
    Row{"max-connections", kNetwork, Count{&Settings::max_connections},
        "connections at a time; 0 = no cap", "DFLOCKD_MAX_CONNECTIONS",
        "A connection over the cap is accepted and closed."},
    Row{"max-connections-per-ip", kNetwork, Count{&Settings::max_connections_per_ip},
        "connections of one IP address at a time; 0 = no cap", "DFLOCKD_MAX_CONNECTIONS_PER_IP"},
    Row{"ipv6-prefix", kNetwork, Count{&Settings::ipv6_prefix, 1, 128},
        "bits that make one IPv6 address, for all caps and rates per IP", "DFLOCKD_IPV6_PREFIX",
        "This includes those of HTTP."},
    Row{"auto-release-on-disconnect", kNetwork, Boolean{&Settings::auto_release_on_disconnect},
        "release what a client was granted when its connection ends",
        "DFLOCKD_AUTO_RELEASE_ON_DISCONNECT"},
    Row{"orphan-ttl", kNetwork, Seconds{&Settings::orphan_ttl, 0},
        "how long claims under a stable ref outlive their connection", "DFLOCKD_ORPHAN_TTL_S",
        "0: they end with it. With `--no-auto-release-on-disconnect` it is for places in queues; "
        "grants last as long as their leases."},

    Row{"max-lease-ttl", kLockTable, Seconds{&Settings::max_lease_ttl, 0},
        "longest lease, to which longer ones are cut; 0 = no cap", "DFLOCKD_MAX_LEASE_TTL_S",
        "The reply to a request says what was granted."},
    Row{"default-lease-ttl", kLockTable, Seconds{&Settings::default_lease_ttl, 1},
        "lease of a grant whose request names none", "DFLOCKD_DEFAULT_LEASE_TTL_S"},
    Row{"lease-sweep-interval", kLockTable, Seconds{&Settings::lease_sweep_interval, 1},
        "longest time between sweeps for leases nobody waits for", "DFLOCKD_LEASE_SWEEP_INTERVAL_S",
        "A lease that somebody waits for ends at its deadline regardless."},
    Row{"gc-interval", kLockTable, Seconds{&Settings::gc_interval, 1},
        "time between collections of idle keys", "DFLOCKD_GC_INTERVAL_S", "",
        "DFLOCKD_GC_LOOP_SLEEP"},
    Row{"gc-max-idle", kLockTable, Seconds{&Settings::gc_max_idle, 0},
        "idle time after which a key is collected; 0 = next pass", "DFLOCKD_GC_MAX_IDLE_S", "",
        "DFLOCKD_GC_MAX_UNUSED_TIME"},
    Row{"max-locks", kLockTable, Count{&Settings::max_locks},
        "keys with state, locks and semaphores together; 0 = no cap", "DFLOCKD_MAX_LOCKS"},
    Row{"max-waiters", kLockTable, Count{&Settings::max_waiters},
        "waiters in one key's queue; 0 = no cap", "DFLOCKD_MAX_WAITERS"},
    Row{"max-claims", kLockTable, Count{&Settings::max_claims},
        "grants, waits and phase-1 places in all; 0 = no cap", "DFLOCKD_MAX_CLAIMS",
        "Over the cap, requests get `error_max_locks`."},
    Row{"fence-state-file", kLockTable, Path{&Settings::fence_state_file},
        "file that reserves fences, so that no restart repeats one", "DFLOCKD_FENCE_STATE_FILE",
        "It is created if it is missing; its directory must be writable. Without a file, fences "
        "start from the wall clock."},

    Row{"tls-cert", kTls, Path{&Settings::tls_cert},
        "certificate chain in PEM; needs --tls-key, turns TLS on", "DFLOCKD_TLS_CERT",
        "The server then speaks TLS 1.2 or later only."},
    Row{"tls-key", kTls, Path{&Settings::tls_key}, "private key of the certificate, in PEM",
        "DFLOCKD_TLS_KEY", "It needs --tls-cert."},
    Row{"tls-client-ca", kTls, Path{&Settings::tls_client_ca},
        "let in only clients with a certificate signed by these CAs", "DFLOCKD_TLS_CLIENT_CA",
        "The file is in PEM. An intermediate, or a client's own certificate, is trusted as it "
        "stands. It needs --tls-cert and --tls-key."},

    Row{"auth-token", kAuthentication, Token{&Settings::auth_token_text},
        "secret that clients must send first; as a flag, visible in ps", "DFLOCKD_AUTH_TOKEN",
        "It is 1 to 65536 bytes long, without a newline and without white space at either end."},
    Row{"auth-token-file", kAuthentication, Path{&Settings::auth_token_file},
        "file with that secret on its only line", "DFLOCKD_AUTH_TOKEN_FILE",
        "White space around the secret does not count. If others may read the file, a warning is "
        "logged."},

    Row{"http-port", kHttp, Port{&Settings::http_port}, "TCP port of the HTTP API; 0 = off",
        "DFLOCKD_HTTP_PORT"},
    Row{"http-host", kHttp, Host{.field = &Settings::http_host, .may_be_empty = true},
        "bind address of the HTTP API; none = as --host", "DFLOCKD_HTTP_HOST"},
    Row{"http-session-idle-timeout", kHttp, Seconds{&Settings::http_session_idle_timeout, 1},
        "time between requests; a session idle for twice as long ends",
        "DFLOCKD_HTTP_SESSION_IDLE_S", "A session that ends releases what it holds."},
    Row{"http-max-sessions", kHttp, Count{&Settings::http_max_sessions},
        "sessions at a time; 0 = no cap", "DFLOCKD_HTTP_MAX_SESSIONS"},
    Row{"http-max-sessions-per-ip", kHttp, Count{&Settings::http_max_sessions_per_ip},
        "sessions of one IP address at a time; 0 = no cap", "DFLOCKD_HTTP_MAX_SESSIONS_PER_IP"},
    Row{"http-max-connections", kHttp, Count{&Settings::http_max_connections},
        "HTTP connections at a time; 0 = what descriptors allow", "DFLOCKD_HTTP_MAX_CONNECTIONS",
        "A connection over the cap is accepted and closed. 0 means as many as the descriptors "
        "allow that --max-connections leaves, or half of them if that is 0, and at least 64."},
    Row{"http-max-connections-per-ip", kHttp, Count{&Settings::http_max_connections_per_ip},
        "HTTP connections of one IP address at a time; 0 = no cap",
        "DFLOCKD_HTTP_MAX_CONNECTIONS_PER_IP", "A connection over the cap is accepted and closed."},
    Row{"http-rate-limit-per-ip", kHttp, Count{&Settings::http_rate_limit_per_ip},
        "requests a second of one IP address; 0 = no limit", "DFLOCKD_HTTP_RATE_LIMIT_PER_IP"},
    Row{"http-rate-limit-burst", kHttp, Count{&Settings::http_rate_limit_burst},
        "requests that may come at once under the limit; 0 = the rate",
        "DFLOCKD_HTTP_RATE_LIMIT_BURST", "It needs --http-rate-limit-per-ip."},
    Row{"http-allowed-hosts", kHttp, Hosts{&Settings::http_allowed_hosts},
        "names that the Host header may give, separated by commas", "DFLOCKD_HTTP_ALLOWED_HOSTS",
        "Names and addresses have no port. The header is checked where no secret is configured; "
        "loopback and the address that the request came to are always allowed."},
    Row{"http-cors-allowed-origins", kHttp, Origins{&Settings::http_cors_allowed_origins},
        "origins whose pages may use the API, by commas; * = any",
        "DFLOCKD_HTTP_CORS_ALLOWED_ORIGINS",
        "An origin is written as browsers send it, such as https://app.example or "
        "http://localhost:8080, without a slash at the end. Without any, CORS is off."},

    Row{"log-level", kLogging, Level{&Settings::log_level}, "lowest level that is logged",
        "DFLOCKD_LOG_LEVEL"},
    Row{"log-format", kLogging, Format{&Settings::log_format}, "how a log line is written",
        "DFLOCKD_LOG_FORMAT", "The log goes to standard error."},
    Row{"debug", kLogging, Switch{&Settings::debug}, "the same as --log-level debug",
        "DFLOCKD_DEBUG",
        "If both are given, --log-level counts, unless --debug comes from a source that beats the "
        "other's.",
        nullptr, Scope::kShorthand},

    Row{"config", kConfiguration, Path{&Settings::config_file},
        "TOML file with the names above, without the dashes, as keys", "DFLOCKD_CONFIG",
        "See dflockd.toml(5).", nullptr, Scope::kCommandLine},
    Row{"check-config", kConfiguration, Switch{&Settings::check_config},
        "check everything, print the effective configuration, exit", nullptr,
        "Files that are named are checked too, and secrets are masked.", nullptr,
        Scope::kCommandLine},
    Row{"version", kConfiguration, Switch{&Settings::version}, "print the version, exit", nullptr,
        "", nullptr, Scope::kCommandLine},
    Row{"help", kConfiguration, Switch{&Settings::help}, "print the flags, exit", nullptr, "",
        nullptr, Scope::kCommandLine, 'h'},
};

constexpr auto kMaxSeconds = static_cast<std::uint64_t>(base::kMaxSeconds.count());

constexpr std::array kLevels{
    std::pair{std::string_view("debug"), LogLevel::kDebug},
    std::pair{std::string_view("info"), LogLevel::kInfo},
    std::pair{std::string_view("warn"), LogLevel::kWarn},
    std::pair{std::string_view("error"), LogLevel::kError},
};

constexpr std::array kFormats{
    std::pair{std::string_view("text"), LogFormat::kText},
    std::pair{std::string_view("json"), LogFormat::kJson},
};

constexpr std::array kBooleans{
    std::pair{std::string_view("true"), true}, std::pair{std::string_view("false"), false},
    std::pair{std::string_view("1"), true},    std::pair{std::string_view("0"), false},
    std::pair{std::string_view("yes"), true},  std::pair{std::string_view("no"), false},
    std::pair{std::string_view("on"), true},   std::pair{std::string_view("off"), false},
};

bool equal_in_any_case(std::string_view left, std::string_view right) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
  return std::ranges::equal(left, right, {}, lower, lower);
}

template <typename Names, typename T>
bool read_name(const Names& names, std::string_view text, T& target) {
  for (const auto& [name, meaning] : names) {
    if (equal_in_any_case(name, text)) {
      target = meaning;
      return true;
    }
  }
  return false;
}

/// The first of the names for `meaning`.
template <typename Names, typename T>
std::string name_of(const Names& names, T meaning) {
  const auto found =
      std::ranges::find(names, meaning, [](const auto& name) { return name.second; });
  return std::string(found->first);
}

/// A plain decimal number: digits and nothing else, which is stricter than strtol and the like.
std::optional<std::uint64_t> read_number(std::string_view text, std::uint64_t least,
                                         std::uint64_t most) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end || number < least || number > most) {
    return std::nullopt;
  }
  return number;
}

std::string from_to(std::string_view what, std::uint64_t least, std::uint64_t most) {
  return std::string(what) + " from " + std::to_string(least) + " to " + std::to_string(most);
}

/// Reads one kind of value; `text` and `settings` are `read`'s.
struct Reader {
  std::string_view text;
  Settings& settings;

  template <typename T>
  bool number(T Settings::*field, std::uint64_t least, std::uint64_t most) {
    const auto number = read_number(text, least, most);
    if (number) {
      settings.*field = static_cast<T>(*number);
    }
    return number.has_value();
  }

  bool list(std::vector<std::string> Settings::*field,
            std::optional<std::vector<std::string>> entries) {
    if (!entries) return false;
    settings.*field = *std::move(entries);
    return true;
  }

  bool operator()(const Seconds& kind) { return number(kind.field, kind.least, kMaxSeconds); }
  bool operator()(const Count& kind) { return number(kind.field, kind.least, kind.most); }
  bool operator()(const Port& kind) {
    return number(kind.field, 0, std::numeric_limits<std::uint16_t>::max());
  }
  bool operator()(const Host& kind) {
    const bool valid =
        text.empty() ? kind.may_be_empty : is_host_name(text) || is_ipv6_address(std::string(text));
    if (valid) {
      settings.*kind.field = text;
    }
    return valid;
  }
  bool operator()(const Path& kind) {
    const bool valid = text.find('\0') == std::string_view::npos;  // the system would stop there
    if (valid) {
      settings.*kind.field = text;
    }
    return valid;
  }
  bool operator()(const Token& kind) {
    const bool valid = text.empty() || (base::is_secret(text) && text != kMask);
    if (valid) {
      settings.*kind.field = Secret(text);
    }
    return valid;
  }
  bool operator()(const Origins& kind) { return list(kind.field, read_origins(text)); }
  bool operator()(const Hosts& kind) { return list(kind.field, read_hosts(text)); }
  bool operator()(const Boolean& kind) { return read_name(kBooleans, text, settings.*kind.field); }
  bool operator()(const Switch& kind) { return read_name(kBooleans, text, settings.*kind.field); }
  bool operator()(const Level& kind) { return read_name(kLevels, text, settings.*kind.field); }
  bool operator()(const Format& kind) { return read_name(kFormats, text, settings.*kind.field); }
};

struct Allowed {
  std::string operator()(const Seconds& kind) {
    return from_to("whole seconds", kind.least, kMaxSeconds);
  }
  std::string operator()(const Count& kind) { return from_to("an integer", kind.least, kind.most); }
  std::string operator()(const Port&) {
    return from_to("an integer", 0, std::numeric_limits<std::uint16_t>::max());
  }
  std::string operator()(const Host& kind) {
    std::string text = "an IPv4 or IPv6 address or a host name, without a port";
    if (kind.may_be_empty) text += ", or nothing";
    return text;
  }
  std::string operator()(const Path&) { return "the path of a file"; }
  std::string operator()(const Token&) {
    return from_to("a token", 1, base::kMaxSecretSize) +
           " bytes long, without a newline, without white space at either end";
  }
  std::string operator()(const Origins&) {
    return "origins separated by commas, each * or scheme://host[:port] without a slash behind it";
  }
  std::string operator()(const Hosts&) {
    return "host names or addresses separated by commas, without ports";
  }
  std::string operator()(const Boolean&) { return "true or false, 1 or 0, yes or no, on or off"; }
  std::string operator()(const Switch&) { return (*this)(Boolean{}); }
  std::string operator()(const Level&) { return "debug, info, warn or error"; }
  std::string operator()(const Format&) { return "text or json"; }
};

struct Shower {
  const Settings& settings;

  std::string operator()(const Seconds& kind) {
    return std::to_string((settings.*kind.field).count());
  }
  std::string operator()(const Count& kind) { return std::to_string(settings.*kind.field); }
  std::string operator()(const Port& kind) { return std::to_string(settings.*kind.field); }
  std::string operator()(const Host& kind) { return settings.*kind.field; }
  std::string operator()(const Path& kind) { return (settings.*kind.field).string(); }
  std::string operator()(const Token& kind) {
    return std::string((settings.*kind.field).empty() ? "" : kMask);
  }
  std::string operator()(const Origins& kind) { return show_list(settings.*kind.field); }
  std::string operator()(const Hosts& kind) { return show_list(settings.*kind.field); }
  std::string operator()(const Boolean& kind) { return name_of(kBooleans, settings.*kind.field); }
  std::string operator()(const Switch& kind) { return name_of(kBooleans, settings.*kind.field); }
  std::string operator()(const Level& kind) { return name_of(kLevels, settings.*kind.field); }
  std::string operator()(const Format& kind) { return name_of(kFormats, settings.*kind.field); }
};

struct Placeholder {
  std::string operator()(const Seconds&) { return "SECONDS"; }
  std::string operator()(const Count&) { return "NUMBER"; }
  std::string operator()(const Port&) { return "PORT"; }
  std::string operator()(const Host&) { return "ADDRESS"; }
  std::string operator()(const Path&) { return "FILE"; }
  std::string operator()(const Token&) { return "TOKEN"; }
  std::string operator()(const Origins&) { return "ORIGINS"; }
  std::string operator()(const Hosts&) { return "HOSTS"; }
  std::string operator()(const Boolean&) { return ""; }
  std::string operator()(const Switch&) { return ""; }
  std::string operator()(const Level&) { return "debug|info|warn|error"; }
  std::string operator()(const Format&) { return "text|json"; }
};

}  // namespace

std::span<const Row> rows() {
  return kRows;
}

bool read(const Value& value, std::string_view text, Settings& settings) {
  return std::visit(Reader{text, settings}, value);
}

std::string allowed(const Value& value) {
  return std::visit(Allowed{}, value);
}

std::string show(const Value& value, const Settings& settings) {
  return std::visit(Shower{settings}, value);
}

bool is_text(const Value& value) {
  return std::holds_alternative<Host>(value) || std::holds_alternative<Path>(value) ||
         is_secret(value) || std::holds_alternative<Origins>(value) ||
         std::holds_alternative<Hosts>(value) || std::holds_alternative<Level>(value) ||
         std::holds_alternative<Format>(value);
}

bool is_boolean(const Value& value) {
  return std::holds_alternative<Boolean>(value) || std::holds_alternative<Switch>(value);
}

bool is_secret(const Value& value) {
  return std::holds_alternative<Token>(value);
}

std::string placeholder(const Value& value) {
  return std::visit(Placeholder{}, value);
}

}  // namespace dflockd::config
