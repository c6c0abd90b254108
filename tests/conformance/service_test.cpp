// The daemon as a service: what it tells the service manager that started it, and listening sockets
// that it is handed down.
//
// "READY=1 once connections are accepted; STATUS= with the counts of connections and of held locks;
// RELOADING=1 and READY=1 around a reload; STOPPING=1 when a drain begins; WATCHDOG=1 at least
// twice in WATCHDOG_USEC, from the event loop."

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/client.hpp"
#include "support/notify_socket.hpp"

namespace dflockd::test {

namespace {

using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

Launch notifying(const NotifySocket& manager) {
  return {.environment = {{"NOTIFY_SOCKET", manager.path()}}};
}

// --- Ready ---

class ToEitherAddress : public testing::TestWithParam<NotifySocket::Kind> {};

INSTANTIATE_TEST_SUITE_P(Ready, ToEitherAddress,
                         testing::Values(NotifySocket::Kind::kPath, NotifySocket::Kind::kAbstract),
                         [](const testing::TestParamInfo<NotifySocket::Kind>& parameter) {
                           return parameter.param == NotifySocket::Kind::kPath ? "a_path"
                                                                               : "an_abstract_name";
                         });

TEST_P(ToEitherAddress, is_told_once) {
  NotifySocket manager(GetParam());
  Server server(notifying(manager));
  EXPECT_EQ(manager.wait_for("READY"), "READY=1");
  EXPECT_EQ(Client(server).ping(), "ok");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_EQ(std::ranges::count(manager.messages(), "READY=1"), 1);
}

TEST(Ready, is_not_told_by_a_server_that_cannot_listen) {
  const Server first;
  NotifySocket manager;
  Launch launch = notifying(manager);
  launch.flags = {"--port", std::to_string(first.port())};
  Process second(launch);
  EXPECT_EQ(second.wait_for_exit(), 1);
  EXPECT_THAT(manager.messages(), Not(Contains(HasSubstr("READY"))));
}

TEST(Ready, is_served_though_nobody_listens_to_it) {
  const Server server(Launch{.environment = {{"NOTIFY_SOCKET", "/nonexistent/notify"}}});
  EXPECT_EQ(Client(server).ping(), "ok");
}

// --- Status ---

/// The numbers in a text.
std::multiset<std::int64_t> numbers_in(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  std::multiset<std::int64_t> numbers;
  std::size_t start = 0;
  while ((start = text.find_first_of(kDigits, start)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_not_of(kDigits, start), text.size());
    numbers.insert(std::stoll(std::string(text.substr(start, end - start))));
    start = end;
  }
  return numbers;
}

/// Waits for a status with these numbers, whatever the words around them.
bool status_comes(NotifySocket& manager, const std::multiset<std::int64_t>& numbers) {
  const auto deadline = Clock::now() + within(10s);
  while (const auto message = manager.wait_for("STATUS=", deadline - Clock::now())) {
    if (std::ranges::includes(numbers_in(*message), numbers)) return true;
  }
  return false;
}

TEST(Status, tells_within_10_seconds_of_connections_and_held_locks) {
  NotifySocket manager;
  const Server server(notifying(manager));
  std::vector<Client> clients = connect_many(server, 7);
  ASSERT_TRUE(status_comes(manager, {7, 0})) << testing::PrintToString(manager.messages());
  std::vector<Grant> grants;
  for (const char* name : {"a", "b", "c"}) grants.push_back(clients[0].hold(lock(name)));
  ASSERT_TRUE(status_comes(manager, {7, 3})) << testing::PrintToString(manager.messages());
  EXPECT_EQ(clients[0].release(lock("a"), grants[0].token), "ok");
  ASSERT_TRUE(status_comes(manager, {7, 2})) << testing::PrintToString(manager.messages());
}

// --- Reload ---

std::int64_t monotonic_microseconds() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

TEST(Reload, is_told_with_its_time_and_its_end) {
  NotifySocket manager;
  Server server(notifying(manager));
  ASSERT_EQ(manager.wait_for("READY"), "READY=1");
  for (int round = 0; round < 2; ++round) {
    const std::int64_t before = monotonic_microseconds();
    server.signal(SIGHUP);
    const auto reloading = manager.wait_for("RELOADING=1");
    const std::int64_t after = monotonic_microseconds();
    ASSERT_TRUE(reloading) << server.log();
    const std::string_view time = "MONOTONIC_USEC=";
    const std::size_t found = reloading->find(time);
    ASSERT_NE(found, std::string::npos) << *reloading;
    const std::int64_t begin = std::stoll(reloading->substr(found + time.size()));
    EXPECT_GE(begin, before);
    EXPECT_LE(begin, after);
    ASSERT_EQ(manager.wait_for("READY"), "READY=1");
  }
}

// --- The end ---

TEST(Stopping, is_told_when_a_drain_begins) {
  NotifySocket manager;
  Server server(notifying(manager));
  Client holder(server);
  const Grant grant = holder.hold(lock("job"));
  server.signal(SIGTERM);
  EXPECT_EQ(manager.wait_for("STOPPING"), "STOPPING=1");
  EXPECT_EQ(holder.release(lock("job"), grant.token), "ok") << "the drain is over already";
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(Stopping, is_told_though_nothing_is_held) {
  NotifySocket manager;
  Server server(notifying(manager));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
  EXPECT_THAT(manager.messages(), Contains("STOPPING=1"));
}

// --- The watchdog ---

Launch watched(const NotifySocket& manager) {
  Launch launch = notifying(manager);
  launch.environment["WATCHDOG_USEC"] = "1000000";
  return launch;
}

/// The longest of five times between signs of life.
Duration longest_silence(NotifySocket& manager) {
  Duration longest = 0s;
  std::optional<Clock::time_point> last;
  for (int sign = 0; sign <= 5; ++sign) {
    if (!manager.wait_for("WATCHDOG=1")) throw std::runtime_error("no sign of life");
    const auto now = Clock::now();
    if (last) longest = std::max(longest, now - *last);
    last = now;
  }
  return longest;
}

TEST(Watchdog, is_fed_at_least_twice_in_its_time) {
  NotifySocket manager;
  const Server server(watched(manager));
  const Duration bound = within(500ms + 50ms);  // the system's own delays on top
  EXPECT_LE(best_measured(bound, [&] { return longest_silence(manager); }), bound);
}

/// True if the process does not run, because of a SIGSTOP.
bool is_stopped(const Process& process) {
  std::ifstream stat("/proc/" + std::to_string(process.pid()) + "/stat");
  std::string pid;
  std::string name;
  char state = '?';
  return stat >> pid >> name >> state && state == 'T';
}

TEST(Watchdog, hears_nothing_of_a_loop_that_does_not_turn) {
  NotifySocket manager;
  Server server(watched(manager));
  ASSERT_TRUE(manager.wait_for("WATCHDOG=1"));
  server.signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return is_stopped(server); }));
  while (manager.wait_for("", 0s)) continue;
  EXPECT_EQ(manager.wait_for("WATCHDOG=1", 1s), std::nullopt);
  server.signal(SIGCONT);
  EXPECT_TRUE(manager.wait_for("WATCHDOG=1"));
}

TEST(Watchdog, hears_nothing_if_it_does_not_watch_this_process) {
  NotifySocket unwatching;
  NotifySocket of_another;
  Launch launch = watched(of_another);
  launch.environment["WATCHDOG_PID"] = "1";
  const Server server(notifying(unwatching));
  const Server other(launch);
  EXPECT_EQ(unwatching.wait_for("WATCHDOG=1", 1s), std::nullopt);
  EXPECT_EQ(of_another.wait_for("WATCHDOG=1", 0s), std::nullopt);
}

// --- A manager that does not read ---

TEST(UnreadNotifications, do_not_hold_up_the_server) {
  NotifySocket manager;
  manager.fill();
  Server server(watched(manager));
  Client client(server);
  const auto end = Clock::now() + 1s;  // the watchdog's time, in which it is fed twice
  while (Clock::now() < end) ASSERT_EQ(client.ping(), "ok");
  server.signal(SIGHUP);
  client.close();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(UnreadNotifications, of_being_ready_are_told_when_the_manager_reads_again) {
  NotifySocket manager;
  manager.fill();
  const Server server(notifying(manager));
  EXPECT_EQ(Client(server).ping(), "ok");
  EXPECT_EQ(manager.wait_for("READY"), "READY=1");
}

// --- Sockets that are handed down ---

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// The test's own descriptor of a socket.
class Socket {
 public:
  explicit Socket(int domain) : descriptor_(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (descriptor_ < 0) fail("socket");
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(); }

  [[nodiscard]] int get() const { return descriptor_; }

  void close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }

 private:
  int descriptor_;
};

/// Listens on a free port of 127.0.0.2, where the server does not listen of its own accord.
class Listener : public Socket {
 public:
  Listener() : Socket(AF_INET) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    socklen_t size = sizeof address_;
    auto* const address = reinterpret_cast<sockaddr*>(&address_);
    if (::bind(get(), address, size) != 0 || ::listen(get(), SOMAXCONN) != 0 ||
        ::getsockname(get(), address, &size) != 0) {
      fail("listener");
    }
  }

  [[nodiscard]] std::uint16_t port() const { return ntohs(address_.sin_port); }
  [[nodiscard]] const sockaddr_in& address() const { return address_; }

 private:
  sockaddr_in address_{};
};

TEST(SocketHandedDown, is_served_and_logged_with_its_address) {
  Listener listener;
  const Server server(Launch{.inherited_sockets = {{"tcp", listener.get()}}});
  listener.close();
  EXPECT_EQ(server.address(), "127.0.0.2");
  EXPECT_EQ(server.port(), listener.port());
  Client client(server);
  const Grant grant = client.hold(lock("job"));
  EXPECT_EQ(client.release(lock("job"), grant.token), "ok");
}

TEST(SocketHandedDown, is_served_through_a_drain) {
  Listener listener;
  Server server(Launch{.inherited_sockets = {{"tcp", listener.get()}}});
  listener.close();
  ASSERT_EQ(server.port(), listener.port());
  Client holder(server);
  holder.hold(lock("job"));
  drain(server);
  EXPECT_EQ(Client(server).ping(), "ok");
  holder.close();
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(SocketHandedDown, has_its_backlog_served) {
  const Listener listener;
  const std::array<Socket, 3> early{Socket(AF_INET), Socket(AF_INET), Socket(AF_INET)};
  const std::string ping = request_bytes("ping", "_", "_");
  const timeval patience{
      .tv_sec = std::chrono::duration_cast<std::chrono::seconds>(kPatience).count(), .tv_usec = 0};
  for (const Socket& client : early) {
    ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&listener.address()),
                        sizeof listener.address()),
              0);
    ASSERT_EQ(::send(client.get(), ping.data(), ping.size(), MSG_NOSIGNAL), std::ssize(ping));
  }
  const Server server(Launch{.inherited_sockets = {{"tcp", listener.get()}}});
  for (const Socket& client : early) {
    std::array<char, 3> reply{};
    ASSERT_EQ(::recv(client.get(), reply.data(), reply.size(), MSG_WAITALL), 3);
    EXPECT_EQ(std::string_view(reply.data(), reply.size()), "ok\n");
  }
}

/// What the system has in /proc/net/tcp of the timer of the server's end of a connection: 0 for
/// none.
int timer_of(const sockaddr_in& server, const Socket& client) {
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  ::getsockname(client.get(), reinterpret_cast<sockaddr*>(&peer), &size);
  const auto text = [](const sockaddr_in& address) {
    std::array<char, 16> hex{};
    std::snprintf(hex.data(), hex.size(), "%08X:%04X", address.sin_addr.s_addr,
                  unsigned{ntohs(address.sin_port)});
    return std::string(hex.data());
  };
  std::ifstream table("/proc/net/tcp");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string number, local, remote, state, queues, timer;
    words >> number >> local >> remote >> state >> queues >> timer;
    if (local == text(server) && remote == text(peer)) return std::stoi(timer.substr(0, 2));
  }
  throw std::runtime_error("no connection from " + text(peer) + " to " + text(server));
}

// A peer that vanishes must be found whenever it came.
TEST(SocketHandedDown, gives_keepalive_to_those_who_came_before_the_server) {
  const Listener listener;
  const Socket early(AF_INET);
  ASSERT_EQ(::connect(early.get(), reinterpret_cast<const sockaddr*>(&listener.address()),
                      sizeof listener.address()),
            0);
  ASSERT_EQ(timer_of(listener.address(), early), 0);
  const Server server(Launch{.inherited_sockets = {{"tcp", listener.get()}}});
  constexpr int kKeepalive = 2;
  EXPECT_TRUE(eventually([&] { return timer_of(listener.address(), early) == kKeepalive; }));
}

/// The server must refuse to start with one line that contains each of `named`.
void expect_refusal(const std::vector<InheritedSocket>& sockets,
                    const std::vector<std::string>& named) {
  NotifySocket manager;
  Launch launch = notifying(manager);
  launch.flags = {"--port", "0"};
  launch.inherited_sockets = sockets;
  Process process(launch);
  EXPECT_EQ(process.wait_for_exit(), 1);
  const auto line = process.wait_for_log_line("cannot_run");
  ASSERT_TRUE(line) << process.log();
  for (const std::string& text : named) EXPECT_THAT(*line, HasSubstr(text));
  EXPECT_EQ(process.log().find("cannot_run"), process.log().rfind("cannot_run")) << process.log();
  EXPECT_FALSE(process.wait_for_log_line(" info listening ")) << process.log();
  EXPECT_THAT(manager.messages(), Each(Not(HasSubstr("READY"))));
}

TEST(SocketHandedDown, of_an_unknown_name_is_refused) {
  const Listener listener;
  expect_refusal({{"admin", listener.get()}}, {"admin", "expected tcp or http"});
}

TEST(SocketHandedDown, of_the_unix_domain_is_refused) {
  const Socket socket(AF_UNIX);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;  // and no name: the system picks one
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                   offsetof(sockaddr_un, sun_path)),
            0);
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  expect_refusal({{"tcp", socket.get()}}, {"tcp", "is not a listening IPv4 or IPv6 stream socket"});
}

}  // namespace

}  // namespace dflockd::test
