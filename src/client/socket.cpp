#include "client/socket.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "client/failure.hpp"
#include "client/quiet_thread.hpp"

namespace dflockd::client {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

/// getaddrinfo(3), which can take as long as it likes.
int look_up(const Endpoint& endpoint, int flags, Addresses& found) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int status = ::getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &list);
  if (status == 0) found.reset(list);
  return status;
}

/// A look-up on a thread of its own, which outlives a caller that has given up.
struct LookUp {
  explicit LookUp(Endpoint where)
      : endpoint(std::move(where)), done(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  Endpoint endpoint;
  Descriptor done;  ///< readable when the two below are there
  int status = 0;
  Addresses found;
  std::atomic<bool> finished = false;
};

Addresses resolve(const Endpoint& endpoint, const Limits& limits) {
  Addresses found;
  if (look_up(endpoint, AI_NUMERICHOST, found) == 0) return found;

  const auto look_up_once = std::make_shared<LookUp>(endpoint);
  if (!look_up_once->done.is_open()) throw system_failure(errc::connection, errno);
  start_quiet_thread([look_up_once] {
    look_up_once->status = look_up(look_up_once->endpoint, 0, look_up_once->found);
    look_up_once->finished.store(true, std::memory_order_release);
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t size = ::write(look_up_once->done.get(), &one, sizeof one);
  }).detach();
  while (!look_up_once->finished.load(std::memory_order_acquire)) {
    wait_for(look_up_once->done.get(), POLLIN, limits);
  }
  if (look_up_once->status != 0) {
    throw Failure(errc::connection, std::string("cannot resolve ") + quoted(endpoint.host) + ": " +
                                        ::gai_strerror(look_up_once->status));
  }
  return std::move(look_up_once->found);
}

Descriptor connect_to(const addrinfo& address, const Limits& limits) {
  Descriptor socket(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!socket.is_open()) throw system_failure(errc::connection, errno);
  set_options(socket.get());
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
      cancellation->forget();
      continue;
    }
    if (ready > 0) return;
    if (ready == 0 && Clock::now() >= limits.deadline) {
      throw Failure(errc::timeout, "no answer in time");
    }
  }
}

Descriptor connect_to(const Endpoint& endpoint, const Limits& limits) {
  const Addresses addresses = resolve(endpoint, limits);
  int left = 0;
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    ++left;
  }
  for (const addrinfo* address = addresses.get();; address = address->ai_next, --left) {
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

void set_options(int socket) {
  const auto set = [socket](int level, int name, int value) {
    ::setsockopt(socket, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace dflockd::client
