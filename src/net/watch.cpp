#include "net/watch.hpp"

#include <array>
#include <cerrno>
#include <span>
#include <system_error>

#include <sys/epoll.h>

#include <asio/post.hpp>

namespace dflockd::net {

namespace {

int create_epoll() {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  return epoll;
}

}  // namespace

Watch::Watch(asio::io_context& context, const base::LoopClock& clock, const Timeouts& timeouts)
    : clock_(clock),
      timeouts_{std::chrono::seconds(0), timeouts.read, timeouts.write, timeouts.idle},
      epoll_(context.get_executor(), create_epoll()) {}

void Watch::add(Watched& connection, int socket) {
  epoll_event event{};
  event.events = EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  if (socket >= 0 && ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, socket, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
  ++size_;
  all_.push_back(connection);
  expect(connection, Deadline::kRead);
}

void Watch::remove(Watched& connection) {
  --size_;
  all_.remove(connection);
  expect(connection, Deadline::kNone);
}

void Watch::expect(Watched& connection, Deadline deadline) {
  const auto list_of = [this](Deadline kind) -> ByTime& {
    return waiting_[static_cast<std::size_t>(kind)];
  };
  if (connection.deadline_ != Deadline::kNone) list_of(connection.deadline_).remove(connection);
  connection.deadline_ = deadline;
  connection.since_ = clock_.awake_now();
  if (deadline != Deadline::kNone) list_of(deadline).push_back(connection);
}

void Watch::tick() {
  for (const Deadline deadline : {Deadline::kRead, Deadline::kWrite, Deadline::kIdle}) {
    const auto kind = static_cast<std::size_t>(deadline);
    if (timeouts_[kind] == std::chrono::seconds::zero()) continue;
    for (;;) {
      Watched* const first = waiting_[kind].front();
      if (first == nullptr || clock_.awake_now() - first->since_ < timeouts_[kind]) break;
      expect(*first, deadline);  // one that is spared is looked at again a timeout later
      first->on_deadline(deadline);
    }
  }
}

bool Watch::drain() {
  bool busy = false;
  for (Watched* connection = all_.front(); connection != nullptr;
       connection = all_.next(*connection)) {
    connection->on_drain();
    busy = busy || connection->is_busy();
  }
  return busy;
}

void Watch::stop() {
  std::error_code ignored;
  epoll_.cancel(ignored);
  for (Watched* connection = all_.front(); connection != nullptr;
       connection = all_.next(*connection)) {
    connection->on_stop();
  }
}

Awaitable Watch::run() {
  for (std::error_code stopped; !stopped;) {
    co_await epoll_.async_wait(asio::posix::descriptor_base::wait_read, into(stopped));
    if (!stopped) tell_hangups();
  }
}

/// A slice of them at a time: a client that is killed takes all its connections with it.
void Watch::tell_hangups() {
  std::array<epoll_event, 256> events{};
  const int count = ::epoll_wait(epoll_.native_handle(), events.data(), events.size(), 0);
  if (count <= 0) return;
  for (const epoll_event& event : std::span(events).first(static_cast<std::size_t>(count))) {
    const bool whole = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
    static_cast<Watched*>(event.data.ptr)->on_hangup(whole);
  }
  if (static_cast<std::size_t>(count) < events.size()) return;
  asio::post(epoll_.get_executor(), [this] { tell_hangups(); });
}

}  // namespace dflockd::net
