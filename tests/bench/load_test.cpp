// Runs whole loads against the floor server, and against servers that misbehave.
#include "bench/load.hpp"

#include <future>

#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.hpp"

namespace dflockd::bench {
namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;
using testing::HasSubstr;

TEST(Load, measures_exactly_the_count_of_cycles) {
  const FloorProcess server;
  Options options = load_of(server.port(), 7, 1000);
  options.pipeline = 16;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 1000U);
  EXPECT_EQ(result.acquire.count(), 1000U);
  EXPECT_EQ(result.release.count(), 1000U);
  EXPECT_EQ(result.errors, 0U) << result.first_error;
  EXPECT_GT(result.elapsed, 0s);
  EXPECT_EQ(result.server_cpu, std::nullopt);
}

TEST(Load, measures_for_a_duration_after_a_warmup) {
  const FloorProcess server;
  Options options = load_of(server.port(), 10, 0);
  options.count.reset();
  options.warmup = 20ms;
  options.duration = 100ms;
  options.server_pid = server.pid();
  const Result result = measured(options);
  EXPECT_GT(result.cycles(), 0U);
  EXPECT_GE(result.elapsed, 100ms);
  EXPECT_GT(result.server_cpu.value_or(0ns), 0ns);
}

TEST(Load, busy_polling_measures_the_same_and_ends) {
  const FloorProcess server;
  Options options = load_of(server.port(), 2, 10);
  options.busy_poll = true;
  options.hold = 2ms;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 10U);
  EXPECT_GE(result.cycle.percentile(1), 1900us);
}

TEST(Load, a_cycle_lasts_at_least_the_hold_time) {
  const FloorProcess server;
  Options options = load_of(server.port(), 2, 4);
  options.hold = 20ms;
  const Result result = measured(options);
  EXPECT_EQ(result.cycles(), 4U);
  EXPECT_GE(result.cycle.percentile(1), 19ms);
}

TEST(Load, a_hold_time_is_cut_short_at_the_end) {
  const FloorProcess server;
  Options options = load_of(server.port(), 2, 0);
  options.count.reset();
  options.duration = 50ms;
  options.hold = 1h;
  const Result result = measured(options);
  EXPECT_EQ(result.acquire.count(), 2U);
  EXPECT_EQ(result.cycles(), 0U);
}

TEST(Load, counts_unexpected_replies_and_goes_on) {
  SmallServer server([](tcp::socket& peer) {
    std::string received;
    for (int acquires = 0; acquires < 3; ++acquires) {
      for (int line = 0; line < 3; ++line) {
        received.erase(0, asio::read_until(peer, asio::dynamic_buffer(received), '\n'));
      }
      asio::write(peer, asio::buffer(std::string("error_max_locks\n")));
    }
  });
  const Result result = measured(load_of(server.port(), 1, 3));
  EXPECT_EQ(result.cycles(), 0U);
  EXPECT_EQ(result.errors, 3U);
  EXPECT_EQ(result.first_error, "acquire was answered \"error_max_locks\"");
}

TEST(Load, a_server_that_closes_a_connection_is_a_failure) {
  SmallServer server([](tcp::socket& peer) {
    std::string received;
    asio::read_until(peer, asio::dynamic_buffer(received), "\n10\n");
  });
  const std::string address = "127.0.0.1:" + std::to_string(server.port());
  EXPECT_EQ(failure_of(load_of(server.port(), 1, 3)), address + " closed the connection");
}

TEST(Load, a_server_that_stops_answering_is_a_failure) {
  std::promise<void> done;
  SmallServer server([&done](tcp::socket&) { done.get_future().wait(); });
  Options options = load_of(server.port(), 1, 3);
  options.timeout = 0s;
  EXPECT_EQ(failure_of(options),
            "127.0.0.1:" + std::to_string(server.port()) + " has answered nothing for 3 s");
  done.set_value();
}

TEST(Load, a_reply_without_an_end_is_a_failure) {
  SmallServer server([](tcp::socket& peer) {
    std::error_code closed;  // the load hangs up when it has seen enough
    asio::write(peer, asio::buffer(std::string(1 << 20, 'x')), closed);
  });
  EXPECT_THAT(failure_of(load_of(server.port(), 1, 3)), HasSubstr("lost: Message too long"));
}

TEST(Load, a_refused_connection_is_a_failure) {
  asio::io_context io;
  tcp::acceptor taken(io);  // bound and not listening: nobody else gets this port
  taken.open(tcp::v4());
  taken.bind(tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  EXPECT_THAT(
      failure_of(load_of(taken.local_endpoint().port(), 2, 3)),
      testing::AllOf(HasSubstr("cannot open connection 1 of 2"), HasSubstr("Connection refused")));
}

}  // namespace
}  // namespace dflockd::bench
