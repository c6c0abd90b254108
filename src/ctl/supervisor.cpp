#include "ctl/supervisor.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/processes.hpp"

namespace dflockd::ctl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long what the command leaves in its group has between SIGTERM and SIGKILL.
constexpr seconds kLeftoverGrace{2};
/// How often it is looked whether that has ended.
constexpr int kLeftoverLook = 20;  // ms

class Supervisor {
 public:
  explicit Supervisor(const Supervision& supervision) : given_(supervision) {}

  [[noreturn]] void run() {
    prepare();
    start();
    for (;;) {
      arm();
      await();
      carry_out_orders();
      look_at_children();
      enforce_deadline();
      if (doomed_) kill_all();
      if (leader_ended_) end_leftovers();
    }
  }

 private:
  void prepare() {
    ::prctl(PR_SET_NAME, "dflockctl-guard");
    ::setpgid(0, 0);  // what a terminal sends to dflockctl's group is not for this process
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    children_ = ::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    timer_ = ::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (children_ < 0 || timer_ < 0) ::_exit(1);  // dflockctl reads the end of the socket
  }

  void start() {
    const pid_t self = ::getpid();
    leader_ = ::_Fork();  // fork(2) without the handlers that are not async-signal-safe
    if (leader_ == 0) become_command(self);
    if (leader_ < 0) {
      report(Event::Kind::kExecFailed, errno);
      ::_exit(1);
    }
    ::setpgid(leader_, leader_);  // the child does it too; either may come first
    report(Event::Kind::kStarted, leader_);
  }

  [[noreturn]] void become_command(pid_t supervisor) const {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != supervisor) ::_exit(1);
    if (given_.terminal >= 0) ::tcsetpgrp(given_.terminal, ::getpid());
    ::sigaction(SIGCHLD, &given_.child_disposition, nullptr);
    ::sigprocmask(SIG_SETMASK, &given_.signal_mask, nullptr);
    ::execvpe(given_.arguments[0], given_.arguments, given_.environment);
    report(Event::Kind::kExecFailed, errno);
    ::_exit(1);
  }

  void report(Event::Kind kind, int value) const {
    const Event event{.kind = kind, .value = value};
    [[maybe_unused]] const ssize_t size = ::send(given_.socket, &event, sizeof event, MSG_NOSIGNAL);
  }

  /// The timer, for what the deadline demands next.
  void arm() const {
    const auto margin = terminated_ ? given_.margins.kill : given_.margins.terminate;
    const auto time = (given_.deadline->get() - margin).time_since_epoch();
    const auto since = std::max(time, client::Clock::duration(1));
    const auto whole = std::chrono::duration_cast<seconds>(since);
    itimerspec spec{};
    spec.it_value.tv_sec = whole.count();
    spec.it_value.tv_nsec = (since - whole).count();
    ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
  }

  void await() const {
    std::array<pollfd, 3> polled{{{.fd = given_.socket, .events = POLLIN, .revents = 0},
                                  {.fd = children_, .events = POLLIN, .revents = 0},
                                  {.fd = timer_, .events = POLLIN, .revents = 0}}};
    ::poll(polled.data(), polled.size(), leader_ended_ ? kLeftoverLook : -1);
    signalfd_siginfo ignored{};
    while (::read(children_, &ignored, sizeof ignored) > 0) continue;
  }

  void carry_out_orders() {
    Order order;
    for (;;) {
      const ssize_t size = ::recv(given_.socket, &order, sizeof order, 0);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (size != sizeof order) {
        doomed_ = true;  // dflockctl is dead
        return;
      }
      carry_out(order);
    }
  }

  void carry_out(const Order& order) {
    switch (order.kind) {
      case Order::Kind::kSignal:
        if (order.value == SIGCONT) stopped_ = false;
        if (!frozen_ || order.value != SIGCONT) ::kill(-leader_, order.value);
        return;
      case Order::Kind::kFreeze:
        if (terminated_) return;  // it shall be able to end
        frozen_ = true;
        signal_all(SIGSTOP);
        return;
      case Order::Kind::kThaw:
        thaw();
        return;
      case Order::Kind::kKill:
        doomed_ = true;
        return;
    }
  }

  /// What a terminal has stopped stays so.
  void thaw() {
    if (!frozen_) return;
    frozen_ = false;
    if (stopped_) {
      signal_descendants(::getpid(), {}, SIGCONT, leader_);
    } else {
      signal_all(SIGCONT);
    }
  }

  /// The group at once, and those who left it.
  void signal_all(int signal) const {
    ::kill(-leader_, signal);
    signal_descendants(::getpid(), {}, signal, leader_);
  }

  /// Notes what became of the command, and reaps what was left to this process. The command stays a
  /// zombie, so that its number, which is its group's too, cannot be reused.
  void look_at_children() {
    siginfo_t info{};
    while (!leader_ended_ && ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0) {
      leader_ended_ = info.si_pid == leader_;
      if (!leader_ended_) ::waitpid(info.si_pid, nullptr, 0);
      info = {};
    }
    info = {};
    if (::waitid(P_PID, static_cast<id_t>(leader_), &info, WSTOPPED | WNOHANG) != 0) return;
    if (info.si_pid == 0 || frozen_) return;
    stopped_ = true;
    report(Event::Kind::kStopped, info.si_status);
  }

  void enforce_deadline() {
    const client::Clock::time_point now = client::Clock::now();
    const client::Clock::time_point deadline = given_.deadline->get();
    if (now >= deadline - given_.margins.kill) {
      doomed_ = true;
      report(Event::Kind::kEnforced, SIGKILL);
    } else if (now < deadline - given_.margins.terminate) {
      terminated_ = false;
    } else if (!terminated_) {
      terminated_ = true;
      frozen_ = false;
      stopped_ = false;
      ::kill(-leader_, SIGTERM);
      signal_all(SIGCONT);  // what is stopped cannot end itself
      report(Event::Kind::kEnforced, SIGTERM);
    }
  }

  /// The command has ended. What it left in its group would run on without the lock.
  void end_leftovers() {
    if (!is_group_alive(leader_)) finish();
    const client::Clock::time_point now = client::Clock::now();
    if (leftovers_end_ == client::Clock::time_point()) {
      leftovers_end_ = now + kLeftoverGrace;
      ::kill(-leader_, SIGTERM);
      ::kill(-leader_, SIGCONT);
    } else if (now >= leftovers_end_) {
      ::kill(-leader_, SIGKILL);
    }
  }

  [[noreturn]] void kill_all() {
    for (Nap nap;; nap.take()) {
      ::kill(-leader_, SIGKILL);
      const std::size_t alive = signal_descendants(::getpid(), {}, SIGKILL);
      look_at_children();
      if (alive == 0) finish();
    }
  }

  [[noreturn]] void finish() const {
    int status = 0;
    ::waitpid(leader_, &status, 0);
    report(Event::Kind::kEnded, status);
    ::_exit(0);
  }

  const Supervision& given_;
  int children_ = -1;  ///< readable on SIGCHLD
  int timer_ = -1;
  pid_t leader_ = -1;  ///< the command, and its group
  bool leader_ended_ = false;
  bool stopped_ = false;     ///< by the terminal, or by a signal
  bool frozen_ = false;      ///< by us
  bool terminated_ = false;  ///< because of the deadline
  bool doomed_ = false;
  client::Clock::time_point leftovers_end_;
};

}  // namespace

Margins Margins::of(seconds lease) {
  const auto length =
      milliseconds(std::min(lease, seconds(60)));  // and the product cannot overflow
  return {.terminate = std::min<milliseconds>(length / 3, seconds(10)),
          .kill = std::min<milliseconds>(length / 10, seconds(1))};
}

void supervise(const Supervision& supervision) {
  Supervisor(supervision).run();
}

}  // namespace dflockd::ctl
