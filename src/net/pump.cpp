#include "net/pump.hpp"

#include <algorithm>
#include <span>
#include <system_error>

#include <asio/error.hpp>

namespace dflockd::net {

void Answering::wait(Turns& turns, Watched& connection) {
  waiting_.push_back(&connection);
  if (waiting_.size() == 1) next(turns);
}

void Answering::leave(Watched& connection) {
  std::ranges::replace(waiting_, &connection, static_cast<Watched*>(nullptr));
}

void Answering::next(Turns& turns) {
  turns.next([this, &turns] {
    Watched* const connection = waiting_.front();
    waiting_.pop_front();
    if (!waiting_.empty()) next(turns);
    if (connection != nullptr) connection->on_turn_to_answer();
  });
}

template <class Stream>
Pump<Stream>::Pump(PumpRoom& room, Watch& watch, access::Gate::Pass pass,
                   typename Stream::Origin origin, std::size_t most_input)
    : room_(room),
      watch_(watch),
      pass_(std::move(pass)),
      stream_(std::move(origin)),
      input_(most_input) {
  watch_.add(*this, stream_.descriptor());
}

template <class Stream>
Pump<Stream>::~Pump() {
  if (awaits_turn_) room_.answering.leave(*this);
  watch_.remove(*this);
}

template <class Stream>
Awaitable Pump<Stream>::serve(std::unique_ptr<Pump> self, std::unique_ptr<Session> session) {
  self->session_ = std::move(session);
  Want want = Want::kInput;
  if constexpr (Stream::kBeginsWithHandshake) {
    const bool agreed = co_await self->shake_hands();  // GCC 12 miscompiles it in a condition
    if (!agreed) want = Want::kClose;                  // with time to read the alert
  }
  while (!self->ended_ && want != Want::kClose) {
    want = self->advance();
    if (!self->unsent_.empty() || self->text_ != nullptr) co_await self->send_rest();
    if (self->ended_ || want == Want::kClose || want == Want::kDrop) break;
    if (want == Want::kTurn) {
      co_await self->wait_for_turn();
      continue;
    }
    if (want == Want::kPause) {
      co_await self->pause();
      continue;
    }
    if (self->woken_) continue;
    if (want == Want::kPark || self->input_.full()) {
      co_await self->park();
      continue;
    }
    // Not a coroutine of its own: most connections are here most of the time, and it takes memory.
    const std::span<char> space = self->input_.space();
    std::error_code error;
    std::size_t size = 0;
    if (self->expects_nothing(want)) {
      co_await self->wait_for_turn();
      size = self->stream_.read_some(space, error);
      if (error == asio::error::would_block) self->end(self->hung_up_ ? "peer_left" : "draining");
    } else {
      self->at_ = At::kReception;
      size = co_await self->stream_.async_read_some(space, error);
      self->at_ = At::kNothing;
    }
    self->take_reception(error, size);
    // What is large takes long to look at.
    if (size >= kLargeReception) co_await self->wait_for_turn();
  }
  // Thousands of connections may end at one instant.
  if (want != Want::kClose) co_await self->wait_for_turn(Turns::Kind::kEnd);
  self->leave();
  if (self->ended_) co_return;
  self->stream_.end_sending();
  if (want == Want::kClose) co_await self->linger();
  self->discard_input();
}

/// The TLS handshake, which must be over within the read timeout. False if it failed. A peer that
/// leaves before its first byte, such as a load balancer's probe, just leaves.
template <class Stream>
AwaitableOf<bool> Pump<Stream>::shake_hands() requires Stream::kBeginsWithHandshake {
  std::error_code error;
  at_ = At::kHandshake;
  co_await stream_.handshake(error, &room_.turns);
  at_ = At::kNothing;
  room_.clock.refresh();
  if (error && !ended_ && stream_.has_heard()) {  // who has said nothing was no client: a probe
    room_.complaints.warn(Complaint::kHandshake, session_->peer(), stream_.why(error),
                          room_.clock.now());
    why_ = "tls_handshake_failed";
  } else if (error) {
    end("peer_left");
  }
  co_return !error;
}

/// Has the session advance, and sends what it says as far as the socket takes it.
template <class Stream>
Want Pump<Stream>::advance() {
  woken_ = false;
  std::string& bytes = room_.output;
  bytes.clear();
  Output output{bytes};
  Want want = session_->advance(input_, output);
  if (overdue_ && want == Want::kInput && !output.served) {
    want = session_->on_silence(input_, output);
  }
  overdue_ = false;
  send_now(bytes);
  text_ = std::move(output.text);
  set_deadline(want, output.served);
  return want;
}

/// Which timeout the peer is under. A request has its time from its first byte on.
template <class Stream>
void Pump<Stream>::set_deadline(Want want, bool served) {
  Deadline next = want == Want::kTurn ? deadline() : Deadline::kNone;
  if (want == Want::kInput) {
    constexpr std::array kDeadlines{Deadline::kNone, Deadline::kRead, Deadline::kIdle};
    next = kDeadlines[static_cast<std::size_t>(session_->patience(input_))];
  }
  if (next != deadline() || (served && next != Deadline::kNone)) watch_.expect(*this, next);
}

// --- Receiving and waiting ---

/// Whether what has arrived already is all that the connection is there for.
template <class Stream>
bool Pump<Stream>::expects_nothing(Want want) const {
  return want == Want::kInput && (hung_up_ || (room_.draining && session_->is_spare(input_)));
}

template <class Stream>
void Pump<Stream>::take_reception(std::error_code error, std::size_t size) {
  room_.clock.refresh();
  if (size > 0) {
    overdue_ = false;
    input_.received(size);
  } else if (error == asio::error::eof) {
    end("peer_left");
  } else if (error && error != asio::error::operation_aborted &&
             error != asio::error::would_block) {
    end("connection_lost");  // not an interruption
  }
}

template <class Stream>
Awaitable Pump<Stream>::wait_for_turn(Turns::Kind kind) {
  at_ = At::kTurn;
  co_await room_.turns.next(kUseAwaitable, kind);
  at_ = At::kNothing;
  room_.clock.refresh();
}

template <class Stream>
Awaitable Pump<Stream>::pause() {
  at_ = At::kPausing;
  co_await stream_.wait_for(kPause);
  at_ = At::kNothing;
  room_.clock.refresh();
}

/// Waits until the session wakes up, and receives nothing meanwhile.
template <class Stream>
Awaitable Pump<Stream>::park() {
  input_.release();
  Timer timer(room_.context.get_executor(), Timer::time_point::max());
  std::error_code ignored;
  parked_ = &timer;
  at_ = At::kParked;
  co_await timer.async_wait(into(ignored));
  at_ = At::kNothing;
  parked_ = nullptr;
  room_.clock.refresh();
}

template <class Stream>
void Pump<Stream>::wake() noexcept {
  woken_ = true;
  interrupt();
}

template <class Stream>
void Pump<Stream>::answer() noexcept {
  if (awaits_turn_) return;
  if (room_.answering.at_once(room_.clock.now())) return answer_now();
  awaits_turn_ = true;
  room_.answering.wait(room_.turns, *this);
}

template <class Stream>
void Pump<Stream>::on_turn_to_answer() noexcept {
  awaits_turn_ = false;
  room_.clock.refresh();
  answer_now();
}

template <class Stream>
void Pump<Stream>::answer_now() noexcept {
  if (at_ != At::kReception || !input_.empty() || hung_up_) return wake();
  std::string& bytes = room_.answer;
  bytes.clear();
  Output output{bytes};
  const Want want = session_->advance(input_, output);
  send_now(bytes);
  if (want != Want::kInput || ended_ || !unsent_.empty()) return wake();
  if (!bytes.empty()) set_deadline(want, true);
}

template <class Stream>
bool Pump<Stream>::peer_gone() noexcept {
  if (!stream_.peer_gone()) return false;
  hung_up_ = true;
  return true;
}

/// Wakes the coroutine up if it receives or waits, so that it looks at what has changed.
template <class Stream>
void Pump<Stream>::interrupt() noexcept {
  if (at_ == At::kReception || at_ == At::kLingering) stream_.cancel();
  if (parked_ != nullptr) parked_->cancel();
}

// --- Sending ---

/// Sends bytes as far as the socket takes them, and keeps the rest in `unsent_`.
template <class Stream>
void Pump<Stream>::send_now(const std::string& bytes) {
  if (bytes.empty()) return;
  std::error_code error;
  std::size_t sent = 0;
  if (unsent_.empty() && room_.batches.all_committed()) sent = stream_.write_some(bytes, error);
  if (sent == bytes.size()) return;
  if (error && error != asio::error::would_block) end("connection_lost");
  // From the start of the line that was cut, if one was.
  const std::size_t whole = sent == 0 ? 0 : bytes.rfind('\n', sent - 1) + 1;
  if (unsent_.empty()) sent_ = sent - whole;
  unsent_.append(bytes, whole);
}

/// Waits until what the session has said may leave. The peer is under no timeout meanwhile.
template <class Stream>
Awaitable Pump<Stream>::wait_for_commit() {
  class Commit final : public base::Batches::Waiter {
   public:
    explicit Commit(Pump& pump) : Waiter(pump.room_.batches), pump_(pump) {}

   private:
    void on_committed() noexcept override { pump_.interrupt(); }

    Pump& pump_;
  };
  const Deadline before = deadline();
  watch_.expect(*this, Deadline::kNone);
  for (const Commit commit(*this); !commit.over() && !ended_;) co_await park();
  watch_.expect(*this, before);
}

template <class Stream>
Awaitable Pump<Stream>::send_rest() {
  if (!room_.batches.all_committed()) co_await wait_for_commit();
  note_sending_to_nobody();
  if (!ended_ && sent_ < unsent_.size()) {
    sent_ += co_await send_slowly(asio::buffer(unsent_) + sent_);
  }
  if (sent_ < unsent_.size()) co_return;
  unsent_ = {};
  sent_ = 0;
  const SharedText text = std::exchange(text_, nullptr);
  if (text == nullptr || ended_) co_return;
  std::vector<asio::const_buffer> pieces;
  for (const std::string& piece : *text) pieces.push_back(asio::buffer(piece));
  co_await send_slowly(pieces);
}

/// Sends all of `buffers` under the write timeout. Returns how much was sent.
template <class Stream>
template <class Buffers>
AwaitableOf<std::size_t> Pump<Stream>::send_slowly(const Buffers& buffers) {
  const Deadline before = deadline();
  watch_.expect(*this, Deadline::kWrite);
  at_ = At::kSending;
  std::error_code error;
  const std::size_t sent = co_await stream_.async_write(buffers, error);
  at_ = At::kNothing;
  room_.clock.refresh();
  watch_.expect(*this, before);
  if (error) end("connection_lost");
  co_return sent;
}

template <class Stream>
void Pump<Stream>::note_sending_to_nobody() {
  if (!hung_up_ || ended_) return;
  room_.clock.refresh();
  session_->on_sending_to_nobody(input_.empty() && !stream_.has_unread());
}

// --- The end ---

/// The session is over: what it held and waited for goes to others now.
template <class Stream>
void Pump<Stream>::leave() {
  const std::size_t whole = sent_ == 0 ? 0 : unsent_.rfind('\n', sent_ - 1) + 1;
  session_->on_end(std::string_view(unsent_).substr(whole), why_);
}

/// Gives the peer time to read what was sent last, and throws away what it still sends: closing
/// with unread input would reset the connection, and the last reply could be lost.
template <class Stream>
Awaitable Pump<Stream>::linger() {
  input_.consume(input_.unread().size());
  watch_.expect(*this, Deadline::kWrite);
  at_ = At::kLingering;
  std::error_code error;
  const std::span<char> space = input_.space();
  for (std::size_t discarded = 0; !error && !hung_up_ && discarded < kLingerLimit;) {
    discarded += co_await stream_.async_discard_some(space, error);
  }
}

template <class Stream>
void Pump<Stream>::discard_input() {
  std::error_code error;
  std::array<char, kDiscardedAtOnce> rest;
  for (std::size_t discarded = 0; !error && discarded < kLingerLimit;) {
    discarded += stream_.discard_some(rest, error);
  }
}

/// Nothing more is to be received or sent. The first reason given counts.
template <class Stream>
void Pump<Stream>::end(const char* why) {
  if (!std::exchange(ended_, true)) why_ = why;
}

/// Ends the connection whatever its coroutine waits for, which cancelling would not do between two
/// writes.
template <class Stream>
void Pump<Stream>::abandon(const char* why) {
  end(why);
  stream_.close();
  interrupt();
}

// --- What the watch says ---

/// Judges nobody by what lies unread in the socket.
template <class Stream>
void Pump<Stream>::on_deadline(Deadline deadline) {
  if (deadline == Deadline::kWrite) {
    if (at_ == At::kSending) {
      room_.complaints.warn(Complaint::kUnread, session_->peer(), "replies_not_read",
                            room_.clock.now());
    }
    return abandon("write_timeout");
  }
  if (stream_.has_arrivals()) return;
  if (at_ == At::kHandshake) {
    room_.complaints.warn(Complaint::kHandshake, session_->peer(), "read_timeout",
                          room_.clock.now());
    return abandon("tls_handshake_timeout");
  }
  if (at_ != At::kReception) return;
  overdue_ = true;
  interrupt();
}

template <class Stream>
void Pump<Stream>::on_hangup(bool whole) {
  hung_up_ = true;
  woken_ = true;
  if (session_ != nullptr) session_->on_hangup(whole);
  if (at_ == At::kSending || at_ == At::kParked) note_sending_to_nobody();
  interrupt();
}

/// What is between two requests ends, and what has been silent since it began.
template <class Stream>
void Pump<Stream>::on_drain() {
  const bool is_silent = room_.clock.awake_now() - watched_since() >= kSilentInDrain;
  if (at_ == At::kHandshake && is_silent) return abandon("draining");
  if (at_ != At::kReception) return;
  if (session_->is_new() && input_.empty() && is_silent && !stream_.has_arrivals()) end("draining");
  if (ended_ || session_->is_spare(input_)) interrupt();
}

template <class Stream>
void Pump<Stream>::on_stop() {
  if (at_ != At::kSending) stream_.end_sending();  // else it is cut off
  abandon("stopped");
}

template <class Stream>
bool Pump<Stream>::is_busy() const {
  if (awaits_turn_) return true;
  switch (at_) {
    case At::kReception:
      return !unsent_.empty() || stream_.has_arrivals();
    case At::kHandshake:
    case At::kLingering:
      return false;
    case At::kNothing:
    case At::kTurn:
    case At::kPausing:  // HTTP says what is wrong only then
    case At::kParked:
    case At::kSending:
      return true;
  }
  return true;
}

template class Pump<PlainStream>;
template class Pump<TlsStream>;

}  // namespace dflockd::net
