#include "support/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dflockd::test {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

bool is_inherited(std::string_view variable) {
  constexpr std::array<std::string_view, 4> kKeptBack{"DFLOCKD_", "LISTEN_",
                                                      "NOTIFY_SOCKET=", "WATCHDOG_"};
  return std::ranges::none_of(kKeptBack,
                              [variable](auto start) { return variable.starts_with(start); });
}

std::vector<std::string> environment_of(const Launch& launch) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (is_inherited(*variable)) variables.emplace_back(*variable);
  }
  for (const auto& [name, value] : launch.environment) variables.push_back(name + "=" + value);
  return variables;
}

/// Hands sockets down to a child. What needs memory is done by the constructor, before the fork.
class Inheritance {
 public:
  /// Adds what tells the child of `sockets` to its environment, which must not grow afterwards.
  Inheritance(const std::vector<InheritedSocket>& sockets, std::vector<std::string>& environment)
      : sockets_(sockets), copies_(sockets.size()) {
    if (sockets.empty()) return;
    std::string names;
    for (const InheritedSocket& socket : sockets) {
      names.append(names.empty() ? "" : ":").append(socket.name);
    }
    const std::string pid = "LISTEN_PID=";
    environment.push_back("LISTEN_FDS=" + std::to_string(sockets.size()));
    environment.push_back("LISTEN_FDNAMES=" + names);
    environment.push_back(pid + std::string(kMostDigits, '\0'));
    pid_digits_ = environment.back().data() + pid.size();
  }

  /// Writes down whose the sockets are, and moves them to where they are looked for. In the child:
  /// async-signal-safe calls only. False if that fails.
  [[nodiscard]] bool take_effect() {
    if (sockets_.empty()) return true;
    std::to_chars(pid_digits_, pid_digits_ + kMostDigits, ::getpid());
    const int end = kFirst + static_cast<int>(sockets_.size());
    // First out of the way: one may be where another has to go.
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
      copies_[i] = ::fcntl(sockets_[i].fd, F_DUPFD_CLOEXEC, end);
    }
    int target = kFirst;
    return std::ranges::all_of(copies_,
                               [&target](int copy) { return ::dup2(copy, target++) >= 0; });
  }

 private:
  static constexpr int kFirst = 3;  ///< SD_LISTEN_FDS_START
  static constexpr std::size_t kMostDigits = std::numeric_limits<pid_t>::digits10 + 1;

  const std::vector<InheritedSocket>& sockets_;
  std::vector<int> copies_;
  char* pid_digits_ = nullptr;  ///< in the environment; zero bytes until `take_effect`
};

std::vector<char*> null_terminated(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

void limit(int resource, const std::optional<std::size_t>& most) {
  if (!most) return;
  const rlimit both{*most, *most};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &both) != 0) ::_exit(126);
}

/// Becomes the binary under test. Between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(char* const* arguments, char* const* environment, const Launch& launch,
                         Inheritance& inheritance, pid_t parent, int input, int output, int log) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  if (input >= 0 && ::dup2(input, STDIN_FILENO) < 0) ::_exit(126);
  if (::dup2(output, STDOUT_FILENO) < 0 || ::dup2(log, STDERR_FILENO) < 0) ::_exit(126);
  if (!inheritance.take_effect()) ::_exit(126);
  limit(RLIMIT_NOFILE, launch.max_open_files);
  limit(RLIMIT_FSIZE, launch.max_file_size);
  if (launch.max_file_size) ::signal(SIGXFSZ, SIG_IGN);
  if (launch.close_standard_error) ::close(STDERR_FILENO);
  ::execve(arguments[0], arguments, environment);
  ::_exit(127);
}

/// Appends what can be read to `text`. False at the end.
bool read_some(int descriptor, std::string& text) {
  std::array<char, 16'384> bytes;
  const ssize_t size = ::read(descriptor, bytes.data(), bytes.size());
  if (size > 0) text.append(bytes.data(), static_cast<std::size_t>(size));
  return size > 0 || (size < 0 && errno == EINTR);
}

/// The first complete line of `log` that contains `text`.
std::optional<std::string> find_line(const std::string& log, std::string_view text) {
  std::size_t start = 0;
  for (std::size_t end; (end = log.find('\n', start)) != std::string::npos; start = end + 1) {
    const std::string_view line = std::string_view(log).substr(start, end - start);
    if (line.find(text) != std::string_view::npos) return std::string(line);
  }
  return std::nullopt;
}

}  // namespace

// The one of this build, unless the environment names another.
std::string binary() {
  const char* const chosen = std::getenv("DFLOCKD_BINARY");
  return chosen != nullptr ? chosen : DFLOCKD_BINARY;
}

Process::Process(const Launch& launch) {
  std::vector<std::string> words{launch.program.empty() ? binary() : launch.program};
  words.insert(words.end(), launch.flags.begin(), launch.flags.end());
  const std::vector<char*> arguments = null_terminated(words);
  std::vector<std::string> variables = environment_of(launch);
  Inheritance inheritance(launch.inherited_sockets, variables);
  const std::vector<char*> environment = null_terminated(variables);

  std::array<int, 2> input{-1, -1};
  std::array<int, 2> output;
  std::array<int, 2> log;
  if (launch.takes_input && ::pipe2(input.data(), O_CLOEXEC) != 0) fail("pipe2");
  if (::pipe2(output.data(), O_CLOEXEC) != 0 || ::pipe2(log.data(), O_CLOEXEC) != 0) fail("pipe2");
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) {
    become(arguments.data(), environment.data(), launch, inheritance, parent, input[0], output[1],
           log[1]);
  }
  if (launch.takes_input) ::close(input[0]);
  input_ = input[1];
  ::close(output[1]);
  ::close(log[1]);
  collector_ = std::thread([this, output, log] { collect_output(output[0], log[0]); });
}

Process::~Process() {
  if (running()) {
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  collector_.join();
  if (input_ >= 0) ::close(input_);
}

void Process::collect_output(int output, int log) {
  std::array<pollfd, 2> sources{{{output, POLLIN, 0}, {log, POLLIN, 0}}};
  while (sources[0].fd >= 0 || sources[1].fd >= 0) {
    if (::poll(sources.data(), sources.size(), -1) < 0) continue;
    const std::lock_guard lock(mutex_);
    for (pollfd& source : sources) {
      if (source.fd < 0 || source.revents == 0) continue;
      if (!read_some(source.fd, source.fd == output ? output_ : log_)) source.fd = -1;
    }
    changed_.notify_all();
  }
  ::close(output);
  ::close(log);
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

std::string Process::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

std::string Process::output() const {
  const std::lock_guard lock(mutex_);
  return output_;
}

std::optional<std::string> Process::wait_for_line(const std::string& stream, std::string_view text,
                                                  Duration patience) const {
  std::optional<std::string> line;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [&] {
    line = find_line(stream, text);
    return line || ended_;
  });
  return line;
}

std::optional<std::string> Process::wait_for_log_line(std::string_view text,
                                                      Duration patience) const {
  return wait_for_line(log_, text, patience);
}

std::optional<std::string> Process::wait_for_output_line(std::string_view text,
                                                         Duration patience) const {
  return wait_for_line(output_, text, patience);
}

void Process::type(std::string_view text) {
  if (::write(input_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) fail("write");
}

void Process::signal(int number) {
  if (running()) ::kill(pid_, number);
}

bool Process::running() {
  if (exit_status_) return false;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return true;
  exit_status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

int Process::wait_for_exit(Duration patience) {
  if (!eventually([this] { return !running(); }, patience)) {
    throw std::runtime_error("the process does not exit");
  }
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kPatience, [this] { return ended_; });
  return *exit_status_;
}

std::chrono::nanoseconds Process::cpu_time() const {
  clockid_t clock = 0;
  timespec time{};
  if (::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &time) != 0) {
    fail("processor time of the child");
  }
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

std::size_t Process::resident_memory() const {
  std::ifstream statm("/proc/" + std::to_string(pid_) + "/statm");
  std::size_t total_pages = 0;
  std::size_t resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) fail("memory of the child");
  return resident_pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace dflockd::test
