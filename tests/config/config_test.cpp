// How the sources play together, and --check-config.
#include <chrono>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/stat.h>

#include <gmock/gmock.h>

#include "fixture.hpp"

namespace dflockd::config {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::string_view kDefaults = R"(# Network
host = "127.0.0.1"
port = 6388
read-timeout = 23
idle-timeout = 0
write-timeout = 5
shutdown-timeout = 30
max-connections = 0
max-connections-per-ip = 0
ipv6-prefix = 64
auto-release-on-disconnect = true
orphan-ttl = 0

# Lock table
max-lease-ttl = 0
default-lease-ttl = 33
lease-sweep-interval = 1
gc-interval = 5
gc-max-idle = 60
max-locks = 1024
max-waiters = 0
max-claims = 1000000
fence-state-file = ""

# TLS
tls-cert = ""
tls-key = ""
tls-client-ca = ""

# Authentication
auth-token = ""
auth-token-file = ""

# HTTP
http-port = 0
http-host = ""
http-session-idle-timeout = 20
http-max-sessions = 0
http-max-sessions-per-ip = 0
http-max-connections = 0
http-max-connections-per-ip = 0
http-rate-limit-per-ip = 0
http-rate-limit-burst = 0
http-allowed-hosts = ""
http-cors-allowed-origins = ""

# Logging
log-level = "info"
log-format = "text"
)";

using ConfigTest = DirectoryTest;

TEST_F(ConfigTest, first_complaint_is_about_the_command_line_then_environment_then_file) {
  const std::string file = write("d.toml", "port = 'c'");
  const Variables variables{{"DFLOCKD_PORT", "b"}};
  EXPECT_THAT(refused({"--port=a", "--config", file}, variables), HasSubstr("--port: 'a'"));
  EXPECT_THAT(refused({"--config", file}, variables), HasSubstr("DFLOCKD_PORT: 'b'"));
  EXPECT_THAT(refused({"--config", file}), HasSubstr("d.toml:1:1: port: "));
}

TEST_F(ConfigTest, ipv6_prefix_of_no_bits_is_refused) {
  EXPECT_EQ(refused({"--ipv6-prefix=0"}),
            "dflockd: --ipv6-prefix: '0' is not allowed; expected an integer from 1 to 128");
}

TEST_F(ConfigTest, certificate_or_key_alone_is_refused) {
  const std::string file = write("d.toml", "\ntls-key = 'k'");
  EXPECT_EQ(refused({"--tls-cert=c"}), "dflockd: --tls-cert: --tls-key is needed too");
  EXPECT_EQ(refused({}, {{"DFLOCKD_TLS_CERT", "c"}}),
            "dflockd: DFLOCKD_TLS_CERT: --tls-key is needed too");
  EXPECT_EQ(refused({"--config", file}),
            "dflockd: " + file + ":2:1: tls-key: --tls-cert is needed too");
  EXPECT_EQ(refused({"--tls-key=k", "--tls-client-ca=a"}),
            "dflockd: --tls-key: --tls-cert is needed too");
  EXPECT_EQ(refused({"--tls-key="}, {{"DFLOCKD_TLS_CERT", "c"}, {"DFLOCKD_TLS_KEY", "k"}}),
            "dflockd: DFLOCKD_TLS_CERT: --tls-key is needed too");
  EXPECT_EQ(refused({"--check-config", "--tls-cert=c"}),
            "dflockd: --tls-cert: --tls-key is needed too");
}

TEST_F(ConfigTest, client_ca_without_certificate_is_refused) {
  EXPECT_EQ(refused({"--tls-client-ca=a"}), "dflockd: --tls-client-ca: --tls-cert is needed too");
  EXPECT_EQ(refused({}, {{"DFLOCKD_TLS_CLIENT_CA", "a"}}),
            "dflockd: DFLOCKD_TLS_CLIENT_CA: --tls-cert is needed too");
}

TEST_F(ConfigTest, certificate_and_key_may_come_from_different_sources) {
  const std::string file = write("d.toml", "tls-key = 'k'");
  const Config config =
      accepted({"--tls-cert=c", "--config", file}, {{"DFLOCKD_TLS_CLIENT_CA", "a"}}).config;
  EXPECT_EQ(config.tls_cert, "c");
  EXPECT_EQ(config.tls_key, "k");
  EXPECT_EQ(config.tls_client_ca, "a");
}

TEST_F(ConfigTest, bad_value_under_an_old_name_is_refused) {
  EXPECT_EQ(refused({}, {{"DFLOCKD_GC_LOOP_SLEEP", "0"}}),
            "dflockd: DFLOCKD_GC_LOOP_SLEEP: '0' is not allowed; expected whole seconds from 1 to "
            "9223372036");
  EXPECT_EQ(refused({}, {{"DFLOCKD_GC_LOOP_SLEEP", "0"}, {"DFLOCKD_GC_INTERVAL_S", "1"}}),
            "dflockd: DFLOCKD_GC_LOOP_SLEEP: '0' is not allowed; expected whole seconds from 1 to "
            "9223372036");
}

TEST_F(ConfigTest, old_names_are_accepted_with_a_warning_each) {
  const Loaded loaded =
      accepted({}, {{"DFLOCKD_GC_LOOP_SLEEP", "7"}, {"DFLOCKD_GC_MAX_UNUSED_TIME", "8"}});
  EXPECT_EQ(loaded.config.gc_interval, seconds(7));
  EXPECT_EQ(loaded.config.gc_max_idle, seconds(8));
  EXPECT_THAT(loaded.environment_warnings,
              ElementsAre("DFLOCKD_GC_LOOP_SLEEP is the old name of DFLOCKD_GC_INTERVAL_S",
                          "DFLOCKD_GC_MAX_UNUSED_TIME is the old name of DFLOCKD_GC_MAX_IDLE_S"));
}

TEST_F(ConfigTest, new_name_beats_the_old_one) {
  const Loaded loaded =
      accepted({}, {{"DFLOCKD_GC_LOOP_SLEEP", "7"}, {"DFLOCKD_GC_INTERVAL_S", "9"}});
  EXPECT_EQ(loaded.config.gc_interval, seconds(9));
  EXPECT_THAT(loaded.environment_warnings,
              ElementsAre("DFLOCKD_GC_LOOP_SLEEP is the old name of DFLOCKD_GC_INTERVAL_S, which "
                          "is set too and counts"));
}

TEST_F(ConfigTest, old_name_beats_the_file) {
  const std::string file = write("d.toml", "gc-interval = 3");
  EXPECT_EQ(accepted({"--config", file}, {{"DFLOCKD_GC_LOOP_SLEEP", "7"}}).config.gc_interval,
            seconds(7));
}

TEST_F(ConfigTest, nothing_given_gives_no_warning) {
  EXPECT_THAT(accepted({}).warnings, IsEmpty());
}

TEST_F(ConfigTest, log_level_of_the_same_source_beats_debug) {
  EXPECT_EQ(accepted({"--debug", "--log-level=warn"}).config.log_level, LogLevel::kWarn);
  EXPECT_EQ(accepted({}, {{"DFLOCKD_DEBUG", "1"}, {"DFLOCKD_LOG_LEVEL", "warn"}}).config.log_level,
            LogLevel::kWarn);
}

TEST_F(ConfigTest, debug_beats_a_log_level_of_lower_precedence) {
  const Variables warn{{"DFLOCKD_LOG_LEVEL", "warn"}};
  EXPECT_EQ(accepted({"--debug"}, warn).config.log_level, LogLevel::kDebug);
}

TEST_F(ConfigTest, log_level_of_higher_precedence_beats_debug) {
  const Variables debug{{"DFLOCKD_DEBUG", "on"}};
  EXPECT_EQ(accepted({"--log-level=warn"}, debug).config.log_level, LogLevel::kWarn);
}

TEST_F(ConfigTest, debug_can_be_switched_off_again) {
  const Variables debug{{"DFLOCKD_DEBUG", "on"}};
  EXPECT_EQ(accepted({"--debug=false"}, debug).config.log_level, LogLevel::kInfo);
}

TEST_F(ConfigTest, further_check_can_refuse) {
  const Check check = [](const Config& config, Purpose) {
    return Findings{Problem{"port", std::to_string(config.port) + " is\ntaken"}, {"not said"}};
  };
  for (const std::string check_config : {"--check-config=false", "--check-config"}) {
    EXPECT_EQ(refused({check_config, "--port=1"}, {}, check), "dflockd: 1 is\\x0ataken (--port)");
    EXPECT_EQ(refused({check_config}, {{"DFLOCKD_PORT", "2"}}, check),
              "dflockd: 2 is\\x0ataken (DFLOCKD_PORT)");
    EXPECT_EQ(refused({check_config}, {}, check), "dflockd: 6388 is\\x0ataken (--port)");
  }
}

TEST_F(ConfigTest, further_check_is_asked_about_a_valid_configuration_only) {
  const Check check = [](const Config&, Purpose) -> Findings {
    ADD_FAILURE() << "asked";
    return {};
  };
  const std::string missing = (directory_ / "none" / "fence").string();
  EXPECT_NE(refused({"--port=x"}, {}, check), "");
  EXPECT_NE(refused({"--check-config", "--fence-state-file", missing}, {}, check), "");
  EXPECT_NE(printed({"--help"}, {}, check), "");
  EXPECT_NE(printed({"--version"}, {}, check), "");
}

TEST_F(ConfigTest, further_check_is_told_what_for) {
  std::vector<Purpose> purposes;
  const Check check = [&](const Config&, Purpose purpose) {
    purposes.push_back(purpose);
    return Findings();
  };
  EXPECT_EQ(accepted({}, {}, check).config.port, 6388);
  EXPECT_EQ(printed({"--check-config"}, {}, check), kDefaults);
  EXPECT_THAT(purposes, ElementsAre(Purpose::kRun, Purpose::kCheckConfig));
}

TEST_F(ConfigTest, warnings_of_the_further_check_follow_the_others) {
  const Check check = [](const Config&, Purpose) { return Findings{std::nullopt, {"a\nb", "c"}}; };
  const Variables old{{"DFLOCKD_GC_LOOP_SLEEP", "5"}};
  const std::string first = "DFLOCKD_GC_LOOP_SLEEP is the old name of DFLOCKD_GC_INTERVAL_S";
  const Loaded loaded = accepted({}, old, check);
  EXPECT_THAT(loaded.environment_warnings, ElementsAre(first));
  EXPECT_THAT(loaded.warnings, ElementsAre("a\\x0ab", "c"));
  EXPECT_EQ(
      printed({"--check-config"}, old, check),
      "# warning: " + first + "\n# warning: a\\x0ab\n# warning: c\n\n" + std::string(kDefaults));
}

using CheckConfigTest = DirectoryTest;

TEST_F(CheckConfigTest, bad_value_is_refused) {
  EXPECT_EQ(refused({"--check-config", "--port=x"}),
            "dflockd: --port: 'x' is not allowed; expected an integer from 0 to 65535");
}

TEST_F(CheckConfigTest, state_file_that_is_not_regular_is_refused) {
  const std::string path = directory_.string();
  EXPECT_EQ(refused({"--check-config", "--fence-state-file", path}),
            "dflockd: cannot use \"" + path + "\": Is a directory (--fence-state-file)");
  EXPECT_EQ(
      refused({"--check-config"}, {{"DFLOCKD_FENCE_STATE_FILE", "/dev/null"}}),
      "dflockd: cannot use \"/dev/null\": it is not a regular file (DFLOCKD_FENCE_STATE_FILE)");
}

TEST_F(CheckConfigTest, state_file_in_a_missing_directory_is_refused) {
  const std::string none = (directory_ / "none").string();
  const std::string path = none + "/fence";
  const std::string file = write("d.toml", "fence-state-file = '" + path + "'");
  EXPECT_EQ(refused({"--check-config", "--config", file}),
            "dflockd: cannot use \"" + path + "\": cannot create it in \"" + none +
                "\": No such file or directory (" + file + ":1:1: fence-state-file)");
}

TEST_F(CheckConfigTest, state_file_below_a_file_is_refused) {
  const std::string path = write("file", "") + "/fence";
  EXPECT_THAT(refused({"--check-config", "--fence-state-file", path}),
              HasSubstr("\": Not a directory (--fence-state-file)"));
}

TEST_F(CheckConfigTest, state_file_without_the_rights_is_refused) {
  const std::string path = write("fence", "");
  const std::string missing = (directory_ / "none").string();
  ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
  ASSERT_EQ(::chmod(directory_.c_str(), 0555), 0);
  const WithoutRootsRights without;
  EXPECT_EQ(refused({"--check-config", "--fence-state-file", path}),
            "dflockd: cannot use \"" + path + "\": Permission denied (--fence-state-file)");
  EXPECT_EQ(refused({"--check-config", "--fence-state-file", missing}),
            "dflockd: cannot use \"" + missing + "\": cannot create it in \"" +
                directory_.string() + "\": Permission denied (--fence-state-file)");
}

TEST_F(CheckConfigTest, link_to_a_state_file_that_is_missing_is_refused) {
  const std::filesystem::path link = directory_ / "link";
  std::filesystem::create_symlink(directory_ / "none", link);
  EXPECT_EQ(refused({"--check-config", "--fence-state-file", link.string()}),
            "dflockd: cannot use \"" + link.string() +
                "\": it is a link to a file that does not exist (--fence-state-file)");
}

TEST_F(CheckConfigTest, directory_that_cannot_be_read_is_refused) {
  const std::string missing = (directory_ / "none").string();
  ASSERT_EQ(::chmod(directory_.c_str(), 0333), 0);
  const WithoutRootsRights without;
  EXPECT_THAT(refused({"--check-config", "--fence-state-file", missing}),
              HasSubstr("\": Permission denied (--fence-state-file)"));
}

TEST_F(CheckConfigTest, usable_state_file_is_accepted_and_not_created) {
  const std::string missing = (directory_ / "new").string();
  EXPECT_NE(printed({"--check-config", "--fence-state-file", missing}), "");
  EXPECT_FALSE(std::filesystem::exists(missing));
  EXPECT_NE(printed({"--check-config", "--fence-state-file", write("old", "x")}), "");
  EXPECT_NE(printed({"--check-config", "--fence-state-file", "a-name-without-directory"}), "");
}

TEST_F(CheckConfigTest, files_are_left_alone_otherwise) {
  EXPECT_EQ(accepted({"--fence-state-file", "/no/such/dir/f"}).config.fence_state_file,
            "/no/such/dir/f");
}

TEST_F(CheckConfigTest, defaults_are_printed) {
  EXPECT_EQ(printed({"--check-config"}), kDefaults);
}

TEST_F(CheckConfigTest, what_is_printed_can_be_read_back) {
  const std::string text =
      printed({"--check-config", "--debug", "--port=1", "--log-format=json",
               "--no-auto-release-on-disconnect", "--fence-state-file=a\"b\\c\n#",
               "--http-cors-allowed-origins=https://a, *"});
  EXPECT_THAT(text, HasSubstr("port = 1\n"));
  EXPECT_THAT(text, HasSubstr("fence-state-file = \"a\\\"b\\\\c\\u000a#\"\n"));
  EXPECT_THAT(text, HasSubstr("auto-release-on-disconnect = false\n"));
  EXPECT_THAT(text, HasSubstr("http-cors-allowed-origins = \"https://a,*\"\n"));
  EXPECT_THAT(text, HasSubstr("log-level = \"debug\"\nlog-format = \"json\"\n"));
  EXPECT_EQ(printed({"--check-config", "--config", write("d.toml", text)}), text);
}

TEST_F(CheckConfigTest, warnings_are_printed_as_comments) {
  const std::string text = printed({"--check-config"}, {{"DFLOCKD_GC_LOOP_SLEEP", "5"}});
  EXPECT_EQ(text, "# warning: DFLOCKD_GC_LOOP_SLEEP is the old name of DFLOCKD_GC_INTERVAL_S\n\n" +
                      std::string(kDefaults));
}

}  // namespace
}  // namespace dflockd::config
