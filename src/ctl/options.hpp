// The command line of dflockctl, and the DFLOCKD_* variables that stand in for its flags.
#pragma once

#include <chrono>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <dflockd/options.hpp>

#include "ctl/text.hpp"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;
}

namespace dflockd::ctl {

// What dflockctl exits with, besides 0 and the status of the command that it ran.
inline constexpr int kUsage = 2;
inline constexpr int kLost = 123;     ///< the lock was lost, or is not held
inline constexpr int kTimeout = 124;  ///< not granted in time, as timeout(1) has it
inline constexpr int kFailed = 125;   ///< dflockctl failed, or the server could not be asked
inline constexpr int kCannotExecute = 126;
inline constexpr int kNotFound = 127;
inline constexpr int kSignaled = 128;  ///< plus the number of the signal

enum class Subcommand { kLock, kSemaphore, kAcquire, kRelease, kRenew, kStats, kPing };

struct Options {
  Subcommand subcommand = Subcommand::kPing;

  std::vector<std::string> servers{"127.0.0.1:6388"};
  std::optional<TlsOptions> tls;
  std::string auth_token;

  std::string key;
  bool semaphore = false;
  int limit = 0;                                          ///< of the semaphore
  std::chrono::milliseconds timeout = base::kMaxSeconds;  ///< 0: try once
  std::optional<int> conflict_exit_code;                  ///< instead of a message and kTimeout
  bool no_auto_release = false;      ///< the server keeps grants without connections
  std::chrono::seconds lease{0};     ///< 0: the server's default
  std::vector<std::string> command;  ///< with its arguments
  std::string token;                 ///< "-": the first line of standard input
  bool json = false;
  std::optional<std::chrono::milliseconds> watch;  ///< the time between two looks
};

/// How to connect to one of the servers.
[[nodiscard]] ConnectionOptions connection_options(const Options& options,
                                                   const std::string& server);

/// How to contend for the key. The lease is renewed after a third of it, which leaves time for some
/// attempts before the command has to be ended.
[[nodiscard]] SemaphoreOptions contender_options(const Options& options);

/// Shows `visit` the declaration of the command line. The documents are generated from it.
void visit_command_line(const std::function<void(const CLI::App&)>& visit);

/// Reads the command line. Gives the options, or the status to exit with once `--help` or
/// `--version` has been answered on `out`, or the first mistake reported in one line on `err`.
[[nodiscard]] std::variant<Options, int> parse_options(int argc, const char* const* argv,
                                                       std::ostream& out, std::ostream& err);

}  // namespace dflockd::ctl
