// A name server that does not answer must not hurt the locks at other servers; nor must one of the
// addresses that it names.

#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <vector>

#include <dlfcn.h>
#include <netdb.h>

#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include "fixture.hpp"

namespace dflockd::client_test {
namespace {

/// Look-ups of "hangs.test" block while there is one.
class Hang {
 public:
  Hang() { set(true); }
  ~Hang() { set(false); }
  Hang(const Hang&) = delete;
  Hang& operator=(const Hang&) = delete;

  static void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [] { return !hangs_; });
  }

 private:
  static void set(bool hangs) {
    const std::lock_guard guard(mutex_);
    hangs_ = hangs;
    changed_.notify_all();
  }

  inline static std::mutex mutex_;
  inline static std::condition_variable changed_;
  inline static bool hangs_ = false;
};

TEST(Names, look_up_that_hangs_ends_with_the_connect_timeout) {
  const Hang hang;
  LockOptions options = lock_options("hangs.test:1");
  options.connect_timeout = 200ms;
  Lock job(options);
  EXPECT_EQ(message_of([&] { job.acquire(); }),
            "hangs.test:1: cannot acquire \"job\": no connection in time");
}

TEST(Names, look_up_that_hangs_is_stopped) {
  const Hang hang;
  Lock job(lock_options("hangs.test:1"));
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    return code_of([&](auto& error) { job.acquire(stop.get_token(), error); });
  });
  EXPECT_EQ(waiting.wait_for(20ms), std::future_status::timeout);
  stop.request_stop();
  EXPECT_EQ(waiting.get(), errc::canceled);
}

TEST(Names, look_up_that_hangs_for_one_server_does_not_lose_the_locks_of_others) {
  Server first;
  Server second;
  test::Client other(second);
  LockOptions options = lock_options("hangs.test:" + std::to_string(first.port()), "one");
  options.lease_ttl = 2s;
  Lock named(options);
  options = lock_options(address_of(second), "two");
  options.lease_ttl = 2s;
  Lock numbered(options);
  ASSERT_TRUE(named.acquire());
  const Hang hang;  // when the renewals look it up
  ASSERT_TRUE(numbered.acquire());
  EXPECT_EQ(other.acquire(test::lock("two"), 4), "timeout");
  EXPECT_TRUE(numbered.held());
  EXPECT_FALSE(named.held());
}

TEST(Names, address_that_does_not_answer_is_passed_over_by_renewals_too) {
  Server server;
  test::Client other(server);
  asio::io_context io;
  asio::ip::tcp::acceptor deaf(io, {asio::ip::make_address_v4("127.0.0.9"), server.port()});
  deaf.listen(0);  // one may wait to be accepted, and those after it are not heard
  std::vector<asio::ip::tcp::socket> before;
  for (int number = 0; number < 3; ++number) {
    before.emplace_back(io).async_connect(deaf.local_endpoint(), asio::detached);
  }
  LockOptions options = lock_options("deaf.test:" + std::to_string(server.port()));
  options.connect_timeout = 1s;
  options.lease_ttl = 3s;
  Lock job(options);
  ASSERT_TRUE(job.acquire());
  EXPECT_EQ(other.acquire(test::lock("job"), 4), "timeout");
  EXPECT_TRUE(job.held());
}

}  // namespace

void wait_if_it_hangs(const char* host) {
  if (host != nullptr && std::strcmp(host, "hangs.test") == 0) Hang::wait();
}

}  // namespace dflockd::client_test

/// Takes the place of the C library's: "hangs.test" is this host, sooner or later, and "deaf.test"
/// has two addresses.
extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto kReal = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  const bool hangs = host != nullptr && std::strcmp(host, "hangs.test") == 0;
  const bool is_deaf = host != nullptr && std::strcmp(host, "deaf.test") == 0;
  if ((!hangs && !is_deaf) || (hints->ai_flags & AI_NUMERICHOST) != 0)
    return kReal(host, service, hints, found);
  dflockd::client_test::wait_if_it_hangs(host);
  if (!is_deaf) return kReal("127.0.0.1", service, hints, found);
  const int status = kReal("127.0.0.9", service, hints, found);
  return status != 0 ? status : kReal("127.0.0.1", service, hints, &(*found)->ai_next);
}
