#include "logging/logging.hpp"

#include <array>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <spdlog/async_logger.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>

#include "logging/line.hpp"

namespace dflockd::logging {
namespace {

/// How long `shutdown` waits for the lines that are still queued.
constexpr std::chrono::seconds kPatience{1};

/// spdlog puts the time in front of what `append_text` and `append_json` made.
constexpr const char* kTextPattern = "%Y-%m-%dT%H:%M:%S.%eZ %v";
constexpr const char* kJsonPattern = R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ",%v})";

void append_line(Format format, Level level, std::string_view event,
                 std::initializer_list<Field> fields, std::string& line) {
  (format == Format::kText ? append_text : append_json)(level, event, fields, line);
}

std::unique_ptr<spdlog::formatter> make_formatter(Format format) {
  return std::make_unique<spdlog::pattern_formatter>(
      format == Format::kText ? kTextPattern : kJsonPattern, spdlog::pattern_time_type::utc, "\n");
}

/// The end of the line for spdlog: hands finished lines to the writer. Only the log's one thread
/// calls it, hence no mutex.
class WriterSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  WriterSink(Format format, Writer writer)
      : base_sink(make_formatter(format)), format_(format), writer_(std::move(writer)) {}

  /// Sets the queue whose overruns to report. Call it before the first line.
  void watch(spdlog::details::thread_pool& pool) { pool_ = &pool; }

  /// A line that spdlog could not hand over.
  void count_failure() { failures_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    tell_dropped(message.time);
    if (!write(message)) {
      count_failure();
    }
  }

  void flush_() override {}  // the writer keeps nothing back

  /// Tells how many lines were dropped since it last did. Before the first line that comes after
  /// them is the place for that, and the first moment at which somebody reads.
  void tell_dropped(spdlog::log_clock::time_point now) {
    const std::size_t dropped = pool_->overrun_counter() + failures_.load();
    if (dropped == told_) {
      return;
    }
    std::string line;
    append_line(format_, Level::kWarn, "log_lines_dropped", {{"count", dropped - told_}}, line);
    if (write({now, {}, "dflockd", spdlog::level::info, line})) {
      told_ = dropped;
    }
  }

  bool write(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    return writer_({line.data(), line.size()});
  }

  const Format format_;
  const Writer writer_;
  spdlog::details::thread_pool* pool_ = nullptr;
  std::atomic<std::size_t> failures_{0};
  std::size_t told_ = 0;
};

/// What exists between `init` and `shutdown`.
struct Log {
  Format format;
  std::shared_ptr<WriterSink> sink;
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::async_logger> logger;
};

std::unique_ptr<Log> the_log;

/// Signals belong to the event loop. That SIGPIPE is blocked too makes a write to a closed pipe
/// fail instead of ending the process.
void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

std::shared_ptr<spdlog::details::thread_pool> start_pool() {
  try {
    return std::make_shared<spdlog::details::thread_pool>(kQueueSize, 1, block_all_signals);
  } catch (const std::system_error& error) {
    throw std::runtime_error("cannot start the log's thread: " + error.code().message());
  }
}

}  // namespace

bool write_to_standard_error(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    if (written >= 0) {
      line.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd room{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

void init(Level level, Format format, Writer writer) {
  assert(the_log == nullptr);
  auto sink = std::make_shared<WriterSink>(format, std::move(writer));
  auto pool = start_pool();
  sink->watch(*pool);
  auto logger = std::make_shared<spdlog::async_logger>(
      "dflockd", sink, pool, spdlog::async_overflow_policy::overrun_oldest);
  logger->set_level(spdlog::level::trace);  // `enabled` has decided already
  // spdlog's own handler writes to standard error, from the thread that must not wait for it.
  logger->set_error_handler([&sink = *sink](const std::string&) { sink.count_failure(); });
  the_log = std::make_unique<Log>(Log{format, std::move(sink), std::move(pool), std::move(logger)});
  set_level(level);
}

void write_now(Level level, Format format, std::string_view event,
               std::initializer_list<Field> fields) {
  std::string text;
  append_line(format, level, event, fields, text);
  spdlog::memory_buf_t line;
  make_formatter(format)->format({"dflockd", spdlog::level::info, text}, line);
  static_cast<void>(write_to_standard_error({line.data(), line.size()}));
}

void write_without_memory(const char* event, int status) noexcept {
  const bool json = the_log != nullptr && the_log->format == Format::kJson;
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto today = std::chrono::floor<std::chrono::days>(now);
  const std::chrono::year_month_day date(today);
  const std::chrono::hh_mm_ss time(now - today);
  std::array<char, 256> line{};
  const int size = std::snprintf(
      line.data(), line.size(),
      json ? R"({"time":"%04d-%02u-%02uT%02d:%02d:%02d.%03dZ","level":"error","event":"%s",)"
             R"("status":%d})"
             "\n"
           : "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ error %s status=%d\n",
      static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
      static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
      static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()),
      static_cast<int>(time.subseconds().count()), event, status);
  constexpr int kPatienceMs = 1000;
  pollfd room{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (::poll(&room, 1, kPatienceMs) <= 0) return;
  [[maybe_unused]] const ssize_t written =
      ::write(STDERR_FILENO, line.data(), static_cast<std::size_t>(size));
}

void shutdown() {
  if (the_log == nullptr) {
    return;
  }
  internal::threshold.store(internal::kOff, std::memory_order_relaxed);
  std::promise<void> done;
  const std::future<void> written = done.get_future();
  // The pool's destructor writes the queue out and may take for ever: it has a thread to do it in.
  std::thread closer;
  try {
    closer = std::thread([log = std::move(the_log), done = std::move(done)]() mutable {
      log.reset();
      done.set_value();
    });
  } catch (const std::exception&) {
    return;  // no thread is to be had; what was to be its own has written the queue out by its end
  }
  if (written.wait_for(kPatience) == std::future_status::ready) {
    closer.join();
  } else {
    closer.detach();
  }
}

void set_level(Level level) {
  if (the_log != nullptr) {
    internal::threshold.store(static_cast<std::uint8_t>(level), std::memory_order_relaxed);
  }
}

namespace internal {

void write(Level level, std::string_view event, std::initializer_list<Field> fields) noexcept {
  try {
    std::string line;
    append_line(the_log->format, level, event, fields, line);
    the_log->logger->log(spdlog::level::info, spdlog::string_view_t(line));
  } catch (const std::exception&) {
    the_log->sink->count_failure();
  }
}

}  // namespace internal
}  // namespace dflockd::logging
