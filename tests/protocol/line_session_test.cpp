// The line protocol on a connection without a socket: every phase, and what may happen in it.

#include "protocol/line_session.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include <sys/random.h>

#include <gtest/gtest.h>

#include "service/service.hpp"
#include "service/stats_reporter.hpp"

namespace dflockd::protocol {
namespace {

using namespace std::chrono_literals;
using net::Patience;
using net::Want;

/// A server without sockets, under a clock that stands still.
class Server final : private service::Host {
 public:
  explicit Server(bool keeps_grants = false, const std::string& secret = "", bool ends_idle = false)
      : service_(service::ServiceOptions{.table = {}, .release_on_disconnect = !keeps_grants},
                 clock_, *this, {.first = 1, .end = 1'000'000}, ::getrandom),
        stats_(
            service_, [] { return 7; }, [] {}),
        authenticator_(secret),
        door{.service = service_,
             .stats = stats_,
             .authenticator = authenticator_,
             .metrics = metrics_,
             .complaints = complaints_,
             .ends_idle = ends_idle} {}

  void pass(base::Instant time) {
    clock_.set(clock_.now() + time);
    service_.tick();
  }
  void drain() { service_.start_draining(); }
  /// Makes the reports that were asked for.
  void report() {
    while (stats_.step()) {
    }
  }
  [[nodiscard]] const locks::TableCounts& counts() const { return service_.counts(); }

 private:
  void set_timer(locks::Instant /*deadline*/) override {}
  void reserve_fences(std::uint64_t /*count*/) override {}

  base::LoopClock clock_{std::chrono::hours(1)};
  service::Service service_;
  service::StatsReporter stats_;
  access::Authenticator authenticator_;
  metrics::Metrics metrics_{service::labels(), service::status_names()};
  net::Complaints complaints_;

 public:
  LineDoor door;
};

class Connection final : public net::Outlet {
 public:
  explicit Connection(Server& server)
      : session_(std::make_unique<LineSession>(server.door, *this,
                                               service::OwnerInfo{++last_id, "peer:1"})) {}
  ~Connection() { end(); }

  /// Has bytes arrive and the session advance as far as it goes. Returns what it says.
  std::string hear(std::string_view bytes) {
    lay(bytes);
    return go_on();
  }
  std::string ask(const std::string& command, const std::string& key, const std::string& argument) {
    return hear(command + "\n" + key + "\n" + argument + "\n");
  }
  /// Has bytes arrive, and no more.
  void lay(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::span<char> space = input_.space();
      const std::size_t size = std::min(space.size(), bytes.size());
      std::ranges::copy(bytes.substr(0, size), space.begin());
      input_.received(size);
      bytes.remove_prefix(size);
    }
  }
  std::string go_on() {
    std::string said;
    do {
      said += advance();
    } while (want == Want::kTurn);
    return said;
  }
  std::string advance() {
    std::string said;
    net::Output output{said};
    woken = false;
    want = session_->advance(input_, output);
    if (output.text != nullptr) {
      for (const std::string& piece : *output.text) said += piece;
    }
    return said;
  }
  std::string be_silent() {
    std::string said;
    net::Output output{said};
    want = session_->on_silence(input_, output);
    return said;
  }
  void end(std::string_view unsent = {}, std::string_view why = {}) {
    if (session_ == nullptr) return;
    session_->on_end(unsent, why);
    session_ = nullptr;
  }

  [[nodiscard]] Patience patience() const { return session_->patience(input_); }
  [[nodiscard]] bool is_spare() const { return session_->is_spare(input_); }
  [[nodiscard]] std::size_t unread() const { return input_.unread().size(); }
  LineSession& session() { return *session_; }

  Want want = Want::kInput;
  bool woken = false;    ///< wants to be advanced
  bool is_gone = false;  ///< what `peer_gone` says

 private:
  void wake() noexcept override { woken = true; }
  void answer() noexcept override { woken = true; }
  [[nodiscard]] bool peer_gone() noexcept override { return is_gone; }

  static inline std::uint64_t last_id = 0;

  net::InputBuffer input_{LineSession::kMostInput};
  std::unique_ptr<LineSession> session_;
};

const std::string kPing = "ping\n_\n_\n";

/// The token in the reply to an acquire.
std::string token_of(const std::string& reply) {
  return reply.substr(reply.find(' ') + 1, 32);
}

// --- New ---

TEST(line_session, new_connection_must_speak_in_time) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection.go_on(), "");
  EXPECT_TRUE(connection.session().is_new());
  EXPECT_FALSE(connection.is_spare()) << "its first request is about to come";
  EXPECT_EQ(connection.patience(), Patience::kRequest);
  EXPECT_EQ(connection.be_silent(), "error\n");
  EXPECT_EQ(connection.want, Want::kClose);
}

TEST(line_session, replies_do_not_depend_on_how_the_bytes_arrive) {
  const std::string requests =
      kPing + "l\nk\n0\n" + "nonsense\nk\n\n" + "e\nk\n\n" + "stats\n_\n\n";
  const auto replies = [&](std::size_t step) {
    Server server;
    Connection connection(server);
    std::string said;
    for (std::size_t at = 0; at < requests.size(); at += step) {
      said += connection.hear(requests.substr(at, step));
    }
    server.report();
    said += connection.go_on();
    for (std::size_t at = 0; (at = said.find("ok 0", at)) != std::string::npos;) said[at + 3] = 'x';
    return said.substr(0, 10);
  };
  for (std::size_t step = 1; step < requests.size(); ++step)
    EXPECT_EQ(replies(step), replies(1'000));
}

TEST(line_session, first_line_of_http_drops_the_connection_without_a_line) {
  for (const std::string secret : {"", "secret"}) {
    Server server(false, secret);
    Connection connection(server);
    EXPECT_EQ(connection.hear("POST / HTTP/1.1\r\nHost: x\r\n\r\nl\nk\n0\n"), "");
    EXPECT_EQ(connection.want, Want::kDrop);
    EXPECT_EQ(server.counts().keys, 0U);
  }
}

// --- Open ---

TEST(line_session, turn_carries_out_a_bounded_part_of_what_was_sent_ahead) {
  Server server;
  Connection connection(server);
  std::string requests;
  for (int i = 0; i < 3 * LineSession::kRequestsATurn; ++i) requests += kPing;
  connection.lay(requests);
  for (int turn = 1; turn <= 3; ++turn) {
    EXPECT_EQ(connection.advance().size(), 3U * LineSession::kRequestsATurn);
    EXPECT_EQ(connection.want, turn < 3 ? Want::kTurn : Want::kInput);
  }
}

TEST(line_session, silence_is_judged_in_the_middle_of_a_request_only) {
  Server server;
  Connection connection(server);
  connection.hear(kPing);
  EXPECT_EQ(connection.patience(), Patience::kEndless);
  connection.hear("ping\n");
  EXPECT_EQ(connection.patience(), Patience::kRequest);
  EXPECT_EQ(connection.be_silent(), "error\n");
  EXPECT_EQ(connection.want, Want::kClose);
  EXPECT_EQ(connection.advance(), "");
  EXPECT_EQ(connection.want, Want::kClose) << "as before";
}

TEST(line_session, idle_limit_spares_whoever_holds_something) {
  Server server(false, "", true);
  Connection connection(server);
  connection.ask("l", "k", "0 2");
  EXPECT_EQ(connection.patience(), Patience::kIdle);
  EXPECT_EQ(connection.be_silent(), "");
  EXPECT_EQ(connection.want, Want::kInput);
  server.pass(3s);
  EXPECT_EQ(connection.be_silent(), "");
  EXPECT_EQ(connection.want, Want::kDrop);
}

TEST(line_session, drain_may_end_what_is_between_requests_and_holds_nothing) {
  Server server;
  Connection connection(server);
  connection.hear(kPing);
  EXPECT_TRUE(connection.is_spare());
  const std::string token = token_of(connection.ask("l", "k", "0"));
  EXPECT_FALSE(connection.is_spare());
  server.drain();
  EXPECT_EQ(connection.ask("l", "other", "0"), "error_draining\n");
  EXPECT_EQ(connection.ask("r", "k", token), "ok\n");
  EXPECT_TRUE(connection.is_spare());
  connection.lay("pi");
  EXPECT_FALSE(connection.is_spare());
}

// --- Waiting, answered ---

struct Queue {
  explicit Queue(Server& server) : holder(server), waiter(server) {
    token = token_of(holder.ask("l", "k", "0"));
    EXPECT_EQ(waiter.hear("l\nk\n60\n"), "");
    EXPECT_EQ(waiter.want, Want::kAnswer);
  }
  void release() { EXPECT_EQ(holder.ask("r", "k", token), "ok\n"); }

  Connection holder;
  Connection waiter;
  std::string token;
};

TEST(line_session, blocked_request_holds_back_those_behind_it) {
  Server server;
  Queue queue(server);
  EXPECT_EQ(queue.waiter.hear(kPing), "");
  EXPECT_EQ(queue.waiter.want, Want::kAnswer);
  queue.release();
  EXPECT_TRUE(queue.waiter.woken);
  const std::string said = queue.waiter.go_on();
  EXPECT_TRUE(said.starts_with("ok ") && said.ends_with(" 33\nok\n")) << said;
}

TEST(line_session, too_much_sent_ahead_of_an_answer_is_refused) {
  Server server;
  Queue queue(server);
  queue.waiter.lay(std::string(LineSession::kMostInput, 'x'));
  EXPECT_EQ(queue.waiter.advance(), "error\n");
  EXPECT_EQ(queue.waiter.want, Want::kClose);
}

TEST(line_session, waiting_connection_that_hangs_up_gives_up_its_place) {
  Server server;
  Queue queue(server);
  queue.waiter.lay(kPing);
  queue.waiter.session().on_hangup(false);
  EXPECT_EQ(queue.waiter.advance(), "");
  EXPECT_EQ(queue.waiter.want, Want::kDrop);
  queue.waiter.end();
  EXPECT_EQ(server.counts().lock_waiters, 0U);
}

// It came between two turns: the first had carried out what it may at a time.
TEST(line_session, request_that_blocks_after_the_peer_has_hung_up_is_given_up) {
  Server server;
  Connection holder(server);
  holder.ask("l", "k", "0");
  Connection leaving(server);
  std::string requests;
  for (int i = 0; i < LineSession::kRequestsATurn; ++i) requests += kPing;
  leaving.lay(requests + "l\nk\n60\n");
  leaving.advance();
  EXPECT_EQ(leaving.want, Want::kTurn);
  leaving.session().on_hangup(false);
  EXPECT_EQ(leaving.advance(), "");
  EXPECT_EQ(leaving.want, Want::kDrop);
}

/// When the peer of a waiter leaves, as far as the grant is concerned.
enum class Leaving { kBeforeItIsNoticed, kBetweenAnswerAndReply, kWhileTheConnectionEnds };

class Race : public testing::TestWithParam<std::tuple<bool, Leaving>> {};
INSTANTIATE_TEST_SUITE_P(Of, Race,
                         testing::Combine(testing::Bool(),
                                          testing::Values(Leaving::kBeforeItIsNoticed,
                                                          Leaving::kBetweenAnswerAndReply,
                                                          Leaving::kWhileTheConnectionEnds)));

TEST_P(Race, grant_that_meets_the_end_of_its_connection_goes_to_the_next) {
  const auto [keeps_grants, leaving] = GetParam();
  Server server(keeps_grants);
  Queue queue(server);
  Connection next(server);
  EXPECT_EQ(next.hear("l\nk\n60\n"), "");
  if (leaving == Leaving::kBeforeItIsNoticed) queue.waiter.is_gone = true;
  if (leaving == Leaving::kWhileTheConnectionEnds) {
    queue.waiter.session().on_hangup(false);
    queue.waiter.advance();
    ASSERT_EQ(queue.waiter.want, Want::kDrop);
  }
  queue.release();
  if (leaving != Leaving::kWhileTheConnectionEnds) {
    queue.waiter.session().on_hangup(true);
    EXPECT_EQ(queue.waiter.advance(), "") << "a grant must not be sent to nobody";
    EXPECT_EQ(queue.waiter.want, Want::kDrop);
  }
  EXPECT_EQ(next.go_on(), "");
  queue.waiter.end();
  EXPECT_TRUE(next.go_on().starts_with("ok "));
}

TEST(line_session, grants_in_replies_that_were_not_sent_go_to_the_next) {
  Server server(true);
  Connection deaf(server);
  Connection next(server);
  const std::string sent = deaf.ask("l", "sent", "0");
  const std::string unsent = deaf.ask("l", "unsent", "0");
  EXPECT_EQ(next.ask("e", "sent", ""), "queued\n");
  EXPECT_EQ(next.ask("e", "unsent", ""), "queued\n");
  deaf.end(unsent, "connection_lost");
  EXPECT_TRUE(next.ask("w", "unsent", "0").starts_with("ok "));
  EXPECT_EQ(next.ask("w", "sent", "0"), "timeout\n");
}

TEST(line_session, peer_that_hung_up_holds_nothing_while_its_replies_are_being_sent) {
  Server server;
  Connection leaving(server);
  Connection next(server);
  leaving.ask("l", "k", "0");
  EXPECT_EQ(next.hear("l\nk\n60\n"), "");
  leaving.session().on_hangup(false);
  leaving.session().on_sending_to_nobody(false);
  EXPECT_FALSE(next.woken) << "there may be a release in what it sent";
  leaving.session().on_sending_to_nobody(true);
  EXPECT_TRUE(next.go_on().starts_with("ok "));
  const std::uint64_t connection_id = leaving.session().peer().connection_id;
  const Connection successor(server);  // in its owner's place
  EXPECT_EQ(leaving.session().peer().connection_id, connection_id);
  EXPECT_EQ(leaving.session().peer().address, "peer:1");
  EXPECT_EQ(leaving.advance(), "");
  EXPECT_EQ(leaving.want, Want::kDrop);
}

TEST(line_session, peer_that_hung_up_keeps_what_it_holds_where_grants_outlive_connections) {
  Server server(true);
  Connection leaving(server);
  Connection holder(server);
  leaving.ask("l", "k", "0");
  holder.ask("l", "busy", "0");
  EXPECT_EQ(leaving.ask("e", "busy", ""), "queued\n");
  leaving.session().on_hangup(false);
  leaving.session().on_sending_to_nobody(true);
  EXPECT_EQ(server.counts().lock_waiters, 0U);
  EXPECT_EQ(server.counts().locks_held, 2U);
}

// --- Reporting ---

TEST(line_session, requests_behind_stats_wait_for_it) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection.hear("stats\n_\n_\n" + kPing), "");
  EXPECT_EQ(connection.want, Want::kPark);
  EXPECT_EQ(connection.advance(), "");
  EXPECT_EQ(connection.want, Want::kPark);
  server.report();
  EXPECT_TRUE(connection.woken);
  const std::string said = connection.go_on();
  EXPECT_TRUE(said.starts_with(R"(ok {"connections":7,)")) << said;
  EXPECT_TRUE(said.ends_with("}\nok\n")) << said;
}

TEST(line_session, stats_that_nobody_reads_any_more_are_not_made) {
  Server server;
  Connection connection(server);
  connection.hear("stats\n_\n_\n");
  connection.session().on_hangup(false);
  EXPECT_EQ(connection.advance(), "");
  EXPECT_EQ(connection.want, Want::kPark) << "the peer may read on";
  connection.session().on_hangup(true);
  EXPECT_EQ(connection.advance(), "");
  EXPECT_EQ(connection.want, Want::kDrop);
  server.report();
}

TEST(line_session, stats_are_still_said_to_a_peer_that_sends_no_more) {
  Server server;
  Connection holder(server);
  Connection next(server);
  holder.ask("l", "k", "0");
  EXPECT_EQ(next.hear("l\nk\n60\n"), "");
  holder.hear("stats\n_\n_\n");
  holder.session().on_hangup(false);
  holder.session().on_sending_to_nobody(true);
  EXPECT_TRUE(next.woken) << "what it held goes on";
  server.report();
  EXPECT_TRUE(holder.advance().starts_with("ok {"));
  EXPECT_EQ(holder.want, Want::kTurn);
  EXPECT_EQ(holder.advance(), "");
  EXPECT_EQ(holder.want, Want::kDrop);
}

// --- Denied, closing ---

TEST(line_session, whoever_does_not_authenticate_is_denied_and_dropped_after_a_pause) {
  for (const std::string first : {"ping\n_\n_\n", "auth\n_\nwrong\n", "l\nk\n0\n"}) {
    Server server(false, "secret");
    Connection connection(server);
    EXPECT_EQ(connection.hear(first + kPing), "error_auth\n");
    EXPECT_EQ(connection.want, Want::kPause);
    EXPECT_EQ(connection.advance(), "");
    EXPECT_EQ(connection.want, Want::kDrop);
  }
  Server server(false, "secret");
  Connection silent(server);
  EXPECT_EQ(silent.be_silent(), "error_auth\n");
  EXPECT_EQ(silent.want, Want::kPause);
}

TEST(line_session, white_space_around_the_secret_does_not_count) {
  for (const std::string argument : {"a secret", "a secret  ", " \ta secret\t"}) {
    Server server(false, "a secret");
    EXPECT_EQ(Connection(server).ask("auth", "_", argument), "ok\n") << argument;
  }
  Server server(false, "a secret");
  EXPECT_EQ(Connection(server).ask("auth", "_", "a  secret"), "error_auth\n");
}

TEST(line_session, nothing_is_carried_out_behind_a_line_that_is_too_long) {
  Server server;
  Connection connection(server);
  EXPECT_EQ(connection.hear(kPing + std::string(257, 'x') + "\n_\n_\n" + kPing), "ok\nerror\n");
  EXPECT_EQ(connection.want, Want::kClose);
}

TEST(line_session, end_releases_what_the_connection_held_unless_grants_outlive_it) {
  for (const bool keeps_grants : {false, true}) {
    Server server(keeps_grants);
    Connection holder(server);
    holder.ask("l", "k", "0");
    holder.end();
    EXPECT_EQ(server.counts().locks_held, keeps_grants ? 1U : 0U);
  }
}

}  // namespace
}  // namespace dflockd::protocol
