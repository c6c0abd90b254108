#include "support/server.hpp"

#include <cerrno>
#include <csignal>
#include <iostream>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "base/descriptor.hpp"

namespace dflockd::test {

namespace {

Launch on_free_port(Launch launch) {
  launch.flags.insert(launch.flags.end(), {"--port", "0"});
  return launch;
}

/// A field of a log line, `name=value` in the text format or `"name":"value"` in JSON.
std::string field(const std::string& line, const std::string& name) {
  for (const std::string& before : {" " + name + "=", "\"" + name + "\":"}) {
    const std::size_t found = line.find(before);
    if (found == std::string::npos) continue;
    const std::size_t start = line.find_first_not_of('"', found + before.size());
    return line.substr(start, line.find_first_of("\" ,}", start) - start);
  }
  throw std::runtime_error("no field '" + name + "' in the log line: " + line);
}

}  // namespace

/// A socket that listens on a free port. The server's copy is the only one once it has started, so
/// that clients are refused as soon as the server closes it.
class Server::HttpSocket {
 public:
  explicit HttpSocket(Http http) {
    if (http == Http::kOff) return;
    sockaddr_in loopback{};
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 any{};  // which takes IPv4 too
    any.sin6_family = AF_INET6;
    const bool everywhere = http == Http::kOnEveryAddress;
    auto* const generic =
        everywhere ? reinterpret_cast<sockaddr*>(&any) : reinterpret_cast<sockaddr*>(&loopback);
    socklen_t size = everywhere ? sizeof any : sizeof loopback;
    socket_ =
        base::Descriptor(::socket(generic->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    if (::bind(socket_.get(), generic, size) != 0 || ::listen(socket_.get(), SOMAXCONN) != 0 ||
        ::getsockname(socket_.get(), generic, &size) != 0) {
      throw std::system_error(errno, std::generic_category(), "a socket for the HTTP API");
    }
    port_ = ntohs(everywhere ? any.sin6_port : loopback.sin_port);
  }
  [[nodiscard]] Launch handed_down(Launch launch) const {
    if (socket_.is_open()) launch.inherited_sockets.push_back({"http", socket_.get()});
    return launch;
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  base::Descriptor socket_;
  std::uint16_t port_ = 0;
};

Server::Server(std::vector<std::string> flags, Http http)
    : Server(Launch{.flags = std::move(flags)}, http) {}

Server::Server(Http http) : Server(Launch(), http) {}

Server::Server(Launch launch, Http http) : Server(std::move(launch), HttpSocket(http)) {}

Server::Server(Launch launch, const HttpSocket& http)
    : Process(http.handed_down(on_free_port(std::move(launch)))), http_port_(http.port()) {
  const auto listening = wait_for_log_line("listening");
  if (!listening) throw std::runtime_error("the server does not listen; its log:\n" + log());
  address_ = field(*listening, "address");
  port_ = static_cast<std::uint16_t>(std::stoi(field(*listening, "port")));
}

Server::~Server() {
  try {
    stop();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  if (testing::Test::HasFailure()) {
    std::cerr << "The log of the server " << pid() << ":\n" << log() << std::flush;
  }
}

void Server::crash() {
  signal(SIGKILL);
  wait_for_exit();
}

void Server::stop() {
  if (!running()) return;
  signal(SIGTERM);
  if (eventually([this] { return !running(); }, 500ms)) {
    EXPECT_EQ(wait_for_exit(), 0) << "the server did not exit cleanly";
    return;
  }
  // A test may leave grants that outlive their connections. The second signal exits at once.
  signal(SIGTERM);
  wait_for_exit();
}

bool has_ipv6() {
  const base::Descriptor socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace dflockd::test
