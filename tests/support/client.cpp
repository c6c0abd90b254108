#include "support/client.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dflockd::test {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void set_option(int socket, int level, int option, int value) {
  if (::setsockopt(socket, level, option, &value, sizeof value) != 0) fail("setsockopt");
}

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};

std::unique_ptr<addrinfo, FreeAddresses> resolved(const std::string& address, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    throw std::runtime_error("not an address: " + address);
  }
  return std::unique_ptr<addrinfo, FreeAddresses>(found);
}

/// Binds to an address, and leaves it to `connect` to pick a port that is free for this server.
void bind_to(int socket, const std::string& address) {
  set_option(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const auto local = resolved(address, 0);
  if (::bind(socket, local->ai_addr, local->ai_addrlen) != 0) fail("bind");
}

/// A connected socket; a negative number if the server does not accept connections.
int connected_socket(const Server& server, std::optional<int> receive_buffer,
                     const Route& route = {}) {
  const auto address = resolved(route.to.empty() ? server.address() : route.to,
                                route.port == 0 ? server.port() : route.port);
  const int socket = ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) fail("socket");
  if (receive_buffer) {
    set_option(socket, SOL_SOCKET, SO_RCVBUF, *receive_buffer);
    // Over the loopback's huge segments the server's side would take in megabytes.
    constexpr int kSmallestSegment = 536;
    set_option(socket, IPPROTO_TCP, TCP_MAXSEG, kSmallestSegment);
  }
  if (!route.from.empty()) bind_to(socket, route.from);
  if (::connect(socket, address->ai_addr, address->ai_addrlen) != 0) {
    const int error = errno;
    ::close(socket);
    errno = error;
    return -1;
  }
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  if (::fcntl(socket, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
  return socket;
}

Grant grant_in(const std::string& reply, const std::string& status) {
  constexpr std::size_t kTokenLength = 32;
  const std::size_t start = status.size() + 1;
  const std::size_t lease = start + kTokenLength + 1;
  const auto only = [&reply](std::size_t from, std::size_t to, const char* allowed) {
    return reply.find_first_not_of(allowed, from) >= to;
  };
  if (reply.size() <= lease || !reply.starts_with(status + " ") || reply[lease - 1] != ' ' ||
      !only(start, lease - 1, "0123456789abcdef") || !only(lease, reply.size(), "0123456789") ||
      reply[lease] == '0') {
    throw std::runtime_error("expected '" + status + " <token> <lease>' and got: " + reply);
  }
  return {reply.substr(start, kTokenLength), std::stoll(reply.substr(lease))};
}

std::string joined(std::string words, std::optional<std::int64_t> number) {
  if (!number) return words;
  if (!words.empty()) words += ' ';
  return words + std::to_string(*number);
}

}  // namespace

std::string Key::command(std::string_view letter) const {
  const bool asks = letter == "l" || letter == "e";
  return (limit ? "s" : shared && asks ? "r" : "") + std::string(letter);
}

std::string Key::arguments(std::optional<std::int64_t> timeout,
                           std::optional<std::int64_t> lease) const {
  return joined(joined(joined("", timeout), limit), lease);
}

Key shared_lock(std::string name) {
  return {.name = std::move(name), .shared = true};
}

Key lock(std::string name) {
  return {std::move(name)};
}

Key semaphore(std::string name, std::uint32_t limit) {
  return {std::move(name), limit};
}

std::uint64_t Grant::fence() const {
  return std::stoull(token.substr(0, 16), nullptr, 16);
}

Grant granted(const std::string& reply) {
  return grant_in(reply, "ok");
}

Grant acquired(const std::string& reply) {
  return grant_in(reply, "acquired");
}

std::string request_bytes(std::string_view command, std::string_view key,
                          std::string_view argument) {
  std::string bytes;
  for (const std::string_view line : {command, key, argument}) bytes.append(line) += '\n';
  return bytes;
}

std::string repeated(std::size_t count, std::string_view bytes) {
  std::string all;
  all.reserve(count * bytes.size());
  while (count-- > 0) all += bytes;
  return all;
}

Client::Client(const Server& server, std::optional<int> receive_buffer)
    : socket_(connected_socket(server, receive_buffer)) {
  if (socket_ < 0) fail("connect");
}

Client::Client(const Server& server, const Route& route)
    : socket_(connected_socket(server, {}, route)) {
  if (socket_ < 0) fail("connect");
}

Client::Client(Client&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      unread_(std::move(other.unread_)),
      read_(other.read_) {}

Client::~Client() {
  close();
}

bool Client::wait_for(short events, Clock::time_point deadline) const {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd waiting{socket_, events, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max(left, 0ms).count()));
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) fail("poll");
  }
}

std::size_t Client::send_some(std::string_view bytes, Duration patience) {
  const auto deadline = Clock::now() + patience;
  std::size_t sent = 0;
  while (sent < bytes.size() && wait_for(POLLOUT, deadline)) {
    const ssize_t size =
        ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size >= 0) {
      sent += static_cast<std::size_t>(size);
    } else if (errno != EAGAIN && errno != EINTR) {
      fail("send");
    }
  }
  return sent;
}

void Client::send(std::string_view bytes) {
  if (send_some(bytes, kPatience) != bytes.size()) {
    throw std::runtime_error("the server does not read");
  }
}

void Client::request(std::string_view command, std::string_view key, std::string_view argument) {
  send(request_bytes(command, key, argument));
}

Client::Arrival Client::receive_raw(std::string& bytes) {
  std::array<char, 65'536> space;
  const ssize_t size = ::recv(socket_, space.data(), space.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Arrival::kNothing;
  if (size < 0 && errno != ECONNRESET) fail("recv");
  if (size <= 0) return Arrival::kEnd;
  bytes.append(space.data(), static_cast<std::size_t>(size));
  return Arrival::kBytes;
}

void Client::append_unread(std::string_view bytes) {
  unread_.erase(0, std::exchange(read_, 0));
  unread_.append(bytes);
}

bool Client::receive(Clock::time_point deadline) {
  if (!wait_for(POLLIN, deadline)) throw std::runtime_error("no reply in time");
  std::string bytes;
  if (receive_raw(bytes) == Arrival::kEnd) return false;
  append_unread(bytes);
  return true;
}

std::string Client::read_line(Duration patience) {
  const auto deadline = Clock::now() + patience;
  std::size_t looked_at = 0;
  for (;;) {
    const std::size_t end = unread_.find('\n', read_ + looked_at);
    if (end != std::string::npos) {
      const std::size_t start = std::exchange(read_, end + 1);
      return unread_.substr(start, end - start);
    }
    looked_at = unread_.size() - read_;
    if (!receive(deadline)) throw std::runtime_error("the server closed the connection");
  }
}

std::string Client::read_bytes(std::size_t size, Duration patience) {
  const auto deadline = Clock::now() + patience;
  while (unread_.size() - read_ < size) {
    if (!receive(deadline)) throw std::runtime_error("the server closed the connection");
  }
  return unread_.substr(std::exchange(read_, read_ + size), size);
}

std::string Client::read_to_end(Duration patience) {
  const auto deadline = Clock::now() + patience;
  while (receive(deadline)) continue;
  return unread_.substr(std::exchange(read_, unread_.size()));
}

std::vector<std::string> Client::read_lines(Duration quiet) {
  while (wait_for(POLLIN, Clock::now() + quiet) && receive(Clock::now())) continue;
  std::vector<std::string> lines;
  while (unread_.find('\n', read_) != std::string::npos) lines.push_back(read_line());
  return lines;
}

bool Client::has_input() {
  return has_unread() || wait_for(POLLIN, Clock::now());
}

std::string Client::ask(std::string_view command, std::string_view key, std::string_view argument) {
  request(command, key, argument);
  return read_line();
}

std::string Client::acquire(const Key& key, std::int64_t timeout,
                            std::optional<std::int64_t> lease) {
  return ask(key.command("l"), key.name, key.arguments(timeout, lease));
}

std::string Client::release(const Key& key, const std::string& token) {
  return ask(key.command("r"), key.name, token);
}

std::string Client::renew(const Key& key, const std::string& token,
                          std::optional<std::int64_t> lease) {
  return ask(key.command("n"), key.name, joined(token, lease));
}

std::string Client::enqueue(const Key& key, std::optional<std::int64_t> lease) {
  return ask(key.command("e"), key.name, key.arguments({}, lease));
}

std::string Client::wait(const Key& key, std::int64_t timeout) {
  return ask(key.command("w"), key.name, std::to_string(timeout));
}

Grant Client::hold(const Key& key, std::int64_t lease) {
  return granted(acquire(key, 0, lease));
}

std::vector<Grant> Client::hold_many(const std::string& name, std::size_t count) {
  constexpr std::size_t kBatch = 1'000;
  std::vector<Grant> grants;
  while (grants.size() < count) {
    const std::size_t end = std::min(grants.size() + kBatch, count);
    std::string requests;
    for (std::size_t i = grants.size(); i < end; ++i) {
      requests += test::request_bytes("l", name + std::to_string(i), "0 3600");
    }
    send(requests);
    while (grants.size() < end) grants.push_back(read_grant());
  }
  return grants;
}

void Client::begin_acquire(const Key& key, std::int64_t timeout, std::int64_t lease) {
  request(key.command("l"), key.name, key.arguments(timeout, lease));
}

void Client::begin_wait(const Key& key, std::int64_t timeout) {
  request(key.command("w"), key.name, std::to_string(timeout));
}

void Client::close() {
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
}

void Client::half_close() {
  if (::shutdown(socket_, SHUT_WR) != 0) fail("shutdown");
}

void Client::vanish() const {
  // What has not been acknowledged would be sent again, and be heard.
  const auto acknowledged = [this] {
    int size = 0;
    if (::ioctl(socket_, SIOCOUTQ, &size) != 0) fail("ioctl");
    return size == 0;
  };
  if (!eventually(acknowledged)) throw std::runtime_error("the server does not acknowledge");
  sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{.len = 1, .filter = &drop_all};
  if (::setsockopt(socket_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) {
    fail("setsockopt");
  }
}

void Client::reset() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  if (::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) != 0) {
    fail("setsockopt");
  }
  close();
}

std::string Client::local_endpoint() const {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    fail("getsockname");
  }
  std::array<char, INET_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
  return std::string(text.data()) + ":" + std::to_string(ntohs(address.sin_port));
}

std::vector<Client> connect_many(const Server& server, std::size_t count, const Route& route) {
  std::vector<Client> clients;
  clients.reserve(count);
  while (clients.size() < count) clients.emplace_back(server, route);
  return clients;
}

void allow_many_connections() {
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) fail("getrlimit");
  descriptors.rlim_cur = descriptors.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &descriptors) != 0) fail("setrlimit");
}

void drain(Server& server, int signal) {
  server.signal(signal);
  if (!server.wait_for_log_line("info draining")) throw std::runtime_error("it does not drain");
}

}  // namespace dflockd::test
