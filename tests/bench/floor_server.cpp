// The floor of the comparison: the least that a server has to do on this machine. A bare epoll loop
// that knows where a request ends and whether it is an acquire, keeps no state and answers a fixed
// line, with one recv and one send a wake-up. It prints the port it listens on.
//
// It is trusted with its one client, the load generator: an error ends the connection or the
// server.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr std::string_view kGrant = "ok 00000000000000000000000000000000 33\n";
constexpr std::string_view kOk = "ok\n";

/// How far the request that a connection is sending has come.
struct Progress {
  int lines = 0;
  bool is_acquire = false;
  char last = 0;  ///< the byte before the ones that come next
};

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

/// Appends the replies to the requests that `bytes` completes.
void answer(std::string_view bytes, Progress& progress, std::string& replies) {
  for (std::size_t end = 0; (end = bytes.find('\n')) != bytes.npos; bytes.remove_prefix(end + 1)) {
    // `l` and `sl` are the commands that acquire, and no other ends in an l.
    if (progress.lines == 0)
      progress.is_acquire = (end > 0 ? bytes[end - 1] : progress.last) == 'l';
    if (++progress.lines == 3) {
      replies += progress.is_acquire ? kGrant : kOk;
      progress.lines = 0;
    }
  }
  if (!bytes.empty()) progress.last = bytes.back();
}

int listen_on_free_port() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, generic, size) != 0 || listen(listener, SOMAXCONN) != 0) fail("listen");
  if (getsockname(listener, generic, &size) != 0) fail("getsockname");
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

void watch(int poller, int descriptor) {
  epoll_event interest{};
  interest.events = EPOLLIN;
  interest.data.fd = descriptor;
  if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &interest) != 0) fail("epoll_ctl");
}

void accept_one(int listener, int poller, std::vector<Progress>& progress) {
  const int peer = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
  if (peer < 0) fail("accept");
  const int on = 1;
  setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const auto index = static_cast<std::size_t>(peer);
  if (progress.size() <= index) progress.resize(index + 1);
  progress[index] = {};
  watch(poller, peer);
}

void serve(int peer, Progress& progress, std::string& replies) {
  static std::array<char, 65'536> input;
  const ssize_t received = recv(peer, input.data(), input.size(), 0);
  if (received <= 0) {
    close(peer);
    return;
  }
  replies.clear();
  answer({input.data(), static_cast<std::size_t>(received)}, progress, replies);
  if (replies.empty()) return;
  if (send(peer, replies.data(), replies.size(), MSG_NOSIGNAL) != ssize_t(replies.size())) {
    close(peer);
  }
}

}  // namespace

int main() {
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  setrlimit(RLIMIT_NOFILE, &descriptors);

  const int listener = listen_on_free_port();
  const int poller = epoll_create1(0);
  watch(poller, listener);

  std::vector<Progress> progress;  // by descriptor
  std::string replies;
  std::array<epoll_event, 128> events{};
  for (;;) {
    const int ready = epoll_wait(poller, events.data(), int(events.size()), -1);
    for (int i = 0; i < ready; ++i) {
      const int peer = events[static_cast<std::size_t>(i)].data.fd;
      if (peer == listener) {
        accept_one(listener, poller, progress);
      } else {
        serve(peer, progress[static_cast<std::size_t>(peer)], replies);
      }
    }
  }
}
