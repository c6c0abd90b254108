#include "bench/options.hpp"

#include <initializer_list>
#include <sstream>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include "support/files.hpp"

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;

/// A file that there is, wherever the test runs.
const char* const kFile = "/proc/self/exe";

class OptionsTest : public testing::Test {
 protected:
  std::variant<Options, int> parse(std::initializer_list<const char*> arguments) {
    std::vector<const char*> argv{"dflockd-bench"};
    argv.insert(argv.end(), arguments);
    return parse_options(static_cast<int>(argv.size()), argv.data(), out_, err_);
  }

  Options accept(std::initializer_list<const char*> arguments) {
    const auto parsed = parse(arguments);
    EXPECT_TRUE(std::holds_alternative<Options>(parsed)) << err_.str();
    return std::holds_alternative<Options>(parsed) ? std::get<Options>(parsed) : Options{};
  }

  /// The message behind the program's name, if it is one line and the status is 2.
  std::string refuse(std::initializer_list<const char*> arguments) {
    const std::string start = "dflockd-bench: ";
    err_.str("");
    const auto parsed = parse(arguments);
    if (!std::holds_alternative<int>(parsed)) return "accepted";
    EXPECT_EQ(std::get<int>(parsed), 2);
    std::string message = err_.str();
    EXPECT_TRUE(message.starts_with(start));
    EXPECT_EQ(message.find('\n'), message.size() - 1);
    message.pop_back();
    return message.substr(start.size());
  }

  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(OptionsTest, has_defaults) {
  const Options options = accept({});
  EXPECT_EQ(options.host, "127.0.0.1");
  EXPECT_EQ(options.port, 6388);
  EXPECT_EQ(options.connections, 100U);
  EXPECT_EQ(options.pipeline, 1U);
  EXPECT_EQ(options.keys, Keys::kOwn);
  EXPECT_EQ(options.protocol, Protocol::kDflockd);
  EXPECT_EQ(options.duration, 10s);
  EXPECT_EQ(options.count, std::nullopt);
}

TEST_F(OptionsTest, reads_every_flag) {
  const std::string pid = std::to_string(getpid());
  const Options options =
      accept({"--host",       "::1",       "--port",     "7000",    "--connections", "3",
              "--keys",       "shared",    "--hold",     "2.5",     "--semaphore",   "5",
              "--timeout",    "60",        "--lease",    "90",      "--duration",    "0.25",
              "--warmup",     "0.5",       "--protocol", "dflockd", "--json",        "--quiet",
              "--server-pid", pid.c_str(), "--busy-poll"});
  EXPECT_EQ(options.host, "::1");
  EXPECT_EQ(options.port, 7000);
  EXPECT_EQ(options.connections, 3U);
  EXPECT_EQ(options.keys, Keys::kShared);
  EXPECT_EQ(options.hold, 2500us);
  EXPECT_EQ(options.semaphore, 5U);
  EXPECT_EQ(options.timeout, 60s);
  EXPECT_EQ(options.lease, 90s);
  EXPECT_EQ(options.duration, 250ms);
  EXPECT_EQ(options.warmup, 500ms);
  EXPECT_TRUE(options.json);
  EXPECT_TRUE(options.quiet);
  EXPECT_TRUE(options.busy_poll);
  EXPECT_EQ(options.server_pid, getpid());
  EXPECT_EQ(accept({"--count=12", "--pipeline=16"}).count, 12U);
}

TEST_F(OptionsTest, reads_the_flags_of_tls) {
  Options options = accept({"--tls", "--tls-ca", kFile});
  EXPECT_TRUE(options.tls);
  EXPECT_EQ(options.tls_ca, kFile);
  options = accept({"--tls", "--tls-insecure", "--handshakes", "--resume", "--no-ping"});
  EXPECT_TRUE(options.tls_insecure);
  EXPECT_TRUE(options.handshakes);
  EXPECT_TRUE(options.resume);
  EXPECT_FALSE(options.ping);
}

TEST_F(OptionsTest, http_goes_with_the_other_flags) {
  EXPECT_FALSE(accept({}).http);
  const Options options =
      accept({"--http", "--tls", "--pipeline", "4", "--semaphore", "3", "--lease", "60"});
  EXPECT_TRUE(options.http);
  EXPECT_EQ(options.pipeline, 4U);
  EXPECT_TRUE(accept({"--http", "--keys", "shared", "--protocol", "dflockd"}).http);
}

TEST_F(OptionsTest, only_dflockd_is_pinged) {
  EXPECT_TRUE(accept({"--tls", "--handshakes"}).ping);
  EXPECT_FALSE(accept({"--tls", "--handshakes", "--protocol", "redis"}).ping);
}

TEST_F(OptionsTest, flags_that_mean_nothing_without_another_are_refused) {
  EXPECT_EQ(refuse({"--tls-ca", kFile}), "--tls-ca requires --tls");
  EXPECT_EQ(refuse({"--tls-insecure"}), "--tls-insecure requires --tls");
  EXPECT_EQ(refuse({"--handshakes"}), "--handshakes requires --tls");
  EXPECT_EQ(refuse({"--tls", "--resume"}), "--resume requires --handshakes");
  EXPECT_EQ(refuse({"--tls", "--no-ping"}), "--no-ping requires --handshakes");
  EXPECT_EQ(refuse({"--tls", "--handshakes", "--hold", "2"}), "--hold excludes --handshakes");
}

TEST_F(OptionsTest, a_secret_is_one_line_without_the_white_space_around_it) {
  const test::TemporaryDirectory files;
  const auto secret = [&](const std::string& text) {
    return accept({"--auth-token-file", files.write("secret", text).c_str()}).auth_token;
  };
  EXPECT_EQ(secret("hunter2"), "hunter2");
  EXPECT_EQ(secret(" hunter 2\t\r\n"), "hunter 2");

  const std::string file = files.write("secret", "a\nb\n");
  EXPECT_EQ(refuse({"--auth-token-file", file.c_str()}),
            "cannot use \"" + file +
                "\": it holds more than one line; expected a line of 1 to 65536 bytes "
                "(--auth-token-file)");
}

TEST_F(OptionsTest, file_that_cannot_be_read_is_told_in_the_systems_words) {
  for (const std::string flag : {"--auth-token-file", "--tls-ca"}) {
    EXPECT_EQ(refuse({"--tls", flag.c_str(), "/nowhere"}),
              "cannot read \"/nowhere\": No such file or directory (" + flag + ")");
    EXPECT_EQ(refuse({"--tls", flag.c_str(), "/tmp"}),
              "cannot read \"/tmp\": Is a directory (" + flag + ")");
  }
}

TEST_F(OptionsTest, a_bad_value_is_told_with_its_flag_and_what_is_allowed) {
  EXPECT_EQ(refuse({"--port", "0"}), "--port '0': must be a whole number from 1 to 65535");
  EXPECT_EQ(refuse({"--port", "65536"}), "--port '65536': must be a whole number from 1 to 65535");
  EXPECT_EQ(refuse({"--port", "80x"}), "--port '80x': must be a whole number from 1 to 65535");
  EXPECT_EQ(refuse({"--pipeline", "-1"}), "--pipeline '-1': must be a whole number from 1 to 1024");
  EXPECT_EQ(refuse({"--hold", "nan"}), "--hold 'nan': must be a number from 0 to 3600000");
  EXPECT_EQ(refuse({"--duration", "0"}), "--duration '0': must be a number from 0.001 to 31536000");
  EXPECT_EQ(refuse({"--keys", "both"}), "--keys 'both': must be one of own, shared");
  EXPECT_EQ(refuse({"--protocol", "http"}),
            "--protocol 'http': must be one of dflockd, redis, memcached");
}

TEST_F(OptionsTest, an_unknown_or_incomplete_flag_is_named) {
  EXPECT_NE(refuse({"--prot", "80"}).find("--prot"), std::string::npos);
  EXPECT_NE(refuse({"stray"}).find("stray"), std::string::npos);
  EXPECT_NE(refuse({"--port"}).find("--port"), std::string::npos);
  EXPECT_NE(refuse({"--json=maybe"}).find("json"), std::string::npos);
}

TEST_F(OptionsTest, flags_that_contradict_each_other_are_refused) {
  EXPECT_EQ(refuse({"--keys", "shared", "--pipeline", "2"}),
            "--pipeline '2': must be 1 with --keys shared");
  EXPECT_EQ(refuse({"--protocol", "redis", "--http"}),
            "--protocol 'redis': must be dflockd with --http");
  EXPECT_EQ(refuse({"--http", "--tls", "--handshakes"}), "--http excludes --handshakes");
  EXPECT_EQ(refuse({"--protocol", "redis", "--readers"}),
            "--protocol 'redis': must be dflockd with --readers");
  EXPECT_EQ(refuse({"--protocol", "redis", "--semaphore", "2"}),
            "--protocol 'redis': must be dflockd with --semaphore");
  EXPECT_EQ(refuse({"--protocol", "memcached", "--keys", "shared"}),
            "--protocol 'memcached': must be dflockd with --keys shared");
  EXPECT_EQ(refuse({"--protocol", "memcached", "--lease", "2592001"}),
            "--lease '2592001': must be at most 2592000 with --protocol memcached");
  EXPECT_EQ(refuse({"--tls", "--tls-insecure", "--tls-ca", kFile}),
            "--tls-ca excludes --tls-insecure");
  EXPECT_NE(refuse({"--count", "5", "--duration", "5"}).find("--count"), std::string::npos);
  EXPECT_NE(refuse({"--count", "5", "--warmup", "5"}).find("--count"), std::string::npos);
}

TEST_F(OptionsTest, a_server_that_is_not_running_is_refused) {
  // Beyond the largest process id of Linux.
  EXPECT_EQ(refuse({"--server-pid", "2000000000"}),
            "--server-pid '2000000000': must be a process that is running");
}

TEST_F(OptionsTest, help_and_version_go_to_standard_output_with_status_0) {
  EXPECT_EQ(std::get<int>(parse({"--version"})), 0);
  EXPECT_EQ(out_.str(), "dflockd-bench " DFLOCKD_VERSION "\n");
  EXPECT_EQ(std::get<int>(parse({"--help"})), 0);
  EXPECT_NE(out_.str().find("--connections"), std::string::npos);
  EXPECT_NE(out_.str().find("server_cpu_us_per_cycle"), std::string::npos);
  EXPECT_EQ(err_.str(), "");
}

}  // namespace
}  // namespace dflockd::bench
