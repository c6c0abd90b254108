// The server's log: one event a line with key=value fields, as text or JSON, to standard error.
//
//   logging::init(logging::Level::kInfo, logging::Format::kText);
//   logging::info("listening", {{"address", address}, {"port", port}});
//   logging::shutdown();
//
//   2026-11-23T22:12:54.123Z info listening address=127.0.0.1 port=6388
//   {"time":"2026-11-23T22:12:54.123Z","level":"info","event":"listening",
//    "address":"127.0.0.1","port":6388}                                      (all on one line)
//
// Logging never waits for the log's reader: lines go into a queue of `kQueueSize` that a thread of
// its own writes out. If standard error stalls, the oldest lines in the queue are dropped; a
// warning `log_lines_dropped` in their place says how many. The same goes for lines that could not
// be written, once writing works again.
//
// A line below the current level costs one load and one comparison: fields only refer to what they
// show. Where a field's value is costly to make, ask `enabled` first.
//
// Events and field names are the code's own words in snake_case; values may hold any bytes, since
// they are escaped so that no key or peer can forge a line or a field.
//
// Logging never throws: a line that cannot be made is dropped and counted.
//
// Any thread may log, and change the level. `init` and `shutdown` are for the main thread, while no
// other thread logs. Before `init` and after `shutdown`, logging does nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string_view>

#include "logging/field.hpp"

namespace dflockd::logging {

enum class Format : std::uint8_t { kText, kJson };

/// How many lines may wait to be written.
inline constexpr std::size_t kQueueSize = 4096;

/// Takes one finished line, newline included, and returns whether it could be written. It is called
/// by the log's own thread, one line at a time, and may block.
using Writer = std::function<bool(std::string_view line)>;

/// Writes the line to standard error. If that is non-blocking it waits for room.
[[nodiscard]] bool write_to_standard_error(std::string_view line);

/// Starts the log's thread. All signals are blocked in it, so that they go to the other threads.
/// Throws std::runtime_error if the system gives no thread.
void init(Level level, Format format, Writer writer = write_to_standard_error);

/// Writes what is queued and ends the log's thread. Gives up after a second, leaving the thread
/// behind, if the lines cannot be written: a stalled reader must not keep the server from exiting.
void shutdown();

/// Writes a line to standard error at once: why the process ends, where `init` has failed.
void write_now(Level level, Format format, std::string_view event,
               std::initializer_list<Field> fields);

/// Writes the error `event` with the exit status to standard error at once, for a process that ends
/// because it has no memory: allocates nothing, and waits for a stalled reader for a second only.
/// Lines that are still queued come after it or are lost. Before `init`, as text. For any thread.
void write_without_memory(const char* event, int status) noexcept;

/// Changes from which level on lines are logged.
void set_level(Level level);

namespace internal {

/// The lowest level that is logged; above every level while there is no log.
inline constexpr std::uint8_t kOff = 0xff;
inline std::atomic<std::uint8_t> threshold{kOff};

void write(Level level, std::string_view event, std::initializer_list<Field> fields) noexcept;

}  // namespace internal

/// Whether lines of this level are logged.
[[nodiscard]] inline bool enabled(Level level) {
  return static_cast<std::uint8_t>(level) >= internal::threshold.load(std::memory_order_relaxed);
}

/// Logs what happens to each connection and request.
inline void debug(std::string_view event, std::initializer_list<Field> fields = {}) {
  if (enabled(Level::kDebug)) internal::write(Level::kDebug, event, fields);
}

/// Logs what happens to the server.
inline void info(std::string_view event, std::initializer_list<Field> fields = {}) {
  if (enabled(Level::kInfo)) internal::write(Level::kInfo, event, fields);
}

/// Logs what an operator should look at.
inline void warn(std::string_view event, std::initializer_list<Field> fields = {}) {
  if (enabled(Level::kWarn)) internal::write(Level::kWarn, event, fields);
}

/// Logs what keeps the server from doing its work.
inline void error(std::string_view event, std::initializer_list<Field> fields = {}) {
  if (enabled(Level::kError)) internal::write(Level::kError, event, fields);
}

}  // namespace dflockd::logging
