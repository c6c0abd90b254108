// What the settings of the HTTP API may be, beyond what those of all rows may be.
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "fixture.hpp"

namespace dflockd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using HttpConfigTest = DirectoryTest;

constexpr const char* kFlag = "--http-cors-allowed-origins";

std::vector<std::string> origins(const std::string& text) {
  return accepted({kFlag, text}).config.http_cors_allowed_origins;
}

TEST_F(HttpConfigTest, what_is_no_origin_is_refused) {
  for (const std::string bad : {"null",
                                "**",
                                "a",
                                "app.example",
                                "app.example:80",
                                "//a",
                                "://a",
                                "1http://a",
                                "h_ttp://a",
                                "https:/a",
                                "https:a",
                                "https://",
                                "https://:80",
                                "https://*.example",
                                "https://a b",
                                "https://user@a",
                                "https://a/",
                                "https://a/path",
                                "https://a?b",
                                "https://a#b",
                                "https://a\nb",
                                "https://caf\u00e9.example"}) {
    EXPECT_THAT(refused({kFlag, bad}),
                HasSubstr("' is not allowed; expected origins separated by commas"))
        << bad;
  }
}

TEST_F(HttpConfigTest, what_is_no_port_of_an_origin_is_refused) {
  for (const std::string port : {"", "0", "65536", "99999999999999999999", "-1", "+1", " 1", "1 2",
                                 "0x50", "80a", "80/", "80:80", "https"}) {
    EXPECT_THAT(refused({kFlag, "https://a:" + port}), HasSubstr("' is not allowed")) << port;
    EXPECT_THAT(refused({kFlag, "https://[::1]:" + port}), HasSubstr("' is not allowed")) << port;
  }
}

TEST_F(HttpConfigTest, what_is_no_ipv6_address_of_an_origin_is_refused) {
  for (const std::string host : {"::1", "[", "[]", "[::1", "::1]", "[::1]]", "[[::1]", "[::1]80",
                                 "[127.0.0.1]", "[a]", "[::1]a:80", "[fe80::1%eth0]"}) {
    EXPECT_THAT(refused({kFlag, "https://" + host}), HasSubstr("' is not allowed")) << host;
  }
}

TEST_F(HttpConfigTest, list_with_a_bad_or_missing_origin_is_refused) {
  for (const std::string bad : {",", " ", "*,", ",*", "*,,*", "*, ,*", "https://a https://b",
                                "https://a;https://b", "https://a,https://b/"}) {
    EXPECT_EQ(refused({kFlag, bad}),
              "dflockd: --http-cors-allowed-origins: '" + bad +
                  "' is not allowed; expected origins separated by commas, "
                  "each * or scheme://host[:port] without a slash behind it");
  }
}

TEST_F(HttpConfigTest, array_of_origins_is_refused_in_the_file) {
  const std::string file = write("d.toml", "http-cors-allowed-origins = ['https://a']");
  EXPECT_EQ(refused({"--config", file}), "dflockd: " + file +
                                             ":1:1: http-cors-allowed-origins: an array is not "
                                             "allowed; expected text in quotes");
}

TEST_F(HttpConfigTest, origins_are_taken_as_browsers_send_them) {
  EXPECT_THAT(
      origins("HTTPS://App.Example:443, http://A:80,https://a:80,http://[2001:DB8::1]:80"),
      ElementsAre("https://app.example", "http://a", "https://a:80", "http://[2001:db8::1]"));
}

TEST_F(HttpConfigTest, origins_are_accepted) {
  for (const std::string origin :
       {"*", "http://a", "https://app.example", "https://app.example:8443", "http://127.0.0.1:1",
        "http://localhost:65535", "https://[::1]", "https://[2001:db8::1]:8443",
        "moz-extension://2c1a9e7e", "a+b.c-1://x_y"}) {
    EXPECT_THAT(origins(origin), ElementsAre(origin));
  }
}

TEST_F(HttpConfigTest, origins_are_separated_by_commas_with_blanks_around) {
  EXPECT_THAT(origins("http://a,https://[::1]:8443"),
              ElementsAre("http://a", "https://[::1]:8443"));
  EXPECT_THAT(origins("  http://a ,\t* , http://c "), ElementsAre("http://a", "*", "http://c"));
}

TEST_F(HttpConfigTest, no_origins_override_others) {
  const Variables variables{{"DFLOCKD_HTTP_CORS_ALLOWED_ORIGINS", "*"}};
  EXPECT_THAT(accepted({}, variables).config.http_cors_allowed_origins, ElementsAre("*"));
  EXPECT_THAT(accepted({kFlag, ""}, variables).config.http_cors_allowed_origins, IsEmpty());
}

TEST_F(HttpConfigTest, what_is_no_allowed_host_is_refused) {
  for (const std::string bad : {"*", ".", "*.example", "a:80", "[::1]:80", "http://a", "a/", "a b",
                                "a,", ",", "a,,b", "[::1", "::1]", "[a]", "[127.0.0.1]",
                                "fe80::1%eth0", "[fe80::1%eth0]", "caf\u00e9.example"}) {
    EXPECT_EQ(refused({"--http-allowed-hosts", bad}),
              "dflockd: --http-allowed-hosts: '" + bad +
                  "' is not allowed; expected host names or addresses separated by commas, "
                  "without ports");
  }
}

TEST_F(HttpConfigTest, allowed_hosts_are_names_and_addresses_without_brackets) {
  const Config config =
      accepted({"--http-allowed-hosts", "Locks.Example., 10.0.0.1,::1,\t[2001:db8::1]"}).config;
  EXPECT_THAT(config.http_allowed_hosts,
              ElementsAre("Locks.Example.", "10.0.0.1", "::1", "2001:db8::1"));
}

TEST_F(HttpConfigTest, burst_without_a_rate_is_refused) {
  EXPECT_EQ(refused({"--http-rate-limit-burst=5"}),
            "dflockd: --http-rate-limit-burst: --http-rate-limit-per-ip is needed too");
  EXPECT_EQ(refused({"--http-rate-limit-per-ip=0"}, {{"DFLOCKD_HTTP_RATE_LIMIT_BURST", "5"}}),
            "dflockd: DFLOCKD_HTTP_RATE_LIMIT_BURST: --http-rate-limit-per-ip is needed too");
  EXPECT_EQ(refused({"--check-config", "--http-rate-limit-burst=5"}),
            "dflockd: --http-rate-limit-burst: --http-rate-limit-per-ip is needed too");
}

TEST_F(HttpConfigTest, rate_and_burst_may_come_from_different_sources) {
  const Variables variables{{"DFLOCKD_HTTP_RATE_LIMIT_PER_IP", "100"}};
  const Config config = accepted({"--http-rate-limit-burst=5"}, variables).config;
  EXPECT_EQ(config.http_rate_limit_per_ip, 100U);
  EXPECT_EQ(config.http_rate_limit_burst, 5U);
}

TEST_F(HttpConfigTest, rate_without_a_burst_is_accepted) {
  EXPECT_EQ(accepted({"--http-rate-limit-per-ip=9"}).config.http_rate_limit_burst, 0U);
  EXPECT_EQ(accepted({"--http-rate-limit-burst=0"}, {{"DFLOCKD_HTTP_RATE_LIMIT_PER_IP", "9"}})
                .config.http_rate_limit_per_ip,
            9U);
}

TEST_F(HttpConfigTest, port_of_the_lines_on_the_same_address_is_refused) {
  const std::vector<std::pair<std::string, std::string>> overlapping{
      {"127.0.0.1", ""},
      {"127.0.0.1", "127.0.0.1"},
      {"0.0.0.0", "127.0.0.1"},
      {"10.0.0.1", "0.0.0.0"},
      {"::", "::1"},
      {"::1", "::"},
      {"::", "127.0.0.1"},
      {"10.0.0.1", "::"},
      {"::", "0.0.0.0"},
      {"::1", "0:0::0:1"},
      {"localhost", "127.0.0.1"},
      {"LOCALHOST", "localhost."},
      {"127.1", "127.0.0.1"},
      {"Locks.", "locks"},
      {"locks", "locks"},
      {"localhost", "0.0.0.0"},
      {"127.0.0.1", "::ffff:127.0.0.1"},
      {"fe80::1%a", "fe80::1%a"}};
  for (const auto& [host, http_host] : overlapping) {
    for (const char* const check : {"--check-config=false", "--check-config"}) {
      EXPECT_EQ(refused({check, "--port=7000", "--http-port=7000", "--host", host, "--http-host",
                         http_host}),
                "dflockd: --http-port: '7000' is --port too, on the same address; expected another "
                "port")
          << host << " " << http_host;
    }
  }
  EXPECT_THAT(refused({}, {{"DFLOCKD_HTTP_PORT", "6388"}}), HasSubstr("DFLOCKD_HTTP_PORT: '6388'"));
  EXPECT_THAT(refused({"--config", write("d.toml", "http-port = 6388")}),
              HasSubstr("d.toml:1:1: http-port: '6388'"));
}

TEST_F(HttpConfigTest, port_of_the_lines_on_another_address_is_accepted) {
  const std::vector<std::pair<std::string, std::string>> apart{
      {"127.0.0.1", "127.0.0.2"}, {"127.0.0.1", "::1"}, {"0.0.0.0", "::1"},
      {"locks", "127.0.0.1"},     {"locks", "metrics"}, {"localhost", "10.0.0.1"},
      {"fe80::1%a", "fe80::1%b"}, {"locks", "0.0.0.0"}, {"localhost", "::1"}};
  for (const auto& [host, http_host] : apart) {
    EXPECT_EQ(
        accepted({"--http-port=6388", "--host", host, "--http-host", http_host}).config.http_port,
        6388)
        << host << " " << http_host;
  }
  EXPECT_EQ(accepted({"--port=0", "--http-port=0"}).config.port, 0);
}

TEST_F(HttpConfigTest, host_that_is_no_address_and_no_name_is_refused) {
  for (const std::string bad : {" ", "[::1]", "a b", "127.0.0.1:80", "::1%"}) {
    EXPECT_EQ(refused({"--http-host", bad}),
              "dflockd: --http-host: '" + bad +
                  "' is not allowed; expected an IPv4 or IPv6 address or a host name, without a "
                  "port, or nothing");
  }
}

TEST_F(HttpConfigTest, empty_host_overrides_another) {
  const Variables variables{{"DFLOCKD_HTTP_HOST", "::1"}};
  EXPECT_EQ(accepted({"--http-host="}, variables).config.http_host, "");
}

}  // namespace
}  // namespace dflockd::config
