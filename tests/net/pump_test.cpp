// Replies leave when the batch behind them is committed, and large receptions wait for a turn.
#include "net/pump.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <gtest/gtest.h>

#include "access/gate.hpp"
#include "base/batches.hpp"
#include "base/loop_clock.hpp"
#include "net/complaints.hpp"
#include "net/net.hpp"
#include "net/turns.hpp"
#include "net/watch.hpp"

namespace dflockd::net {

namespace {

/// What became of a session, which outlives it.
struct Fate {
  bool ended = false;
  bool hung_up = false;
  std::size_t seen = 0;  ///< the most input there was at a time
  std::string unsent;
};

/// Echoes lines, each of which is a command.
class Echo final : public Session {
 public:
  Echo(base::Batches& batches, Fate& fate) : batches_(batches), fate_(fate) {}

  Want advance(InputBuffer& input, Output& output) override {
    const std::string_view unread = input.unread();
    fate_.seen = std::max(fate_.seen, unread.size());
    const std::size_t end = unread.rfind('\n');
    if (end == std::string_view::npos) return Want::kInput;
    batches_.add_command();
    output.bytes.append(unread.substr(0, end + 1));
    output.served = true;
    input.consume(end + 1);
    return Want::kInput;
  }
  [[nodiscard]] Patience patience(const InputBuffer& /*input*/) const override {
    return Patience::kRequest;
  }
  Want on_silence(const InputBuffer& /*input*/, Output& /*output*/) override { return Want::kDrop; }
  void on_hangup(bool /*gone*/) override { fate_.hung_up = true; }
  void on_sending_to_nobody(bool /*all_carried_out*/) override {}
  [[nodiscard]] bool is_spare(const InputBuffer& input) const override { return input.empty(); }
  [[nodiscard]] bool is_new() const override { return false; }
  void on_end(std::string_view unsent, std::string_view /*why*/) override {
    fate_.ended = true;
    fate_.unsent = unsent;
  }
  [[nodiscard]] Peer peer() const override { return {1, "peer"}; }

 private:
  base::Batches& batches_;
  Fate& fate_;
};

}  // namespace

class PumpTest : public testing::Test {
 protected:
  PumpTest() : client_(context_) {
    using asio::ip::tcp;
    asio::basic_socket_acceptor<tcp, Executor> acceptor(context_,
                                                        {asio::ip::address_v4::loopback(), 0});
    client_.connect(acceptor.local_endpoint());
    Socket server = acceptor.accept();
    server.non_blocking(true);
    auto pass = gate_.admit(asio::ip::address_v4::loopback(), clock_.now());
    auto pump = std::make_unique<Pump<PlainStream>>(room_, watch_, std::move(*pass),
                                                    std::move(server), kMostInput);
    auto session = std::make_unique<Echo>(batches_, fate_);
    spawn(context_, watch_.run());
    spawn(context_, Pump<PlainStream>::serve(std::move(pump), std::move(session)));
    client_.non_blocking(true);
  }
  ~PumpTest() override {
    watch_.stop();
    comes([this] { return fate_.ended; });
    context_.run_for(kLongest);
  }

  void send(std::string_view text) { asio::write(client_, asio::buffer(text)); }

  /// What has come to the client.
  std::string received() {
    std::string text(64, '\0');
    std::error_code ignored;
    text.resize(client_.read_some(asio::buffer(text), ignored));
    return text;
  }

  /// Runs the loop until this is true.
  template <class Condition>
  bool comes(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kLongest;
    bool came = false;
    while (!(came = condition()) && std::chrono::steady_clock::now() < end) {
      context_.run_for(std::chrono::milliseconds(1));
      give_turns();
    }
    return came;
  }

  void give_turns() {
    turns_context_.restart();
    turns_context_.poll();
  }

  static constexpr std::chrono::seconds kLongest{10};
  static constexpr std::size_t kMostInput = 256UL * 1024;

  asio::io_context context_{ASIO_CONCURRENCY_HINT_UNSAFE};
  base::LoopClock clock_;
  base::Batches batches_;
  asio::io_context turns_context_;  ///< of their own, so that a test decides when they are given
  Turns turns_{turns_context_};
  Complaints complaints_;
  PumpRoom room_{.context = context_,
                 .clock = clock_,
                 .batches = batches_,
                 .turns = turns_,
                 .complaints = complaints_};
  Watch watch_{context_, clock_, {std::chrono::seconds(1), std::chrono::seconds(1)}};
  access::Gate gate_{"test", {}};
  Fate fate_;
  asio::basic_stream_socket<asio::ip::tcp, Executor> client_;
};

class PumpCommit : public PumpTest {};

TEST_F(PumpCommit, a_reply_waits_for_its_batch_and_comes_whole_and_in_order) {
  send("one\n");
  ASSERT_TRUE(comes([&] { return !batches_.all_committed(); }));
  const std::uint64_t first = batches_.seal();
  send("two\n");  // stays in the socket meanwhile
  context_.poll();
  EXPECT_EQ(received(), "");
  batches_.commit(first);
  EXPECT_TRUE(comes([&] { return received() == "one\n"; }));
  ASSERT_TRUE(comes([&] { return !batches_.all_committed(); }));
  EXPECT_EQ(received(), "");
  batches_.commit(batches_.seal());
  EXPECT_TRUE(comes([&] { return received() == "two\n"; }));
}

TEST_F(PumpCommit, nobody_is_overdue_while_a_commit_is) {
  send("one\n");
  ASSERT_TRUE(comes([&] { return !batches_.all_committed(); }));
  context_.poll();
  clock_.set(clock_.now() + std::chrono::minutes(1));
  watch_.tick();
  context_.poll();
  EXPECT_FALSE(fate_.ended);
  batches_.commit(batches_.seal());
  EXPECT_TRUE(comes([&] { return received() == "one\n"; }));
}

TEST_F(PumpCommit, the_end_of_the_server_does_not_wait_for_it) {
  send("one\n");
  ASSERT_TRUE(comes([&] { return !batches_.all_committed(); }));
  context_.poll();
  watch_.stop();
  EXPECT_TRUE(comes([&] { return fate_.ended; }));
  EXPECT_EQ(fate_.unsent, "one\n") << "what was not committed has not been said";
  EXPECT_EQ(received(), "");
}

TEST_F(PumpCommit, a_peer_that_hangs_up_meanwhile_is_noticed_and_hears_nothing_sooner) {
  send("one\n");
  ASSERT_TRUE(comes([&] { return !batches_.all_committed(); }));
  client_.shutdown(asio::socket_base::shutdown_send);
  EXPECT_TRUE(comes([&] { return fate_.hung_up; }));
  context_.poll();
  EXPECT_EQ(received(), "");
  batches_.commit(batches_.seal());
  EXPECT_TRUE(comes([&] { return received() == "one\n"; }));
  EXPECT_TRUE(comes([&] { return fate_.ended; }));
}

class PumpReception : public PumpTest {};

TEST_F(PumpReception, that_is_large_waits_for_a_turn_before_it_is_looked_at) {
  constexpr std::size_t kLarge = 16UL * 1024;
  std::string line(kMostInput / 2, 'x');
  line.back() = '\n';
  send(line);
  const auto end = std::chrono::steady_clock::now() + kLongest;
  while (fate_.seen < kLarge && std::chrono::steady_clock::now() < end) context_.poll_one();
  context_.poll();  // without a turn
  EXPECT_GE(fate_.seen, kLarge) << "what is small is looked at";
  EXPECT_LT(fate_.seen, 2 * kLarge);
  EXPECT_TRUE(comes([&] { return !batches_.all_committed(); }));
  EXPECT_EQ(fate_.seen, line.size());
}

}  // namespace dflockd::net
