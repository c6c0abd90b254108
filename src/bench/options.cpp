#include "bench/options.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <concepts>
#include <functional>
#include <iomanip>
#include <limits>
#include <ostream>
#include <span>
#include <sstream>

#include <signal.h>

#include <CLI/CLI.hpp>

#include "base/small_file.hpp"
#include "base/terms.hpp"

namespace dflockd::bench {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr const char* kDescription =
    "Puts a lock server under load and prints its throughput and latency.\n"
    "A cycle is an acquire and its release. With a pipeline of N each connection sends N acquires\n"
    "in one write, reads the N replies, and does the same with the releases.";

/// What `print_json` prints.
constexpr const char* kJsonKeys = R"(The JSON object has these keys:
  version, protocol, http, host, port, connections, pipeline, keys, semaphore (or null), readers,
  hold_ms, busy_poll      the load
  tls                     null, or version, cipher and verified: what the first connection agreed on
  elapsed_s               how long was measured
  cycles                  acquires that were granted and then released
  cycles_per_s            the throughput
  errors, first_error     replies that were not the expected ones; the first, or null
  server_cpu_us_per_cycle, server_cpu_utilisation
                          with --server-pid, otherwise null; 1 is one core, fully used
  latency_us              acquire, release and cycle, each with p50, p90, p99, p99_9 and max
With --handshakes it has resume and ping instead of pipeline, keys, semaphore, readers and hold_ms;
handshakes, handshakes_per_s, server_cpu_us_per_handshake and resumed instead of those with cycles;
and latency_us of handshake and visit, which lasts until the connection is closed.)";

constexpr const char* kExitStatus =
    "Exit status: 0; 1 if a reply was not the expected one, no cycle was completed, or the server\n"
    "could not be reached or verified, refused the secret, went away or stopped answering; 2 if a\n"
    "flag is wrong. Ctrl-C ends the measurement early and prints its result.";

template <typename Value>
struct Choice {
  const char* name;
  Value value;
};

constexpr Choice<Protocol> kProtocols[] = {{"dflockd", Protocol::kDflockd},
                                           {"redis", Protocol::kRedis},
                                           {"memcached", Protocol::kMemcached}};
constexpr Choice<Keys> kKeys[] = {{"own", Keys::kOwn}, {"shared", Keys::kShared}};

template <typename Value>
std::string name_in(std::span<const Choice<Value>> choices, Value value) {
  for (const auto& choice : choices) {
    if (choice.value == value) return choice.name;
  }
  return "unknown";
}

[[noreturn]] void refuse(const std::string& flag, const std::string& value,
                         const std::string& allowed) {
  throw CLI::ValidationError(flag + " '" + value + "': must be " + allowed,
                             CLI::ExitCodes::ValidationError);
}

/// What `--host` and its like show in `--help`.
struct Flag {
  const char* name;
  const char* value;  ///< stands for the value
  const char* text;
};

/// Adds a flag that takes a number from `min` to `max`, in digits and, if `Number` is a floating
/// point type, with a decimal point.
template <typename Number>
CLI::Option* add_number(CLI::App& app, const Flag& flag, Number min, Number max,
                        const std::function<void(Number)>& store) {
  const std::string name = flag.name;
  const auto read = [name, min, max, store](const std::string& text) {
    Number number{};
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc() && rest == end && number >= min && number <= max) return store(number);
    std::ostringstream allowed;
    allowed << (std::integral<Number> ? "a whole number" : "a number") << " from " << min << " to "
            << std::fixed << std::setprecision(0) << max;
    refuse(name, text, allowed.str());
  };
  return app.add_option_function<std::string>(name, read, flag.text)->type_name(flag.value);
}

/// Adds a flag that takes one of `choices`.
template <typename Value, std::size_t Size>
void add_choice(CLI::App& app, const Flag& flag, const Choice<Value> (&choices)[Size],
                Value& target) {
  const std::string flag_name = flag.name;
  const std::span<const Choice<Value>> all(choices);
  const auto read = [flag_name, all, &target](const std::string& text) {
    std::string names;
    for (const auto& choice : all) {
      if (text == choice.name) {
        target = choice.value;
        return;
      }
      names += names.empty() ? choice.name : std::string(", ") + choice.name;
    }
    refuse(flag_name, text, "one of " + names);
  };
  app.add_option_function<std::string>(flag_name, read, flag.text)
      ->type_name(flag.value)
      ->default_str(name_in(all, target));
}

nanoseconds from_seconds(double time) {
  return std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(time));
}

void add_server_flags(CLI::App& app, Options& options) {
  app.add_option("--host", options.host, "address or name of the server")
      ->type_name("HOST")
      ->capture_default_str();
  add_number<std::uint16_t>(app, {"--port", "PORT", "port of the server"}, 1, 65535,
                            [&options](auto port) { options.port = port; })
      ->default_str(std::to_string(options.port));
  add_choice(app,
             {"--protocol", "dflockd|redis|memcached",
              "what it speaks; a cycle of redis is SET NX PX, DEL, of memcached add, delete"},
             kProtocols, options.protocol);
  app.add_flag("--http", options.http, "use dflockd's HTTP API, with a session for each connection")
      ->disable_flag_override();
  add_number<pid_t>(app, {"--server-pid", "PID", "its process, to measure the CPU time it uses"}, 1,
                    std::numeric_limits<pid_t>::max(),
                    [&options](auto pid) { options.server_pid = pid; });
}

/// A flag whose file is looked at at once; one that cannot be read is refused.
CLI::Option* add_file(CLI::App& app, const std::string& flag, const char* text,
                      const std::function<void(const std::string&)>& use) {
  const auto read = [flag, use](const std::string& path) {
    try {
      use(path);
    } catch (const base::FileError& error) {
      throw CLI::ValidationError(std::string(error.what()) + " (" + flag + ")",
                                 CLI::ExitCodes::ValidationError);
    }
  };
  return app.add_option_function<std::string>(flag, read, text)->type_name("FILE");
}

void add_security_flags(CLI::App& app, Options& options) {
  app.add_flag("--tls", options.tls, "speak TLS")->disable_flag_override();
  CLI::Option* const authorities =
      add_file(app, "--tls-ca",
               "authorities that may have signed its certificate (default: the system's)",
               [&options](const std::string& path) {
                 base::check_readable(path);
                 options.tls_ca = path;
               })
          ->needs("--tls");
  app.add_flag("--tls-insecure", options.tls_insecure, "do not verify the server's certificate")
      ->disable_flag_override()
      ->needs("--tls")
      ->excludes(authorities);
  add_file(app, "--auth-token-file",
           "file with the secret that each connection sends first, or each HTTP request",
           [&options](const std::string& path) {
             options.auth_token = base::read_secret_file(path, base::Pipes::kRead).secret.view();
           });
}

void add_load_flags(CLI::App& app, Options& options) {
  add_number<std::size_t>(app, {"--connections", "N", "how many connections"}, 1, 50'000,
                          [&options](auto number) { options.connections = number; })
      ->default_str(std::to_string(options.connections));
  add_number<std::size_t>(app, {"--pipeline", "N", "requests that each connection has in flight"},
                          1, 1024, [&options](auto depth) { options.pipeline = depth; })
      ->default_str(std::to_string(options.pipeline));
  add_choice(
      app,
      {"--keys", "own|shared", "a key for each request in flight, or one that all contend for"},
      kKeys, options.keys);
  add_number<std::uint32_t>(
      app, {"--semaphore", "LIMIT", "acquire semaphores of this limit instead of locks"}, 1,
      base::kMaxLimit, [&options](auto limit) { options.semaphore = limit; });
  app.add_flag("--readers", options.readers, "acquire locks shared")
      ->disable_flag_override()
      ->excludes("--semaphore");
  add_number<double>(app, {"--hold", "MS", "milliseconds between a grant and its release"}, 0,
                     3'600'000, [&options](double ms) { options.hold = from_seconds(ms / 1e3); })
      ->default_str("0");
  add_number<std::int64_t>(app, {"--timeout", "S", "seconds that an acquire may wait"}, 0,
                           base::kMaxSeconds.count(),
                           [&options](auto s) { options.timeout = seconds(s); })
      ->default_str(std::to_string(options.timeout.count()));
  add_number<std::int64_t>(app, {"--lease", "S", "seconds of lease (default: the server's, or 33)"},
                           1, base::kMaxSeconds.count(),
                           [&options](auto s) { options.lease = seconds(s); });
  app.add_flag(
         "--busy-poll", options.busy_poll,
         "use a whole core instead of sleeping, so that the server never has to wake the load")
      ->disable_flag_override();
}

/// Call it after `add_load_flags`: most of those flags are excluded here.
void add_handshake_flags(CLI::App& app, Options& options) {
  CLI::Option* const handshakes =
      app.add_flag("--handshakes", options.handshakes,
                   "measure TLS handshakes, each on a new connection, instead of cycles")
          ->disable_flag_override()
          ->needs("--tls");
  for (const char* const flag : {"--http", "--pipeline", "--keys", "--semaphore", "--readers",
                                 "--hold", "--timeout", "--lease"}) {
    handshakes->excludes(flag);
  }
  app.add_flag("--resume", options.resume, "resume the session of the connection before")
      ->disable_flag_override()
      ->needs(handshakes);
  app.add_flag_callback(
         "--no-ping", [&options] { options.ping = false; },
         "no ping after the handshake, for servers that do not speak dflockd's protocol")
      ->disable_flag_override()
      ->needs(handshakes);
}

void add_length_flags(CLI::App& app, Options& options) {
  constexpr double kDay = 86'400;
  CLI::Option* const duration =
      add_number<double>(app, {"--duration", "S", "seconds to measure"}, 0.001, 365 * kDay,
                         [&options](double s) { options.duration = from_seconds(s); })
          ->default_str(std::to_string(options.duration / seconds(1)));
  CLI::Option* const warmup =
      add_number<double>(app, {"--warmup", "S", "seconds of load before measuring"}, 0, kDay,
                         [&options](double s) { options.warmup = from_seconds(s); })
          ->default_str("0");
  add_number<std::uint64_t>(
      app, {"--count", "N", "measure this many cycles or handshakes instead of a duration"}, 1,
      std::numeric_limits<std::int64_t>::max(), [&options](auto count) { options.count = count; })
      ->excludes(duration)
      ->excludes(warmup);
}

void add_output_flags(CLI::App& app, Options& options) {
  app.add_flag("--json", options.json, "print one JSON object instead of text")
      ->disable_flag_override();
  app.add_flag("--quiet", options.quiet, "no progress line on a terminal")->disable_flag_override();
  app.set_version_flag("--version", "dflockd-bench " DFLOCKD_VERSION);
  app.footer(std::string(kJsonKeys) + "\n\n" + kExitStatus);
}

void declare(CLI::App& app, Options& options) {
  add_server_flags(app, options);
  add_security_flags(app, options);
  add_load_flags(app, options);
  add_handshake_flags(app, options);
  add_length_flags(app, options);
  add_output_flags(app, options);
}

/// Checks what no single flag can check.
void check_together(const CLI::App& app, const Options& options) {
  const auto needs_dflockd = [&](const std::string& what) {
    if (options.protocol != Protocol::kDflockd) {
      refuse("--protocol", name(options.protocol), "dflockd with " + what);
    }
  };
  if (options.http) needs_dflockd("--http");
  if (options.semaphore) needs_dflockd("--semaphore");
  if (options.readers) needs_dflockd("--readers");
  if (options.keys == Keys::kShared) needs_dflockd("--keys shared");
  if (app.count("--timeout") > 0) needs_dflockd("--timeout");
  if (options.auth_token) needs_dflockd("--auth-token-file");

  if (options.keys == Keys::kShared && options.pipeline > 1) {
    refuse("--pipeline", std::to_string(options.pipeline), "1 with --keys shared");
  }
  // A longer time is a date to memcached.
  constexpr seconds kLongestMemcachedLease{30 * 86'400};
  if (options.protocol == Protocol::kMemcached && options.lease > kLongestMemcachedLease) {
    refuse("--lease", std::to_string(options.lease->count()),
           "at most 2592000 with --protocol memcached");
  }
  if (options.server_pid && kill(*options.server_pid, 0) != 0 && errno == ESRCH) {
    refuse("--server-pid", std::to_string(*options.server_pid), "a process that is running");
  }
}

}  // namespace

std::string name(Protocol protocol) {
  return name_in<Protocol>(kProtocols, protocol);
}
std::string name(Keys keys) {
  return name_in<Keys>(kKeys, keys);
}

std::string address(const Options& options) {
  const bool is_ipv6 = options.host.find(':') != std::string::npos;
  const std::string host = is_ipv6 ? "[" + options.host + "]" : options.host;
  return host + ":" + std::to_string(options.port);
}

void visit_command_line(const std::function<void(const CLI::App&)>& visit) {
  Options options;
  CLI::App app;
  declare(app, options);
  visit(app);
}

std::variant<Options, int> parse_options(int argc, const char* const* argv, std::ostream& out,
                                         std::ostream& err) {
  Options options;
  CLI::App app(kDescription, "dflockd-bench");
  declare(app, options);
  try {
    app.parse(argc, argv);
    check_together(app, options);
    if (options.protocol != Protocol::kDflockd) options.ping = false;
  } catch (const CLI::Success& success) {  // --help or --version
    return app.exit(success, out, err);
  } catch (const CLI::ParseError& error) {
    err << "dflockd-bench: " << error.what() << '\n';
    return 2;
  }
  return options;
}

}  // namespace dflockd::bench
