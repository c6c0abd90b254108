// packet_relay SEED SPACE DEVICE SPACE DEVICE: a bad network between two network namespaces.
//
// Makes a TUN device in each, and carries packets from one to the other: late, out of order, twice,
// or not at all. It does what `tc netem` does, on kernels that have none. A line on standard input
// sets how bad it is from now on:
//
//   <delay ms> <jitter ms> <lost %> <doubled %>
//
// and is answered "ok". Jitter puts packets out of order. Ends with its standard input.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <net/if.h>
#include <queue>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

/// Makes a device in a namespace, where this process stays.
int open_device(const std::string& space, const std::string& name) {
  const int place = checked(::open(("/run/netns/" + space).c_str(), O_RDONLY | O_CLOEXEC), "netns");
  checked(::setns(place, CLONE_NEWNET), "setns");
  ::close(place);
  const int device = checked(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), "tun");
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  checked(::ioctl(device, TUNSETIFF, &request), "TUNSETIFF");
  return device;
}

struct Weather {
  int delay_ms = 0;
  int jitter_ms = 0;
  int lost = 0;
  int doubled = 0;
};

struct Packet {
  Clock::time_point due;
  std::uint64_t number = 0;  ///< so that those of one time stay in order
  int to = -1;
  std::string bytes;
  bool operator>(const Packet& other) const {
    return due != other.due ? due > other.due : number > other.number;
  }
};

class Relay {
 public:
  Relay(std::uint64_t seed, int one, int other) : random_(seed), devices_{one, other} {}

  void run() {
    for (;;) {
      std::array<pollfd, 3> wanted{
          {{devices_[0], POLLIN, 0}, {devices_[1], POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}}};
      const timespec timeout = until_next();
      const int ready =
          ::ppoll(wanted.data(), wanted.size(), under_way_.empty() ? nullptr : &timeout, nullptr);
      if (ready < 0 && errno != EINTR) checked(ready, "ppoll");
      deliver();
      for (std::size_t i = 0; i < devices_.size(); ++i) {
        if ((wanted[i].revents & POLLIN) != 0) collect(devices_[i], devices_[1 - i]);
      }
      if (wanted[2].revents != 0 && !listen()) return;
    }
  }

 private:
  int pick(int most) { return std::uniform_int_distribution(0, most)(random_); }

  [[nodiscard]] timespec until_next() const {
    if (under_way_.empty()) return {};
    const auto left = std::max(Clock::duration::zero(), under_way_.top().due - Clock::now());
    const auto nanoseconds = std::chrono::nanoseconds(left).count();
    return {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  }

  void deliver() {
    const auto now = Clock::now();
    while (!under_way_.empty() && under_way_.top().due <= now) {
      const Packet& packet = under_way_.top();
      // A device that is down takes nothing: the packet is lost.
      if (::write(packet.to, packet.bytes.data(), packet.bytes.size()) < 0 && errno == EBADF) {
        checked(-1, "write");
      }
      under_way_.pop();
    }
  }

  void collect(int from, int to) {
    std::array<char, 65536> space;
    for (;;) {
      const ssize_t size = ::read(from, space.data(), space.size());
      if (size <= 0) return;
      if (pick(99) < weather_.lost) continue;
      const int copies = pick(99) < weather_.doubled ? 2 : 1;
      for (int copy = 0; copy < copies; ++copy) {
        const milliseconds delay(weather_.delay_ms + pick(weather_.jitter_ms));
        under_way_.push({Clock::now() + delay, ++number_, to,
                         std::string(space.data(), static_cast<std::size_t>(size))});
      }
      if (weather_.delay_ms + weather_.jitter_ms == 0) deliver();
    }
  }

  bool listen() {
    std::array<char, 256> space;
    const ssize_t size = ::read(STDIN_FILENO, space.data(), space.size());
    if (size <= 0) return false;
    said_.append(space.data(), static_cast<std::size_t>(size));
    for (std::size_t end = 0; (end = said_.find('\n')) != std::string::npos;) {
      std::istringstream words(said_.substr(0, end));
      said_.erase(0, end + 1);
      words >> weather_.delay_ms >> weather_.jitter_ms >> weather_.lost >> weather_.doubled;
      std::puts(words ? "ok" : "error");
      std::fflush(stdout);
    }
    return true;
  }

  std::mt19937_64 random_;
  std::array<int, 2> devices_;
  Weather weather_;
  std::priority_queue<Packet, std::vector<Packet>, std::greater<>> under_way_;
  std::uint64_t number_ = 0;
  std::string said_;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 6) {
    std::fputs("usage: packet_relay SEED SPACE DEVICE SPACE DEVICE\n", stderr);
    return 2;
  }
  try {
    const int one = open_device(arguments[2], arguments[3]);
    const int other = open_device(arguments[4], arguments[5]);
    std::puts("ok");
    std::fflush(stdout);
    Relay(std::stoull(arguments[1]), one, other).run();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "packet_relay: %s\n", failure.what());
    return 1;
  }
  return 0;
}
