// dflockd: reads the configuration, builds the rooms, runs the loop.

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <asio/io_context.hpp>

#include "config/config.hpp"
#include "fencing/fence_file.hpp"
#include "fencing/fence_reserver.hpp"
#include "logging/logging.hpp"
#include "reactor/lock_service.hpp"
#include "reactor/server.hpp"

namespace dflockd {
namespace {

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

/// Fences from the state file, or from the wall clock without one.
reactor::FenceSource open_fences(const config::Config& config) {
  const std::uint64_t now = wall_clock_nanoseconds();
  if (config.fence_state_file.empty())
    return {.first = now, .end = UINT64_MAX, .reserver = nullptr};
  fencing::FenceFile file = fencing::FenceFile::open(config.fence_state_file, now);
  const fencing::FenceFile::Range range = file.range();
  if (file.was_damaged()) {
    logging::warn("fence_slot_repaired", {{"fence_state_file", config.fence_state_file.native()}});
  }
  return {.first = range.first,
          .end = range.end,
          .reserver = std::make_unique<fencing::FenceReserver>(std::move(file))};
}

/// What is wrong with a fence state file that exists, for --check-config.
std::optional<config::Problem> check_fences(const config::Config& config) {
  std::error_code missing;
  if (!std::filesystem::exists(config.fence_state_file, missing)) return std::nullopt;
  try {
    fencing::FenceFile::check(config.fence_state_file);
  } catch (const fencing::FenceFileError& error) {
    return config::Problem{.setting = "fence-state-file", .what = error.what()};
  }
  return std::nullopt;
}

config::Findings check(const config::Config& config, config::Purpose purpose) {
  config::Findings findings;
  if (purpose == config::Purpose::kCheckConfig) findings.problem = check_fences(config);
  return findings;
}

void start_logging(const config::Loaded& loaded) {
  constexpr logging::Level kLevels[] = {logging::Level::kDebug, logging::Level::kInfo,
                                        logging::Level::kWarn, logging::Level::kError};
  const config::Config& config = loaded.config;
  logging::init(kLevels[static_cast<std::size_t>(config.log_level)],
                config.log_format == config::LogFormat::kJson ? logging::Format::kJson
                                                              : logging::Format::kText);
  for (const std::string& warning : loaded.warnings) {
    logging::warn("configuration", {{"message", warning}});
  }
}

void log_start(const config::Config& config, std::uint64_t descriptors) {
  logging::info("starting", {{"version", DFLOCKD_VERSION},
                             {"host", config.host},
                             {"port", config.port},
                             {"max_connections", config.max_connections},
                             {"max_locks", config.max_locks},
                             {"max_waiters", config.max_waiters},
                             {"default_lease_ttl_s", config.default_lease_ttl},
                             {"read_timeout_s", config.read_timeout},
                             {"write_timeout_s", config.write_timeout},
                             {"auto_release_on_disconnect", config.auto_release_on_disconnect},
                             {"fence_state_file", config.fence_state_file.native()},
                             {"descriptors", descriptors}});
}

/// Anybody who can reach the server could use it up.
void warn_of_missing_caps(const config::Config& config) {
  const std::pair<const char*, std::size_t> caps[] = {{"--max-connections", config.max_connections},
                                                      {"--max-locks", config.max_locks},
                                                      {"--max-waiters", config.max_waiters}};
  for (const auto& [flag, cap] : caps) {
    if (cap == 0) logging::warn("unbounded_beyond_loopback", {{"flag", flag}});
  }
}

int serve(const config::Config& config) {
  asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
  reactor::LockService service(
      context,
      {.table = {.max_locks = config.max_locks, .max_waiters = config.max_waiters},
       .default_lease = config.default_lease_ttl,
       .sweep_interval = config.lease_sweep_interval,
       .gc_interval = config.gc_interval,
       .gc_max_idle = config.gc_max_idle,
       .release_on_disconnect = config.auto_release_on_disconnect},
      open_fences(config));
  reactor::Server server(context,
                         {.address = {.host = config.host, .port = config.port},
                          .caps = {.max_connections = config.max_connections},
                          .read_timeout = config.read_timeout,
                          .write_timeout = config.write_timeout,
                          .shutdown_timeout = config.shutdown_timeout},
                         service);
  if (!server.endpoint().address().is_loopback()) warn_of_missing_caps(config);
  return server.run();
}

int run(int argc, char** argv) {
  const auto result = config::load({argv + 1, argv + argc}, std::getenv, check);
  if (const auto* exit = std::get_if<config::Exit>(&result)) return print(*exit);
  open_standard_streams();
  static_cast<void>(
      std::signal(SIGPIPE, SIG_IGN));  // standard error may be a pipe that somebody closes
  const auto& loaded = std::get<config::Loaded>(result);
  start_logging(loaded);
  int status = EXIT_FAILURE;
  try {
    log_start(loaded.config, raise_descriptor_limit());
    status = serve(loaded.config);
  } catch (const std::exception& error) {
    logging::error("cannot_run", {{"error", error.what()}});
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
