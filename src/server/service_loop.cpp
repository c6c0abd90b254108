#include "server/service_loop.hpp"

#include <system_error>
#include <utility>

#include <sys/random.h>

namespace dflockd::server {

ServiceLoop::ServiceLoop(asio::io_context& context, base::LoopClock& clock,
                         const service::ServiceOptions& options, FenceSource fences)
    : clock_(clock),
      timer_(context.get_executor()),
      service_(
          options, clock, *this,
          {.first = fences.first, .end = fences.end, .can_be_reserved = fences.reserver != nullptr},
          ::getrandom),
      reserver_(std::move(fences.reserver)),
      reservation_ready_(context.get_executor()) {
  net::spawn(context, run_timer());
  if (reserver_ != nullptr) net::spawn(context, collect_reservations());
}

ServiceLoop::~ServiceLoop() {
  // The descriptor belongs to the reserver.
  if (reservation_ready_.is_open()) reservation_ready_.release();
}

void ServiceLoop::stop() {
  stopped_ = true;
  timer_.cancel();
  std::error_code ignored;
  if (reservation_ready_.is_open()) reservation_ready_.cancel(ignored);
}

void ServiceLoop::set_timer(locks::Instant deadline) {
  timer_.expires_at(base::BootClock::time_point(deadline));
}

/// Brings the table up to date whenever a deadline comes. Moving the timer wakes this up, to wait
/// again for the new time.
net::Awaitable ServiceLoop::run_timer() {
  timer_.expires_at(base::BootClock::time_point::max());
  while (!stopped_) {
    std::error_code moved;
    co_await timer_.async_wait(net::into(moved));
    if (moved) continue;
    clock_.refresh();
    service_.on_timer();
  }
}

void ServiceLoop::reserve_fences(std::uint64_t count) {
  reserver_->request(count);
}

/// Takes in what the reserver's thread has done.
net::Awaitable ServiceLoop::collect_reservations() {
  reservation_ready_.assign(reserver_->notify_fd());
  while (!stopped_) {
    std::error_code stopped;
    co_await reservation_ready_.async_wait(asio::posix::descriptor_base::wait_read,
                                           net::into(stopped));
    if (stopped) continue;
    const auto result = reserver_->take_result();
    if (!result) continue;
    clock_.refresh();
    service_.take_reservation(*result);
  }
}

}  // namespace dflockd::server
