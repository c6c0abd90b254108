#include "support/notify_socket.hpp"

#include <array>
#include <cerrno>
#include <system_error>

#include <poll.h>
#include <unistd.h>

namespace dflockd::test {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

constexpr socklen_t kNameAt = offsetof(sockaddr_un, sun_path);

}  // namespace

NotifySocket::NotifySocket(Kind kind) : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  if (socket_ < 0) fail("socket");
  if (kind == Kind::kPath) {
    bind_in_directory();
  } else {
    bind_to_free_name();
  }
}

NotifySocket::~NotifySocket() {
  ::close(socket_);
}

void NotifySocket::bind_in_directory() {
  path_ = directory_.emplace().file("socket");
  path_.copy(address_.sun_path, sizeof address_.sun_path - 1);
  address_size_ = sizeof address_;
  if (::bind(socket_, address(), address_size_) != 0) fail("bind");
}

/// The system picks the name if there is none in the address.
void NotifySocket::bind_to_free_name() {
  if (::bind(socket_, address(), kNameAt) != 0) fail("bind");
  address_size_ = sizeof address_;
  if (::getsockname(socket_, address(), &address_size_) != 0) fail("getsockname");
  path_.assign(address_.sun_path, address_size_ - kNameAt);
  path_[0] = '@';
}

bool NotifySocket::receive(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  pollfd waiting{socket_, POLLIN, 0};
  if (::poll(&waiting, 1, static_cast<int>(std::max(left, 0ms).count())) <= 0) return false;
  std::array<char, 65'536> bytes;
  const ssize_t size = ::recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (size < 0) fail("recv");
  messages_.emplace_back(bytes.data(), static_cast<std::size_t>(size));
  return true;
}

std::optional<std::string> NotifySocket::wait_for(std::string_view text, Duration patience) {
  const auto deadline = Clock::now() + patience;
  do {
    while (looked_at_ < messages_.size()) {
      const std::string& message = messages_[looked_at_++];
      if (message.find(text) != std::string::npos) return message;
    }
  } while (receive(deadline));
  return std::nullopt;
}

const std::vector<std::string>& NotifySocket::messages() {
  while (receive(Clock::now())) continue;
  return messages_;
}

void NotifySocket::fill() {
  // A sender may come to the limit of its own memory first: the queue is full when a new one cannot
  // send at all.
  while (send_fillers()) continue;
}

/// Sends from a new socket for as long as that can be done at once. False if it never could.
bool NotifySocket::send_fillers() {
  constexpr std::string_view kFiller = "FILLER=1";
  const int sender = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sender < 0) fail("socket");
  bool sent = false;
  while (::sendto(sender, kFiller.data(), kFiller.size(), MSG_DONTWAIT, address(), address_size_) >=
         0) {
    sent = true;
  }
  const bool full = errno == EAGAIN;
  ::close(sender);
  if (!full) fail("sendto");
  return sent;
}

}  // namespace dflockd::test
