// Sockets that a service manager hands down: which are taken over, and which are refused. Each test
// looks from a child process, since the descriptors have to begin at 3.
#include "systemd/inherited_sockets.hpp"

#include <cerrno>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "activated_child.hpp"
#include "base/descriptor.hpp"
#include "support/server.hpp"

namespace dflockd::systemd {
namespace {

void bind_to_free_port(int socket, sa_family_t family) {
  sockaddr_in6 ipv6{};
  ipv6.sin6_family = family;
  ipv6.sin6_addr = in6addr_loopback;
  sockaddr_in ipv4{};
  ipv4.sin_family = family;
  ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_ipv6 = family == AF_INET6;
  const auto* const address =
      is_ipv6 ? reinterpret_cast<const sockaddr*>(&ipv6) : reinterpret_cast<const sockaddr*>(&ipv4);
  if (::bind(socket, address, is_ipv6 ? sizeof ipv6 : sizeof ipv4) != 0) {
    throw std::system_error(errno, std::generic_category(), "bind");
  }
}

/// A socket bound to a free port of the loopback.
class BoundSocket : public base::Descriptor {
 public:
  explicit BoundSocket(sa_family_t family = AF_INET, int type = SOCK_STREAM)
      : Descriptor(::socket(family, type | SOCK_CLOEXEC, 0), "socket") {
    bind_to_free_port(get(), family);
  }
};

class Listener : public BoundSocket {
 public:
  explicit Listener(sa_family_t family = AF_INET) : BoundSocket(family) { ::listen(get(), 1); }
};

/// The port of a descriptor, which tells sockets apart; in words if it is none.
std::string port_of(std::optional<int> descriptor) {
  if (!descriptor) return "none";
  sockaddr_in6 address{};  // the port is at the same place in both families
  socklen_t size = sizeof address;
  if (::getsockname(*descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return "not a socket";
  }
  return std::to_string(ntohs(address.sin6_port));
}

std::string port_of(const base::Descriptor& socket) {
  return port_of(socket.get());
}

bool is_open(int descriptor) {
  return ::fcntl(descriptor, F_GETFD) >= 0;
}

/// Both names, and what is found there.
std::string ports_taken() {
  InheritedSockets sockets;
  const std::string tcp = port_of(sockets.take("tcp"));
  return "tcp " + tcp + ", http " + port_of(sockets.take("http"));
}

// --- Taken over ---

TEST(InheritedSockets, are_found_by_name_in_whatever_order) {
  const Listener tcp;
  const Listener http;
  const std::string expected = "tcp " + port_of(tcp) + ", http " + port_of(http);
  EXPECT_EQ(run_activated({{"tcp", tcp.get()}, {"http", http.get()}}, ports_taken), expected);
  EXPECT_EQ(run_activated({{"http", http.get()}, {"tcp", tcp.get()}}, ports_taken), expected);
}

TEST(InheritedSockets, may_be_one_of_the_two) {
  const Listener listener;
  const std::string port = port_of(listener);
  EXPECT_EQ(run_activated({{"tcp", listener.get()}}, ports_taken), "tcp " + port + ", http none");
  EXPECT_EQ(run_activated({{"http", listener.get()}}, ports_taken), "tcp none, http " + port);
}

TEST(InheritedSockets, may_be_of_ipv6) {
  if (!test::has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  const Listener listener(AF_INET6);
  EXPECT_EQ(run_activated({{"tcp", listener.get()}}, ports_taken),
            "tcp " + port_of(listener) + ", http none");
}

TEST(InheritedSockets, are_given_away_once) {
  const Listener listener;
  const auto taken_twice = [] {
    InheritedSockets sockets;
    const std::string first = port_of(sockets.take("tcp"));
    return first + ", " + port_of(sockets.take("tcp"));
  };
  EXPECT_EQ(run_activated({{"tcp", listener.get()}}, taken_twice), port_of(listener) + ", none");
}

TEST(InheritedSockets, stay_open_if_taken_and_are_closed_if_not) {
  const Listener tcp;
  const Listener http;
  const auto open_afterwards = [] {
    int taken = -1;
    {
      InheritedSockets sockets;
      taken = sockets.take("http").value();
      if (!is_open(3) || !is_open(4)) return "closed too early";
    }
    if (taken != 4 || !is_open(4)) return "the one taken is closed";
    return is_open(3) ? "the other is open" : "right";
  };
  EXPECT_EQ(run_activated({{"tcp", tcp.get()}, {"http", http.get()}}, open_afterwards), "right");
}

TEST(InheritedSockets, are_closed_on_exec) {
  const Listener tcp;
  const Listener http;
  const auto descriptor_flags = [] {
    const int before = ::fcntl(3, F_GETFD);
    const InheritedSockets sockets;
    return std::to_string(before) + ", " + std::to_string(::fcntl(3, F_GETFD)) + ", " +
           std::to_string(::fcntl(4, F_GETFD));
  };
  static_assert(FD_CLOEXEC == 1);
  EXPECT_EQ(run_activated({{"tcp", tcp.get()}, {"http", http.get()}}, descriptor_flags), "0, 1, 1");
}

// --- None of ours ---

std::string taken_and_left_open() {
  const std::string ports = ports_taken();
  return ports + (is_open(3) ? "; 3 is open" : "; 3 is closed");
}

TEST(InheritedSockets, of_another_process_are_left_alone) {
  const Listener listener;
  EXPECT_EQ(run_activated({{"tcp", listener.get()}}, taken_and_left_open,
                          {{"LISTEN_PID", std::to_string(::getpid())}}),
            "tcp none, http none; 3 is open");
}

TEST(InheritedSockets, are_none_without_the_variables) {
  const Listener listener;
  for (const char* variable : {"LISTEN_FDS", "LISTEN_PID"}) {
    EXPECT_EQ(
        run_activated({{"tcp", listener.get()}}, taken_and_left_open, {{variable, std::nullopt}}),
        "tcp none, http none; 3 is open")
        << variable;
  }
}

// --- Refused ---

constexpr const char* kNotListening =
    "inherited descriptor 3, named 'tcp', is not a listening IPv4 or IPv6 stream socket";

TEST(InheritedSockets, of_an_unknown_name_are_refused) {
  const Listener tcp;
  const Listener other;
  EXPECT_EQ(run_activated({{"tcp", tcp.get()}, {"admin", other.get()}}, ports_taken),
            "inherited descriptor 4 is named 'admin'; expected tcp or http (FileDescriptorName= of "
            "its socket unit)");
}

TEST(InheritedSockets, without_names_are_refused) {
  const Listener listener;
  EXPECT_EQ(
      run_activated({{"tcp", listener.get()}}, ports_taken, {{"LISTEN_FDNAMES", std::nullopt}}),
      "inherited descriptor 3 is named 'unknown'; expected tcp or http (FileDescriptorName= "
      "of its socket unit)");
}

TEST(InheritedSockets, that_share_a_name_are_refused) {
  const Listener first;
  const Listener second;
  EXPECT_EQ(run_activated({{"tcp", first.get()}, {"tcp", second.get()}}, ports_taken),
            "inherited descriptor 4 is a second one named 'tcp'; expected one at most");
}

TEST(InheritedSockets, that_do_not_listen_are_refused) {
  const BoundSocket bound;
  EXPECT_EQ(run_activated({{"tcp", bound.get()}}, ports_taken), kNotListening);
}

TEST(InheritedSockets, for_datagrams_are_refused) {
  const BoundSocket datagrams(AF_INET, SOCK_DGRAM);
  EXPECT_EQ(run_activated({{"tcp", datagrams.get()}}, ports_taken), kNotListening);
}

TEST(InheritedSockets, of_the_unix_domain_are_refused) {
  const base::Descriptor unix_socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;  // and no name: the system picks one
  ASSERT_EQ(::bind(unix_socket.get(), reinterpret_cast<const sockaddr*>(&address),
                   offsetof(sockaddr_un, sun_path)),
            0);
  ASSERT_EQ(::listen(unix_socket.get(), 1), 0);
  EXPECT_EQ(run_activated({{"tcp", unix_socket.get()}}, ports_taken), kNotListening);
}

TEST(InheritedSockets, that_are_no_sockets_are_refused) {
  const base::Descriptor file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(run_activated({{"tcp", file.get()}}, ports_taken), kNotListening);
}

TEST(InheritedSockets, that_variables_do_not_agree_on_are_refused) {
  const Listener listener;
  const std::vector<HandedDown> one{{"tcp", listener.get()}};
  const std::string refusal = "cannot inherit what LISTEN_FDS and LISTEN_FDNAMES tell of: ";
  EXPECT_EQ(run_activated(one, ports_taken, {{"LISTEN_FDNAMES", "tcp:http"}}),
            refusal + "Invalid argument");
  EXPECT_EQ(run_activated(one, ports_taken, {{"LISTEN_FDS", "two"}}), refusal + "Invalid argument");
  const auto closed = [] {
    ::close(3);
    return ports_taken();
  };
  EXPECT_EQ(run_activated(one, closed), refusal + "Bad file descriptor");
}

}  // namespace
}  // namespace dflockd::systemd
