#include "client/socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "client/failure.hpp"
#include "client/process.hpp"

namespace dflockd::client {
namespace {

base::Descriptor connect_to(const addrinfo& address, const Limits& limits) {
  base::Descriptor socket = open_socket(address.ai_family);
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) throw system_failure(errc::connection, errno);
    wait_for(socket.get(), POLLOUT, limits);
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) throw system_failure(errc::connection, error);
  }
  return socket;
}

/// Rounded up, so that a wait does not end before its deadline.
int poll_timeout(Clock::time_point deadline) {
  if (deadline == Clock::time_point::max()) return -1;
  constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24);  // and then once more
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), kLongest).count());
}

}  // namespace

void wait_for(int descriptor, short events, const Limits& limits) {
  const Cancellation* const cancellation = limits.cancellation;
  std::array<pollfd, 2> polled{{{.fd = descriptor, .events = events, .revents = 0},
                                {.fd = cancellation != nullptr ? cancellation->descriptor() : -1,
                                 .events = POLLIN,
                                 .revents = 0}}};
  for (;;) {
    if (cancellation != nullptr && cancellation->raised()) {
      throw Failure(errc::canceled, "canceled");
    }
    const int ready = ::poll(polled.data(), polled.size(), poll_timeout(limits.deadline));
    if (ready < 0 && errno != EINTR) throw system_failure(errc::connection, errno);
    if (ready > 0 && polled[1].revents != 0) {
      if (polled[1].revents != POLLIN) throw Failure(errc::connection, "cannot wait");
      cancellation->forget();
    }
    if (ready > 0 && polled[0].revents != 0) return;
    if (Clock::now() >= limits.deadline) {
      throw Failure(errc::timeout, "no answer in time");
    }
  }
}

LookUp::LookUp(Endpoint endpoint)
    : endpoint_(std::move(endpoint)), done_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!done_.is_open()) throw system_failure(errc::connection, errno);
}

std::shared_ptr<LookUp> LookUp::begin(const Endpoint& endpoint) {
  const std::shared_ptr<LookUp> begun(new LookUp(endpoint));
  const auto run = [begun](int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const Endpoint& where = begun->endpoint_;
    begun->status_ = ::getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &list);
    if (begun->status_ == 0) begun->found_.reset(list);
  };
  const auto finish = [begun] {
    begun->finished_.store(true, std::memory_order_release);
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t size = ::write(begun->done_.get(), &one, sizeof one);
  };
  run(AI_NUMERICHOST);  // an address needs no look-up
  if (begun->found_ != nullptr) {
    finish();
  } else {
    start_quiet_thread([run, finish] {
      run(0);
      finish();
    }).detach();
  }
  return begun;
}

const addrinfo* LookUp::addresses() const {
  // Looked at first: it is what makes the other thread's writes visible here.
  if (!is_done() || found_ == nullptr) {
    throw Failure(errc::connection,
                  "cannot resolve " + in_quotes(endpoint_.host) + ": " + ::gai_strerror(status_));
  }
  return found_.get();
}

base::Descriptor open_socket(int family) {
  base::Descriptor socket(
      ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!socket.is_open()) throw system_failure(errc::connection, errno);
  const auto set = [&socket](int level, int name, int value) {
    ::setsockopt(socket.get(), level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  return socket;
}

base::Descriptor connect_to(const Endpoint& endpoint, const Limits& limits) {
  const std::shared_ptr<LookUp> look_up = LookUp::begin(endpoint);
  while (!look_up->is_done()) wait_for(look_up->descriptor(), POLLIN, limits);
  const addrinfo* const addresses = look_up->addresses();
  int left = 0;
  for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) ++left;
  for (const addrinfo* address = addresses;; address = address->ai_next, --left) {
    Limits share = limits;  // an address that does not answer leaves time for the others
    const Clock::time_point now = Clock::now();
    if (limits.deadline > now) share.deadline = now + (limits.deadline - now) / left;
    try {
      return connect_to(*address, share);
    } catch (const Failure& failure) {
      if (address->ai_next == nullptr || failure.code() == errc::canceled) throw;
    }
  }
}

}  // namespace dflockd::client
