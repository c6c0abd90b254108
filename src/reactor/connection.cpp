#include "reactor/connection.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include <asio/buffer.hpp>
#include <asio/post.hpp>

#include "logging/logging.hpp"
#include "protocol/reply.hpp"
#include "reactor/commands.hpp"
#include "reactor/server.hpp"

namespace dflockd::reactor {

namespace {

/// How much a client may send ahead while a request of its blocks. It must hold any one request.
/// Not reading any further instead of refusing would hide the end of the stream behind the rest.
constexpr std::size_t kInputLimit = 1024UL * 1024;
static_assert(kInputLimit > protocol::kMaxFrame);

std::string_view first_word(std::string_view reply) {
  return reply.substr(0, reply.find_first_of(" \n"));
}

}  // namespace

template <class Stream>
Connection<Stream>::Connection(Server& server, OwnerInfo info, access::Gate::Pass pass,
                               typename Stream::Origin origin)
    : Base(server, server.watch(), std::move(pass), std::move(origin)),
      owner_(service_.open_owner(*this, std::move(info))),
      input_(kInputLimit),
      authenticated_(!server.authenticator().required()) {}

template <class Stream>
Connection<Stream>::~Connection() {
  if (!left_) leave();
}

template <class Stream>
net::Awaitable Connection<Stream>::serve(std::unique_ptr<Connection> self) {
  Next next = Next::kReceive;
  if constexpr (Stream::kBeginsWithHandshake) {
    const bool agreed = co_await self->shake_hands();  // GCC 12 miscompiles it in a condition
    if (!agreed) next = Next::kClose;
  }
  while (!self->ended_ && !self->left_ && !is_last(next)) {
    if (self->blocked_ && self->hung_up_) break;
    next = self->handle_requests();
    self->send_now(self->server_.replies());
    if (!self->unsent_.empty()) co_await self->send_rest();
    if (next == Next::kSendStats) co_await self->send_stats();
    if (next != Next::kReceive || self->answered_ || self->ended_ || self->left_) continue;

    // Not a coroutine of its own: most connections are here most of the time, and it takes memory.
    const std::span<char> space = self->input_.space();
    std::error_code error;
    std::size_t size = 0;
    if (self->expects_nothing()) {
      co_await asio::post(self->socket().get_executor(), net::kUseAwaitable);  // after the others
      size = self->stream_.read_some(space, error);
      if (error == asio::error::would_block) self->end(self->hung_up_ ? "peer_left" : "draining");
    } else {
      self->suspended_in_ = Suspension::kReceiving;
      size = co_await self->stream_.async_read_some(space, error);
      self->suspended_in_ = Suspension::kNone;
    }
    self->take_reception(error, size);
  }
  if (!self->left_) self->leave();
  if (next == Next::kDeny && !self->ended_) {
    co_await self->hold_back();
    if (!self->ended_) self->stream_.end_sending();
    if (!self->ended_) self->discard_input();
  }
  if (next == Next::kClose && !self->ended_) {
    self->input_.consume(self->input_.unread().size());
    co_await self->linger(self->input_.space());
  }
}

// --- Requests ---

/// Carries out all requests that are complete, up to one that blocks, and gathers the replies.
template <class Stream>
typename Connection<Stream>::Next Connection<Stream>::handle_requests() {
  std::string& replies = server_.replies();
  replies.clear();
  if (timed_out_) return refuse("read_timeout");
  if (answered_) take_answer(replies);
  if (!greeted_ && speaks_tls()) return refuse("tls");
  while (!blocked_) {
    const protocol::Frame frame = framer_.next(input_.unread());
    if (frame.status == protocol::FrameStatus::kIncomplete) return Next::kReceive;
    if (frame.status == protocol::FrameStatus::kTooLong) return refuse("line_too_long");

    greeted_ = true;
    const protocol::Request request = protocol::parse(frame.lines);
    if (must_authenticate(request)) {
      const bool is_auth = request.command == protocol::Command::kAuth;
      const bool authenticated = authenticate(request, frame.lines.argument);
      input_.wipe(frame.size);
      if (!authenticated) return deny(is_auth ? "wrong_secret" : "no_auth");
      continue;
    }
    const std::size_t reply_start = replies.size();
    const bool is_stats = request.command == protocol::Command::kStats;
    const std::size_t label = protocol::label(request.command, request.semaphore);
    const std::optional<protocol::Status> status =
        is_stats ? protocol::Status::kOk : execute(request, service_, owner_, replies);
    if (status) {
      count(label, *status);
    } else {
      blocked_ = true;
      blocked_label_ = static_cast<std::uint8_t>(label);
    }
    if (logging::enabled(logging::Level::kDebug)) {
      log_request(frame.lines, is_stats ? protocol::text(protocol::Status::kOk)
                                        : std::string_view(replies).substr(reply_start));
    }
    input_.consume(frame.size);
    if (is_stats) return Next::kSendStats;
  }
  return input_.full() ? refuse("too_much_sent_ahead") : Next::kReceive;
}

/// Whether the peer begins a TLS handshake where nobody answers it, and would wait.
template <class Stream>
bool Connection<Stream>::speaks_tls() const {
  // A record's type, version and length, then the message's type (RFC 8446, 5.1 and 4).
  constexpr std::string_view kHandshake = "\x16\x03";
  constexpr std::size_t kMessageType = 5;
  constexpr char kClientHello = 1;
  const std::string_view unread = input_.unread();
  return unread.starts_with(kHandshake) && unread.size() > kMessageType &&
         unread[kMessageType] == kClientHello;
}

/// The first request on a connection must, if a secret is demanded, and every `auth` after it.
template <class Stream>
bool Connection<Stream>::must_authenticate(const protocol::Request& request) const {
  return !authenticated_ ||
         (request.command == protocol::Command::kAuth && server_.authenticator().required());
}

template <class Stream>
bool Connection<Stream>::authenticate(const protocol::Request& request, std::string_view argument) {
  // Compared whatever the command, so that the time tells nothing.
  const bool accepted = server_.authenticator().accepts(argument);
  if (!accepted || request.command != protocol::Command::kAuth) return false;
  authenticated_ = true;
  count(protocol::label(request.command, false), protocol::Status::kOk);
  protocol::append_status(server_.replies(), protocol::Status::kOk);
  return true;
}

/// Says `error_auth`, and that is all.
template <class Stream>
typename Connection<Stream>::Next Connection<Stream>::deny(const char* why) {
  ending_ = "auth_failed";
  server_.warn(Server::Complaint::kAuth, service_.info(owner_), why);
  server_.metrics().auth_failures("tcp").add();
  protocol::append_status(server_.replies(), protocol::Status::kAuth);
  return Next::kDeny;
}

/// Says `error` for the last time.
template <class Stream>
typename Connection<Stream>::Next Connection<Stream>::refuse(const char* why) {
  if (!authenticated_) return deny(why);
  ending_ = why;
  protocol::append_status(server_.replies(), protocol::Status::kError);
  return Next::kClose;
}

/// Appends the reply to the request that blocked.
template <class Stream>
void Connection<Stream>::take_answer(std::string& replies) {
  count(blocked_label_, append_answer(replies, answer_));
  answered_ = false;
  blocked_ = false;
  watch_.touch(*this, service_.awake_now());
  if (logging::enabled(logging::Level::kDebug)) {
    logging::debug("unblocked", {{"connection", service_.info(owner_).connection_id},
                                 {"reply", first_word(replies)}});
  }
}

template <class Stream>
void Connection<Stream>::wait_over(const locks::Answer& answer) noexcept {
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
      end("out_of_memory");  // the grant goes to the next in the queue as the connection ends
    }
    if (!ended_ && unsent_.empty()) return;
  }
  interrupt();
}

template <class Stream>
void Connection<Stream>::send_late_reply() {
  std::string& reply = server_.late_reply();
  reply.clear();
  take_answer(reply);
  send_now(reply);
}

// --- Receiving ---

/// Whether what has arrived already is all that the connection is there for.
template <class Stream>
bool Connection<Stream>::expects_nothing() const {
  return hung_up_ || (server_.draining() && idle());
}

template <class Stream>
void Connection<Stream>::take_reception(std::error_code error, std::size_t size) {
  service_.refresh_clock();
  if (size > 0) {
    input_.received(size);
    if (!authenticated_) return;  // the read timeout is for the whole of it
    timed_out_ = false;
    watch_.touch(*this, service_.awake_now());
  } else if (error == asio::error::eof) {
    end("peer_left");
  } else if (error != asio::error::operation_aborted && error != asio::error::would_block) {
    end("connection_lost");  // not an interruption
  }
}

// --- Sending ---

/// Sends replies as far as the socket takes them, and keeps the rest in `unsent_`.
template <class Stream>
void Connection<Stream>::send_now(const std::string& replies) {
  if (replies.empty()) return;
  std::error_code error;
  std::size_t sent = 0;
  if (unsent_.empty()) sent = stream_.write_some(replies, error);
  if (sent == replies.size()) return;
  if (error && error != asio::error::would_block) end("connection_lost");
  // From the start of the reply that was cut, if one was.
  const std::size_t whole = sent == 0 ? 0 : replies.rfind('\n', sent - 1) + 1;
  if (unsent_.empty()) sent_ = sent - whole;
  unsent_.append(replies, whole);
}

template <class Stream>
net::Awaitable Connection<Stream>::send_rest() {
  if (ended_) co_return;
  leave_early();
  sent_ += co_await send_slowly(asio::buffer(unsent_) + sent_);
  if (sent_ < unsent_.size()) co_return;
  unsent_ = {};
  sent_ = 0;
}

template <class Stream>
net::Awaitable Connection<Stream>::send_stats() {
  if (ended_) co_return;
  leave_early();
  StatsReporter::Asker asker(server_.stats_reporter());
  asker_ = &asker;
  suspended_in_ = Suspension::kReporting;
  const StatsReporter::Report report = co_await asker.report();
  suspended_in_ = Suspension::kNone;
  asker_ = nullptr;
  service_.refresh_clock();
  if (ended_) co_return;
  if (report == nullptr) {
    send_now("error\n");
    if (!unsent_.empty()) co_await send_rest();
    co_return;
  }
  std::vector<asio::const_buffer> pieces;
  for (const std::string& piece : *report) pieces.push_back(asio::buffer(piece));
  co_await send_slowly(pieces);
}

/// The fences of the grants that have not been handed to the socket, in ascending order.
template <class Stream>
std::vector<std::uint64_t> Connection<Stream>::untold() const {
  std::vector<std::uint64_t> fences;
  if (answered_ && answer_.outcome == locks::Outcome::kGranted) {
    fences.push_back(answer_.token.fence);
  }
  const std::size_t whole = sent_ == 0 ? 0 : unsent_.rfind('\n', sent_ - 1) + 1;
  for (const protocol::Token& token :
       protocol::granted_tokens(std::string_view(unsent_).substr(whole))) {
    fences.push_back(token.fence);
  }
  std::ranges::sort(fences);
  return fences;
}

// --- The end ---

template <class Stream>
void Connection<Stream>::on_silence() {
  if (suspended_in_ == Suspension::kShakingHands) {
    end_handshake();
    return;
  }
  const bool between_requests = input_.empty();
  if (suspended_in_ != Suspension::kReceiving || blocked_ ||
      (between_requests && service_.has_claims(owner_))) {
    watch_.touch(*this, service_.awake_now());
    return;
  }
  timed_out_ = true;
  interrupt();
}

template <class Stream>
void Connection<Stream>::on_stuck() {
  if (!left_) return end_stuck();
  abandon("write_timeout");
}

template <class Stream>
void Connection<Stream>::on_hangup(bool whole) {
  hung_up_ = true;
  if (suspended_in_ == Suspension::kReporting && whole) {
    end("connection_lost");
    asker_->give_up();
  } else if (suspended_in_ == Suspension::kReporting || suspended_in_ == Suspension::kSending) {
    leave_early();
  } else {
    interrupt();
  }
}

template <class Stream>
void Connection<Stream>::on_drain() {
  if (suspended_in_ == Suspension::kReceiving && idle()) interrupt();
  if (suspended_in_ == Suspension::kShakingHands) abandon("draining");
}

template <class Stream>
void Connection<Stream>::on_stop() {
  if (asker_ != nullptr) asker_->give_up();
  if (suspended_in_ != Suspension::kSending) stream_.end_sending();  // else it is cut off
  abandon("stopped");
}

template <class Stream>
bool Connection<Stream>::busy() const {
  switch (suspended_in_) {
    case Suspension::kReceiving:
      return answered_ || !unsent_.empty() || stream_.has_arrivals();
    case Suspension::kShakingHands:
    case Suspension::kLingering:
      return false;
    case Suspension::kNone:
    case Suspension::kWaiting:
    case Suspension::kReporting:
    case Suspension::kSending:
      return true;
  }
  return true;
}

/// Between two requests, holding and waiting for nothing.
template <class Stream>
bool Connection<Stream>::idle() const {
  return !blocked_ && input_.empty() && !service_.has_claims(owner_);
}

/// Whether there may be requests of a peer that sends no more, and they can be carried out.
template <class Stream>
bool Connection<Stream>::has_more_to_do() {
  return !blocked_ && (!input_.empty() || stream_.has_unread());
}

/// Ends the owner: what it held and waited for goes to others now.
template <class Stream>
void Connection<Stream>::leave() {
  left_ = true;
  const OwnerInfo& info = service_.info(owner_);
  logging::debug("disconnected",
                 {{"connection", info.connection_id}, {"peer", info.peer}, {"reason", ending_}});
  std::vector<std::uint64_t> fences;
  try {
    if (service_.keeps_grants()) fences = untold();
  } catch (const std::bad_alloc&) {  // they end with their leases
  }
  service_.close_owner(owner_, fences);
}

/// Ends what a peer waits for and holds that sends no more and has nothing left to be carried out,
/// while replies are on their way to it or about to be.
template <class Stream>
void Connection<Stream>::leave_early() {
  if (!hung_up_ || left_ || has_more_to_do()) return;
  service_.refresh_clock();
  if (service_.keeps_grants()) {
    service_.cancel_waits(owner_);  // what is being sent to it stays, if it arrives
  } else {
    leave();
  }
}

template <class Stream>
void Connection<Stream>::count(std::size_t label, protocol::Status status) {
  server_.metrics().commands.of(label, static_cast<std::size_t>(status)).add();
}

template <class Stream>
void Connection<Stream>::log_request(const protocol::Lines& lines, std::string_view reply) const {
  // Whoever sends a secret to a server that wants none may have put it on the wrong line, too.
  const std::string_view command = first_word(lines.command);
  const std::string_view key = command == "auth" ? "_" : lines.key;
  logging::debug("request", {{"connection", service_.info(owner_).connection_id},
                             {"command", command},
                             {"key", key},
                             {"reply", blocked_ ? "blocked" : first_word(reply)}});
}

template class Connection<net::PlainStream>;
template class Connection<net::TlsStream>;

}  // namespace dflockd::reactor
