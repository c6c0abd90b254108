#include "fencing/fence_reserver.hpp"

#include <cassert>
#include <cerrno>
#include <utility>

#include <signal.h>
#include <sys/eventfd.h>

namespace dflockd::fencing {
namespace {

/// Blocks every signal for the calling thread, and for those it starts meanwhile.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

FenceReserver::FenceReserver(FenceFile file)
    : file_(std::move(file)), notify_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd") {
  const SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void FenceReserver::request(std::uint64_t step) {
  assert(step > 0);
  if (busy_) return;
  busy_ = true;
  {
    const std::lock_guard lock(mutex_);
    requested_ = step;
  }
  requested_changed_.notify_one();
}

std::optional<FenceReserver::Result> FenceReserver::take_result() {
  const std::lock_guard lock(mutex_);
  if (!result_) return std::nullopt;
  eventfd_t count = 0;
  [[maybe_unused]] const int drained = ::eventfd_read(notify_.get(), &count);
  assert(drained == 0);
  busy_ = false;
  return std::exchange(result_, std::nullopt);
}

/// Whatever goes wrong is an error of this reservation only. Nothing in it changes before its end.
std::error_code FenceReserver::reserve(std::uint64_t step) noexcept {
  try {
    return file_.reserve(step);
  } catch (const std::system_error& error) {
    return error.code();
  } catch (...) {
    return std::make_error_code(std::errc::state_not_recoverable);
  }
}

void FenceReserver::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (requested_changed_.wait(lock, stop, [this] { return requested_ > 0; })) {
    const std::uint64_t step = std::exchange(requested_, 0);
    lock.unlock();
    const std::error_code error = reserve(step);
    lock.lock();
    result_ = Result{.error = error, .end = file_.range().end};
    [[maybe_unused]] const int signalled = ::eventfd_write(notify_.get(), 1);
    assert(signalled == 0);
  }
}

}  // namespace dflockd::fencing
