#include "stream.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

namespace dflockd::history {

volatile bool stopping = false;

namespace {

using std::chrono::milliseconds;

/// How often the process looks whether it is to stop.
constexpr milliseconds kLook{100};

[[noreturn]] void fail(int error) {
  const bool by_peer = error == ECONNRESET || error == EPIPE || error == ECONNREFUSED;
  throw Lost(std::strerror(error), by_peer);
}

}  // namespace

void rest(std::chrono::nanoseconds length) {
  const auto end = Clock::now() + length;
  while (!stopping) {
    const auto left = end - Clock::now();
    if (left <= Clock::duration::zero()) return;
    std::this_thread::sleep_for(std::min<Clock::duration>(left, kLook));
  }
}

TlsContext trusting(const std::string& file) {
  TlsContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (SSL_CTX_load_verify_locations(context.get(), file.c_str(), nullptr) != 1) {
    throw std::runtime_error("cannot trust " + file);
  }
  return context;
}

Stream::Stream(const Address& address, const TlsContext& tls, Clock::time_point deadline)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  if (socket_ < 0) throw std::system_error(errno, std::generic_category(), "socket");
  try {
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(address.port);
    if (::inet_pton(AF_INET, address.host.c_str(), &to.sin_addr) != 1) fail(EINVAL);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      if (errno != EINPROGRESS) fail(errno);
      wait_for(POLLOUT, deadline);
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) fail(error);
    }
    if (!tls) return;
    ssl_.reset(SSL_new(tls.get()));
    SSL_set_fd(ssl_.get(), socket_);
    for (;;) {
      ERR_clear_error();
      const int result = SSL_connect(ssl_.get());
      if (result == 1) break;
      serve_tls(result, deadline);
    }
  } catch (...) {
    ::close(socket_);
    throw;
  }
}

Stream::~Stream() {
  ssl_.reset();
  if (socket_ >= 0) ::close(socket_);
}

void Stream::reset() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(socket_);
  socket_ = -1;
}

void Stream::wait_for(short events, Clock::time_point deadline) const {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left <= milliseconds::zero() || stopping) throw Impatient();
    pollfd waiting{socket_, events, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::min(left, kLook).count()));
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) fail(errno);
  }
}

void Stream::serve_tls(int result, Clock::time_point deadline) {
  const int saved = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return wait_for(POLLIN, deadline);
    case SSL_ERROR_WANT_WRITE:
      return wait_for(POLLOUT, deadline);
    case SSL_ERROR_SYSCALL:
      fail(saved == 0 ? ECONNRESET : saved);
    default:
      throw Lost("TLS has ended", true);
  }
}

void Stream::send(std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    if (ssl_) {
      ERR_clear_error();
      std::size_t size = 0;
      const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &size);
      if (result != 1) {
        serve_tls(result, deadline);
        continue;
      }
      bytes.remove_prefix(size);
      continue;
    }
    const ssize_t size = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(size));
    } else if (errno == EAGAIN) {
      wait_for(POLLOUT, deadline);
    } else if (errno != EINTR) {
      fail(errno);
    }
  }
}

void Stream::receive(Clock::time_point deadline) {
  std::array<char, 4096> space;
  for (;;) {
    if (ssl_) {
      ERR_clear_error();
      std::size_t size = 0;
      const int result = SSL_read_ex(ssl_.get(), space.data(), space.size(), &size);
      if (result != 1) {
        serve_tls(result, deadline);
        continue;
      }
      unread_.append(space.data(), size);
      return;
    }
    const ssize_t size = ::recv(socket_, space.data(), space.size(), 0);
    if (size == 0) throw Lost("end of the stream", true);
    if (size > 0) {
      unread_.append(space.data(), static_cast<std::size_t>(size));
      return;
    }
    if (errno == EAGAIN) {
      wait_for(POLLIN, deadline);
    } else if (errno != EINTR) {
      fail(errno);
    }
  }
}

std::string Stream::read_line(Clock::time_point deadline) {
  for (;;) {
    const std::size_t end = unread_.find('\n');
    if (end != std::string::npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    receive(deadline);
  }
}

std::string Stream::read_bytes(std::size_t size, Clock::time_point deadline) {
  while (unread_.size() < size) receive(deadline);
  std::string bytes = unread_.substr(0, size);
  unread_.erase(0, size);
  return bytes;
}

}  // namespace dflockd::history
