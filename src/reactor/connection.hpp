// One TCP connection: reads requests, has them carried out in order, and writes the replies.
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

#include "locks/intrusive_list.hpp"
#include "protocol/framer.hpp"
#include "reactor/input_buffer.hpp"
#include "reactor/lock_service.hpp"
#include "reactor/net.hpp"
#include "reactor/stats_reporter.hpp"

namespace dflockd::reactor {

class Server;

class Connection final : private Waiter {
 public:
  /// `server` must outlive the connection.
  Connection(Socket socket, Server& server, OwnerInfo info);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// The connection's life. Owns it, and ends with it.
  static Awaitable serve(std::unique_ptr<Connection> self);

  /// Called by the server when nothing has been received for the read timeout. Ends the connection
  /// unless it holds or waits for something between two requests.
  void on_silence();
  /// Called by the server when replies, or the end of the stream, could not be delivered in time.
  void on_stuck();
  /// Called when the peer has closed its side of the connection, unread bytes before that or not,
  /// or the whole of it: then nobody is left to read replies.
  void on_hangup(bool whole);
  /// Ends the connection if it is idle and holds nothing: the server is draining.
  void on_drain();

  /// Ends the connection at once, whatever it is doing: the server stops.
  void on_stop();

  /// True while a reply is under way that the server should not cut off.
  [[nodiscard]] bool busy() const;

 private:
  friend class Server;

  /// What the coroutine does after the replies so far are written.
  enum class Next : std::uint8_t { kReceive, kSendStats, kClose };
  /// Which operation the coroutine waits for.
  enum class Suspension : std::uint8_t { kNone, kReceiving, kReporting, kSending, kLingering };

  void wait_over(const locks::Answer& answer) noexcept override;

  Next handle_requests();
  Next refuse(const char* why);
  void take_answer(std::string& replies);
  [[nodiscard]] bool expects_nothing() const;
  void take_reception(std::error_code error, std::size_t size);

  void send_now(const std::string& replies);
  void send_late_reply();
  Awaitable send_rest();
  Awaitable send_stats();
  template <class Buffers>
  asio::awaitable<std::size_t, Executor> send_slowly(const Buffers& buffers);
  [[nodiscard]] std::vector<std::uint64_t> untold() const;

  Awaitable linger();
  void end(const char* why);
  void leave();
  void leave_early();
  void interrupt() noexcept;
  [[nodiscard]] bool idle() const;
  [[nodiscard]] bool has_more_to_do() const;
  [[nodiscard]] bool peer_gone() noexcept;
  void log_request(const protocol::Lines& lines, std::string_view reply) const;

  Server& server_;
  LockService& service_;
  Socket socket_;
  const locks::OwnerId owner_;
  InputBuffer input_;
  protocol::Framer framer_;
  /// Whole replies, of which the socket has had no room for all: it has taken `sent_` bytes.
  std::string unsent_;
  std::size_t sent_ = 0;
  locks::Answer answer_;                   ///< to the blocked request, once `answered_`
  StatsReporter::Asker* asker_ = nullptr;  ///< while it waits for a report
  const char* ending_ = "peer_left";       ///< why the connection ends, for the log
  locks::Instant active_at_{0};  ///< when something was last received, or sending got stuck
  locks::Links<Connection> in_server_;
  locks::Links<Connection> by_activity_;
  Suspension suspended_in_ = Suspension::kNone;
  bool sending_ = false;    ///< under the server's write timeout, not the read timeout
  bool blocked_ = false;    ///< a request waits for its answer
  bool answered_ = false;   ///< and it is there, not sent yet
  bool left_ = false;       ///< its owner is closed
  bool hung_up_ = false;    ///< the peer sends nothing more
  bool ended_ = false;      ///< nothing more is to be received or sent
  bool timed_out_ = false;  ///< the read timeout is over
};

}  // namespace dflockd::reactor
