// Serves one connection: moves bytes between a stream and a session, whatever the protocol. All
// that a connection needs of time and sockets is here, once: timeouts, back-pressure, budgets,
// hang-ups, the drain, replies that wait for a commit, and an end that loses no reply.
//
// One coroutine does it in turns:
//
//   have the session advance  ──►  send what it says  ──►  do what it wants: receive, wait, …  ──┐
//        ▲                                                                                      │
//        └──────────────────────────────────────────────────────────────────────────────────────┘
//
// It goes on receiving while the session waits for an answer, so that it sees the peer leave; the
// answer interrupts the reception. A peer that does not read what it is sent stops everything else.
//
// The only template over the stream. For the loop's thread only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <asio/buffer.hpp>

#include "access/gate.hpp"
#include "base/batches.hpp"
#include "base/loop_clock.hpp"
#include "net/complaints.hpp"
#include "net/input_buffer.hpp"
#include "net/net.hpp"
#include "net/plain_stream.hpp"
#include "net/session.hpp"
#include "net/tls_stream.hpp"
#include "net/turns.hpp"
#include "net/watch.hpp"

namespace dflockd::net {

/// Which pumps may answer at once. A command can answer thousands, all who wait to hold a lock
/// shared say: after the first few each waits for a turn of the loop.
class Answering {
 public:
  /// So many answer at once in one batch, a millisecond's work.
  static constexpr std::size_t kAtOnce = 64;

  /// Whether one more may in the batch of `now`.
  [[nodiscard]] bool at_once(base::Instant now) {
    if (now != batch_) answered_ = 0;
    batch_ = now;
    return ++answered_ <= kAtOnce;
  }

  /// `connection` gets its turn: `Watched::on_turn_to_answer`.
  void wait(Turns& turns, Watched& connection);
  /// It ends before that. O(how many wait).
  void leave(Watched& connection);

 private:
  void next(Turns& turns);

  base::Instant batch_{0};
  std::size_t answered_ = 0;
  std::deque<Watched*> waiting_;  ///< null: it has ended
};

/// What all pumps of a loop share.
struct PumpRoom {
  asio::io_context& context;
  base::LoopClock& clock;
  base::Batches& batches;  ///< what is said may leave when they are all committed
  Turns& turns;
  Complaints& complaints;
  bool draining = false;
  /// Where a session's output is gathered; empty in between, so that a connection at rest needs no
  /// memory for it. One more for an answer, which may come in the middle of another session's.
  std::string output{};
  std::string answer{};
  Answering answering{};
};

template <class Stream>
class Pump final : public Watched, public Outlet {
 public:
  /// `room` and `watch` must outlive the pump. The peer may send `most_input` bytes ahead. Throws
  /// std::system_error.
  Pump(PumpRoom& room, Watch& watch, access::Gate::Pass pass, typename Stream::Origin origin,
       std::size_t most_input);
  ~Pump() override;

  /// Serves a connection with a session that was made for `self`, to its end.
  static Awaitable serve(std::unique_ptr<Pump> self, std::unique_ptr<Session> session);

  /// The session's way to its pump.
  [[nodiscard]] Outlet& outlet() { return *this; }
  /// See `SocketStream::local_address`.
  [[nodiscard]] std::string local_address() const { return stream_.local_address(); }

  void on_deadline(Deadline deadline) override;
  void on_hangup(bool whole) override;
  void on_drain() override;
  void on_stop() override;
  void on_turn_to_answer() noexcept override;
  [[nodiscard]] bool is_busy() const override;

 private:
  /// What the coroutine waits for.
  enum class At : std::uint8_t {
    kNothing,
    kHandshake,
    kTurn,       ///< of the loop
    kReception,  ///< what arrives
    kParked,     ///< the session, without receiving
    kPausing,
    kSending,
    kLingering,
  };

  void wake() noexcept override;
  void answer() noexcept override;
  void answer_now() noexcept;
  [[nodiscard]] bool peer_gone() noexcept override;

  AwaitableOf<bool> shake_hands() requires Stream::kBeginsWithHandshake;
  Want advance();
  void send_now(const std::string& bytes);
  Awaitable send_rest();
  template <class Buffers>
  AwaitableOf<std::size_t> send_slowly(const Buffers& buffers);
  void set_deadline(Want want, bool served);
  [[nodiscard]] bool expects_nothing(Want want) const;
  void take_reception(std::error_code error, std::size_t size);
  Awaitable wait_for_turn(Turns::Kind kind = Turns::Kind::kMore);
  Awaitable pause();
  Awaitable park();
  Awaitable wait_for_commit();
  void note_sending_to_nobody();
  void leave();
  Awaitable linger();
  void discard_input();
  void end(const char* why);
  void abandon(const char* why);
  void interrupt() noexcept;

  static constexpr std::size_t kDiscardedAtOnce = 1024;
  static constexpr std::size_t kLargeReception = 16UL * 1024;
  /// How much of what a peer goes on sending is thrown away after the last reply.
  static constexpr std::size_t kLingerLimit = 1024UL * 1024;
  /// How long a new connection may be silent during a drain.
  static constexpr base::Instant kSilentInDrain = std::chrono::seconds(1);

  PumpRoom& room_;
  Watch& watch_;
  access::Gate::Pass pass_;
  Stream stream_;
  InputBuffer input_;
  /// Whole outputs for which the socket has had no room; it has taken `sent_` bytes of them.
  std::string unsent_;
  std::size_t sent_ = 0;
  SharedText text_;          ///< to be sent behind them
  Timer* parked_ = nullptr;  ///< while it is
  const char* why_ = "";     ///< it has ended, if the session did not want it
  At at_ = At::kNothing;
  bool awaits_turn_ = false;  ///< to answer
  bool woken_ = false;        ///< the session is to be advanced
  bool overdue_ = false;      ///< the peer has been silent for too long
  bool hung_up_ = false;      ///< the peer sends no more than has arrived
  bool ended_ = false;        ///< nothing more is to be received or sent
  std::unique_ptr<Session> session_;
};

extern template class Pump<PlainStream>;
extern template class Pump<TlsStream>;

}  // namespace dflockd::net
