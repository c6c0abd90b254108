#include <utility>

#include <dflockd/contender.hpp>
#include <dflockd/lock.hpp>
#include <dflockd/semaphore.hpp>

#include "base/terms.hpp"
#include "client/arguments.hpp"
#include "client/contender_impl.hpp"
#include "client/failure.hpp"

namespace dflockd {

using client::Clock;
using client::Failure;
using client::Renewer;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

int checked(int limit) {
  try {
    client::check_limit(limit);
  } catch (const client::Failure& failure) {
    throw client::to_error(failure, "", "");
  }
  return limit;
}

}  // namespace

Contender::Contender(LockOptions options, int limit) {
  try {
    impl_ = std::make_unique<Impl>(std::move(options), limit);
  } catch (const Failure& failure) {
    throw client::to_error(failure, "", "");
  }
}

/// Before `impl_` goes: `on_renew_error` may be using it.
void Contender::end() noexcept {
  if (impl_ == nullptr) return;
  if (impl_->is_ours()) {
    impl_->finish();
  } else {
    // Threads of the parent may be waiting in it, as far as the child can see: it stays.
    impl_.release()->close_in_child();
  }
}

Contender::~Contender() {
  end();
}

Contender::Contender(Contender&& other) noexcept = default;

Contender& Contender::operator=(Contender&& other) noexcept {
  if (this != &other) {
    end();
    impl_ = std::move(other.impl_);
  }
  return *this;
}

bool Contender::acquire() {
  return acquire(std::stop_token());
}

bool Contender::acquire(std::error_code& error) noexcept {
  return acquire(std::stop_token(), error);
}

bool Contender::acquire(std::stop_token stop) {
  return acquire_for(impl_->options().acquire_timeout, std::move(stop));
}

bool Contender::acquire(std::stop_token stop, std::error_code& error) noexcept {
  return acquire_for(impl_->options().acquire_timeout, std::move(stop), error);
}

bool Contender::try_acquire() {
  return acquire_for(milliseconds(0));
}

bool Contender::try_acquire(std::error_code& error) noexcept {
  return acquire_for(milliseconds(0), error);
}

bool Contender::try_acquire(std::stop_token stop) {
  return acquire_for(milliseconds(0), std::move(stop));
}

bool Contender::try_acquire(std::stop_token stop, std::error_code& error) noexcept {
  return acquire_for(milliseconds(0), std::move(stop), error);
}

bool Contender::acquire_for(milliseconds timeout) {
  return acquire_for(timeout, std::stop_token());
}

bool Contender::acquire_for(milliseconds timeout, std::error_code& error) noexcept {
  return acquire_for(timeout, std::stop_token(), error);
}

bool Contender::acquire_for(milliseconds timeout, std::stop_token stop) {
  return impl_->report("acquire", [&] { return impl_->acquire(timeout, stop); });
}

bool Contender::acquire_for(milliseconds timeout, std::stop_token stop,
                            std::error_code& error) noexcept {
  return client::report_code_or_timeout(error,
                                        [&] { return acquire_for(timeout, std::move(stop)); });
}

EnqueueStatus Contender::enqueue() {
  return enqueue(std::stop_token());
}

EnqueueStatus Contender::enqueue(std::error_code& error) noexcept {
  return enqueue(std::stop_token(), error);
}

EnqueueStatus Contender::enqueue(std::stop_token stop) {
  return impl_->report("enqueue for", [&] { return impl_->enqueue(stop); });
}

EnqueueStatus Contender::enqueue(std::stop_token stop, std::error_code& error) noexcept {
  return client::report_code(error, [&] { return enqueue(std::move(stop)); });
}

bool Contender::wait(milliseconds timeout) {
  return wait(timeout, std::stop_token());
}

bool Contender::wait(milliseconds timeout, std::error_code& error) noexcept {
  return wait(timeout, std::stop_token(), error);
}

bool Contender::wait(milliseconds timeout, std::stop_token stop) {
  return impl_->report("wait for", [&] { return impl_->wait(timeout, stop); });
}

bool Contender::wait(milliseconds timeout, std::stop_token stop, std::error_code& error) noexcept {
  return client::report_code_or_timeout(error, [&] { return wait(timeout, std::move(stop)); });
}

void Contender::release() {
  release(std::stop_token());
}

void Contender::release(std::error_code& error) noexcept {
  release(std::stop_token(), error);
}

void Contender::release(std::stop_token stop) {
  impl_->report("release", [&] { impl_->release(stop); });
}

void Contender::release(std::stop_token stop, std::error_code& error) noexcept {
  client::report_code(error, [&] { release(std::move(stop)); });
}

void Contender::close() noexcept {
  impl_->close();
}

bool Contender::held() const noexcept {
  const auto renewal = impl_->renewal();
  return renewal != nullptr && renewal->is_held(Clock::now());
}

milliseconds Contender::remaining() const noexcept {
  const auto renewal = impl_->renewal();
  const Clock::time_point now = Clock::now();
  if (renewal == nullptr || !renewal->is_held(now)) return milliseconds(0);
  return std::chrono::duration_cast<milliseconds>(renewal->end() - now);
}

std::string Contender::token() const {
  const auto renewal = impl_->renewal();
  return renewal != nullptr ? renewal->terms().grant.token : "";
}

std::uint64_t Contender::fence() const noexcept {
  const auto renewal = impl_->renewal();
  return renewal != nullptr ? renewal->terms().grant.fence() : 0;
}

seconds Contender::lease_ttl() const noexcept {
  const auto renewal = impl_->renewal();
  return renewal != nullptr ? renewal->terms().grant.lease_ttl : seconds(0);
}

const std::string& Contender::key() const noexcept {
  return impl_->options().key;
}

const std::string& Contender::server() const noexcept {
  return impl_->server();
}

bool Contender::wait_lost(std::stop_token stop) const {
  const auto renewal = impl_->renewal();
  return renewal != nullptr && Renewer::instance().wait_lost(*renewal, std::move(stop));
}

void Contender::acquire_without_timeout() {
  impl_->report("acquire", [&] { impl_->acquire_without_timeout(); });
}

Lock::Lock(LockOptions options) : Contender(std::move(options), 0) {}

void Lock::lock() {
  acquire_without_timeout();
}

void Lock::unlock() noexcept {
  std::error_code ignored;
  release(ignored);
}

std::chrono::milliseconds Lock::in_range(std::chrono::duration<double> timeout) {
  if (timeout <= timeout.zero()) return std::chrono::milliseconds(0);
  if (timeout >= base::kMaxSeconds) return base::kMaxSeconds;
  return std::chrono::ceil<std::chrono::milliseconds>(timeout);
}

Semaphore::Semaphore(const SemaphoreOptions& options)
    : Contender(options, checked(options.limit)), limit_(options.limit) {}

}  // namespace dflockd
