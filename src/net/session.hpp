// What a connection says and hears, without a socket: a session is a state machine over bytes. A
// `Pump` gives it what arrives, sends what it has to say, and does what it wants next.
//
//   Want want = session.advance(input, output);   // carries out what there is
//   send(output);
//   if (want == Want::kInput) receive(input);     // and so on
//
// Tests, fuzzers and the simulator drive a session in the same way, in memory. For the loop's
// thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/input_buffer.hpp"

namespace dflockd::net {

/// What a session wants next, once its output has been sent.
enum class Want : std::uint8_t {
  kInput,   ///< more bytes than it was given
  kTurn,    ///< to go on with those that it was given, when everybody else has had their turn
  kAnswer,  ///< nothing before it calls its `Outlet`; what arrives meanwhile is kept for it
  kPark,    ///< the same, but what arrives stays in the socket
  kPause,   ///< to be advanced again after `kPause`
  kClose,   ///< the end, when the peer has had time to read what was sent last
  kDrop,    ///< the end at once
};

/// How long a client that failed to authenticate is kept waiting.
inline constexpr std::chrono::milliseconds kPause{100};

/// How long a session lets its peer be silent while it wants input.
enum class Patience : std::uint8_t {
  kEndless,
  kRequest,  ///< the read timeout: a request is due, or the rest of one
  kIdle,     ///< the idle timeout: between two requests
};

/// Megabytes that are made once and sent to many, one piece after the other.
using SharedText = std::shared_ptr<const std::vector<std::string>>;

/// What a session has to say.
struct Output {
  std::string& bytes;  ///< appended to; shared by all sessions and empty between two of them
  SharedText text{};   ///< to be sent behind the bytes
  /// A request has been taken whole: the time for the next one begins.
  bool served = false;
};

/// Who is at the other end, for the log.
struct Peer {
  std::uint64_t connection_id;  ///< never 0
  std::string_view address;     ///< "address:port"
};

/// What a session can ask of its pump, at any time.
class Outlet {
 public:
  /// Has the session advanced soon: from its own loop turn, so that it may call the service.
  virtual void wake() noexcept = 0;

  /// The same for an answer that a session waited for with `Want::kAnswer`. If nothing has arrived
  /// since, the session is advanced before this returns, which halves the way of a contended lock
  /// from hand to hand; unless one command answers many, who have turns then. To be called from
  /// inside the service: with its input empty the session takes the answer, and must not call the
  /// service.
  virtual void answer() noexcept = 0;

  /// Whether the peer has closed or reset the connection, even if nobody has noticed yet.
  [[nodiscard]] virtual bool peer_gone() noexcept = 0;

 protected:
  ~Outlet() = default;
};

class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;

  /// Carries out what is complete in `input`, a bounded part of it in one call, and consumes it.
  /// Asked again without anything having happened, it does nothing and wants the same.
  virtual Want advance(InputBuffer& input, Output& output) = 0;

  /// While it wants input. O(1).
  [[nodiscard]] virtual Patience patience(const InputBuffer& input) const = 0;

  /// The peer has been silent for longer than `patience` allows. For a request that is due: says
  /// so. For an idle session: ends it, if it may end.
  virtual Want on_silence(const InputBuffer& input, Output& output) = 0;

  /// The peer sends no more than has arrived; if `gone`, it reads nothing either. May come at any
  /// time; an answer that nobody waits for any more must be given up at once.
  virtual void on_hangup(bool gone) = 0;

  /// Output is being sent, slowly, to a peer that has hung up, and `all_carried_out` says whether
  /// there is nothing left of what it sent: what it holds need not wait for that to end.
  virtual void on_sending_to_nobody(bool all_carried_out) = 0;

  /// Whether a drain may end it: it is between two requests, and holds and waits for nothing.
  [[nodiscard]] virtual bool is_spare(const InputBuffer& input) const = 0;
  /// Whether it has not had a request yet.
  [[nodiscard]] virtual bool is_new() const = 0;

  /// The connection is over: because the session wanted it, or because of `why`, a literal,
  /// if that is not empty. `unsent` is what has not been handed to the socket, from the start of an
  /// output on that was cut or not begun. Called once, before the destructor.
  virtual void on_end(std::string_view unsent, std::string_view why) = 0;

  [[nodiscard]] virtual Peer peer() const = 0;
};

}  // namespace dflockd::net
