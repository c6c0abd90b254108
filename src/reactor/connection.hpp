// One connection of the line protocol, over plain TCP or TLS: reads requests, has them carried out
// in order, and writes the replies.
//
// One coroutine does it all in turns:
//
//   carry out every complete request  ──►  write all replies  ──►  receive  ──┐
//        ▲                                                                    │
//        └────────────────────────────────────────────────────────────────────┘
//
// A request that blocks stops the first step only: the connection goes on receiving, so that it
// sees the peer leave, until the lock service tells the answer and interrupts the reception. A peer
// that does not read its replies stops the second step, and with it everything else. So does
// `stats`, whose report takes its time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "middleware/gate.hpp"
#include "middleware/plain_stream.hpp"
#include "middleware/tls_stream.hpp"
#include "net/net.hpp"
#include "protocol/framer.hpp"
#include "reactor/connection_watch.hpp"
#include "reactor/input_buffer.hpp"
#include "reactor/lock_service.hpp"
#include "reactor/stats_reporter.hpp"

namespace dflockd::reactor {

class Server;

template <class Stream>
class Connection final : public Watched, private Waiter {
 public:
  /// `server` must outlive the connection.
  Connection(Server& server, OwnerInfo info, middleware::Gate::Pass pass,
             typename Stream::Origin origin);
  ~Connection() override;

  /// The connection's life. Owns it, and ends with it.
  static net::Awaitable serve(std::unique_ptr<Connection> self);

  [[nodiscard]] net::Socket& socket() { return stream_.socket(); }

  void on_silence() override;
  void on_stuck() override;
  void on_hangup(bool whole) override;
  void on_drain() override;
  void on_stop() override;
  [[nodiscard]] bool busy() const override;

 private:
  /// What the coroutine does after the replies so far are written.
  enum class Next : std::uint8_t { kReceive, kSendStats, kClose, kDeny };
  static constexpr bool is_last(Next next) { return next == Next::kClose || next == Next::kDeny; }
  /// Which operation the coroutine waits for.
  enum class Suspension : std::uint8_t {
    kNone,
    kShakingHands,
    kReceiving,
    kReporting,
    kSending,
    kLingering,
  };

  void wait_over(const locks::Answer& answer) noexcept override;

  net::AwaitableOf<Next> shake_hands() requires Stream::kBeginsWithHandshake;

  Next handle_requests();
  [[nodiscard]] bool must_authenticate(const protocol::Request& request) const;
  [[nodiscard]] bool authenticate(const protocol::Request& request, std::string_view argument);
  Next refuse(const char* why);
  Next deny(const char* why);
  void take_answer(std::string& replies);
  [[nodiscard]] bool expects_nothing() const;
  void take_reception(std::error_code error, std::size_t size);

  void send_now(const std::string& replies);
  void send_late_reply();
  net::Awaitable send_rest();
  net::Awaitable send_stats();
  template <class Buffers>
  net::AwaitableOf<std::size_t> send_slowly(const Buffers& buffers);
  [[nodiscard]] std::vector<std::uint64_t> untold() const;

  net::Awaitable hold_back();
  net::Awaitable linger();
  void discard_input();
  void end(const char* why);
  void abandon(const char* why);
  void leave();
  void leave_early();
  void interrupt() noexcept;
  [[nodiscard]] bool idle() const;
  [[nodiscard]] bool has_more_to_do();
  [[nodiscard]] bool peer_gone() noexcept;
  void log_request(const protocol::Lines& lines, std::string_view reply) const;

  Server& server_;
  LockService& service_;
  middleware::Gate::Pass pass_;
  Stream stream_;
  const locks::OwnerId owner_;
  InputBuffer input_;
  protocol::Framer framer_;
  /// Whole replies, of which the socket has had no room for all: it has taken `sent_` bytes.
  std::string unsent_;
  std::size_t sent_ = 0;
  locks::Answer answer_;                   ///< to the blocked request, once `answered_`
  StatsReporter::Asker* asker_ = nullptr;  ///< while it waits for a report
  const char* ending_ = "peer_left";       ///< why the connection ends, for the log
  Suspension suspended_in_ = Suspension::kNone;
  bool authenticated_;      ///< or need not
  bool blocked_ = false;    ///< a request waits for its answer
  bool answered_ = false;   ///< and it is there, not sent yet
  bool left_ = false;       ///< its owner is closed
  bool hung_up_ = false;    ///< the peer sends nothing more
  bool ended_ = false;      ///< nothing more is to be received or sent
  bool timed_out_ = false;  ///< the read timeout is over
};

}  // namespace dflockd::reactor
