// What a service manager receives, and that no call waits for one that does not listen.
#include "systemd/service_manager.hpp"

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/notify_socket.hpp"

namespace dflockd::systemd {
namespace {

using test::NotifySocket;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::chrono_literals;

const std::error_code kNoError;
const std::errc kQueueFull = std::errc::resource_unavailable_try_again;

void set(const char* variable, const std::string& value) {
  ::setenv(variable, value.c_str(), 1);
}

/// Leaves nothing in the environment of what a service manager sets.
class WithCleanEnvironment {
 public:
  WithCleanEnvironment(const WithCleanEnvironment&) = delete;
  WithCleanEnvironment& operator=(const WithCleanEnvironment&) = delete;

 protected:
  WithCleanEnvironment() { clean(); }
  ~WithCleanEnvironment() { clean(); }

 private:
  static void clean() {
    for (const char* variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
      ::unsetenv(variable);
    }
  }
};

// --- Messages ---

class Message : private WithCleanEnvironment, public testing::TestWithParam<NotifySocket::Kind> {
 protected:
  Message() { set("NOTIFY_SOCKET", socket_.path()); }

  NotifySocket socket_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(To, Message,
                         testing::Values(NotifySocket::Kind::kPath, NotifySocket::Kind::kAbstract),
                         [](const testing::TestParamInfo<NotifySocket::Kind>& parameter) {
                           return parameter.param == NotifySocket::Kind::kPath ? "a_path"
                                                                               : "an_abstract_name";
                         });

TEST_P(Message, of_each_state_is_as_sd_notify_describes) {
  ServiceManager manager;
  EXPECT_EQ(manager.ready(), kNoError);
  EXPECT_EQ(manager.status("3 connections"), kNoError);
  EXPECT_EQ(manager.alive(), kNoError);
  EXPECT_EQ(manager.stopping(), kNoError);
  EXPECT_THAT(socket_.messages(),
              ElementsAre("READY=1", "STATUS=3 connections", "WATCHDOG=1", "STOPPING=1"));
}

std::uint64_t monotonic_microseconds() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec) / 1000;
}

TEST_P(Message, of_a_reload_tells_when_it_began) {
  ServiceManager manager;
  const std::uint64_t before = monotonic_microseconds();
  EXPECT_EQ(manager.reloading(), kNoError);
  const std::uint64_t after = monotonic_microseconds();
  EXPECT_EQ(manager.ready(), kNoError);

  const std::string expected = "RELOADING=1\nMONOTONIC_USEC=";
  ASSERT_EQ(socket_.messages().size(), 2U);
  const std::string message = socket_.messages().front();
  ASSERT_TRUE(message.starts_with(expected)) << message;
  std::uint64_t begin = 0;
  const auto [end, error] =
      std::from_chars(message.data() + expected.size(), message.data() + message.size(), begin);
  EXPECT_EQ(end, message.data() + message.size()) << message;
  EXPECT_GE(begin, before);
  EXPECT_LE(begin, after);
  EXPECT_EQ(socket_.messages().back(), "READY=1");
}

class Notification : private WithCleanEnvironment, public testing::Test {
 protected:
  Notification() { set("NOTIFY_SOCKET", socket_.path()); }

  NotifySocket socket_;
};

TEST_F(Notification, of_a_status_is_sent_when_the_status_has_changed) {
  ServiceManager manager;
  for (const char* text : {"1 held", "1 held", "2 held", "2 held", "1 held"}) {
    EXPECT_EQ(manager.status(text), kNoError);
  }
  EXPECT_THAT(socket_.messages(), ElementsAre("STATUS=1 held", "STATUS=2 held", "STATUS=1 held"));
}

// --- A manager that does not read ---

/// Reads the queue empty, and returns how many messages have been read in all.
std::ptrdiff_t drain(NotifySocket& socket) {
  return std::ssize(socket.messages());
}

std::vector<std::string> messages_after(NotifySocket& socket, std::ptrdiff_t count) {
  return {socket.messages().begin() + count, socket.messages().end()};
}

TEST_F(Notification, waits_for_nobody_when_the_queue_is_full) {
  ServiceManager manager;
  socket_.fill();
  EXPECT_EQ(manager.alive(), kQueueFull);
  EXPECT_EQ(manager.status("1 held"), kQueueFull);
  EXPECT_EQ(manager.ready(), kQueueFull);
  EXPECT_EQ(manager.reloading(), kQueueFull);
  EXPECT_EQ(manager.stopping(), kQueueFull);
}

TEST_F(Notification, of_a_state_that_did_not_fit_comes_with_the_next_call) {
  ServiceManager manager;
  socket_.fill();
  EXPECT_EQ(manager.ready(), kQueueFull);
  EXPECT_EQ(manager.ready(), kQueueFull);
  const std::ptrdiff_t drained = drain(socket_);
  EXPECT_EQ(manager.alive(), kNoError);
  EXPECT_EQ(manager.alive(), kNoError);
  EXPECT_THAT(messages_after(socket_, drained), ElementsAre("READY=1", "WATCHDOG=1", "WATCHDOG=1"));
}

TEST_F(Notification, of_a_status_that_did_not_fit_is_sent_when_it_is_told_again) {
  ServiceManager manager;
  socket_.fill();
  EXPECT_EQ(manager.status("1 held"), kQueueFull);
  const std::ptrdiff_t drained = drain(socket_);
  EXPECT_EQ(manager.status("1 held"), kNoError);
  EXPECT_EQ(manager.status("1 held"), kNoError);
  EXPECT_THAT(messages_after(socket_, drained), ElementsAre("STATUS=1 held"));
}

TEST_F(Notification, of_a_state_that_did_not_fit_comes_with_a_status_that_has_not_changed) {
  ServiceManager manager;
  EXPECT_EQ(manager.status("1 held"), kNoError);
  socket_.fill();
  EXPECT_EQ(manager.ready(), kQueueFull);
  const std::ptrdiff_t drained = drain(socket_);
  EXPECT_EQ(manager.status("1 held"), kNoError);
  EXPECT_THAT(messages_after(socket_, drained), ElementsAre("READY=1"));
}

TEST_F(Notification, of_a_reload_that_did_not_fit_replaces_the_one_before) {
  ServiceManager manager;
  socket_.fill();
  for (int reload = 0; reload < 3; ++reload) {
    EXPECT_EQ(manager.reloading(), kQueueFull);
    EXPECT_EQ(manager.ready(), kQueueFull);
  }
  const std::ptrdiff_t drained = drain(socket_);
  EXPECT_EQ(manager.status("1 held"), kNoError);
  EXPECT_THAT(messages_after(socket_, drained),
              ElementsAre(HasSubstr("RELOADING=1"), "READY=1", "STATUS=1 held"));
}

TEST_F(Notification, of_the_end_that_did_not_fit_replaces_what_was_before) {
  ServiceManager manager;
  socket_.fill();
  EXPECT_EQ(manager.reloading(), kQueueFull);
  EXPECT_EQ(manager.ready(), kQueueFull);
  EXPECT_EQ(manager.stopping(), kQueueFull);
  const std::ptrdiff_t drained = drain(socket_);
  EXPECT_EQ(manager.status("1 held"), kNoError);
  EXPECT_THAT(messages_after(socket_, drained), ElementsAre("STOPPING=1", "STATUS=1 held"));
}

TEST_F(Notification, finds_a_manager_that_has_bound_its_address_anew) {
  ServiceManager manager;
  EXPECT_EQ(manager.ready(), kNoError);
  std::filesystem::remove(socket_.path());
  EXPECT_EQ(manager.alive(), std::errc::no_such_file_or_directory);
  NotifySocket again;
  std::filesystem::rename(again.path(), socket_.path());
  EXPECT_EQ(manager.alive(), kNoError);
  EXPECT_THAT(again.messages(), ElementsAre("WATCHDOG=1"));
}

// --- NOTIFY_SOCKET ---

class NotifySocketVariable : private WithCleanEnvironment, public testing::Test {};

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST_F(NotifySocketVariable, that_is_missing_or_empty_costs_nothing) {
  set("WATCHDOG_USEC", "1000000");
  for (const bool empty : {false, true}) {
    if (empty) set("NOTIFY_SOCKET", "");
    const std::ptrdiff_t before = open_descriptors();
    ServiceManager manager;
    EXPECT_EQ(manager.ready(), kNoError);
    EXPECT_EQ(manager.reloading(), kNoError);
    EXPECT_EQ(manager.status("1 held"), kNoError);
    EXPECT_EQ(manager.alive(), kNoError);
    EXPECT_EQ(manager.stopping(), kNoError);
    EXPECT_EQ(manager.watchdog_interval(), std::nullopt);
    EXPECT_EQ(open_descriptors(), before);
  }
}

/// What the constructor says.
std::string refusal() {
  try {
    const ServiceManager manager;
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

TEST_F(NotifySocketVariable, that_is_no_address_is_refused) {
  const std::string too_long = "/" + std::string(108, 'x');
  for (const std::string& name : {std::string("run/notify"), std::string("@"), too_long}) {
    set("NOTIFY_SOCKET", name);
    EXPECT_EQ(refusal(), "NOTIFY_SOCKET is '" + name +
                             "'; expected an absolute path, or @ and an abstract name, of 108 "
                             "bytes at most");
  }
}

TEST_F(NotifySocketVariable, that_is_as_long_as_an_address_can_be_is_taken) {
  for (const char first : {'/', '@'}) {
    set("NOTIFY_SOCKET", first + std::string(107, 'x'));
    EXPECT_EQ(refusal(), "none");
  }
}

// --- The watchdog ---

class Watchdog : private WithCleanEnvironment, public testing::Test {
 protected:
  Watchdog() { set("NOTIFY_SOCKET", socket_.path()); }

  static std::optional<std::chrono::microseconds> interval() {
    return ServiceManager().watchdog_interval();
  }

 private:
  NotifySocket socket_;
};

TEST_F(Watchdog, that_does_not_watch_asks_for_nothing) {
  EXPECT_EQ(interval(), std::nullopt);
}

TEST_F(Watchdog, is_fed_twice_in_its_time) {
  set("WATCHDOG_USEC", "3000000");
  EXPECT_EQ(interval(), 1'500'000us);
}

TEST_F(Watchdog, that_names_this_process_is_fed) {
  set("WATCHDOG_USEC", "3000000");
  set("WATCHDOG_PID", std::to_string(::getpid()));
  EXPECT_EQ(interval(), 1'500'000us);
}

TEST_F(Watchdog, of_another_process_is_none_of_ours) {
  set("WATCHDOG_USEC", "3000000");
  set("WATCHDOG_PID", std::to_string(::getppid()));
  EXPECT_EQ(interval(), std::nullopt);
}

TEST_F(Watchdog, whose_variables_are_malformed_is_refused) {
  for (const char* time : {"", "0", "soon", "-1", "1s"}) {
    set("WATCHDOG_USEC", time);
    EXPECT_THAT(refusal(), HasSubstr("WATCHDOG_USEC or WATCHDOG_PID is malformed")) << time;
  }
  set("WATCHDOG_USEC", "3000000");
  set("WATCHDOG_PID", "me");
  EXPECT_THAT(refusal(), HasSubstr("WATCHDOG_USEC or WATCHDOG_PID is malformed"));
}

}  // namespace
}  // namespace dflockd::systemd
