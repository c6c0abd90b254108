#include "reactor/http_sessions.hpp"

#include <cassert>
#include <new>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "logging/logging.hpp"

namespace dflockd::reactor {

// --- Turns ---

HttpTurn::HttpTurn(std::shared_ptr<HttpSession> session, For whom)
    : session_(std::move(session)), whom_(whom) {
  session_->turns_.push_back(*this);
  session_->sessions_.touch(*session_);
}

HttpTurn::~HttpTurn() {
  HttpSession& session = *session_;
  if (blocked_ && !session.closed_) session.sessions_.service_.cancel_wait(session.owner_);
  session.turns_.remove(*this);
  if (session.closed_) return;
  session.sessions_.touch(session);
  if (HttpTurn* const next = session.turns_.front(); next != nullptr) next->call();
}

bool HttpTurn::is_first() const {
  return session_->turns_.front() == this;
}

bool HttpTurn::session_gone() const {
  return session_->closed_;
}

locks::OwnerId HttpTurn::owner() const {
  return session_->owner_;
}

net::AwaitableOf<bool> HttpTurn::begin() {
  std::error_code cancelled;
  bool go_on = goes_on();
  while (go_on && !is_first()) {
    expect_call();
    co_await call_->async_wait(net::into(cancelled));
    go_on = was_called();
  }
  co_return go_on;
}

net::AwaitableOf<bool> HttpTurn::wait(locks::Answer& answer) {
  std::error_code cancelled;
  bool go_on = goes_on();
  while (go_on && !answer_) {
    expect_call();
    co_await call_->async_wait(net::into(cancelled));
    go_on = was_called();
  }
  if (answer_) answer = *answer_;
  co_return go_on;
}

/// Begins to wait for `call`. Not a coroutine, as `was_called`: a frame of its own would be kept
/// for every request that waits.
void HttpTurn::expect_call() {
  call_.emplace(session_->sessions_.context_.get_executor(), net::Timer::time_point::max());
}

/// The wait for `call` is over. False if there is nothing more to wait for.
bool HttpTurn::was_called() {
  call_.reset();
  session_->sessions_.service_.refresh_clock();
  return goes_on();
}

bool HttpTurn::goes_on() const {
  return !session_->closed_ && !given_up_;
}

void HttpTurn::call() {
  if (call_) call_->cancel();
}

void HttpTurn::caller_left() {
  if (whom_ == For::kCaller) give_up();
}

void HttpTurn::give_up() {
  given_up_ = true;
  call();
}

// --- Sessions ---

HttpSession::HttpSession(HttpSessions& sessions, std::string id, const asio::ip::address& peer)
    : sessions_(sessions),
      id_(std::move(id)),
      peer_(peer),
      owner_(sessions.service_.open_owner(*this, {0, "http:" + peer.to_string()})) {}

void HttpSession::wait_over(const locks::Answer& answer) noexcept {
  HttpTurn* const turn = turns_.front();
  assert(turn != nullptr);
  turn->answer_ = answer;
  turn->blocked_ = false;
  turn->call();
}

HttpSessions::HttpSessions(asio::io_context& context, LockService& service, const Options& options)
    : context_(context), service_(service), options_(options) {}

HttpSessions::~HttpSessions() {
  while (!by_id_.empty()) {
    const std::shared_ptr<HttpSession> session = by_id_.begin()->second;
    close(*session);
  }
}

std::variant<std::shared_ptr<HttpSession>, HttpSessions::Refusal> HttpSessions::open(
    const asio::ip::address& peer) {
  if (options_.max_sessions > 0 && by_id_.size() >= options_.max_sessions) {
    return Refusal::kMaxSessions;
  }
  const asio::ip::address address = access::canonical(peer);
  const auto count =
      per_network_.try_emplace(access::network_of(peer, options_.ipv6_prefix), 0).first;
  if (options_.max_sessions_per_ip > 0 && count->second >= options_.max_sessions_per_ip) {
    return Refusal::kMaxSessionsPerIp;
  }
  auto session = std::make_shared<HttpSession>(*this, new_id(), address);
  try {
    by_id_.emplace(session->id_, session);
  } catch (const std::bad_alloc&) {
    service_.release_owner(session->owner_);
    throw;
  }
  ++count->second;
  session->active_at_ = service_.now();
  by_activity_.push_back(*session);
  logging::debug("session_opened", {{"peer", address.to_string()}});
  return session;
}

std::shared_ptr<HttpSession> HttpSessions::find(std::string_view id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void HttpSessions::touch(HttpSession& session) {
  if (session.closed_) return;
  by_activity_.remove(session);
  session.active_at_ = service_.now();
  by_activity_.push_back(session);
}

void HttpSessions::end(HttpSession& session) {
  if (forget(session)) service_.release_owner(session.owner_);
}

void HttpSessions::close(HttpSession& session) {
  std::vector<std::uint64_t> untold;  // a grant whose response has not been written
  for (HttpTurn* turn = session.turns_.front(); turn != nullptr;
       turn = session.turns_.next(*turn)) {
    if (turn->answer_ && turn->answer_->outcome == locks::Outcome::kGranted) {
      untold.push_back(turn->answer_->token.fence);
    }
  }
  if (forget(session)) service_.close_owner(session.owner_, untold);
}

/// Takes a session out and calls the requests that are waiting on it. False if that was done
/// before. The session itself lives for as long as somebody refers to it, the caller among them.
bool HttpSessions::forget(HttpSession& session) {
  if (std::exchange(session.closed_, true)) return false;
  by_activity_.remove(session);
  const auto count = per_network_.find(access::network_of(session.peer_, options_.ipv6_prefix));
  if (--count->second == 0) per_network_.erase(count);
  for (HttpTurn* turn = session.turns_.front(); turn != nullptr;
       turn = session.turns_.next(*turn)) {
    turn->call();
  }
  logging::debug("session_closed", {{"peer", session.peer_.to_string()}});
  by_id_.erase(session.id_);
  return true;
}

void HttpSessions::tick() {
  while (!by_activity_.empty() &&
         (service_.now() - by_activity_.front()->active_at_) / 2 >= options_.idle_timeout) {
    const std::shared_ptr<HttpSession> idle = find(by_activity_.front()->id_);
    if (idle->turns_.empty()) {
      close(*idle);
    } else {
      touch(*idle);  // a request in flight keeps it alive
    }
  }
}

void HttpSessions::stop() {
  for (HttpSession* session = by_activity_.front(); session != nullptr;
       session = by_activity_.next(*session)) {
    for (HttpTurn* turn = session->turns_.front(); turn != nullptr;
         turn = session->turns_.next(*turn)) {
      turn->give_up();
    }
  }
}

std::string HttpSessions::new_id() {
  return fmt::format("{:016x}{:016x}", random_.next(), random_.next());
}

}  // namespace dflockd::reactor
