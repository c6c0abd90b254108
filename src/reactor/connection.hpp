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

#include "net/net.hpp"
#include "net/plain_stream.hpp"
#include "net/tls_stream.hpp"
#include "protocol/framer.hpp"
#include "protocol/reply.hpp"
#include "reactor/input_buffer.hpp"
#include "reactor/lock_service.hpp"
#include "reactor/stats_reporter.hpp"
#include "reactor/stream_connection.hpp"

namespace dflockd::reactor {

template <class Stream>
class Connection final : public StreamConnection<Stream>, private Waiter {
  using Base = StreamConnection<Stream>;
  using typename Base::Suspension;

 public:
  /// `server` must outlive the connection.
  Connection(Server& server, OwnerInfo info, access::Gate::Pass pass,
             typename Stream::Origin origin);
  ~Connection() override;

  /// The connection's life. Owns it, and ends with it.
  static net::Awaitable serve(std::unique_ptr<Connection> self);

  using Base::socket;

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
  using Base::abandon;
  using Base::discard_input;
  using Base::end;
  using Base::end_handshake;
  using Base::end_stuck;
  using Base::ended_;
  using Base::ending_;
  using Base::hold_back;
  using Base::hung_up_;
  using Base::interrupt;
  using Base::linger;
  using Base::peer_gone;
  using Base::send_slowly;
  using Base::server_;
  using Base::service_;
  using Base::shake_hands;
  using Base::stream_;
  using Base::suspended_in_;
  using Base::watch_;

  [[nodiscard]] const OwnerInfo& info() const override { return service_.info(owner_); }
  void wait_over(const locks::Answer& answer) noexcept override;

  Next handle_requests();
  [[nodiscard]] bool speaks_tls() const;
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
  [[nodiscard]] std::vector<std::uint64_t> untold() const;

  void leave();
  void leave_early();
  [[nodiscard]] bool idle() const;
  [[nodiscard]] bool has_more_to_do();
  void count(std::size_t label, protocol::Status status);
  void log_request(const protocol::Lines& lines, std::string_view reply) const;

  const locks::OwnerId owner_;
  InputBuffer input_;
  protocol::Framer framer_;
  /// Whole replies, of which the socket has had no room for all: it has taken `sent_` bytes.
  std::string unsent_;
  std::size_t sent_ = 0;
  locks::Answer answer_;                   ///< to the blocked request, once `answered_`
  StatsReporter::Asker* asker_ = nullptr;  ///< while it waits for a report
  std::uint8_t blocked_label_ = 0;         ///< of the request that waits, for the metrics
  bool authenticated_;                     ///< or need not
  bool greeted_ = false;                   ///< has sent a request
  bool blocked_ = false;                   ///< a request waits for its answer
  bool answered_ = false;                  ///< and it is there, not sent yet
  bool left_ = false;                      ///< its owner is closed
  bool timed_out_ = false;                 ///< the read timeout is over
};

}  // namespace dflockd::reactor
