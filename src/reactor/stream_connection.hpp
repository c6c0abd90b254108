// What connections of every protocol have in common: a stream, the TLS handshake in front of it,
// the timeouts, and an end that loses no reply. Internal to the room; for the loop's thread only.
//
// One coroutine serves a connection. `suspended_in_` tells the callbacks of `Watched` what it waits
// for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <poll.h>

#include <asio/buffer.hpp>

#include "access/gate.hpp"
#include "net/net.hpp"
#include "reactor/connection_watch.hpp"
#include "reactor/lock_service.hpp"
#include "reactor/server.hpp"

namespace dflockd::reactor {

template <class Stream>
class StreamConnection : public Watched {
 public:
  [[nodiscard]] net::Socket& socket() { return stream_.socket(); }

 protected:
  /// Which operation the coroutine waits for.
  enum class Suspension : std::uint8_t {
    kNone,
    kShakingHands,
    kReceiving,
    kWaiting,  ///< for the lock table
    kReporting,
    kSending,
    kLingering,
  };

  StreamConnection(Server& server, ConnectionWatch& watch, access::Gate::Pass pass,
                   typename Stream::Origin origin)
      : server_(server),
        service_(server.service()),
        watch_(watch),
        pass_(std::move(pass)),
        stream_(std::move(origin)) {
    watch_.add(*this, service_.awake_now());
  }
  ~StreamConnection() override { watch_.remove(*this); }

  /// Who is at the other end.
  [[nodiscard]] virtual const OwnerInfo& info() const = 0;

  /// The TLS handshake, which must be over within the read timeout. False if it failed. A peer that
  /// leaves before its first byte, such as a load balancer's probe, just leaves.
  net::AwaitableOf<bool> shake_hands() requires Stream::kBeginsWithHandshake {
    std::error_code error;
    suspended_in_ = Suspension::kShakingHands;
    co_await stream_.handshake(error, &server_.turns());
    suspended_in_ = Suspension::kNone;
    service_.refresh_clock();
    if (error && !ended_ && stream_.has_heard()) {  // who has said nothing was no client: a probe
      server_.warn(net::Complaint::kHandshake, info(), stream_.why(error));
      ending_ = "tls_handshake_failed";
    }
    if (!error) watch_.touch(*this, service_.awake_now());
    co_return !error;
  }

  /// Ends a handshake that is not over in time.
  void end_handshake() {
    server_.warn(net::Complaint::kHandshake, info(), "read_timeout");
    abandon("tls_handshake_timeout");
  }

  /// Sends all of `buffers` under the write timeout. Returns how much was sent.
  template <class Buffers>
  net::AwaitableOf<std::size_t> send_slowly(const Buffers& buffers) {
    watch_.watch_sending(*this, service_.awake_now());
    suspended_in_ = Suspension::kSending;
    std::error_code error;
    const std::size_t sent = co_await stream_.async_write(buffers, error);
    suspended_in_ = Suspension::kNone;
    service_.refresh_clock();
    watch_.watch_receiving(*this, service_.awake_now());
    if (error) end("connection_lost");
    co_return sent;
  }

  /// Keeps whoever does not know the secret waiting, and nobody else.
  net::Awaitable hold_back() {
    net::Timer pause(socket().get_executor(), std::chrono::milliseconds(100));
    std::error_code ignored;
    co_await pause.async_wait(net::into(ignored));
    service_.refresh_clock();
  }

  /// Gives the peer time to read the last reply. What it still sends is received into `space`.
  net::Awaitable linger(std::span<char> space) {
    stream_.end_sending();
    watch_.watch_sending(*this, service_.awake_now());
    suspended_in_ = Suspension::kLingering;
    std::error_code error;
    const asio::mutable_buffer rest(space.data(), space.size());
    for (std::size_t discarded = 0; !error && !hung_up_ && discarded < kLingerLimit;) {
      discarded += co_await socket().async_read_some(rest, net::into(error));
    }
    discard_input();
  }

  /// Throws away what has arrived: closing with unread input would reset the connection, and the
  /// last reply could be lost.
  void discard_input() {
    std::error_code error;
    std::array<char, kDiscardedAtOnce> rest;
    for (std::size_t discarded = 0; !error && discarded < kLingerLimit;) {
      discarded += socket().read_some(asio::buffer(rest), error);
    }
  }

  /// Nothing more is to be received or sent. The first reason given counts.
  void end(const char* why) {
    if (!std::exchange(ended_, true)) ending_ = why;
  }

  /// Ends the connection whatever its coroutine waits for, which cancelling would not do between
  /// two writes.
  void abandon(const char* why) {
    end(why);
    std::error_code ignored;
    socket().close(ignored);
  }

  /// Ends a connection whose peer does not take what is sent.
  void end_stuck() {
    if (suspended_in_ == Suspension::kSending) {
      server_.warn(net::Complaint::kUnread, info(), "replies_not_read");
    }
    abandon("write_timeout");
  }

  /// True if the peer has closed or reset the connection, with unread bytes before that or not.
  [[nodiscard]] bool peer_gone() noexcept {
    pollfd descriptor{.fd = socket().native_handle(), .events = POLLRDHUP, .revents = 0};
    return ::poll(&descriptor, 1, 0) > 0;
  }

  /// Wakes the coroutine up if it receives, so that it looks at what has changed.
  void interrupt() noexcept {
    if (suspended_in_ == Suspension::kReceiving || suspended_in_ == Suspension::kLingering) {
      std::error_code ignored;
      socket().cancel(ignored);
    }
  }

  Server& server_;
  LockService& service_;
  ConnectionWatch& watch_;
  access::Gate::Pass pass_;
  Stream stream_;
  const char* ending_ = "peer_left";  ///< why the connection ends, for the log
  Suspension suspended_in_ = Suspension::kNone;
  bool hung_up_ = false;  ///< the peer sends nothing more
  bool ended_ = false;    ///< nothing more is to be received or sent

 private:
  /// How much of what a client goes on sending is thrown away after the last reply.
  static constexpr std::size_t kLingerLimit = 1024UL * 1024;
  static constexpr std::size_t kDiscardedAtOnce = 1024;
};

}  // namespace dflockd::reactor
