#include "reactor/connection.hpp"

#include <chrono>
#include <exception>
#include <utility>

#include <poll.h>

#include <asio/buffer.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>

#include "logging/logging.hpp"
#include "protocol/reply.hpp"
#include "reactor/commands.hpp"
#include "reactor/receive_buffer.hpp"
#include "reactor/server.hpp"

namespace dflockd::reactor {

namespace {

/// How much a client may send ahead while a request of its blocks. It must hold any one request.
constexpr std::size_t kInputLimit = 256UL * 1024;
static_assert(kInputLimit > protocol::kMaxFrame);

/// How much of what a client goes on sending is thrown away after the last reply.
constexpr std::size_t kLingerLimit = 1024UL * 1024;

std::string_view first_word(std::string_view reply) {
  return reply.substr(0, reply.find_first_of(" \n"));
}

}  // namespace

Connection::Connection(Socket socket, Server& server, OwnerInfo info)
    : server_(server),
      service_(server.service()),
      socket_(std::move(socket)),
      owner_(service_.open_owner(*this, std::move(info))),
      input_(kInputLimit),
      first_unsent_fence_(service_.next_fence()) {
  server_.add(*this);
}

Connection::~Connection() {
  if (!left_) leave();
  server_.remove(*this);
}

Awaitable Connection::serve(std::unique_ptr<Connection> self) {
  Next next = Next::kReceive;
  for (;;) {
    if (self->blocked_ && self->hung_up_) break;
    next = self->handle_requests();
    self->send_now(self->server_.replies());
    if (!self->unsent_.empty()) co_await self->send_rest();
    if (next == Next::kSendStats && !self->failed_) co_await self->send_stats();
    if (self->failed_ || self->left_ || next == Next::kClose) break;
    if (next == Next::kSendStats || self->answered_) continue;
    if (self->blocked_ && self->hung_up_) break;
    if (self->server_.draining() && self->idle()) {
      self->ending_ = "draining";
      break;
    }
    if (self->input_.full()) {
      co_await self->pause();
      continue;
    }
    const std::span<char> space = self->input_.space();
    const ReceiveBuffer buffer(space.data(), space.size());
    std::error_code error;
    std::size_t size = 0;
    if (self->hung_up_) {
      size = self->socket_.read_some(buffer, error);  // all there is to come is there
    } else {
      self->suspended_in_ = Suspension::kReceiving;
      size = co_await self->socket_.async_read_some(buffer, into(error));
      self->suspended_in_ = Suspension::kNone;
    }
    if (!self->received(error, size)) break;
  }
  if (!self->left_) self->leave();
  if (next == Next::kClose && !self->failed_) co_await self->linger();
}

// --- Requests ---

/// Carries out all requests that are complete, up to one that blocks, and gathers the replies.
Connection::Next Connection::handle_requests() {
  std::string& replies = server_.replies();
  replies.clear();
  if (timed_out_) return refuse();
  if (answered_) take_answer(replies);
  while (!blocked_) {
    const protocol::Frame frame = framer_.next(input_.unread());
    if (frame.status == protocol::FrameStatus::kIncomplete) break;
    if (frame.status == protocol::FrameStatus::kTooLong) return refuse();

    const protocol::Request request = protocol::parse(frame.lines);
    const std::size_t reply_start = replies.size();
    const bool is_stats = request.command == protocol::Command::kStats;
    if (!is_stats) blocked_ = !execute(request, service_, owner_, replies);
    if (logging::enabled(logging::Level::kDebug)) {
      log_request(frame.lines, is_stats ? protocol::text(protocol::Status::kOk)
                                        : std::string_view(replies).substr(reply_start));
    }
    input_.consume(frame.size);
    if (is_stats) return Next::kSendStats;
  }
  return Next::kReceive;
}

/// Says `error` for the last time.
Connection::Next Connection::refuse() {
  ending_ = timed_out_ ? "read_timeout" : "line_too_long";
  protocol::append_status(server_.replies(), protocol::Status::kError);
  return Next::kClose;
}

/// Appends the reply to the request that blocked.
void Connection::take_answer(std::string& replies) {
  append_answer(replies, answer_);
  answered_ = false;
  blocked_ = false;
  server_.touch(*this);
  if (logging::enabled(logging::Level::kDebug)) {
    logging::debug("unblocked", {{"connection", service_.info(owner_).connection_id},
                                 {"reply", first_word(replies)}});
  }
}

void Connection::wait_over(const locks::Answer& answer) noexcept {
  answer_ = answer;
  answered_ = true;
  // A grant that is sent is kept for its lease then, so it must not be sent to nobody.
  if (service_.keeps_grants() && peer_gone()) hung_up_ = true;
  // With nothing to carry out behind it, the reply can be sent from here while the coroutine goes
  // on receiving. That saves waking it up: half of the way of a contended lock from hand to hand.
  if (suspended_in_ == Suspension::kReceiving && input_.empty() && !hung_up_) {
    try {
      send_late_reply();
    } catch (const std::exception&) {
      failed_ = true;  // the grant goes to the next in the queue as the connection ends
    }
    if (!failed_ && unsent_.empty()) return;
  }
  interrupt();
}

void Connection::send_late_reply() {
  std::string& reply = server_.late_reply();
  reply.clear();
  take_answer(reply);
  send_now(reply);
}

// --- Receiving ---

/// Takes note of a reception. False if it was the last: the peer has left.
bool Connection::received(std::error_code error, std::size_t size) {
  service_.refresh_clock();
  if (size > 0) {
    timed_out_ = false;
    input_.received(size);
    server_.touch(*this);
    return true;
  }
  if (error == asio::error::operation_aborted) return !failed_;  // interrupted, to look around
  if (error == asio::error::eof) {
    failed_ = true;
  } else {
    lose();
  }
  return false;
}

/// Waits for the answer to the blocked request without receiving: the peer has sent as much ahead
/// as it may.
Awaitable Connection::pause() {
  Timer timer(socket_.get_executor(), Timer::time_point::max());
  pause_timer_ = &timer;
  suspended_in_ = Suspension::kPaused;
  std::error_code interrupted;
  co_await timer.async_wait(into(interrupted));
  suspended_in_ = Suspension::kNone;
  pause_timer_ = nullptr;
  service_.refresh_clock();
}

/// True if the peer has closed or reset the connection, with unread bytes before that or not.
bool Connection::peer_gone() noexcept {
  pollfd descriptor{.fd = socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
  return ::poll(&descriptor, 1, 0) > 0;
}

// --- Sending ---

/// Sends replies as far as the socket takes them, and keeps the rest in `unsent_`.
void Connection::send_now(const std::string& replies) {
  std::size_t sent = 0;
  if (unsent_.empty() && !replies.empty()) {
    std::error_code error;
    sent = socket_.write_some(asio::buffer(replies), error);
    if (error && error != asio::error::would_block) {
      lose();
      return;
    }
  }
  if (sent < replies.size()) {
    unsent_.append(replies, sent);
  } else if (unsent_.empty()) {
    all_sent();
  }
}

Awaitable Connection::send_rest() {
  if (blocked_ && hung_up_) leave();
  co_await send_slowly(asio::buffer(unsent_));
  unsent_ = {};
}

/// Makes a report in slices, with everybody else served in between.
asio::awaitable<StatsReport::Pieces, Executor> Connection::make_stats() {
  const Turns::Turn turn = co_await server_.reports().take();
  service_.refresh_clock();
  StatsReport report(service_, server_.connections());
  while (!failed_ && report.read_slice()) {
    co_await asio::post(socket_.get_executor(), kUseAwaitable);
    service_.refresh_clock();
  }
  co_return report.finish();
}

Awaitable Connection::send_stats() {
  const StatsReport::Pieces pieces = co_await make_stats();
  co_await send_slowly(std::array{asio::buffer(pieces[0]), asio::buffer(pieces[1]),
                                  asio::buffer(pieces[2]), asio::buffer(pieces[3])});
}

/// Sends all of `buffers` under the write timeout.
template <class Buffers>
Awaitable Connection::send_slowly(const Buffers& buffers) {
  if (failed_) co_return;
  server_.watch_sending(*this);
  suspended_in_ = Suspension::kSending;
  std::error_code error;
  co_await asio::async_write(socket_, buffers, into(error));
  suspended_in_ = Suspension::kNone;
  service_.refresh_clock();
  server_.watch_receiving(*this);
  if (!error) {
    all_sent();
  } else if (error != asio::error::operation_aborted) {
    lose();
  }
}

/// Takes note that the peer has been sent every grant but the one that may just have come.
void Connection::all_sent() {
  const bool one_more = answered_ && answer_.outcome == locks::Outcome::kGranted;
  first_unsent_fence_ = one_more ? answer_.token.fence : service_.next_fence();
}

// --- The end ---

void Connection::on_silence() {
  const bool between_requests = input_.empty();
  if (suspended_in_ != Suspension::kReceiving || blocked_ ||
      (between_requests && service_.has_claims(owner_))) {
    server_.touch(*this);
    return;
  }
  timed_out_ = true;
  interrupt();
}

void Connection::on_stuck() {
  if (suspended_in_ == Suspension::kSending && !left_) {
    ending_ = "write_timeout";
    server_.warn_of_unread(service_.info(owner_));
  }
  failed_ = true;
  std::error_code ignored;
  socket_.cancel(ignored);
}

void Connection::on_hangup() {
  hung_up_ = true;
  if (blocked_ && !left_ && suspended_in_ == Suspension::kSending) {
    leave();  // what is being sent goes on
  } else {
    interrupt();
  }
}

void Connection::on_drain() {
  if (suspended_in_ == Suspension::kReceiving && idle()) interrupt();
}

void Connection::on_stop() {
  ending_ = "stopped";
  failed_ = true;
  if (pause_timer_ != nullptr) pause_timer_->cancel();
  std::error_code ignored;
  socket_.close(ignored);
}

bool Connection::busy() const {
  switch (suspended_in_) {
    case Suspension::kReceiving:
    case Suspension::kPaused:
      return answered_ || !unsent_.empty();
    case Suspension::kLingering:
      return false;
    case Suspension::kNone:
    case Suspension::kSending:
      return true;
  }
  return true;
}

/// Between two requests, holding and waiting for nothing.
bool Connection::idle() const {
  return !blocked_ && input_.empty() && !service_.has_claims(owner_);
}

/// Takes note that the socket is of no use any more.
void Connection::lose() {
  ending_ = "connection_lost";
  failed_ = true;
}

/// Wakes the coroutine up unless it sends, so that it looks at what has changed.
void Connection::interrupt() noexcept {
  if (suspended_in_ == Suspension::kReceiving || suspended_in_ == Suspension::kLingering) {
    std::error_code ignored;
    socket_.cancel(ignored);
  } else if (suspended_in_ == Suspension::kPaused) {
    pause_timer_->cancel();
  }
}

/// Ends the owner: what it held and waited for goes to others now.
void Connection::leave() {
  left_ = true;
  const OwnerInfo& info = service_.info(owner_);
  logging::debug("disconnected",
                 {{"connection", info.connection_id}, {"peer", info.peer}, {"reason", ending_}});
  service_.close_owner(owner_, first_unsent_fence_);
}

/// Gives the peer time to read the last reply: closing with unread input would reset the
/// connection, and the reply could be lost.
Awaitable Connection::linger() {
  std::error_code error;
  socket_.shutdown(Socket::shutdown_send, error);
  server_.watch_sending(*this);
  suspended_in_ = Suspension::kLingering;
  input_.consume(input_.unread().size());
  const std::span<char> space = input_.space();
  const asio::mutable_buffer rest(space.data(), space.size());
  std::size_t discarded = 0;
  while (!error && !hung_up_ && discarded < kLingerLimit) {
    discarded += co_await socket_.async_read_some(rest, into(error));
  }
  for (error.clear(); !error && discarded < kLingerLimit;) {
    discarded += socket_.read_some(rest, error);
  }
}

void Connection::log_request(const protocol::Lines& lines, std::string_view reply) const {
  logging::debug("request", {{"connection", service_.info(owner_).connection_id},
                             {"command", lines.command},
                             {"key", lines.key},
                             {"reply", blocked_ ? "blocked" : first_word(reply)}});
}

}  // namespace dflockd::reactor
