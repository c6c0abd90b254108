#include <cstdlib>
#include <sstream>
#include <string>

#include <gmock/gmock.h>

#include "fixture.hpp"

namespace dflockd::config {
namespace {

using testing::HasSubstr;

TEST(CommandLineTest, unknown_flag_is_refused) {
  EXPECT_EQ(refused({"--prot", "7000"}),
            "dflockd: unknown flag '--prot'; --help shows those there are");
  EXPECT_EQ(refused({"-p"}), "dflockd: unknown flag '-p'; --help shows those there are");
  EXPECT_EQ(refused({"--"}), "dflockd: unknown flag '--'; --help shows those there are");
  EXPECT_EQ(refused({"--no-port"}),
            "dflockd: unknown flag '--no-port'; --help shows those there are");
}

TEST(CommandLineTest, unknown_flag_does_not_show_its_value) {
  EXPECT_EQ(refused({"--auth-tokn=hunter2"}),
            "dflockd: unknown flag '--auth-tokn'; --help shows those there are");
}

TEST(CommandLineTest, flag_with_a_value_does_not_stand_for_one) {
  const std::string port =
      "dflockd: --port: a value is missing; expected an integer from 0 to 65535";
  EXPECT_EQ(refused({"--port", "--auth-token=hunter2"}), port);
  EXPECT_EQ(refused({"--port", "--auth-tokn=hunter2"}), port);
  EXPECT_EQ(refused({"--port", "--auth-token", "hunter2"}), port);
  EXPECT_EQ(refused({"--config", "--auth-token=hunter2"}),
            "dflockd: --config: a value is missing; expected the path of a file");
}

TEST(CommandLineTest, argument_beside_a_secret_is_not_shown) {
  const std::string line =
      "dflockd: unexpected argument <not shown>, as it may belong to --auth-token";
  EXPECT_EQ(refused({"--auth-token", "correct", "hunter2"}), line);
  EXPECT_EQ(refused({"--auth-token=correct", "--hunter2", "battery"}), line);
  EXPECT_EQ(refused({"--auth-token", "correct", ""}), line);
  EXPECT_EQ(refused({"--auth-token-file", "a", "b"}), "dflockd: unexpected argument 'b'");
}

TEST(CommandLineTest, positional_argument_is_refused) {
  EXPECT_EQ(refused({"serve"}), "dflockd: unexpected argument 'serve'");
  EXPECT_EQ(refused({""}), "dflockd: unexpected argument ''");
  EXPECT_EQ(refused({"--debug", "false"}), "dflockd: unexpected argument 'false'");
}

TEST(CommandLineTest, missing_value_is_refused) {
  EXPECT_EQ(refused({"--port"}),
            "dflockd: --port: a value is missing; expected an integer from 0 to 65535");
  EXPECT_EQ(refused({"--debug", "--config"}),
            "dflockd: --config: a value is missing; expected the path of a file");
}

TEST(CommandLineTest, empty_value_does_not_swallow_the_next_flag) {
  EXPECT_EQ(refused({"--host=", "--port=7000"}),
            "dflockd: --host: '' is not allowed; expected an IPv4 or IPv6 address or a host name, "
            "without a port");
  EXPECT_EQ(accepted({"--fence-state-file=", "--port=7000"}).config.port, 7000);
}

TEST(CommandLineTest, host_is_an_address_or_a_name_without_a_port) {
  for (const std::string host : {"127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0",
                                 "::ffff:10.0.0.1", "localhost", "lock-a.internal.", "LOCK_B"}) {
    EXPECT_EQ(accepted({"--host", host}).config.host, host);
  }
  for (const std::string host : {"127.0.0.1:80", "[::1]", "[::1]:80", " ", "a b", "a\nb", "::1%",
                                 "::1%a b", "1::2::3", "localhost:6388", "http://a"}) {
    EXPECT_THAT(refused({"--host", host}),
                HasSubstr("' is not allowed; expected an IPv4 or IPv6 address or a host name"))
        << host;
  }
}

TEST(CommandLineTest, flag_in_place_of_a_value_is_refused) {
  EXPECT_EQ(refused({"--port", "--host", "::1"}),
            "dflockd: --port: '--host' is not allowed; expected an integer from 0 to 65535");
}

TEST(CommandLineTest, anything_but_decimal_digits_is_refused_as_number) {
  for (const std::string bad : {"+1", "-1", " 1", "1 ", "0x10", "1.0", "1e3", "1s", "1_000", "",
                                "99999999999999999999999"}) {
    EXPECT_EQ(refused({"--port", bad}),
              "dflockd: --port: '" + bad + "' is not allowed; expected an integer from 0 to 65535");
  }
}

TEST(CommandLineTest, error_stays_one_line_whatever_the_value) {
  EXPECT_EQ(
      refused({"--log-level", "a\nb\x1b[31m"}),
      "dflockd: --log-level: 'a\\x0ab\\x1b[31m' is not allowed; expected debug, info, warn or "
      "error");
  EXPECT_EQ(refused({"x\ny"}), "dflockd: unexpected argument 'x\\x0ay'");
}

TEST(CommandLineTest, both_forms_of_a_boolean_are_refused) {
  EXPECT_EQ(refused({"--no-auto-release-on-disconnect", "--auto-release-on-disconnect"}),
            "dflockd: --no-auto-release-on-disconnect: given twice, first as "
            "--auto-release-on-disconnect");
}

TEST(CommandLineTest, double_negation_is_refused) {
  EXPECT_EQ(refused({"--no-auto-release-on-disconnect=false"}),
            "dflockd: --no-auto-release-on-disconnect: 'false' is not allowed; expected no value");
}

TEST(CommandLineTest, boolean_takes_every_spelling_in_any_case) {
  for (const std::string on : {"1", "true", "YES", "On"}) {
    const std::string flag = "--auto-release-on-disconnect=" + on;
    EXPECT_TRUE(accepted({flag}).config.auto_release_on_disconnect) << on;
  }
  for (const std::string off : {"0", "False", "no", "OFF"}) {
    const std::string flag = "--auto-release-on-disconnect=" + off;
    EXPECT_FALSE(accepted({flag}).config.auto_release_on_disconnect) << off;
  }
}

TEST(CommandLineTest, boolean_flag_needs_no_value) {
  const Variables off{{"DFLOCKD_AUTO_RELEASE_ON_DISCONNECT", "off"}};
  EXPECT_TRUE(accepted({"--auto-release-on-disconnect"}, off).config.auto_release_on_disconnect);
  EXPECT_FALSE(accepted({"--no-auto-release-on-disconnect"}).config.auto_release_on_disconnect);
}

TEST(CommandLineTest, value_may_stand_behind_a_space_or_an_equals_sign) {
  EXPECT_EQ(accepted({"--fence-state-file", "a=b"}).config.fence_state_file, "a=b");
  EXPECT_EQ(accepted({"--fence-state-file=[c]"}).config.fence_state_file, "[c]");
}

TEST(CommandLineTest, main_arguments_and_the_environment_of_the_process_fit) {
  char program[] = "dflockd";
  char flag[] = "--port=1";
  char* argv[] = {program, flag, nullptr};
  const int argc = 2;
  ASSERT_EQ(::setenv("DFLOCKD_MAX_LOCKS", "7", 1), 0);
  const auto result = load({argv + 1, argv + argc}, process_environment());
  EXPECT_EQ(std::get<Loaded>(result).config.port, 1);
  EXPECT_EQ(std::get<Loaded>(result).config.max_locks, 7U);
  ASSERT_EQ(::unsetenv("DFLOCKD_MAX_LOCKS"), 0);
}

TEST(CommandLineTest, version_is_printed) {
  EXPECT_EQ(printed({"--version"}), "dflockd " DFLOCKD_VERSION "\n");
}

TEST(CommandLineTest, help_is_printed_whatever_else_is_wrong) {
  EXPECT_EQ(printed({"-h"}), printed({"--help"}));
  EXPECT_EQ(printed({"--prot", "-h", "--port=x"}), printed({"--help"}));
  EXPECT_EQ(printed({"--prot", "1", "--help"}), printed({"--help"}));
  EXPECT_EQ(printed({"--port", "x", "--help"}), printed({"--help"}));
  EXPECT_EQ(printed({"--help", "--host=", "--debug", "--debug"}), printed({"--help"}));
  EXPECT_EQ(accepted({"--help=false"}).config.port, 6388);
}

TEST(CommandLineTest, help_and_version_need_no_valid_environment) {
  EXPECT_EQ(printed({"--version"}, {{"DFLOCKD_PORT", "x"}}), printed({"--version"}));
  EXPECT_EQ(printed({"--help"}, {{"DFLOCKD_PORT", "x"}}), printed({"--help"}));
}

TEST(CommandLineTest, help_shows_defaults) {
  const std::string help = printed({"--help"});
  for (const char* line :
       {"[DFLOCKD_HOST, default 127.0.0.1]", "[DFLOCKD_PORT, default 6388]",
        "[DFLOCKD_AUTO_RELEASE_ON_DISCONNECT, default true]", "[DFLOCKD_MAX_LOCKS, default 1024]",
        "[DFLOCKD_FENCE_STATE_FILE, default none]", "[DFLOCKD_HTTP_PORT, default 0]",
        "[DFLOCKD_HTTP_HOST, default none]", "[DFLOCKD_HTTP_CORS_ALLOWED_ORIGINS, default none]",
        "[DFLOCKD_LOG_LEVEL, default info]"}) {
    EXPECT_NE(help.find(line), std::string::npos) << line;
  }
}

TEST(CommandLineTest, help_groups_the_flags) {
  const std::string help = printed({"--help"});
  std::size_t position = 0;
  for (const char* heading : {"\nNetwork:\n", "\nLock table:\n", "\nTLS:\n", "\nAuthentication:\n",
                              "\nHTTP:\n", "\nLogging:\n", "\nConfiguration:\n"}) {
    position = help.find(heading, position);
    ASSERT_NE(position, std::string::npos) << heading;
  }
}

TEST(CommandLineTest, help_fits_100_columns) {
  std::istringstream help(printed({"--help"}));
  for (std::string line; std::getline(help, line);) {
    EXPECT_LE(line.size(), 100U) << line;
  }
}

}  // namespace
}  // namespace dflockd::config
