// A child process under test: the dflockd binary with given flags, its output and its end.
//
//   Process process({.flags = {"--version"}});
//   EXPECT_EQ(process.wait_for_exit(), 0);
//   EXPECT_EQ(process.output(), "dflockd 0.1.0\n");
//
// The child dies with its parent, whatever becomes of that. The members may be called from one
// thread at a time; a thread of its own collects what the child writes.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/types.h>

#include "support/deadlines.hpp"

namespace dflockd::test {

/// A listening socket that the child is handed down under a name. The test's descriptor stays its
/// own.
struct InheritedSocket {
  std::string name;
  int fd;
};

/// How to start the binary. Variables that begin with DFLOCKD_ are not inherited, nor those that a
/// service manager sets for the process it starts.
struct Launch {
  std::vector<std::string> flags{};
  std::map<std::string, std::string> environment{};  ///< on top of the inherited one
  std::optional<std::size_t> max_open_files{};       ///< RLIMIT_NOFILE
  /// RLIMIT_FSIZE, with SIGXFSZ ignored: a write beyond it fails as on a full disk.
  std::optional<std::size_t> max_file_size{};
  bool close_standard_error = false;  ///< there is no log then
  /// Become the child's descriptors from 3 on, with LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID as
  /// sd_listen_fds(3) has them; without any, none of the three is set.
  std::vector<InheritedSocket> inherited_sockets{};
  std::string program{};     ///< another one than the binary under test
  bool takes_input = false;  ///< standard input is what `Process::type` sends
};

/// The binary under test.
std::string binary();

class Process {
 public:
  /// Starts the binary. Throws `std::runtime_error` if that fails.
  explicit Process(const Launch& launch);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Kills the process if it still runs.
  ~Process();

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// What the process has written to standard error and to standard output so far; all of it once
  /// `wait_for_exit` has returned.
  [[nodiscard]] std::string log() const;
  [[nodiscard]] std::string output() const;

  /// Waits for a complete line of the log that contains `text`, and returns it without line end.
  /// Nothing if it does not come in time or the log ends without.
  [[nodiscard]] std::optional<std::string> wait_for_log_line(std::string_view text,
                                                             Duration patience = kPatience) const;

  /// The same for its output.
  [[nodiscard]] std::optional<std::string> wait_for_output_line(
      std::string_view text, Duration patience = kPatience) const;

  /// Sends `text` to its standard input.
  void type(std::string_view text);

  /// Sends a signal. Does nothing once the process has exited.
  void signal(int number);

  [[nodiscard]] bool running();

  /// The exit status, as a shell would show it: 128 + n after signal n. Throws `std::runtime_error`
  /// if the process does not exit in time.
  int wait_for_exit(Duration patience = kPatience);

  /// The processor time that the process has used.
  [[nodiscard]] std::chrono::nanoseconds cpu_time() const;

  /// The memory that the process keeps resident, in bytes.
  [[nodiscard]] std::size_t resident_memory() const;

 private:
  void collect_output(int output, int log);
  std::optional<std::string> wait_for_line(const std::string& stream, std::string_view text,
                                           Duration patience) const;

  pid_t pid_ = -1;
  int input_ = -1;
  std::optional<int> exit_status_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string output_;
  std::string log_;
  bool ended_ = false;
  std::thread collector_;
};

}  // namespace dflockd::test
