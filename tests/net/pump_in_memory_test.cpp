// The pump over a stream without a socket: what it gives to a session, sends, waits for and ends.

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <asio/co_spawn.hpp>
#include <gtest/gtest.h>

#include "net/pump.hpp"
#include "support/simulated_stream.hpp"

namespace dflockd::net {
namespace {

using namespace std::chrono_literals;

/// What a loop has, under a clock that stands still.
struct Loop {
  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  base::LoopClock clock{std::chrono::hours(1)};
  base::Batches batches;
  Turns turns{context, 0ms};
  Complaints complaints;
  PumpRoom room{.context = context,
                .clock = clock,
                .batches = batches,
                .turns = turns,
                .complaints = complaints};
  Watch watch{context, clock, {.read = 10s, .write = 5s, .idle = 20s}};
  access::Gate gate{"test", {}};

  void run() {
    context.restart();
    context.poll();
  }
  void pass(base::Instant time) {
    clock.set(clock.now() + time);
    watch.tick();
    run();
  }
};

/// What a session was told, which lives on when it is gone.
struct Story {
  int advanced = 0;
  int silences = 0;
  std::vector<bool> hangups;
  std::vector<bool> sent_to_nobody;
  std::optional<std::pair<std::string, std::string>> end;  ///< what was unsent, and why
};

/// A session that says every line again, or does what it is told to.
class Script final : public Session {
 public:
  using Act = std::function<Want(InputBuffer&, Output&)>;

  Script(Story& story, Act act) : story_(story), act_(std::move(act)) {}

  static Want echo(InputBuffer& input, Output& output) {
    const std::size_t size = input.unread().rfind('\n') + 1;
    output.bytes += input.unread().substr(0, size);
    output.served = size > 0;
    if (size > 0) input.consume(size);
    return Want::kInput;
  }

  Want advance(InputBuffer& input, Output& output) override {
    ++story_.advanced;
    return act_(input, output);
  }
  [[nodiscard]] Patience patience(const InputBuffer& /*input*/) const override {
    return Patience::kRequest;
  }
  Want on_silence(const InputBuffer& /*input*/, Output& output) override {
    ++story_.silences;
    output.bytes += "silence\n";
    return Want::kClose;
  }
  void on_hangup(bool gone) override { story_.hangups.push_back(gone); }
  void on_sending_to_nobody(bool all_carried_out) override {
    story_.sent_to_nobody.push_back(all_carried_out);
  }
  [[nodiscard]] bool is_spare(const InputBuffer& input) const override {
    return story_.advanced > 1 && input.empty();
  }
  [[nodiscard]] bool is_new() const override { return story_.advanced <= 1; }
  void on_end(std::string_view unsent, std::string_view why) override {
    story_.end.emplace(unsent, why);
  }
  [[nodiscard]] Peer peer() const override { return {.connection_id = 1, .address = "peer:1"}; }

 private:
  Story& story_;
  Act act_;
};

/// A connection that a pump serves from the start.
struct Connection {
  explicit Connection(Loop& loop, Script::Act act = Script::echo) : loop_(loop) {
    auto made = std::make_unique<Pump<SimulatedStream>>(
        loop.room, loop.watch, *loop.gate.admit(asio::ip::address_v4::loopback(), loop.clock.now()),
        SimulatedStream::Origin{loop.context, wire}, 1000);
    pump = made.get();
    auto session = std::make_unique<Script>(story, std::move(act));
    asio::co_spawn(loop.context.get_executor(),
                   Pump<SimulatedStream>::serve(std::move(made), std::move(session)),
                   [this](const std::exception_ptr&) { over = true; });
    loop.run();
  }
  ~Connection() {
    if (!over) pump->on_stop();
    loop_.run();
    wire->end_pause();
    loop_.run();
    EXPECT_TRUE(over);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void hear(std::string_view bytes) {
    wire->arrive(bytes);
    loop_.run();
  }
  std::string sent() { return std::exchange(wire->sent, {}); }

  std::shared_ptr<SimulatedWire> wire = std::make_shared<SimulatedWire>();
  Story story;
  Pump<SimulatedStream>* pump = nullptr;
  bool over = false;

 private:
  Loop& loop_;
};

TEST(Pump, sends_what_the_session_says_to_what_arrives) {
  Loop loop;
  Connection connection(loop);
  connection.hear("one\ntw");
  EXPECT_EQ(connection.sent(), "one\n");
  connection.hear("o\n");
  EXPECT_EQ(connection.sent(), "two\n");
}

TEST(Pump, receives_nothing_more_from_a_peer_that_does_not_read) {
  Loop loop;
  Connection connection(loop);
  connection.wire->set_room(3);
  connection.hear("first\n");
  connection.hear("second\n");
  EXPECT_EQ(connection.sent(), "fir");
  EXPECT_EQ(connection.wire->unread(), "second\n");
  connection.wire->set_room(SIZE_MAX);
  loop.run();
  EXPECT_EQ(connection.sent(), "st\nsecond\n");
}

TEST(Pump, peer_that_does_not_read_is_dropped_and_its_cut_line_is_unsent) {
  Loop loop;
  Connection connection(loop);
  connection.wire->set_room(8);
  connection.hear("first\nsecond\nthird\n");
  loop.pass(4s);
  EXPECT_FALSE(connection.over);
  loop.pass(1s);
  EXPECT_TRUE(connection.over);
  EXPECT_EQ(connection.sent(), "first\nse");
  ASSERT_TRUE(connection.story.end);
  EXPECT_EQ(connection.story.end->first, "second\nthird\n");
  EXPECT_EQ(connection.story.end->second, "write_timeout");
}

TEST(Pump, parked_session_leaves_what_arrives_in_the_socket_until_it_wakes) {
  Loop loop;
  bool parks = true;
  Connection connection(loop, [&](InputBuffer& input, Output& output) {
    return parks ? Want::kPark : Script::echo(input, output);
  });
  connection.hear("one\n");
  EXPECT_EQ(connection.wire->unread(), "one\n");
  parks = false;
  connection.pump->outlet().wake();
  loop.run();
  EXPECT_EQ(connection.sent(), "one\n");
}

TEST(Pump, answer_is_sent_before_its_giver_goes_on) {
  Loop loop;
  std::string answer;
  Connection connection(loop, [&](InputBuffer& /*input*/, Output& output) {
    output.bytes += answer;
    return answer.empty() ? Want::kAnswer : Want::kInput;
  });
  answer = "granted\n";
  connection.pump->outlet().answer();
  EXPECT_EQ(connection.sent(), "granted\n");
}

// One command answers many, as when all who wait to hold a lock shared are let in.
TEST(Pump, many_answers_of_one_batch_are_given_in_turns) {
  constexpr std::size_t kMany = 3 * Answering::kAtOnce;
  Loop loop;
  bool there = false;
  std::deque<Connection> waiting;
  for (std::size_t i = 0; i < kMany; ++i) {
    waiting.emplace_back(loop, [&there, said = false](InputBuffer&, Output& output) mutable {
      if (there && !std::exchange(said, true)) output.bytes += "granted\n";
      return Want::kInput;
    });
  }
  const auto answered = [&] {
    return static_cast<std::size_t>(std::ranges::count_if(
        waiting, [](const Connection& each) { return each.wire->sent == "granted\n"; }));
  };
  there = true;
  for (Connection& each : waiting) each.pump->outlet().answer();
  EXPECT_EQ(answered(), Answering::kAtOnce);
  EXPECT_TRUE(waiting.back().pump->is_busy()) << "a drain does not cut it off";
  waiting.pop_back();  // it ends before it has its turn
  loop.run();
  EXPECT_EQ(answered(), kMany - 1);
  loop.pass(1ms);
  EXPECT_FALSE(waiting.back().pump->is_busy());
}

TEST(Pump, answer_comes_behind_what_is_unsent) {
  Loop loop;
  std::string said = "earlier\n";
  Connection connection(loop, [&](InputBuffer& input, Output& output) {
    if (input.empty()) return Want::kInput;
    input.consume(input.unread().size());
    output.bytes += std::exchange(said, {});
    return Want::kAnswer;
  });
  connection.wire->set_room(0);
  connection.hear("x");
  said = "answer\n";
  connection.pump->outlet().answer();
  EXPECT_EQ(connection.sent(), "");
  connection.hear("y");
  connection.wire->set_room(SIZE_MAX);
  loop.run();
  EXPECT_EQ(connection.sent(), "earlier\nanswer\n");
}

TEST(Pump, session_hears_that_what_is_being_sent_goes_to_nobody) {
  Loop loop;
  Connection connection(loop);
  connection.wire->set_room(0);
  connection.hear("one\n");
  connection.hear("two\n");
  connection.wire->shut();
  connection.pump->on_hangup(false);
  loop.run();
  EXPECT_EQ(connection.story.hangups, std::vector{false});
  EXPECT_EQ(connection.story.sent_to_nobody, std::vector{false});  // "two" is still unread
}

TEST(Pump, what_was_sent_before_a_hang_up_is_carried_out) {
  Loop loop;
  bool parks = true;
  Connection connection(loop, [&](InputBuffer& input, Output& output) {
    return parks ? Want::kPark : Script::echo(input, output);
  });
  connection.hear("last words\n");
  connection.wire->shut();
  parks = false;
  connection.pump->on_hangup(false);
  loop.run();
  EXPECT_EQ(connection.sent(), "last words\n");
  ASSERT_TRUE(connection.over);
  EXPECT_EQ(connection.story.end->second, "peer_left");
}

TEST(Pump, end_that_came_with_the_last_bytes_is_seen_when_the_watch_says_so) {
  Loop loop;
  Connection connection(loop);
  connection.wire->shut(false);
  loop.run();
  EXPECT_FALSE(connection.over);
  connection.pump->on_hangup(false);
  loop.run();
  EXPECT_TRUE(connection.over);
}

TEST(Pump, silent_peer_is_told_at_the_read_timeout) {
  Loop loop;
  Connection connection(loop);
  loop.pass(9s);
  EXPECT_EQ(connection.story.silences, 0);
  loop.pass(1s);
  EXPECT_EQ(connection.sent(), "silence\n");
}

TEST(Pump, request_after_which_others_have_their_turn_restarts_the_silence) {
  Loop loop;
  Connection connection(loop, [](InputBuffer& input, Output& output) {
    const Want want = Script::echo(input, output);
    return output.served ? Want::kTurn : want;
  });
  loop.pass(6s);
  connection.hear("long\n");
  loop.pass(6s);
  EXPECT_EQ(connection.story.silences, 0);
  loop.pass(4s);
  EXPECT_EQ(connection.story.silences, 1);
}

TEST(Pump, peer_whose_bytes_the_loop_has_not_looked_at_is_not_silent) {
  Loop loop;
  Connection connection(loop);
  connection.wire->arrive("here\n");  // and the loop is late
  loop.pass(1min);
  EXPECT_EQ(connection.story.silences, 0);
  EXPECT_EQ(connection.sent(), "here\n");
}

TEST(Pump, connection_with_much_to_do_has_one_turn_after_the_other_with_others_between) {
  Loop loop;
  std::string order;
  Connection busy(loop, [&](InputBuffer& input, Output& /*output*/) {
    if (input.empty()) return Want::kInput;
    order += 'b';
    if (order.size() < 6) return Want::kTurn;
    input.consume(input.unread().size());
    return Want::kInput;
  });
  Connection other(loop, [&](InputBuffer& input, Output& output) {
    if (!input.empty()) order += 'o';
    return Script::echo(input, output);
  });
  busy.wire->arrive("much");
  other.wire->arrive("little\n");
  loop.run();
  EXPECT_EQ(order.find('o'), 1U) << order;
  EXPECT_GE(order.size(), 6U);
}

TEST(Pump, denied_peer_is_kept_waiting) {
  Loop loop;
  Connection connection(loop, [](InputBuffer& input, Output& output) {
    if (input.empty()) return Want::kInput;
    if (!input.unread().starts_with('x')) return Want::kDrop;
    input.consume(input.unread().size());
    input.received(0);
    output.bytes += "no\n";
    return Want::kPause;
  });
  connection.hear("x");
  EXPECT_EQ(connection.sent(), "no\n");
  connection.hear("y");
  EXPECT_EQ(connection.wire->unread(), "y");  // not looked at meanwhile
  connection.wire->end_pause();
  loop.run();
  EXPECT_TRUE(connection.over);
}

TEST(Pump, last_reply_has_time_to_be_read) {
  Loop loop;
  Connection connection(loop, [](InputBuffer& input, Output& output) {
    if (input.empty()) return Want::kInput;
    output.bytes += "bye\n";
    return Want::kClose;
  });
  connection.hear("x");
  EXPECT_EQ(connection.sent(), "bye\n");
  EXPECT_TRUE(connection.wire->sending_ended());
  EXPECT_TRUE(connection.story.end);  // what it held is free already
  connection.hear("thrown away");
  EXPECT_FALSE(connection.over);
  EXPECT_EQ(connection.wire->unread(), "");
  connection.wire->shut();
  loop.run();
  EXPECT_TRUE(connection.over);
}

TEST(Pump, peer_that_never_closes_has_the_write_timeout_for_it) {
  Loop loop;
  Connection connection(loop, [](InputBuffer&, Output&) { return Want::kClose; });
  loop.pass(4s);
  EXPECT_FALSE(connection.over);
  loop.pass(1s);
  EXPECT_TRUE(connection.over);
}

TEST(Pump, drain_ends_who_is_between_two_requests_and_not_who_just_came) {
  Loop loop;
  Connection spare(loop);
  Connection fresh(loop);
  spare.hear("one\n");
  loop.room.draining = true;
  loop.watch.drain();
  loop.run();
  EXPECT_TRUE(spare.over);
  EXPECT_FALSE(fresh.over);
  loop.pass(1s);
  loop.watch.drain();
  loop.run();
  EXPECT_TRUE(fresh.over);
  EXPECT_EQ(fresh.story.end->second, "draining");
}

TEST(Pump, reply_leaves_when_what_is_behind_it_is_committed) {
  Loop loop;
  Connection connection(loop, [&](InputBuffer& input, Output& output) {
    if (!input.empty()) loop.batches.add_command();
    return Script::echo(input, output);
  });
  connection.hear("one\n");
  EXPECT_EQ(connection.sent(), "");
  const std::uint64_t batch = loop.batches.seal();
  connection.hear("two\n");
  loop.batches.commit(batch);
  loop.run();
  EXPECT_EQ(connection.sent(), "one\n");
}

}  // namespace
}  // namespace dflockd::net
