#include "ctl/options.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <functional>
#include <memory>
#include <ostream>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/small_file.hpp"
#include "ctl/text.hpp"

namespace dflockd::ctl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kDescription =
    "Takes locks and semaphores of a dflockd server from a shell, and shows who holds them.";

constexpr const char* kFooter =
    "Environment: the variables named above stand in for their flags. DFLOCKD_AUTH_TOKEN is\n"
    "the secret itself, where there is no --auth-token-file. dflockd(8) reads variables of\n"
    "the same names, and takes DFLOCKD_TLS_CERT and DFLOCKD_TLS_KEY for its own certificate.\n"
    "\n"
    "Exit status: 0; 2 a mistake on the command line; 123 the lock was lost, or is not\n"
    "held; 124 not granted in time; 125 the server cannot be reached or refuses, or\n"
    "dflockctl failed; 128+N ended by signal N while waiting. See also\n"
    "'dflockctl lock --help'.";

#define DFLOCKD_RUN_STATUS                                                                    \
  "Exit status: that of COMMAND, 128+N if signal N ended it; 123 the lock was lost, and\n"    \
  "COMMAND killed; 124 not granted in time; 125 the server cannot be reached or refuses,\n"   \
  "or dflockctl failed; 126 COMMAND cannot be executed; 127 it does not exist; 2 a mistake\n" \
  "on the command line. COMMAND may exit with any of these itself: with\n"                    \
  "--conflict-exit-code, choose one for \"not granted in time\" that it does not use.\n"

constexpr const char* kLockFooter =
    "COMMAND is executed directly, without a shell, in a process group of its own, with\n"
    "DFLOCKD_KEY, DFLOCKD_TOKEN and DFLOCKD_FENCE in its environment. When it ends, the\n"
    "processes that it left in its group are ended too, and then the lock is released. If\n"
    "the lease cannot be renewed, the group is sent SIGTERM a third of the lease (at most\n"
    "10s) before it ends, and COMMAND with all its descendants SIGKILL a tenth (at most 1s)\n"
    "before it ends; if the lock is lost, SIGKILL at once.\n"
    "\n" DFLOCKD_RUN_STATUS
    "\n"
    "Examples:\n"
    "  dflockctl lock nightly-report -- ./report.sh --all\n"
    "  dflockctl lock deploy --try --conflict-exit-code 75 -- ./deploy ||\n"
    "    case $? in 75) echo 'somebody else deploys' ;; *) echo 'the deployment failed' ;; esac\n"
    "  dflockctl lock nightly --try --conflict-exit-code 0 -- ./nightly-job  # for cron\n"
    "  dflockctl lock migrate --timeout 2m --lease 10s -- sh -c 'migrate --fence $DFLOCKD_FENCE'";

constexpr const char* kSemaphoreFooter =
    "Like 'dflockctl lock', for a slot of a semaphore; see its --help.\n"
    "\n" DFLOCKD_RUN_STATUS
    "\n"
    "Examples:\n"
    "  dflockctl semaphore encoders --limit 4 -- ffmpeg -i in.mov out.mp4\n"
    "  dflockctl semaphore api --limit 10 --timeout 30s -- curl -fsS https://example.com/";

#undef DFLOCKD_RUN_STATUS

constexpr const char* kAcquireFooter =
    "Prints the token and the seconds of the lease, which you have to renew yourself. The grant\n"
    "must outlive the connection, so the server has to run with\n"
    "--auto-release-on-disconnect=false; dflockctl checks that it does.\n"
    "\n"
    "Examples:\n"
    "  read -r token lease <<< \"$(dflockctl acquire backup --lease 10m)\"\n"
    "  dflockctl acquire encoders --semaphore --limit 4 --try";

constexpr const char* kReleaseFooter =
    "Examples:\n"
    "  dflockctl release backup \"$token\"\n"
    "  echo \"$token\" | dflockctl release encoders - --semaphore";

constexpr const char* kRenewFooter =
    "Prints the new length of the lease in seconds.\n"
    "\n"
    "Examples:\n"
    "  dflockctl renew backup \"$token\" --lease 10m\n"
    "  echo \"$token\" | dflockctl renew encoders - --semaphore";

constexpr const char* kStatsFooter =
    "Examples:\n"
    "  dflockctl stats\n"
    "  dflockctl stats --watch\n"
    "  dflockctl stats --json | jq -r '.locks[] | select(.waiters > 0) | .key'";

constexpr const char* kPingFooter =
    "Examples:\n"
    "  dflockctl ping\n"
    "  dflockctl ping --server lock1:6388 --server lock2:6388";

[[noreturn]] void refuse(const std::string& message) {
  throw CLI::ValidationError(message, CLI::ExitCodes::ValidationError);
}

[[noreturn]] void refuse(const std::string& flag, std::string_view value,
                         const std::string& allowed) {
  refuse(flag + " '" + escaped(value) + "': must be " + allowed);
}

milliseconds read_duration(const std::string& flag, const std::string& text, milliseconds least) {
  const auto duration = parse_duration(text);
  if (!duration || *duration < least) {
    refuse(flag, text, "a duration such as 500ms, 10s, 2m or 1h");
  }
  return *duration;
}

seconds read_lease(const std::string& text) {
  const auto lease = parse_duration(text);
  if (!lease || *lease < seconds(1) || *lease % seconds(1) != milliseconds(0)) {
    refuse("--lease", text, "whole seconds, such as 10s, 2m or 1h");
  }
  return std::chrono::floor<seconds>(*lease);
}

int read_number(const std::string& flag, const std::string& text, int least, int most) {
  int number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || number < least || number > most) {
    refuse(flag, text,
           "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return number;
}

/// Whether a flag stands on the command line; otherwise its value is its variable's.
bool is_given(const std::vector<std::string>& words, const std::string& flag) {
  return std::ranges::any_of(words, [&flag](const std::string& word) {
    return word == flag || word.starts_with(flag + "=");
  });
}

/// A flag that names a file.
struct FileFlag {
  const char* name;
  const char* variable;  ///< stands in for it
};

constexpr FileFlag kTlsCa{"--tls-ca", "DFLOCKD_TLS_CA"};
constexpr FileFlag kTlsCert{"--tls-cert", "DFLOCKD_TLS_CERT"};
constexpr FileFlag kTlsKey{"--tls-key", "DFLOCKD_TLS_KEY"};
constexpr FileFlag kAuthTokenFile{"--auth-token-file", "DFLOCKD_AUTH_TOKEN_FILE"};

/// What the flags of the connection are read into.
struct Security {
  bool on = false;
  TlsOptions tls;
  std::string auth_token_file;
  const char* auth_token = nullptr;  ///< DFLOCKD_AUTH_TOKEN
};

void add_file(CLI::App& app, const FileFlag& flag, std::string& target, const char* text) {
  app.add_option(flag.name, target, text)->type_name("FILE")->envname(flag.variable);
}

void add_connection_flags(CLI::App& app, Options& options, Security& security) {
  app.add_option("--server", options.servers,
                 "a server, as host:port; with several, a key's hash chooses")
      ->type_name("ADDRESS")
      ->envname("DFLOCKD_SERVER")
      ->delimiter(',')
      ->expected(1)
      ->take_all()
      ->default_str("127.0.0.1:6388");
  app.add_flag("--tls", security.on, "speak TLS; any of the other --tls flags does it too")
      ->envname("DFLOCKD_TLS")
      ->disable_flag_override();
  add_file(app, kTlsCa, security.tls.ca_file,
           "authorities that may have signed the server's certificate (default: the system's)");
  add_file(app, kTlsCert, security.tls.cert_file,
           "certificate to show to the server; needs --tls-key");
  add_file(app, kTlsKey, security.tls.key_file, "its private key");
  app.add_option("--tls-server-name", security.tls.server_name,
                 "name that the server's certificate must be for (default: its host)")
      ->type_name("NAME")
      ->envname("DFLOCKD_TLS_SERVER_NAME");
  add_file(app, kAuthTokenFile, security.auth_token_file,
           "file with the secret that the server demands");
}

CLI::Option* add_text(CLI::App& app, const std::string& flag, const char* value, const char* text,
                      const std::function<void(const std::string&)>& store) {
  return app.add_option_function<std::string>(flag, store, text)->type_name(value);
}

void add_key(CLI::App& app, Options& options) {
  app.add_option("KEY", options.key, "what to lock: 1 to 256 bytes without white space")
      ->required()
      ->type_name("");
}

void add_lease(CLI::App& app, Options& options) {
  add_text(app, "--lease", "DURATION",
           "how long the grant lives without a renewal (default: the server's)",
           [&options](const auto& text) { options.lease = read_lease(text); });
}

void add_waiting_flags(CLI::App& app, Options& options) {
  CLI::Option* const timeout =
      add_text(app, "--timeout", "DURATION", "how long to wait (default: as long as it takes)",
               [&options](const auto& text) {
                 options.timeout = read_duration("--timeout", text, milliseconds(0));
               });
  app.add_flag_callback(
         "--try", [&options] { options.timeout = milliseconds(0); }, "do not wait")
      ->disable_flag_override()
      ->excludes(timeout);
}

CLI::Option* add_limit(CLI::App& app, Options& options) {
  return add_text(app, "--limit", "N", "how many may hold it, the same for all who use the key",
                  [&options](const auto& text) {
                    constexpr int kMost = 1'048'576;
                    options.limit = read_number("--limit", text, 1, kMost);
                  });
}

CLI::Option* add_semaphore(CLI::App& app, Options& options) {
  return app.add_flag("--semaphore", options.semaphore, "a slot of a semaphore, not a lock")
      ->disable_flag_override();
}

void add_token(CLI::App& app, Options& options) {
  app.add_option("TOKEN", options.token,
                 "the grant's token; '-' reads it from standard input, where ps cannot see it")
      ->required()
      ->type_name("");
  add_semaphore(app, options);
}

/// CLI11 does not know what follows the two dashes.
class RunFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string usage = CLI::Formatter::make_usage(app, std::move(name));
    usage.resize(usage.find_last_not_of('\n') + 1);
    return usage + " -- COMMAND [ARG...]\n";
  }
};

CLI::App& add_subcommand(CLI::App& app, Options& options, const char* name, Subcommand subcommand,
                         const char* description, const char* footer) {
  CLI::App* const sub = app.add_subcommand(name, description);
  sub->fallthrough();
  sub->footer(footer);
  sub->parse_complete_callback([&options, subcommand] { options.subcommand = subcommand; });
  return *sub;
}

void add_no_auto_release(CLI::App& app, Options& options) {
  app.add_flag("--no-auto-release", options.no_auto_release,
               "the server runs with --auto-release-on-disconnect=false, so the command may go on "
               "when the connection is lost")
      ->disable_flag_override();
}

void add_conflict_exit_code(CLI::App& app, Options& options) {
  add_text(app, "--conflict-exit-code", "N",
           "if not granted in time, exit with N and print nothing (default: 124 and a message)",
           [&options](const auto& text) {
             options.conflict_exit_code = read_number("--conflict-exit-code", text, 0, 255);
           });
}

/// What `lock` and `semaphore` have in common, in the order of --help.
void add_run_flags(CLI::App& app, Options& options) {
  add_waiting_flags(app, options);
  add_conflict_exit_code(app, options);
  add_lease(app, options);
  add_no_auto_release(app, options);
}

void add_run_subcommands(CLI::App& app, Options& options) {
  CLI::App& lock = add_subcommand(app, options, "lock", Subcommand::kLock,
                                  "Runs a command while a lock is held.", kLockFooter);
  lock.formatter(std::make_shared<RunFormatter>());
  add_key(lock, options);
  add_run_flags(lock, options);

  CLI::App& semaphore =
      add_subcommand(app, options, "semaphore", Subcommand::kSemaphore,
                     "Runs a command while a slot of a semaphore is held.", kSemaphoreFooter);
  semaphore.formatter(std::make_shared<RunFormatter>());
  add_key(semaphore, options);
  add_limit(semaphore, options)->required();
  add_run_flags(semaphore, options);
}

void add_script_subcommands(CLI::App& app, Options& options) {
  CLI::App& acquire =
      add_subcommand(app, options, "acquire", Subcommand::kAcquire,
                     "Acquires a lock and leaves it held, for scripts.", kAcquireFooter);
  add_key(acquire, options);
  CLI::Option* const limit = add_limit(acquire, options);
  limit->needs(add_semaphore(acquire, options)->needs(limit));
  add_waiting_flags(acquire, options);
  add_lease(acquire, options);

  CLI::App& release = add_subcommand(app, options, "release", Subcommand::kRelease,
                                     "Gives back what was acquired.", kReleaseFooter);
  add_key(release, options);
  add_token(release, options);

  CLI::App& renew = add_subcommand(app, options, "renew", Subcommand::kRenew,
                                   "Renews the lease of a lock or a slot.", kRenewFooter);
  add_key(renew, options);
  add_token(renew, options);
  add_lease(renew, options);
}

void add_looking_subcommands(CLI::App& app, Options& options) {
  CLI::App& stats =
      add_subcommand(app, options, "stats", Subcommand::kStats,
                     "Shows what is held, the holders and how many wait.", kStatsFooter);
  stats.add_flag("--json", options.json, "print what the server sends, JSON on a line")
      ->disable_flag_override();
  add_text(stats, "--watch", "[INTERVAL]",
           "show it again and again, every 2s unless INTERVAL is given; in place on a terminal",
           [&options](const auto& text) {
             options.watch = text.empty() ? milliseconds(2000)
                                          : read_duration("--watch", text, milliseconds(10));
           })
      ->expected(0, 1)
      ->default_str("");

  add_subcommand(app, options, "ping", Subcommand::kPing,
                 "Pings every server and prints how long each took to answer.", kPingFooter);
}

/// Moves what follows the first "--" from `words` to the command, for the subcommands that run one.
bool split_command(std::vector<std::string>& words, Options& options) {
  const auto dashes = std::find(words.begin(), words.end(), "--");
  const auto runs = [](const std::string& word) { return word == "lock" || word == "semaphore"; };
  if (dashes == words.end() || std::none_of(words.begin(), dashes, runs)) return false;
  options.command.assign(dashes + 1, words.end());
  words.erase(dashes, words.end());
  return true;
}

void check_key(const std::string& key) {
  constexpr std::size_t kLongestKey = 256;
  if (key.empty() || key.size() > kLongestKey ||
      key.find_first_of(" \t\r\n") != std::string::npos) {
    refuse("KEY", key, "1 to 256 bytes without white space");
  }
}

void check_token(const std::string& token) {
  constexpr std::size_t kLength = 32;
  if (token == "-") return;
  if (token.size() != kLength || token.find_first_not_of("0123456789abcdef") != std::string::npos) {
    refuse("TOKEN: must be 32 lowercase hex characters, or - to read it from standard input");
  }
}

/// Does something with the file that `flag` names, and refuses one that cannot be read.
template <typename Use>
void use_file(const FileFlag& flag, const std::vector<std::string>& words, const Use& use) {
  try {
    use();
  } catch (const base::FileError& error) {
    const bool by_flag = is_given(words, flag.name);
    refuse(std::string(error.what()) + " (" + (by_flag ? flag.name : flag.variable) + ")");
  }
}

void take_security(Options& options, const Security& security,
                   const std::vector<std::string>& words) {
  const TlsOptions& tls = security.tls;
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    refuse("--tls-cert and --tls-key need each other");
  }
  if (security.on || !tls.ca_file.empty() || !tls.cert_file.empty() || !tls.server_name.empty()) {
    options.tls = tls;
  }
  for (const auto& [flag, file] :
       {std::pair(kTlsCa, &tls.ca_file), std::pair(kTlsCert, &tls.cert_file),
        std::pair(kTlsKey, &tls.key_file)}) {
    if (!file->empty()) use_file(flag, words, [file = file] { base::check_readable(*file); });
  }
  if (!security.auth_token_file.empty()) {
    use_file(kAuthTokenFile, words, [&] {
      options.auth_token =
          base::read_secret_file(security.auth_token_file, base::Pipes::kRead).secret.view();
    });
  } else if (security.auth_token != nullptr) {
    options.auth_token = security.auth_token;
  }
}

/// Whether the variable holds what a container platform sets for a service; `err` gets a warning.
bool is_passed_over(const std::string& variable, std::ostream& err) {
  const char* const value = std::getenv(variable.c_str());
  if (value == nullptr || !base::is_service_address(value)) return false;
  err << "dflockctl: " << variable << " is passed over: " << base::kServiceAddress << '\n';
  return true;
}

void read_environment(CLI::App& app, Security& security, std::ostream& err) {
  for (CLI::Option* const option : app.get_options()) {
    if (is_passed_over(option->get_envname(), err)) option->envname("");
  }
  constexpr const char* kAuthToken = "DFLOCKD_AUTH_TOKEN";
  if (!is_passed_over(kAuthToken, err)) security.auth_token = std::getenv(kAuthToken);
}

/// Checks what no single flag can check.
void finish(Options& options, const Security& security, const std::vector<std::string>& words) {
  const bool runs =
      options.subcommand == Subcommand::kLock || options.subcommand == Subcommand::kSemaphore;
  if (options.subcommand == Subcommand::kSemaphore) options.semaphore = true;
  if (options.subcommand != Subcommand::kPing && options.subcommand != Subcommand::kStats) {
    check_key(options.key);
  }
  if (runs && (options.command.empty() || options.command.front().empty())) {
    refuse("no COMMAND; expected KEY [FLAG...] -- COMMAND [ARG...]");
  }
  if (options.subcommand == Subcommand::kRelease || options.subcommand == Subcommand::kRenew) {
    check_token(options.token);
  }
  take_security(options, security, words);
}

/// What CLI11 says, as one line that names the subcommand.
std::string message_of(const CLI::App& app, const CLI::ParseError& error, bool has_command) {
  const auto subs = app.get_subcommands();
  const std::string name = subs.empty() ? "" : subs.front()->get_name();
  std::string message = error.what();
  const auto code = static_cast<CLI::ExitCodes>(error.get_exit_code());
  const bool runs = name == "lock" || name == "semaphore";
  if (code == CLI::ExitCodes::ExtrasError && runs && !has_command) {
    message = "expected KEY [FLAG...] -- COMMAND [ARG...], with the two dashes";
  } else if (name.empty() && code == CLI::ExitCodes::RequiredError) {
    message = "expected lock, semaphore, acquire, release, renew, stats or ping; see --help";
  }
  std::replace(message.begin(), message.end(), '\n', ' ');
  return "dflockctl: " + (name.empty() ? "" : name + ": ") + message;
}

void declare(CLI::App& app, Options& options, Security& security) {
  app.require_subcommand(1);
  app.set_version_flag("--version", "dflockctl " DFLOCKD_VERSION);
  app.footer(kFooter);
  add_connection_flags(app, options, security);
  add_run_subcommands(app, options);
  add_script_subcommands(app, options);
  add_looking_subcommands(app, options);
}

}  // namespace

ConnectionOptions connection_options(const Options& options, const std::string& server) {
  return {.server = server, .tls = options.tls, .auth_token = options.auth_token};
}

SemaphoreOptions contender_options(const Options& options) {
  constexpr double kRenewRatio = 1.0 / 3;
  SemaphoreOptions result;
  result.key = options.key;
  result.servers = options.servers;
  result.lease_ttl = options.lease;
  result.renew_ratio = kRenewRatio;
  result.auto_release_on_disconnect = !options.no_auto_release;
  result.tls = options.tls;
  result.auth_token = options.auth_token;
  if (options.semaphore) result.limit = options.limit;
  return result;
}

void visit_command_line(const std::function<void(const CLI::App&)>& visit) {
  Options options;
  Security security;
  CLI::App app;
  declare(app, options, security);
  visit(app);
}

std::variant<Options, int> parse_options(int argc, const char* const* argv, std::ostream& out,
                                         std::ostream& err) {
  Options options;
  Security security;
  CLI::App app(kDescription, "dflockctl");
  declare(app, options, security);

  std::vector<std::string> words(argv + 1, argv + argc);
  const bool has_command = split_command(words, options);
  try {
    read_environment(app, security, err);
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // as CLI11 wants them
    finish(options, security, words);
  } catch (const CLI::Success& success) {  // --help or --version
    return app.exit(success, out, err);
  } catch (const CLI::ParseError& error) {
    err << message_of(app, error, has_command) << '\n';
    return kUsage;
  }
  return options;
}

}  // namespace dflockd::ctl
