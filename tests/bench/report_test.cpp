#include "bench/report.hpp"

#include <limits>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

Result two_seconds_of_load() {
  Result result;
  result.elapsed = 2s;
  result.acquire.record(100us, 40'000);
  result.release.record(50us, 40'000);
  result.cycle.record(150us, 40'000);
  return result;
}

std::string text(const Options& options, const Result& result) {
  std::ostringstream out;
  print_text(out, options, result);
  return out.str();
}

std::string json(const Options& options, const Result& result) {
  std::ostringstream out;
  print_json(out, options, result);
  return out.str();
}

TEST(Report, text_tells_the_load_and_what_was_measured) {
  Result result = two_seconds_of_load();
  result.server_cpu = 200ms;
  const std::string report = text({}, result);
  EXPECT_THAT(report, HasSubstr("dflockd at 127.0.0.1 port 6388: 100 connections, own keys"));
  EXPECT_THAT(report, HasSubstr("measured    2.00 s, 40,000 cycles, 0 errors\n"));
  EXPECT_THAT(report, HasSubstr("throughput  20,000 cycles/s\n"));
  EXPECT_THAT(report, HasSubstr("server CPU  5.000 µs a cycle, 10.0 % of a core\n"));
  EXPECT_THAT(report, HasSubstr("latency, µs          p50         p90"));
  EXPECT_THAT(report, HasSubstr("\ncycle              150.0       150.0"));
}

TEST(Report, tells_that_the_load_went_over_http) {
  Options options;
  options.http = true;
  EXPECT_THAT(text(options, two_seconds_of_load()),
              HasSubstr(": 100 connections of HTTP, own keys"));
  EXPECT_THAT(json(options, two_seconds_of_load()), HasSubstr(R"("http":true,)"));
}

TEST(Report, long_latencies_are_in_milliseconds) {
  Result result = two_seconds_of_load();
  result.cycle.record(1500ms);
  EXPECT_THAT(text({}, result), HasSubstr("latency, ms "));
  EXPECT_THAT(text({}, result), HasSubstr("     1,500.0\n"));
}

TEST(Report, nothing_measured_is_zeros) {
  Result result;
  result.server_cpu = 0ns;
  EXPECT_THAT(text({}, result), HasSubstr("measured    0.00 s, 0 cycles, 0 errors\n"));
  EXPECT_THAT(json({}, result), HasSubstr(R"("cycles_per_s":0.000,)"));
  EXPECT_THAT(json({}, result), HasSubstr(R"("server_cpu_us_per_cycle":0.000,)"));
}

TEST(Report, json_has_the_documented_keys) {
  Result result = two_seconds_of_load();
  EXPECT_EQ(
      json({}, result),
      R"({"version":")" DFLOCKD_VERSION
      R"(","protocol":"dflockd","http":false,"host":"127.0.0.1","port":6388,"connections":100,)"
      R"("pipeline":1,"keys":"own","semaphore":null,"readers":false,"hold_ms":0.000,"busy_poll":false,"tls":null,)"
      R"("elapsed_s":2.000,"cycles":40000,)"
      R"("cycles_per_s":20000.000,"errors":0,"first_error":null,)"
      R"("server_cpu_us_per_cycle":null,"server_cpu_utilisation":null,"latency_us":{)"
      R"("acquire":{"p50":100.000,"p90":100.000,"p99":100.000,"p99_9":100.000,"max":100.000},)"
      R"("release":{"p50":50.000,"p90":50.000,"p99":50.000,"p99_9":50.000,"max":50.000},)"
      R"("cycle":{"p50":150.000,"p90":150.000,"p99":150.000,"p99_9":150.000,"max":150.000}}})"
      "\n");
}

TEST(Report, tells_what_tls_agreed_on) {
  Result result = two_seconds_of_load();
  result.tls = {.version = "TLSv1.3", .cipher = "TLS_AES_128_GCM_SHA256"};
  Options options;
  options.tls = true;
  EXPECT_THAT(text(options, result),
              HasSubstr("TLS         TLSv1.3, TLS_AES_128_GCM_SHA256, verified\n"));
  EXPECT_THAT(
      json(options, result),
      HasSubstr(
          R"("tls":{"version":"TLSv1.3","cipher":"TLS_AES_128_GCM_SHA256","verified":true})"));
  options.tls_insecure = true;
  EXPECT_THAT(text(options, result), HasSubstr("TLS_AES_128_GCM_SHA256, not verified\n"));
  EXPECT_THAT(json(options, result), HasSubstr(R"("verified":false})"));
}

Result two_seconds_of_handshakes() {
  Result result;
  result.elapsed = 2s;
  result.server_cpu = 1s;
  result.handshake.record(400us, 4'000);
  result.cycle.record(500us, 4'000);
  result.resumed = 4'000;
  return result;
}

TEST(Report, text_of_handshakes_tells_what_was_done_after_them) {
  const Result result = two_seconds_of_handshakes();
  Options options;
  options.handshakes = true;
  std::string report = text(options, result);
  EXPECT_THAT(
      report,
      HasSubstr(
          "dflockd at 127.0.0.1 port 6388: 100 connections at a time, handshakes, a ping each\n"));
  EXPECT_THAT(report, HasSubstr("measured    2.00 s, 4,000 handshakes, 0 errors\n"));
  EXPECT_THAT(report, HasSubstr("throughput  2,000 handshakes/s\n"));
  EXPECT_THAT(report, HasSubstr("server CPU  250.000 µs a handshake, 50.0 % of a core\n"));
  EXPECT_THAT(report, HasSubstr("\nhandshake          400.0       400.0"));
  EXPECT_THAT(report, HasSubstr("\nvisit              500.0       500.0"));

  options.ping = false;
  options.resume = true;
  report = text(options, result);
  EXPECT_THAT(
      report,
      HasSubstr("server at 127.0.0.1 port 6388: 100 connections at a time, resumed handshakes\n"));
  EXPECT_THAT(report, HasSubstr("measured    2.00 s, 4,000 handshakes, 4,000 resumed, 0 errors\n"));
}

TEST(Report, json_of_handshakes_has_the_documented_keys) {
  Options options;
  options.handshakes = true;
  EXPECT_EQ(
      json(options, two_seconds_of_handshakes()),
      R"({"version":")" DFLOCKD_VERSION
      R"(","protocol":"dflockd","http":false,"host":"127.0.0.1","port":6388,"connections":100,)"
      R"("resume":false,"ping":true,"busy_poll":false,"tls":null,)"
      R"("elapsed_s":2.000,"handshakes":4000,"handshakes_per_s":2000.000,"resumed":4000,)"
      R"("errors":0,"first_error":null,)"
      R"("server_cpu_us_per_handshake":250.000,"server_cpu_utilisation":0.500,"latency_us":{)"
      R"("handshake":{"p50":400.000,"p90":400.000,"p99":400.000,"p99_9":400.000,"max":400.000},)"
      R"("visit":{"p50":500.000,"p90":500.000,"p99":500.000,"p99_9":500.000,"max":500.000}}})"
      "\n");
}

TEST(Report, json_escapes_the_first_error) {
  Result result = two_seconds_of_load();
  result.errors = 1;
  result.first_error = R"(acquire was answered "\x1b")";
  EXPECT_THAT(json({}, result), HasSubstr(R"("first_error":"acquire was answered \"\\x1b\"")"));
}

TEST(Decimal, groups_thousands) {
  EXPECT_EQ(decimal(0, 0), "0");
  EXPECT_EQ(decimal(999, 0), "999");
  EXPECT_EQ(decimal(1000, 0), "1,000");
  EXPECT_EQ(decimal(123456, 0), "123,456");
  EXPECT_EQ(decimal(1234567.89, 1), "1,234,567.9");
}

TEST(Decimal, keeps_trailing_zeros) {
  EXPECT_EQ(decimal(12, 3), "12.000");
}

TEST(Decimal, has_room_for_any_number) {
  EXPECT_EQ(decimal(std::numeric_limits<double>::max(), 0).size(), 309U + 102U);
}

}  // namespace
}  // namespace dflockd::bench
