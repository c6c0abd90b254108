#include "ctl/signals.hpp"

#include <array>
#include <cstdint>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace dflockd::ctl {
namespace {

constexpr std::initializer_list<int> kEnding{SIGTERM, SIGINT, SIGHUP, SIGQUIT};

/// Linux keeps a blocked signal for who may read it even if it is ignored.
sigset_t without_ignored(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

sigset_t block_signals(std::initializer_list<int> signals) {
  const sigset_t set = without_ignored(signals);
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &set, &before);
  return before;
}

void unblock_ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kEnding) sigaddset(&set, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

base::Descriptor open_signals(std::initializer_list<int> signals) {
  const sigset_t set = without_ignored(signals);
  return {::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"};
}

Interruption::Interruption()
    : mask_(block_signals(kEnding)),
      signals_(open_signals(kEnding)),
      done_(::eventfd(0, EFD_CLOEXEC), "eventfd"),
      thread_([this] { listen(); }) {}

Interruption::~Interruption() {
  end();
}

int Interruption::end() {
  if (thread_.joinable()) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t size = ::write(done_.get(), &one, sizeof one);
    thread_.join();
  }
  return signal_;
}

void Interruption::listen() {
  std::array<pollfd, 2> polled{{{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                {.fd = done_.get(), .events = POLLIN, .revents = 0}}};
  while (::poll(polled.data(), polled.size(), -1) < 0) continue;  // EINTR
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  signal_ = static_cast<int>(info.ssi_signo);
  stop_.request_stop();
}

}  // namespace dflockd::ctl
