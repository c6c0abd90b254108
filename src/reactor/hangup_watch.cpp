#include "reactor/hangup_watch.hpp"

#include <array>
#include <cerrno>
#include <span>

#include <sys/epoll.h>

#include "reactor/connection_watch.hpp"

namespace dflockd::reactor {

namespace {

int create_epoll() {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  return epoll;
}

}  // namespace

HangupWatch::HangupWatch(asio::io_context& context)
    : epoll_(context.get_executor(), create_epoll()) {}

void HangupWatch::add(int socket, Watched& connection) {
  epoll_event event{};
  event.events = EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  if (::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, socket, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
}

net::Awaitable HangupWatch::run() {
  for (std::error_code stopped; !stopped;) {
    co_await epoll_.async_wait(asio::posix::descriptor_base::wait_read, net::into(stopped));
    if (!stopped) tell();
  }
}

void HangupWatch::stop() {
  std::error_code ignored;
  epoll_.cancel(ignored);
}

void HangupWatch::tell() {
  std::array<epoll_event, 128> events{};
  for (;;) {
    const int count = ::epoll_wait(epoll_.native_handle(), events.data(), events.size(), 0);
    if (count <= 0) return;
    for (const epoll_event& event : std::span(events).first(static_cast<std::size_t>(count))) {
      const bool whole = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
      static_cast<Watched*>(event.data.ptr)->on_hangup(whole);
    }
  }
}

}  // namespace dflockd::reactor
