#include "cli/bench/report.hpp"

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
      R"(","protocol":"dflockd","host":"127.0.0.1","port":6388,"connections":100,"pipeline":1,)"
      R"("keys":"own","semaphore":null,"hold_ms":0.000,"busy_poll":false,)"
      R"("elapsed_s":2.000,"cycles":40000,)"
      R"("cycles_per_s":20000.000,"errors":0,"first_error":null,)"
      R"("server_cpu_us_per_cycle":null,"server_cpu_utilisation":null,"latency_us":{)"
      R"("acquire":{"p50":100.000,"p90":100.000,"p99":100.000,"p99_9":100.000,"max":100.000},)"
      R"("release":{"p50":50.000,"p90":50.000,"p99":50.000,"p99_9":50.000,"max":50.000},)"
      R"("cycle":{"p50":150.000,"p90":150.000,"p99":150.000,"p99_9":150.000,"max":150.000}}})"
      "\n");
}

TEST(Report, json_escapes_the_first_error) {
  Result result = two_seconds_of_load();
  result.errors = 1;
  result.first_error = R"(acquire was answered "\x1b")";
  EXPECT_THAT(json({}, result), HasSubstr(R"("first_error":"acquire was answered \"\\x1b\"")"));
}

}  // namespace
}  // namespace dflockd::bench
