// Watches over connections: finds those whose peers are silent or stuck for too long, notices when
// peers hang up, and reaches all of them when the server drains or stops.
//
// Timeouts come from lists in the order of last activity, looked at from the front by one coarse
// tick: they cost moving a connection to the end of a list. Hang-ups come from an epoll instance of
// its own that asks for nothing else, which asio does not: whatever a connection is doing, waiting
// for a lock, with requests still unread in front of the end of the stream, or not reading at all.
// Requests cost nothing there: a connection is added when it begins, and the kernel takes it out
// when its socket is closed. For the loop's thread only.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <asio/posix/basic_stream_descriptor.hpp>

#include "base/intrusive_list.hpp"
#include "base/loop_clock.hpp"
#include "net/net.hpp"

namespace dflockd::net {

/// What a connection is watched for.
enum class Deadline : std::uint8_t {
  kNone,
  kRead,   ///< a request is due, or the rest of one
  kWrite,  ///< what is to be sent, or the end of the stream, is to be delivered
  kIdle,   ///< between two requests
};

/// A connection, as far as the watch knows it.
class Watched {
 public:
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  virtual ~Watched() = default;

  /// Its deadline has come. The time to the next one of the same kind runs again already.
  virtual void on_deadline(Deadline deadline) = 0;
  /// The peer has closed its side of the connection, unread bytes before that or not, or the whole
  /// of it: then nobody is left to read replies.
  virtual void on_hangup(bool whole) = 0;
  /// The server is draining. To be called some times a second.
  virtual void on_drain() = 0;
  /// The server stops: the connection ends at once, whatever it is doing.
  virtual void on_stop() = 0;

  /// It may answer now: see `Answering`.
  virtual void on_turn_to_answer() noexcept = 0;

  /// True while a reply is under way that the server should not cut off.
  [[nodiscard]] virtual bool is_busy() const = 0;

 protected:
  Watched() = default;
  [[nodiscard]] Deadline deadline() const { return deadline_; }
  /// Since when the time to the deadline runs.
  [[nodiscard]] base::Instant watched_since() const { return since_; }

 private:
  friend class Watch;

  base::Instant since_{0};
  base::Links<Watched> in_watch_;
  base::Links<Watched> by_time_;
  Deadline deadline_ = Deadline::kNone;
};

class Watch {
 public:
  struct Timeouts {
    std::chrono::seconds read;
    std::chrono::seconds write;
    std::chrono::seconds idle{0};  ///< 0: no limit
  };

  /// `clock` must outlive it. Throws std::system_error if the system has no descriptor to give.
  Watch(asio::io_context& context, const base::LoopClock& clock, const Timeouts& timeouts);

  /// Notices hang-ups, until `stop`.
  Awaitable run();

  /// Takes a connection in; its first request is due. `socket` is its own, which must be closed
  /// before the connection is removed; without one (-1) somebody else notices its hang-up. Throws
  /// std::system_error.
  void add(Watched& connection, int socket);
  void remove(Watched& connection);

  /// The time to a deadline of this kind begins now, and no other runs any more. O(1).
  void expect(Watched& connection, Deadline deadline);

  /// Finds what is overdue. To be called some times a second.
  void tick();

  /// Tells all connections that the server drains. Returns whether one is busy.
  bool drain();
  /// Ends all connections, and the watch.
  void stop();

  /// How many connections there are.
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  using ByTime = base::IntrusiveList<Watched, &Watched::by_time_>;

  void tell_hangups();

  const base::LoopClock& clock_;
  const std::array<std::chrono::seconds, 4> timeouts_;  ///< by `Deadline`; 0: none
  asio::posix::basic_stream_descriptor<Executor> epoll_;
  base::IntrusiveList<Watched, &Watched::in_watch_> all_;
  std::array<ByTime, 4> waiting_;  ///< by `Deadline`; those that wait longest first
  std::size_t size_ = 0;
};

}  // namespace dflockd::net
