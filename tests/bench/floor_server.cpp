// The floor of the comparison: the least that a server has to do on this machine. A bare epoll loop
// that knows where a request ends and whether it is an acquire, keeps no state and answers a fixed
// line, with one recv and one send a wake-up. It prints the port it listens on.
//
// `floor_server handoff` is the floor of a lock that is handed round: one key, a queue of those who
// want it, and nothing more. A release grants the next in the queue and is answered.
//
// It is trusted with its one client, the load generator: an error ends the connection or the
// server.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
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

/// Calls `request(is_acquire)` for each request that `bytes` completes.
template <class Request>
void take_requests(std::string_view bytes, Progress& progress, const Request& request) {
  for (std::size_t end = 0; (end = bytes.find('\n')) != bytes.npos; bytes.remove_prefix(end + 1)) {
    // `l` and `sl` are the commands that acquire, and no other ends in an l.
    if (progress.lines == 0)
      progress.is_acquire = (end > 0 ? bytes[end - 1] : progress.last) == 'l';
    if (++progress.lines == 3) {
      request(progress.is_acquire);
      progress.lines = 0;
    }
  }
  if (!bytes.empty()) progress.last = bytes.back();
}

bool send_all(int peer, std::string_view text) {
  return send(peer, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size());
}

/// The lock that is handed round, and who waits for it.
struct Lock {
  int holder = -1;
  std::deque<int> queue;

  void acquire(int peer) {
    if (holder < 0) {
      holder = peer;
      send_all(peer, kGrant);
    } else {
      queue.push_back(peer);
    }
  }

  void release() {
    holder = -1;
    if (queue.empty()) return;
    holder = queue.front();
    queue.pop_front();
    send_all(holder, kGrant);
  }

  void forget(int peer) {
    std::erase(queue, peer);
    if (holder == peer) release();
  }
};

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

/// What the peer has sent; closes the connection, and gives nothing, when it has left.
std::string_view receive(int peer) {
  static std::array<char, 65'536> input;
  const ssize_t received = recv(peer, input.data(), input.size(), 0);
  if (received <= 0) {
    close(peer);
    return {};
  }
  return {input.data(), static_cast<std::size_t>(received)};
}

void serve(int peer, Progress& progress, std::string& replies) {
  replies.clear();
  take_requests(receive(peer), progress,
                [&](bool is_acquire) { replies += is_acquire ? kGrant : kOk; });
  if (!replies.empty() && !send_all(peer, replies)) close(peer);
}

void hand_round(int peer, Progress& progress, Lock& lock) {
  const std::string_view received = receive(peer);
  if (received.empty()) return lock.forget(peer);
  take_requests(received, progress, [&](bool is_acquire) {
    if (is_acquire) return lock.acquire(peer);
    lock.release();
    send_all(peer, kOk);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bool hands_round = argc == 2 && std::string_view(argv[1]) == "handoff";
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  setrlimit(RLIMIT_NOFILE, &descriptors);

  const int listener = listen_on_free_port();
  const int poller = epoll_create1(0);
  watch(poller, listener);

  std::vector<Progress> progress;  // by descriptor
  std::string replies;
  Lock lock;
  std::array<epoll_event, 128> events{};
  for (;;) {
    const int ready = epoll_wait(poller, events.data(), int(events.size()), -1);
    for (int i = 0; i < ready; ++i) {
      const int peer = events[static_cast<std::size_t>(i)].data.fd;
      if (peer == listener) {
        accept_one(listener, poller, progress);
        continue;
      }
      Progress& its_progress = progress[static_cast<std::size_t>(peer)];
      if (hands_round) {
        hand_round(peer, its_progress, lock);
      } else {
        serve(peer, its_progress, replies);
      }
    }
  }
}
