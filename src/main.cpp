// dflockd: reads the configuration, builds the rooms, runs the loop.

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <asio/io_context.hpp>

#include "access/address.hpp"
#include "access/gate.hpp"
#include "config/config.hpp"
#include "fencing/fence_file.hpp"
#include "fencing/fence_reserver.hpp"
#include "logging/logging.hpp"
#include "reload.hpp"
#include "server/credentials.hpp"
#include "server/server.hpp"
#include "server/service_loop.hpp"
#include "systemd/inherited_sockets.hpp"
#include "systemd/service_manager.hpp"

namespace dflockd {
namespace {

constexpr const char* kCannotRun = "cannot_run";

std::uint64_t wall_clock_nanoseconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

/// Opens on nothing what was closed of the standard streams. Otherwise the next file to be opened,
/// the fence state file say, would be what the log is written to.
void open_standard_streams() {
  int descriptor = 0;
  while (descriptor >= 0 && descriptor <= STDERR_FILENO) {
    descriptor = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  }
  ::close(descriptor);
}

/// Prints `exit`, and returns the status to end with.
int print(const config::Exit& exit) {
  std::FILE* const stream = exit.is_error() ? stderr : stdout;
  const bool printed = std::fputs(exit.text.c_str(), stream) >= 0 && std::fflush(stream) == 0;
  return printed ? exit.status : EXIT_FAILURE;
}

/// Lets the process use as many descriptors as it may, and returns how many that are.
std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit raised{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  return ::setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

/// The process that started this one may have blocked or ignored signals, which is inherited.
void take_signals_back() {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    static_cast<void>(std::signal(signal, SIG_DFL));
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// There is no memory, and so no way to finish what has been begun: the process ends with one line,
/// to be started again by its supervisor. Fences go on from the state file.
[[noreturn]] void end_out_of_memory() noexcept {
  constexpr int kOutOfMemory = 71;  // EX_OSERR of sysexits.h
  static std::atomic_flag ending;
  while (ending.test_and_set()) ::pause();  // another thread is writing the line
  logging::write_without_memory("out_of_memory", kOutOfMemory);
  ::_exit(kOutOfMemory);
}

std::unique_ptr<fencing::FenceReserver> start_reserver(fencing::FenceFile file) {
  try {
    return std::make_unique<fencing::FenceReserver>(std::move(file));
  } catch (const std::system_error& error) {
    throw std::runtime_error("cannot start the thread that reserves fences: " +
                             error.code().message());
  }
}

/// Fences from the state file, or from the wall clock without one.
server::FenceSource open_fences(const config::Config& config) {
  const std::uint64_t now = wall_clock_nanoseconds();
  if (config.fence_state_file.empty())
    return {.first = now, .end = UINT64_MAX, .reserver = nullptr};
  fencing::FenceFile file = fencing::FenceFile::open(config.fence_state_file, now);
  const fencing::FenceFile::Range range = file.range();
  if (file.was_damaged()) {
    logging::warn("fence_slot_repaired", {{"fence_state_file", config.fence_state_file.native()}});
  }
  return {.first = range.first, .end = range.end, .reserver = start_reserver(std::move(file))};
}

/// False if the server cannot run; the reason has been logged.
bool start_logging(const config::Loaded& loaded) {
  const bool json = loaded.config.log_format == config::LogFormat::kJson;
  const logging::Format format = json ? logging::Format::kJson : logging::Format::kText;
  try {
    logging::init(logging::Level::kInfo, format);
  } catch (const std::exception& error) {
    logging::write_now(logging::Level::kError, format, kCannotRun, {{"error", error.what()}});
    return false;
  }
  set_log_level(loaded.config);
  for (const auto* const warnings : {&loaded.environment_warnings, &loaded.warnings}) {
    for (const std::string& warning : *warnings) {
      logging::warn("configuration", {{"message", warning}});
    }
  }
  return true;
}

/// How many HTTP connections there may be at a time.
std::size_t http_connections(const config::Config& config, std::uint64_t descriptors) {
  if (config.http_max_connections > 0) return config.http_max_connections;
  return access::share_of_descriptors(descriptors, config.max_connections);
}

void log_start(const config::Config& config, bool auth, std::uint64_t descriptors) {
  logging::info("starting", {{"version", DFLOCKD_VERSION},
                             {"host", config.host},
                             {"port", config.port},
                             {"tls", !config.tls_cert.empty()},
                             {"client_certificates", !config.tls_client_ca.empty()},
                             {"auth", auth},
                             {"http_port", config.http_port},
                             {"max_connections", config.max_connections},
                             {"max_connections_per_ip", config.max_connections_per_ip},
                             {"http_max_connections", http_connections(config, descriptors)},
                             {"max_locks", config.max_locks},
                             {"max_waiters", config.max_waiters},
                             {"default_lease_ttl_s", config.default_lease_ttl},
                             {"read_timeout_s", config.read_timeout},
                             {"write_timeout_s", config.write_timeout},
                             {"auto_release_on_disconnect", config.auto_release_on_disconnect},
                             {"fence_state_file", config.fence_state_file.native()},
                             {"descriptors", descriptors}});
}

/// Connections that the caps allow may still find no descriptor.
void warn_of_descriptors(const config::Config& config, std::uint64_t descriptors, bool http) {
  const std::uint64_t needed = access::kReservedDescriptors + config.max_connections +
                               (http ? http_connections(config, descriptors) : 0);
  if (needed <= descriptors) return;
  logging::warn("too_few_descriptors", {{"descriptors", descriptors}, {"needed", needed}});
}

/// A cap that is 0 for none, and the flag that sets it.
using Cap = std::pair<const char*, std::size_t>;

/// Anybody who can reach the server could use it up, or listen in.
void warn_beyond_loopback(std::span<const Cap> caps) {
  for (const auto& [flag, cap] : caps) {
    if (cap == 0) logging::warn("unbounded_beyond_loopback", {{"flag", flag}});
  }
}

void warn_beyond_loopback(const config::Config& config, bool auth, const server::Server& server) {
  const auto is_beyond = [](const asio::ip::tcp::endpoint& endpoint) {
    return !access::canonical(endpoint.address()).is_loopback();
  };
  const bool lines = is_beyond(server.endpoint());
  const bool http = server.http() != nullptr && is_beyond(server.http()->endpoint());
  if (lines) {
    warn_beyond_loopback(
        std::array<Cap, 2>{{{"--max-connections", config.max_connections},
                            {"--max-connections-per-ip", config.max_connections_per_ip}}});
  }
  if (http) {
    warn_beyond_loopback(
        std::array<Cap, 4>{{{"--http-max-sessions", config.http_max_sessions},
                            {"--http-max-sessions-per-ip", config.http_max_sessions_per_ip},
                            {"--http-max-connections-per-ip", config.http_max_connections_per_ip},
                            {"--http-rate-limit-per-ip", config.http_rate_limit_per_ip}}});
  }
  if (lines || http) {
    warn_beyond_loopback(std::array<Cap, 3>{{{"--max-locks", config.max_locks},
                                             {"--max-waiters", config.max_waiters},
                                             {"--max-claims", config.max_claims}}});
    if (auth && config.tls_cert.empty()) {
      logging::warn("auth_token_without_tls", {{"flag", "--tls-cert"}});
    }
  }
}

/// The HTTP listener that is wanted: by a port, or by a socket that was handed down.
std::optional<server::HttpOptions> http_options(const config::Config& config,
                                                std::uint64_t descriptors,
                                                std::optional<int> inherited) {
  if (config.http_port == 0 && !inherited) return std::nullopt;
  const std::size_t rate = config.http_rate_limit_per_ip;
  const std::size_t burst = config.http_rate_limit_burst;
  return server::HttpOptions{
      .address = {.host = config.http_host.empty() ? config.host : config.http_host,
                  .port = config.http_port,
                  .descriptor = inherited},
      .caps = {.max_connections = http_connections(config, descriptors),
               .max_connections_per_ip = config.http_max_connections_per_ip,
               .ipv6_prefix = config.ipv6_prefix},
      .door = {.rate = {.per_second = rate,
                        .burst = burst == 0 ? rate : burst,
                        .ipv6_prefix = config.ipv6_prefix},
               .sessions = {.idle_timeout = config.http_session_idle_timeout,
                            .max_sessions = config.http_max_sessions,
                            .max_sessions_per_ip = config.http_max_sessions_per_ip,
                            .ipv6_prefix = config.ipv6_prefix},
               .allowed_hosts = config.http_allowed_hosts,
               .allowed_origins = config.http_cors_allowed_origins}};
}

/// Ends the process without the destructors.
[[noreturn]] void leave(int status) {
  logging::info("exiting", {{"status", status}});
  logging::shutdown();
  std::_Exit(status);
}

int serve(const config::Config& config, std::uint64_t descriptors, server::Credentials& credentials,
          Reloader& reloader) {
  asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
  base::LoopClock clock;
  server::ServiceLoop loop(context, clock,
                           {.table = {.max_locks = config.max_locks,
                                      .max_waiters = config.max_waiters,
                                      .max_claims = config.max_claims},
                            .default_lease = config.default_lease_ttl,
                            .max_lease = config.max_lease_ttl,
                            .sweep_interval = config.lease_sweep_interval,
                            .gc_interval = config.gc_interval,
                            .gc_max_idle = config.gc_max_idle,
                            .orphan_ttl = config.orphan_ttl,
                            .release_on_disconnect = config.auto_release_on_disconnect},
                           open_fences(config));
  systemd::ServiceManager manager;
  systemd::InheritedSockets inherited;
  server::Server server(
      context, clock,
      {.address = {.host = config.host, .port = config.port, .descriptor = inherited.take("tcp")},
       .caps = {.max_connections = config.max_connections,
                .max_connections_per_ip = config.max_connections_per_ip,
                .ipv6_prefix = config.ipv6_prefix},
       .http = http_options(config, descriptors, inherited.take("http")),
       .read_timeout = config.read_timeout,
       .write_timeout = config.write_timeout,
       .idle_timeout = config.idle_timeout,
       .shutdown_timeout = config.shutdown_timeout},
      credentials, loop, manager);
  server.on_reload([&reloader] { reloader.reload(); });
  warn_of_descriptors(config, descriptors, server.http() != nullptr);
  warn_beyond_loopback(config, credentials.authenticator.required(), server);
  const int status = server.run();
  // A hanging disk must not keep the process from ending. The file survives that like a crash.
  if (loop.waits_for_disk()) leave(status);
  return status;
}

int run(int argc, char** argv) {
  std::set_new_handler(end_out_of_memory);
  take_signals_back();
  const std::span<const char* const> arguments(argv + 1, argv + argc);
  server::Credentials credentials;
  auto result = config::load(arguments, config::process_environment(), check_into(credentials));
  if (const auto* exit = std::get_if<config::Exit>(&result)) return print(*exit);
  open_standard_streams();
  static_cast<void>(
      std::signal(SIGPIPE, SIG_IGN));  // standard error may be a pipe that somebody closes
  auto& loaded = std::get<config::Loaded>(result);
  loaded.config.auth_token = config::Secret();  // the credentials hold what is needed of it
  if (!start_logging(loaded)) return EXIT_FAILURE;
  int status = EXIT_FAILURE;
  try {
    const std::uint64_t descriptors = raise_descriptor_limit();
    log_start(loaded.config, credentials.authenticator.required(), descriptors);
    if (credentials.tls) log_certificate(credentials.tls->certificate());
    Reloader reloader(arguments, loaded.config, credentials);
    status = serve(loaded.config, descriptors, credentials, reloader);
  } catch (const std::exception& error) {
    logging::error(kCannotRun, {{"error", error.what()}});
  }
  logging::info("exiting", {{"status", status}});
  logging::shutdown();
  return status;
}

}  // namespace
}  // namespace dflockd

int main(int argc, char** argv) {
  return dflockd::run(argc, argv);
}
