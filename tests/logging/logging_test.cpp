// The log as a whole: levels, queue, start and end.
#include "logging/logging.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dflockd::logging {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::IsEmpty;
using testing::MatchesRegex;

/// Collects lines. Read them after `shutdown` only.
class LoggingTest : public testing::Test {
 protected:
  ~LoggingTest() override { shutdown(); }

  void start(Level level, Format format = Format::kText) {
    init(level, format, [this](std::string_view line) {
      lines_.emplace_back(line);
      return true;
    });
  }

  std::vector<std::string> lines_;
};

/// A writer that blocks from its first line on until it is released, like a pipe that nobody reads.
/// Copies share their state, because a log that gave up may still hold one.
class StalledWriter {
 public:
  bool operator()(std::string_view) const {
    if (!std::exchange(state_->seen, true)) {
      state_->stalled.set_value();
    }
    state_->release.wait();
    return true;
  }

  void wait_until_stalled() const { state_->stalled.get_future().wait(); }
  void release() const { state_->open.set_value(); }

 private:
  struct State {
    bool seen = false;  ///< used by the log's thread only
    std::promise<void> stalled;
    std::promise<void> open;
    std::shared_future<void> release = open.get_future().share();
  };

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

/// Replaces standard error by a pipe for as long as it lives.
class StandardErrorPipe {
 public:
  StandardErrorPipe() : original_(::dup(STDERR_FILENO)) {
    EXPECT_EQ(::pipe2(ends_.data(), O_CLOEXEC), 0);
    ::dup2(ends_[1], STDERR_FILENO);
    ::close(ends_[1]);
  }
  StandardErrorPipe(const StandardErrorPipe&) = delete;
  StandardErrorPipe& operator=(const StandardErrorPipe&) = delete;
  ~StandardErrorPipe() {
    restore();
    close_reader();
  }

  void restore() {
    if (original_ >= 0) {
      ::dup2(original_, STDERR_FILENO);
      ::close(std::exchange(original_, -1));
    }
  }
  void close_reader() {
    if (ends_[0] >= 0) {
      ::close(std::exchange(ends_[0], -1));
    }
  }
  /// Everything up to the end, or to `most` bytes.
  [[nodiscard]] std::string read(std::size_t most = std::string::npos) const {
    std::string content;
    std::array<char, 4096> chunk{};
    while (content.size() < most) {
      const ssize_t size = ::read(ends_[0], chunk.data(), chunk.size());
      if (size <= 0) break;
      content.append(chunk.data(), static_cast<std::size_t>(size));
    }
    return content;
  }

 private:
  int original_;
  std::array<int, 2> ends_{-1, -1};
};

TEST_F(LoggingTest, nothing_happens_before_init) {
  EXPECT_FALSE(enabled(Level::kError));
  error("early", {{"a", 1}});
  set_level(Level::kDebug);
  EXPECT_FALSE(enabled(Level::kError));
  shutdown();
}

TEST_F(LoggingTest, nothing_happens_after_shutdown) {
  start(Level::kDebug);
  shutdown();
  error("late");
  EXPECT_FALSE(enabled(Level::kError));
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(LoggingTest, can_be_started_again) {
  start(Level::kInfo);
  info("first");
  shutdown();
  start(Level::kInfo);
  info("second");
  shutdown();
  EXPECT_THAT(lines_, ElementsAre(EndsWith(" info first\n"), EndsWith(" info second\n")));
}

TEST_F(LoggingTest, levels_below_the_one_set_are_off) {
  start(Level::kWarn);
  EXPECT_FALSE(enabled(Level::kInfo));
  EXPECT_TRUE(enabled(Level::kWarn));
  debug("a");
  info("b");
  warn("c");
  error("d");
  shutdown();
  EXPECT_THAT(lines_, ElementsAre(EndsWith(" warn c\n"), EndsWith(" error d\n")));
}

TEST_F(LoggingTest, level_changes_at_run_time) {
  start(Level::kError);
  info("a");
  set_level(Level::kDebug);
  debug("b");
  set_level(Level::kWarn);
  info("c");
  shutdown();
  EXPECT_THAT(lines_, ElementsAre(EndsWith(" debug b\n")));
}

TEST_F(LoggingTest, text_line_has_time_level_event_and_fields) {
  start(Level::kInfo);
  info("listening", {{"address", "127.0.0.1"}, {"port", 6388}});
  info("single", {{"key", "%v {}"}});
  shutdown();
  constexpr const char* kTime = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z";
  EXPECT_THAT(lines_, ElementsAre(MatchesRegex(std::string(kTime) +
                                               " info listening address=127.0.0.1 port=6388\n"),
                                  EndsWith(" info single key=\"%v {}\"\n")));
}

TEST_F(LoggingTest, json_line_is_one_object) {
  start(Level::kInfo, Format::kJson);
  info("listening", {{"address", "127.0.0.1"}, {"port", 6388}});
  shutdown();
  ASSERT_EQ(lines_.size(), 1U);
  EXPECT_THAT(lines_[0], testing::StartsWith(R"({"time":"2)"));
  EXPECT_THAT(lines_[0], EndsWith("Z\",\"level\":\"info\",\"event\":\"listening\",\"address\":"
                                  "\"127.0.0.1\",\"port\":6388}\n"));
}

TEST_F(LoggingTest, time_is_utc) {
  ::setenv("TZ", "ABC-14", 1);  // 14 hours ahead
  ::tzset();
  start(Level::kInfo);
  info("now");
  shutdown();
  ::unsetenv("TZ");
  ::tzset();
  const std::time_t now = std::time(nullptr);
  std::array<char, 32> hour_before{};
  std::array<char, 32> hour_after{};
  const auto format = [](std::time_t time, std::array<char, 32>& buffer) {
    std::tm utc{};
    ::gmtime_r(&time, &utc);
    std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H", &utc);
  };
  format(now - 3600, hour_before);
  format(now + 3600, hour_after);
  EXPECT_GT(lines_.at(0), hour_before.data());
  EXPECT_LT(lines_.at(0), hour_after.data());
}

TEST_F(LoggingTest, lines_of_many_threads_stay_whole) {
  constexpr int kThreads = 4;
  constexpr int kLines = 200;
  start(Level::kInfo);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([thread] {
      for (int line = 0; line < kLines; ++line) {
        info("tick", {{"thread", thread}, {"text", std::string(300, 'x')}});
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  shutdown();
  EXPECT_EQ(lines_.size(), std::size_t{kThreads * kLines});
  EXPECT_THAT(lines_, testing::Each(EndsWith(" text=" + std::string(300, 'x') + "\n")));
}

TEST_F(LoggingTest, stalled_writer_stalls_nobody_and_the_oldest_lines_are_dropped_and_counted) {
  constexpr std::size_t kTooMany = 500;
  const StalledWriter stalled;
  init(Level::kInfo, Format::kText, [this, stalled](std::string_view line) {
    lines_.emplace_back(line);
    return stalled(line);
  });
  info("taken_by_the_writer");
  stalled.wait_until_stalled();
  for (std::size_t i = 0; i < kQueueSize + kTooMany; ++i) {
    info("line", {{"number", i}});
  }
  stalled.release();
  shutdown();
  ASSERT_EQ(lines_.size(), 1 + 1 + kQueueSize);
  EXPECT_THAT(lines_[1], EndsWith(" warn log_lines_dropped count=500\n"));
  EXPECT_THAT(lines_[2], EndsWith(" line number=500\n"));
  EXPECT_THAT(lines_.back(), EndsWith(" line number=4595\n"));
}

TEST_F(LoggingTest, full_queue_drops_nothing) {
  const StalledWriter stalled;
  init(Level::kInfo, Format::kText, [this, stalled](std::string_view line) {
    lines_.emplace_back(line);
    return stalled(line);
  });
  info("taken_by_the_writer");
  stalled.wait_until_stalled();
  for (std::size_t i = 0; i < kQueueSize; ++i) {
    info("line", {{"number", i}});
  }
  stalled.release();
  shutdown();
  ASSERT_EQ(lines_.size(), 1 + kQueueSize);
  EXPECT_THAT(lines_[1], EndsWith(" line number=0\n"));
}

TEST_F(LoggingTest, shutdown_gives_up_on_a_stalled_writer) {
  const StalledWriter stalled;
  init(Level::kInfo, Format::kText, stalled);
  info("never_written");
  stalled.wait_until_stalled();
  shutdown();  // returns, or the test times out
  EXPECT_FALSE(enabled(Level::kError));
  stalled.release();
}

TEST_F(LoggingTest, lines_that_cannot_be_written_are_counted_once_others_can) {
  init(Level::kError, Format::kJson, [this](std::string_view line) {
    lines_.emplace_back(line);
    return lines_.size() > 3;  // "first", the count and "second" fail
  });
  error("first");
  error("second");
  error("third");
  error("fourth");
  shutdown();
  ASSERT_EQ(lines_.size(), 6U);
  EXPECT_THAT(lines_[3],
              testing::HasSubstr(R"("level":"warn","event":"log_lines_dropped","count":2)"));
  EXPECT_THAT(lines_[4], testing::HasSubstr(R"("event":"third")"));
  EXPECT_THAT(lines_[5], testing::HasSubstr(R"("event":"fourth")"));
}

TEST_F(LoggingTest, writer_is_spared_signals) {
  std::promise<bool> blocked;
  init(Level::kInfo, Format::kText, [&](std::string_view) {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    blocked.set_value(sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGPIPE) == 1);
    return true;
  });
  info("ask");
  EXPECT_TRUE(blocked.get_future().get());
  shutdown();  // before what the writer refers to is gone
}

TEST(StandardErrorTest, closed_pipe_is_reported_and_does_not_kill) {
  bool written = true;
  {
    StandardErrorPipe pipe;
    pipe.close_reader();
    std::thread([&written] {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      written = write_to_standard_error("x\n");
    }).join();
  }
  EXPECT_FALSE(written);
}

TEST(StandardErrorTest, lines_are_written_there_by_default) {
  StandardErrorPipe pipe;
  init(Level::kInfo, Format::kText);
  info("hello");
  shutdown();
  pipe.restore();
  EXPECT_THAT(pipe.read(), EndsWith(" info hello\n"));
}

TEST(StandardErrorTest, full_pipe_that_does_not_block_is_waited_for) {
  const std::string line(1 << 20, 'x');  // many times what a pipe holds
  StandardErrorPipe pipe;
  ::fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
  std::future<bool> written =
      std::async(std::launch::async, [&line] { return write_to_standard_error(line); });
  EXPECT_EQ(pipe.read(line.size()).size(), line.size());
  EXPECT_TRUE(written.get());
}

}  // namespace
}  // namespace dflockd::logging
