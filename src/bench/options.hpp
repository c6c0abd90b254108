// What the load is: the command line of dflockd-bench.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <variant>

#include <sys/types.h>

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;
}

namespace dflockd::bench {

enum class Protocol { kDflockd, kRedis, kMemcached };
enum class Keys { kOwn, kShared };

/// The name of a protocol or of a choice of keys as it is given on the command line.
[[nodiscard]] std::string name(Protocol protocol);
[[nodiscard]] std::string name(Keys keys);

struct Options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 6388;
  Protocol protocol = Protocol::kDflockd;
  bool http = false;  ///< dflockd's HTTP API instead of its line protocol

  bool tls = false;
  std::string tls_ca;         ///< authorities in PEM; empty: the system's
  bool tls_insecure = false;  ///< do not verify the server's certificate
  std::optional<std::string> auth_token;

  std::size_t connections = 100;
  std::size_t pipeline = 1;  ///< requests that a connection has in flight; a key for each
  Keys keys = Keys::kOwn;
  std::optional<std::uint32_t> semaphore;  ///< acquire a semaphore of this limit, not a lock
  bool readers = false;                    ///< acquire locks shared
  std::chrono::nanoseconds hold{0};        ///< between a grant and its release
  std::chrono::seconds timeout{10};
  std::optional<std::chrono::seconds> lease;

  bool handshakes = false;  ///< connect, shake hands and leave, over and over, instead of cycles
  bool resume = false;      ///< resume the last session instead of a full handshake
  bool ping = true;         ///< one on each connection of `handshakes`

  std::chrono::nanoseconds warmup{0};
  std::chrono::nanoseconds duration = std::chrono::seconds(10);  ///< unless `count` is given
  std::optional<std::uint64_t> count;                            ///< cycles of all connections

  std::optional<pid_t> server_pid;
  bool busy_poll = false;  ///< never sleep, so that the server never has to wake the generator
  bool json = false;
  bool quiet = false;
};

/// Host and port, for messages: "127.0.0.1:6388", "[::1]:6388".
[[nodiscard]] std::string address(const Options& options);

/// Shows `visit` the declaration of the command line. The documents are generated from it.
void visit_command_line(const std::function<void(const CLI::App&)>& visit);

/// Reads the command line. Gives the options, or the status to exit with once `--help` or
/// `--version` has been answered on `out`, or the first mistake reported in one line on `err`.
[[nodiscard]] std::variant<Options, int> parse_options(int argc, const char* const* argv,
                                                       std::ostream& out, std::ostream& err);

}  // namespace dflockd::bench
