// Watches over the connections of a server, of any kind: ends those whose read or write timeout is
// over, tells them when their peers hang up, and reaches all of them when the server drains or
// stops.
//
// Timeouts come from two lists in the order of last activity, looked at from the front by one
// coarse tick: a request costs moving its connection to the end of a list. For the loop's thread
// only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/intrusive_list.hpp"
#include "locks/types.hpp"
#include "net/net.hpp"
#include "reactor/hangup_watch.hpp"

namespace dflockd::reactor {

/// A connection, as far as the watch knows it.
class Watched {
 public:
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  virtual ~Watched() = default;

  /// Nothing has been received for the read timeout, or for the idle timeout.
  virtual void on_silence() = 0;
  /// What is to be sent, or the end of the stream, could not be delivered within the write timeout.
  virtual void on_stuck() = 0;
  /// The peer has closed its side of the connection, unread bytes before that or not, or the whole
  /// of it: then nobody is left to read replies.
  virtual void on_hangup(bool whole) = 0;
  /// The server is draining: a connection that is idle and holds nothing should end.
  virtual void on_drain() = 0;
  /// The server stops: the connection ends at once, whatever it is doing.
  virtual void on_stop() = 0;

  /// True while a reply is under way that the server should not cut off.
  [[nodiscard]] virtual bool busy() const = 0;

 protected:
  Watched() = default;

 private:
  friend class ConnectionWatch;

  locks::Instant active_at_{0};  ///< when something was last received, or sending got stuck
  base::Links<Watched> in_watch_;
  base::Links<Watched> by_activity_;
  /// Under which timeout it is.
  enum class Timeout : std::uint8_t { kRead, kWrite, kIdle } timeout_ = Timeout::kRead;
};

class ConnectionWatch {
 public:
  struct Timeouts {
    std::chrono::seconds read;
    std::chrono::seconds write;
    std::chrono::seconds idle{0};  ///< for those under `watch_idle`
  };

  ConnectionWatch(asio::io_context& context, const Timeouts& timeouts);

  /// Notices hang-ups, until `stop`.
  net::Awaitable run() { return hangups_.run(); }

  /// Takes a connection in, under the read timeout from `now` on.
  void add(Watched& connection, locks::Instant now);
  void remove(Watched& connection);
  /// Calls `connection.on_hangup()` from now on; `socket` is the connection's, which must live
  /// until the socket is closed. Throws std::system_error.
  void watch_hangup(int socket, Watched& connection) { hangups_.add(socket, connection); }

  /// The connection has received something: its timeout starts again.
  void touch(Watched& connection, locks::Instant now);
  /// From now on the connection is under the write timeout instead of the read timeout.
  void watch_sending(Watched& connection, locks::Instant now);
  /// And from now on under the read timeout again.
  void watch_receiving(Watched& connection, locks::Instant now);
  /// From now on under the idle timeout: between two requests, where that is another one.
  void watch_idle(Watched& connection, locks::Instant now);

  /// Ends what is overdue. To be called some times a second.
  void tick(locks::Instant now);

  /// Tells all connections that the server drains. Returns whether one is busy.
  bool drain();
  /// Ends all connections, and the watch.
  void stop();

  /// How many connections there are.
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  using ByActivity = base::IntrusiveList<Watched, &Watched::by_activity_>;

  ByActivity& list_of(const Watched& connection);
  void move(Watched& connection, Watched::Timeout timeout, locks::Instant now);
  Watched* take_overdue(ByActivity& list, std::chrono::seconds timeout, locks::Instant now);

  const Timeouts timeouts_;
  HangupWatch hangups_;
  base::IntrusiveList<Watched, &Watched::in_watch_> all_;
  ByActivity receiving_;  ///< the longest silent first
  ByActivity sending_;    ///< the longest stuck first
  ByActivity idle_;       ///< the longest idle first
  std::size_t size_ = 0;
};

}  // namespace dflockd::reactor
