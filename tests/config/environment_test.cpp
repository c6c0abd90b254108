// What the environment holds that its owner did not put there.
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "fixture.hpp"

namespace dflockd::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<std::string> warnings(const Variables& variables) {
  const Loaded loaded = accepted({}, variables);
  EXPECT_THAT(loaded.warnings, IsEmpty());
  return loaded.environment_warnings;
}

std::string passed_over(const std::string& name) {
  return name + " is passed over: tcp:// or udp:// is what a container platform sets for a service";
}

TEST(EnvironmentTest, address_of_a_service_is_passed_over_whatever_variable_it_is_in) {
  for (const std::string name :
       {"DFLOCKD_PORT", "DFLOCKD_HTTP_PORT", "DFLOCKD_HOST", "DFLOCKD_LOG_LEVEL", "DFLOCKD_DEBUG",
        "DFLOCKD_TLS_CERT", "DFLOCKD_AUTH_TOKEN", "DFLOCKD_AUTH_TOKEN_FILE", "DFLOCKD_CONFIG",
        "DFLOCKD_HTTP_CORS_ALLOWED_ORIGINS", "DFLOCKD_GC_LOOP_SLEEP"}) {
    for (const std::string value : {"tcp://10.96.3.7:6388", "udp://[::1]:1", "tcp://"}) {
      const Variables variables{{name, value}};
      EXPECT_THAT(warnings(variables), ElementsAre(passed_over(name)));
      EXPECT_THAT(differing(accepted({}, variables).config, Config()), IsEmpty()) << name;
    }
  }
}

TEST(EnvironmentTest, what_only_resembles_the_address_of_a_service_is_refused) {
  for (const std::string value :
       {"banana", "tcp:6388", "TCP://10.96.3.7:6388", " tcp://a", "http://a"}) {
    EXPECT_EQ(refused({}, {{"DFLOCKD_PORT", value}}),
              "dflockd: DFLOCKD_PORT: '" + value +
                  "' is not allowed; expected an integer from 0 to 65535");
  }
  EXPECT_THAT(refused({"--port", "tcp://10.96.3.7:6388"}), HasSubstr("--port: 'tcp://"));
}

TEST(EnvironmentTest, what_a_service_of_the_name_brings_is_one_warning_more) {
  EXPECT_THAT(
      warnings({{"DFLOCKD_PORT", "tcp://10.96.3.7:6388"},
                {"DFLOCKD_PORT_6388_TCP", "tcp://10.96.3.7:6388"},
                {"DFLOCKD_PORT_6388_TCP_ADDR", "10.96.3.7"},
                {"DFLOCKD_PORT_6388_TCP_PORT", "6388"},
                {"DFLOCKD_PORT_6388_TCP_PROTO", "tcp"},
                {"DFLOCKD_SERVICE_HOST", "10.96.3.7"},
                {"DFLOCKD_SERVICE_PORT", "6388"},
                {"DFLOCKD_SERVICE_PORT_LOCKS", "6388"}}),
      ElementsAre(passed_over("DFLOCKD_PORT"),
                  "passed over, as a container platform sets them for a service: "
                  "DFLOCKD_PORT_6388_TCP, DFLOCKD_PORT_6388_TCP_ADDR, "
                  "DFLOCKD_PORT_6388_TCP_PORT, DFLOCKD_PORT_6388_TCP_PROTO, "
                  "DFLOCKD_SERVICE_HOST, DFLOCKD_SERVICE_PORT, DFLOCKD_SERVICE_PORT_LOCKS"));
  EXPECT_THAT(warnings({{"DFLOCKD_HTTP_SERVICE_HOST", "10.96.3.8"},
                        {"DFLOCKD_HTTP_PORT_80_UDP", "udp://10.96.3.8:80"}}),
              ElementsAre("passed over, as a container platform sets them for a service: "
                          "DFLOCKD_HTTP_PORT_80_UDP, DFLOCKD_HTTP_SERVICE_HOST"));
}

TEST(EnvironmentTest, unknown_variable_is_one_warning_with_the_nearest_name) {
  const std::vector<std::pair<std::string, std::string>> typos{
      {"DFLOCKD_MAX_LOCK", "DFLOCKD_MAX_LOCKS"},
      {"DFLOCKD_READ_TIMEOUT", "DFLOCKD_READ_TIMEOUT_S"},
      {"DFLOCKD_HTTP_PROT", "DFLOCKD_HTTP_PORT"},
      {"DFLOCKD_PORT_TCP", "DFLOCKD_PORT"},
      {"DFLOCKD_PORT_6388", "DFLOCKD_PORT"},
      {"DFLOCKD_Port", "DFLOCKD_PORT"},
      {"DFLOCKD_", "DFLOCKD_HOST"},
  };
  for (const auto& [name, nearest] : typos) {
    EXPECT_THAT(warnings({{name, "hunter2"}}),
                ElementsAre(name + " is no variable of dflockd; the nearest is " + nearest));
  }
  EXPECT_THAT(warnings({{"DFLOCKD_A\nB", "1"}}),
              ElementsAre(HasSubstr("DFLOCKD_A\\x0aB is no variable of dflockd")));
  EXPECT_THAT(warnings({{"DFLOCKD_" + std::string(100'000, 'X'), "1"}}), SizeIs(1));
}

TEST(EnvironmentTest, variables_of_dflockctl_and_of_others_are_no_warning) {
  EXPECT_THAT(warnings({{"DFLOCKD_SERVER", "a:1"},
                        {"DFLOCKD_TLS", "1"},
                        {"DFLOCKD_TLS_CA", "a"},
                        {"DFLOCKD_TLS_SERVER_NAME", "a"},
                        {"DFLOCKD_KEY", "k"},
                        {"DFLOCKD_TOKEN", "t"},
                        {"DFLOCKD_FENCE", "1"},
                        {"DFLOCKD_UNKNOWN_BUT_EMPTY", ""},
                        {"DFLOCKCTL_SERVER", "a"},
                        {"MY_DFLOCKD_PORT", "tcp://a"},
                        {"dflockd_port", "tcp://a"}}),
              IsEmpty());
}

TEST(EnvironmentTest, warnings_are_printed_by_check_config_too) {
  EXPECT_THAT(printed({"--check-config"}, {{"DFLOCKD_PORT", "tcp://a"}, {"DFLOCKD_X", "1"}}),
              AllOf(HasSubstr("# warning: " + passed_over("DFLOCKD_PORT") + "\n"),
                    HasSubstr("# warning: DFLOCKD_X is no variable"), HasSubstr("port = 6388\n")));
}

TEST(EnvironmentTest, first_of_two_variables_of_one_name_counts) {
  const std::vector<const char*> twice{"DFLOCKD_PORT=1", "DFLOCKD_PORT=2", "DFLOCKD_HOST",
                                       "DFLOCKD_MAX_LOCKS=3=3"};
  const auto result = load({}, twice);
  EXPECT_THAT(std::get<Exit>(result).text, HasSubstr("DFLOCKD_MAX_LOCKS: '3=3'"));
  const auto accepted = load({}, std::span(twice).first(3));
  EXPECT_EQ(std::get<Loaded>(accepted).config.port, 1);
  EXPECT_THAT(std::get<Loaded>(accepted).environment_warnings, IsEmpty());
}

}  // namespace
}  // namespace dflockd::config
