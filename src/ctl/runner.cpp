#include "ctl/runner.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <system_error>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/options.hpp"
#include "ctl/processes.hpp"
#include "ctl/signals.hpp"
#include "ctl/text.hpp"

namespace dflockd::ctl {
namespace {

using std::chrono::milliseconds;

/// How often it is looked whether the lock is still held for certain. The library tells at once
/// when it is lost, but not when its connection has ended, which says that it may be.
constexpr int kLook = 50;  // ms

/// How long the supervisor may take to kill everybody before this process does it.
constexpr milliseconds kPatience{500};

constexpr std::initializer_list<int> kForwarded{SIGTERM, SIGINT,  SIGHUP,  SIGQUIT,
                                                SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP,
                                                SIGTTIN, SIGTTOU, SIGWINCH};

std::vector<std::string> make_environment(const Contender& lock) {
  std::vector<std::string> variables{"DFLOCKD_KEY=" + lock.key(), "DFLOCKD_TOKEN=" + lock.token(),
                                     "DFLOCKD_FENCE=" + std::to_string(lock.fence())};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("DFLOCKD_KEY=") || text.starts_with("DFLOCKD_TOKEN=") ||
        text.starts_with("DFLOCKD_FENCE=")) {
      continue;  // of a lock around this one
    }
    variables.emplace_back(text);
  }
  return variables;
}

std::vector<char*> null_terminated(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

Deadline* make_shared_deadline() {
  void* const memory =
      ::mmap(nullptr, sizeof(Deadline), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  return new (memory) Deadline;  // until the process ends
}

std::vector<pid_t> own_children() {
  std::vector<pid_t> children(4096);
  children.resize(children_of(::getpid(), children));
  return children;
}

}  // namespace

Loss::Loss() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd") {}

void Loss::report(const Error& error) {
  const std::lock_guard guard(mutex_);
  reason_ = error.what();
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t size = ::write(descriptor_.get(), &one, sizeof one);
}

std::optional<std::string> Loss::reason() const {
  const std::lock_guard guard(mutex_);
  return reason_;
}

Runner::Runner(Contender& lock, const Loss& loss, std::vector<std::string> command,
               const sigset_t& mask)
    : lock_(lock),
      loss_(loss),
      command_(std::move(command)),
      environment_(make_environment(lock)),
      mask_(mask),
      margins_(Margins::of(lock.lease_ttl())) {}

int Runner::run() {
  block_signals(kForwarded);
  signals_ = open_signals(kForwarded);
  deadline_ = make_shared_deadline();
  publish_deadline();
  start();
  std::array<pollfd, 3> polled{{{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                {.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                {.fd = loss_.descriptor(), .events = POLLIN, .revents = 0}}};
  while (!ended_) {
    // What was lost stays so, and would be readable for ever.
    ::poll(polled.data(), killing_ ? 2 : 3, kLook);
    forward_signals();
    read_events();
    watch_lock();
  }
  return finish();
}

void Runner::start() {
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &by_default, &child_disposition_);  // ignoring it reaps children unseen
  spared_ = own_children();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what a supervisor that was killed leaves comes here
  // The terminal is handed over at once if there can be no other process in the job that needs it,
  // as in `dflockctl ... | less`; else when the command asks for it.
  wants_terminal_ = terminal_.is_ours() && ::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO);

  std::array<int, 2> sockets{};
  constexpr int kType = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
  if (::socketpair(AF_UNIX, kType, 0, sockets.data()) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  socket_ = base::Descriptor(sockets[0]);
  const base::Descriptor theirs(sockets[1]);
  std::vector<char*> arguments = null_terminated(command_);
  std::vector<char*> environment = null_terminated(environment_);
  const Supervision supervision{.arguments = arguments.data(),
                                .environment = environment.data(),
                                .signal_mask = mask_,
                                .child_disposition = child_disposition_,
                                .terminal = wants_terminal_ ? terminal_.descriptor() : -1,
                                .socket = theirs.get(),
                                .deadline = deadline_,
                                .margins = margins_};
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  supervisor_ = ::fork();
  if (supervisor_ == 0) {
    ::close(sockets[0]);
    supervise(supervision);
  }
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (supervisor_ < 0) throw std::system_error(error, std::generic_category(), "fork");
}

void Runner::publish_deadline() {
  const client::Clock::time_point now = client::Clock::now();
  const milliseconds remaining = lock_.remaining();
  if (remaining > remaining.zero()) deadline_->set(now + remaining);
}

void Runner::order(Order::Kind kind, int value) const {
  const Order order{.kind = kind, .value = value};
  // If it is dead, the end of the socket shows it.
  [[maybe_unused]] const ssize_t size = ::send(socket_.get(), &order, sizeof order, MSG_NOSIGNAL);
}

/// Sends the supervisor the state of the lock.
void Runner::watch_lock() {
  const client::Clock::time_point now = client::Clock::now();
  // A supervisor that keeps its word has ended everybody by then; it may have been stopped.
  const bool late = now >= deadline_->get() - margins_.kill / 2;
  if (late && !ended_) note_enforcement(SIGKILL);
  if (late || now >= patience_end_) end_all();
  if (killing_ || ended_) return;
  if (loss_.reason()) {
    killing_ = true;
    patience_end_ = now + kPatience;
    order(Order::Kind::kKill);
    return;
  }
  const bool certain = lock_.held();
  if (certain) publish_deadline();
  if (certain != frozen_) return;
  frozen_ = !certain;
  order(certain ? Order::Kind::kThaw : Order::Kind::kFreeze);
}

void Runner::forward_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGCONT) {
      job_continued();
    } else {
      order(Order::Kind::kSignal, signal);
    }
  }
}

void Runner::read_events() {
  Event event;
  while (!ended_) {
    const ssize_t size = ::recv(socket_.get(), &event, sizeof event, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size == sizeof event) {
      take_note(event);
    } else {
      broken_ = true;
      end_all();
    }
  }
}

void Runner::take_note(const Event& event) {
  switch (event.kind) {
    case Event::Kind::kStarted:
      group_ = event.value;
      return;
    case Event::Kind::kExecFailed:
      exec_error_ = event.value;
      return;
    case Event::Kind::kStopped:
      job_stopped(event.value);
      return;
    case Event::Kind::kEnforced:
      note_enforcement(event.value);
      return;
    case Event::Kind::kEnded:
      status_ = event.value;
      ended_ = true;
      return;
  }
}

void Runner::note_enforcement(int signal) {
  enforced_ = true;
  say(lock_.server() + ": the lease of " + in_quotes(lock_.key()) +
      " could not be renewed; the command is sent " + (signal == SIGTERM ? "SIGTERM" : "SIGKILL"));
}

/// The command was stopped. On a terminal the whole job is then, so that the shell has its prompt
/// back; renewals stop with this process, and the supervisor sees to it that the lease is kept.
void Runner::job_stopped(int signal) {
  if (!terminal_.exists()) return;  // no job control, so nothing would continue this process
  const bool needs_terminal = signal == SIGTTIN || signal == SIGTTOU;
  if (needs_terminal && terminal_.is_ours()) {
    wants_terminal_ = true;
    job_continued();
    return;
  }
  terminal_.take_back(group_);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::kill(0, signal);  // others of a pipeline too; this returns when the job is continued
  block_signals(kForwarded);
  sigset_t pending;
  ::sigpending(&pending);
  // The kernel stops no group without a shell to continue it, and ends those that want a terminal
  // which they cannot have.
  if (needs_terminal && !sigismember(&pending, SIGCONT)) order(Order::Kind::kSignal, SIGHUP);
  job_continued();
}

void Runner::job_continued() {
  if (wants_terminal_ && terminal_.is_ours() && group_ > 0) terminal_.give(group_);
  order(Order::Kind::kSignal, SIGCONT);
}

/// Does the supervisor's work, and kills it if it is there.
void Runner::end_all() {
  if (ended_) return;
  for (Nap nap; signal_descendants(::getpid(), spared_, SIGKILL) > 0; nap.take()) continue;
  ended_ = true;
}

int Runner::finish() {
  int ignored = 0;
  ::waitpid(supervisor_, &ignored, 0);
  terminal_.take_back(group_);
  const int lost = release();
  if (lost != 0) return lost;
  if (exec_error_ != 0) {
    say("cannot execute " + in_quotes(command_.front()) + ": " +
        std::generic_category().message(exec_error_));
    if (broken_) return kFailed;  // it could not even be forked
    return exec_error_ == ENOENT ? kNotFound : kCannotExecute;
  }
  if (broken_) {
    say("the process that watched over the command was killed, so the command was too");
    return kFailed;
  }
  return WIFSIGNALED(status_) ? kSignaled + WTERMSIG(status_) : WEXITSTATUS(status_);
}

/// Releases the lock, or says that it was lost: `kLost`.
int Runner::release() {
  // Unless it was renewed after all.
  if (enforced_ && !loss_.reason() && lock_.remaining() < margins_.terminate) {
    left_lock_ = true;
    return kLost;
  }
  std::error_code error;
  lock_.release(error);
  if (const auto reason = loss_.reason()) {
    say(*reason);
    return kLost;
  }
  if (error == errc::not_held) {
    say(lock_.server() + ": " + in_quotes(lock_.key()) + " was not held to the end of the command");
    return kLost;
  }
  if (error) {
    say(lock_.server() + ": cannot release " + in_quotes(lock_.key()) + ": " + error.message() +
        "; it ends with its lease");
  }
  return enforced_ ? kLost : 0;
}

}  // namespace dflockd::ctl
