// Every row of the configuration, from every source.
#include <algorithm>
#include <array>
#include <chrono>
#include <ostream>
#include <string>
#include <vector>

#include "fixture.hpp"

namespace dflockd::config {
namespace {

using std::chrono::seconds;

constexpr const char* kFromZero = "whole seconds from 0 to 9223372036";
constexpr const char* kFromOne = "whole seconds from 1 to 9223372036";
constexpr const char* kCount = "an integer from 0 to 9223372036854775807";
constexpr const char* kLong = "9223372036";
constexpr const char* kTooLong = "9223372037";
constexpr const char* kMany = "9223372036854775807";
constexpr const char* kTooMany = "9223372036854775808";

struct RowCase {
  const char* name;
  const char* environment;
  const char* value;               ///< one that is not the default
  const char* other;               ///< another one that is accepted
  bool quoted;                     ///< whether TOML wants it in quotes
  bool (*arrived)(const Config&);  ///< whether `value` did
  const char* bad;                 ///< nullptr if everything is accepted
  const char* expected;
  std::array<const char*, 2> needs{};  ///< flags without which it is refused
};

// clang-format off
constexpr std::array kCases{
    RowCase{"host", "DFLOCKD_HOST", "::1", "localhost", true,
            [](const Config& c) { return c.host == "::1"; },
            "::1:x", "an IPv4 or IPv6 address or a host name, without a port"},
    RowCase{"port", "DFLOCKD_PORT", "65535", "0", false,
            [](const Config& c) { return c.port == 65535; },
            "65536", "an integer from 0 to 65535"},
    RowCase{"read-timeout", "DFLOCKD_READ_TIMEOUT_S", kLong, "1", false,
            [](const Config& c) { return c.read_timeout == seconds(9223372036); },
            "0", kFromOne},
    RowCase{"idle-timeout", "DFLOCKD_IDLE_TIMEOUT_S", "7", kLong, false,
            [](const Config& c) { return c.idle_timeout == seconds(7); },
            kTooLong, kFromZero},
    RowCase{"write-timeout", "DFLOCKD_WRITE_TIMEOUT_S", "7", kLong, false,
            [](const Config& c) { return c.write_timeout == seconds(7); },
            kTooLong, kFromOne},
    RowCase{"shutdown-timeout", "DFLOCKD_SHUTDOWN_TIMEOUT_S", "0", kLong, false,
            [](const Config& c) { return c.shutdown_timeout == seconds(0); },
            kTooLong, kFromZero},
    RowCase{"max-connections", "DFLOCKD_MAX_CONNECTIONS", kMany, "1", false,
            [](const Config& c) { return c.max_connections == 9223372036854775807; },
            kTooMany, kCount},
    RowCase{"max-connections-per-ip", "DFLOCKD_MAX_CONNECTIONS_PER_IP", "3", kMany, false,
            [](const Config& c) { return c.max_connections_per_ip == 3; },
            "1.5", kCount},
    RowCase{"ipv6-prefix", "DFLOCKD_IPV6_PREFIX", "128", "1", false,
            [](const Config& c) { return c.ipv6_prefix == 128; },
            "129", "an integer from 1 to 128"},
    RowCase{"auto-release-on-disconnect", "DFLOCKD_AUTO_RELEASE_ON_DISCONNECT", "false", "true",
            false, [](const Config& c) { return !c.auto_release_on_disconnect; },
            "2", "true or false, 1 or 0, yes or no, on or off"},
    RowCase{"max-lease-ttl", "DFLOCKD_MAX_LEASE_TTL_S", "3600", "1", false,
            [](const Config& c) { return c.max_lease_ttl == seconds(3600); },
            kTooLong, kFromZero},
    RowCase{"default-lease-ttl", "DFLOCKD_DEFAULT_LEASE_TTL_S", "60", kLong, false,
            [](const Config& c) { return c.default_lease_ttl == seconds(60); },
            "0", kFromOne},
    RowCase{"lease-sweep-interval", "DFLOCKD_LEASE_SWEEP_INTERVAL_S", "2", "3", false,
            [](const Config& c) { return c.lease_sweep_interval == seconds(2); },
            "0", kFromOne},
    RowCase{"gc-interval", "DFLOCKD_GC_INTERVAL_S", "9", "8", false,
            [](const Config& c) { return c.gc_interval == seconds(9); },
            "0", kFromOne},
    RowCase{"gc-max-idle", "DFLOCKD_GC_MAX_IDLE_S", "0", "1", false,
            [](const Config& c) { return c.gc_max_idle == seconds(0); },
            "-1", kFromZero},
    RowCase{"max-locks", "DFLOCKD_MAX_LOCKS", "0", "5", false,
            [](const Config& c) { return c.max_locks == 0; },
            "-1", kCount},
    RowCase{"max-waiters", "DFLOCKD_MAX_WAITERS", "12", "0", false,
            [](const Config& c) { return c.max_waiters == 12; },
            "many", kCount},
    RowCase{"max-claims", "DFLOCKD_MAX_CLAIMS", "0", kMany, false,
            [](const Config& c) { return c.max_claims == 0; },
            kTooMany, kCount},
    RowCase{"fence-state-file", "DFLOCKD_FENCE_STATE_FILE", "/a b/#1.fence", "", true,
            [](const Config& c) { return c.fence_state_file == "/a b/#1.fence"; },
            nullptr, nullptr},
    RowCase{"tls-cert", "DFLOCKD_TLS_CERT", "/a b/c.pem", "c", true,
            [](const Config& c) { return c.tls_cert == "/a b/c.pem"; },
            nullptr, nullptr, {"--tls-key=k"}},
    RowCase{"tls-key", "DFLOCKD_TLS_KEY", "/a b/k.pem", "k", true,
            [](const Config& c) { return c.tls_key == "/a b/k.pem"; },
            nullptr, nullptr, {"--tls-cert=c"}},
    RowCase{"tls-client-ca", "DFLOCKD_TLS_CLIENT_CA", "/a b/a.pem", "", true,
            [](const Config& c) { return c.tls_client_ca == "/a b/a.pem"; },
            nullptr, nullptr, {"--tls-cert=c", "--tls-key=k"}},
    RowCase{"auth-token", "DFLOCKD_AUTH_TOKEN", "s 3=#cret", "other", true,
            [](const Config& c) { return c.auth_token.view() == "s 3=#cret"; },
            nullptr, nullptr},
    RowCase{"http-port", "DFLOCKD_HTTP_PORT", "6389", "0", false,
            [](const Config& c) { return c.http_port == 6389; },
            "65536", "an integer from 0 to 65535"},
    RowCase{"http-host", "DFLOCKD_HTTP_HOST", "::1", "", true,
            [](const Config& c) { return c.http_host == "::1"; },
            "::1:x", "an IPv4 or IPv6 address or a host name, without a port, or nothing"},
    RowCase{"http-session-idle-timeout", "DFLOCKD_HTTP_SESSION_IDLE_S", "1", kLong, false,
            [](const Config& c) { return c.http_session_idle_timeout == seconds(1); },
            "0", kFromOne},
    RowCase{"http-max-sessions", "DFLOCKD_HTTP_MAX_SESSIONS", "4", kMany, false,
            [](const Config& c) { return c.http_max_sessions == 4; },
            "-1", kCount},
    RowCase{"http-max-sessions-per-ip", "DFLOCKD_HTTP_MAX_SESSIONS_PER_IP", "5", "0", false,
            [](const Config& c) { return c.http_max_sessions_per_ip == 5; },
            kTooMany, kCount},
    RowCase{"http-max-connections", "DFLOCKD_HTTP_MAX_CONNECTIONS", "6", "0", false,
            [](const Config& c) { return c.http_max_connections == 6; },
            "-6", kCount},
    RowCase{"http-max-connections-per-ip", "DFLOCKD_HTTP_MAX_CONNECTIONS_PER_IP", "6", "1", false,
            [](const Config& c) { return c.http_max_connections_per_ip == 6; },
            "few", kCount},
    RowCase{"http-rate-limit-per-ip", "DFLOCKD_HTTP_RATE_LIMIT_PER_IP", "7", "0", false,
            [](const Config& c) { return c.http_rate_limit_per_ip == 7; },
            "0.5", kCount},
    RowCase{"http-rate-limit-burst", "DFLOCKD_HTTP_RATE_LIMIT_BURST", "8", "0", false,
            [](const Config& c) { return c.http_rate_limit_burst == 8; },
            "1e3", kCount, {"--http-rate-limit-per-ip=7"}},
    RowCase{"http-allowed-hosts", "DFLOCKD_HTTP_ALLOWED_HOSTS", "locks.example, [::1]", "", true,
            [](const Config& c) {
              return c.http_allowed_hosts == std::vector<std::string>{"locks.example", "::1"};
            },
            "locks.example:80",
            "host names or addresses separated by commas, without ports"},
    RowCase{"http-cors-allowed-origins", "DFLOCKD_HTTP_CORS_ALLOWED_ORIGINS", "https://a:1, *", "",
            true,
            [](const Config& c) {
              return c.http_cors_allowed_origins == std::vector<std::string>{"https://a:1", "*"};
            },
            "https://a/",
            "origins separated by commas, each * or scheme://host[:port] without a slash behind it"},
    RowCase{"log-level", "DFLOCKD_LOG_LEVEL", "Warn", "ERROR", true,
            [](const Config& c) { return c.log_level == LogLevel::kWarn; },
            "warning", "debug, info, warn or error"},
    RowCase{"log-format", "DFLOCKD_LOG_FORMAT", "JSON", "text", true,
            [](const Config& c) { return c.log_format == LogFormat::kJson; },
            "xml", "text or json"},
    RowCase{"debug", "DFLOCKD_DEBUG", "1", "off", true,
            [](const Config& c) { return c.log_level == LogLevel::kDebug; },
            "maybe", "true or false, 1 or 0, yes or no, on or off"},
};
// clang-format on

void PrintTo(const RowCase& row, std::ostream* out) {
  *out << row.name;
}

class RowTest : public DirectoryTest, public testing::WithParamInterface<RowCase> {
 protected:
  [[nodiscard]] static std::string flag(const std::string& value) {
    return "--" + std::string(GetParam().name) + "=" + value;
  }
  /// Loads with these arguments and what the row needs.
  [[nodiscard]] static Config read(std::vector<std::string> arguments,
                                   const Variables& variables = {}) {
    for (const char* const flag : GetParam().needs) {
      if (flag != nullptr) arguments.emplace_back(flag);
    }
    return accepted(arguments, variables).config;
  }
  [[nodiscard]] std::string file(const std::string& value) const {
    const std::string quote = GetParam().quoted ? "\"" : "";
    return write("d.toml", "# a comment\n" + std::string(GetParam().name) + " = " + quote + value +
                               quote + "\n");
  }
};

TEST_P(RowTest, bad_value_is_refused_and_named_after_its_source) {
  if (GetParam().bad == nullptr) {
    return;
  }
  const std::string bad = GetParam().bad;
  const std::string rest = ": '" + bad + "' is not allowed; expected " + GetParam().expected;
  const std::string name = GetParam().name;
  EXPECT_EQ(refused({flag(bad)}), "dflockd: --" + name + rest);
  if (!bad.empty()) {
    EXPECT_EQ(refused({}, {{GetParam().environment, bad}}),
              std::string("dflockd: ") + GetParam().environment + rest);
  }
  const std::string path = write("bad.toml", "\n" + name + " = \"" + bad + "\"");
  const bool is_number = std::string(GetParam().expected).find(" from ") != std::string::npos;
  EXPECT_EQ(refused({"--config", path}),
            "dflockd: " + path + ":2:1: " + name +
                (is_number ? std::string(": text is not allowed; expected ") + GetParam().expected
                           : rest));
}

TEST_P(RowTest, bad_value_is_refused_even_if_it_is_overridden) {
  if (GetParam().bad == nullptr || *GetParam().bad == '\0') {
    return;
  }
  EXPECT_NE(refused({flag(GetParam().value)}, {{GetParam().environment, GetParam().bad}}), "");
}

TEST_P(RowTest, is_read_from_the_command_line) {
  EXPECT_TRUE(GetParam().arrived(read({flag(GetParam().value)})));
}

TEST_P(RowTest, is_read_from_the_environment) {
  EXPECT_TRUE(GetParam().arrived(read({}, {{GetParam().environment, GetParam().value}})));
}

TEST_P(RowTest, is_read_from_the_file) {
  EXPECT_TRUE(GetParam().arrived(read({"--config", file(GetParam().value)})));
}

TEST_P(RowTest, flag_beats_environment_and_file) {
  const Config config = read({flag(GetParam().value), "--config", file(GetParam().other)},
                             {{GetParam().environment, GetParam().other}});
  EXPECT_TRUE(GetParam().arrived(config));
}

TEST_P(RowTest, environment_beats_file) {
  const Config config =
      read({"--config", file(GetParam().other)}, {{GetParam().environment, GetParam().value}});
  EXPECT_TRUE(GetParam().arrived(config));
}

TEST_P(RowTest, empty_variable_counts_as_not_set) {
  const Config config = read({"--config", file(GetParam().value)}, {{GetParam().environment, ""}});
  EXPECT_TRUE(GetParam().arrived(config));
}

TEST_P(RowTest, default_is_something_else) {
  EXPECT_FALSE(GetParam().arrived(accepted({}).config));
}

TEST_P(RowTest, flag_given_twice_is_refused) {
  EXPECT_EQ(refused({flag(GetParam().value), flag(GetParam().value)}),
            "dflockd: --" + std::string(GetParam().name) + ": given twice");
}

TEST_P(RowTest, help_names_flag_and_variable) {
  const std::string help = printed({"--help"});
  EXPECT_NE(help.find("--" + std::string(GetParam().name)), std::string::npos);
  EXPECT_NE(help.find(GetParam().environment), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Rows, RowTest, testing::ValuesIn(kCases), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace dflockd::config
