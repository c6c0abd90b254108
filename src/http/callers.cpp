#include "http/callers.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include <fmt/format.h>

#include "logging/logging.hpp"

namespace dflockd::http {

// --- Turns ---

Turn::Turn(std::shared_ptr<CallerSession> session, net::Outlet& outlet)
    : session_(std::move(session)), outlet_(outlet) {
  session_->turns_.push_back(*this);
  session_->callers_.touch(*session_);
}

Turn::~Turn() {
  CallerSession& session = *session_;
  if (blocked_ && !session.closed_) session.callers_.service_.cancel_wait(session.owner_);
  session.turns_.remove(*this);
  if (session.closed_) return;
  session.callers_.touch(session);
  if (Turn* const next = session.turns_.front(); next != nullptr) next->outlet_.wake();
}

bool Turn::is_first() const {
  return session_->turns_.front() == this;
}

bool Turn::session_gone() const {
  return session_->closed_;
}

locks::OwnerId Turn::owner() const {
  return session_->owner_;
}

// --- Sessions ---

CallerSession::CallerSession(Callers& callers, std::string id, std::uint64_t number,
                             const asio::ip::address& peer, const Identity& identity)
    : callers_(callers),
      id_(std::move(id)),
      peer_(peer),
      owner_(
          callers.service_.open_owner(*this, {number, "http:" + peer.to_string(), identity.name})) {
  if (identity.stable_ref.empty()) return;
  [[maybe_unused]] const bool first = callers.service_.set_ref(owner_, identity.stable_ref);
  assert(first);
}

void CallerSession::wait_over(const locks::Answer& answer) noexcept {
  Turn* const turn = turns_.front();
  assert(turn != nullptr);
  turn->answer_ = answer;
  turn->blocked_ = false;
  turn->outlet_.wake();
}

Callers::Callers(service::Service& service, const base::LoopClock& clock, const Options& options)
    : service_(service), clock_(clock), options_(options), last_tick_(clock.heard_now()) {}

Callers::~Callers() {
  while (!by_id_.empty()) {
    const std::shared_ptr<CallerSession> session = by_id_.begin()->second;
    close(*session);
  }
}

std::variant<std::shared_ptr<CallerSession>, Callers::Refusal> Callers::open(
    const asio::ip::address& peer, std::uint64_t number, const Identity& identity) {
  if (options_.max_sessions > 0 && by_id_.size() >= options_.max_sessions) {
    return Refusal::kMaxSessions;
  }
  const asio::ip::address address = access::canonical(peer);
  const auto count =
      per_network_.try_emplace(access::network_of(peer, options_.ipv6_prefix), 0).first;
  if (options_.max_sessions_per_ip > 0 && count->second >= options_.max_sessions_per_ip) {
    return Refusal::kMaxSessionsPerIp;
  }
  auto session = std::make_shared<CallerSession>(*this, new_id(), number, address, identity);
  by_id_.emplace(session->id_, session);
  ++count->second;
  session->active_at_ = clock_.heard_now();
  by_activity_.push_back(*session);
  logging::debug("session_opened", {{"peer", address.to_string()}, {"name", identity.name}});
  return session;
}

std::shared_ptr<CallerSession> Callers::find(std::string_view id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void Callers::touch(CallerSession& session) {
  if (session.closed_) return;
  by_activity_.remove(session);
  session.active_at_ = clock_.heard_now();
  by_activity_.push_back(session);
}

void Callers::end(CallerSession& session) {
  if (forget(session)) service_.release_owner(session.owner_);
}

void Callers::close(CallerSession& session) {
  std::vector<std::uint64_t> undelivered;  // a grant whose response has not been written
  for (Turn* turn = session.turns_.front(); turn != nullptr; turn = session.turns_.next(*turn)) {
    if (turn->answer_ && turn->answer_->outcome == locks::Outcome::kGranted) {
      undelivered.push_back(turn->answer_->token.fence);
    }
  }
  if (forget(session)) service_.close_owner(session.owner_, undelivered);
}

/// Takes a session out and wakes the requests that are waiting on it. False if that was done
/// before. The session itself lives for as long as somebody refers to it, the caller among them.
bool Callers::forget(CallerSession& session) {
  if (std::exchange(session.closed_, true)) return false;
  by_activity_.remove(session);
  const auto count = per_network_.find(access::network_of(session.peer_, options_.ipv6_prefix));
  if (--count->second == 0) per_network_.erase(count);
  for (Turn* turn = session.turns_.front(); turn != nullptr; turn = session.turns_.next(*turn)) {
    turn->outlet_.wake();
  }
  logging::debug("session_closed", {{"peer", session.peer_.to_string()}});
  by_id_.erase(session.id_);
  return true;
}

void Callers::tick() {
  const base::Instant now = std::exchange(last_tick_, clock_.heard_now());
  for (int judged = 0; judged < kJudgedATick && !by_activity_.empty(); ++judged) {
    if ((now - by_activity_.front()->active_at_) / 2 < options_.idle_timeout) break;
    const std::shared_ptr<CallerSession> idle = find(by_activity_.front()->id_);
    if (idle->turns_.empty()) {
      close(*idle);
    } else {
      touch(*idle);  // a request in flight keeps it alive
    }
  }
}

std::vector<Callers::Info> Callers::list(std::size_t most) const {
  std::vector<Info> listed;
  listed.reserve(std::min(most, size()));
  for (const CallerSession* session = by_activity_.front();
       session != nullptr && listed.size() < most; session = by_activity_.next(*session)) {
    const base::Instant idle = clock_.heard_now() - session->active_at_;
    listed.push_back({.owner = service_.info(session->owner_),
                      .address = session->peer_.to_string(),
                      .idle = session->turns_.empty() ? idle : base::Instant::zero(),
                      .claims = service_.claims_of(session->owner_)});
  }
  return listed;
}

std::string Callers::new_id() {
  return fmt::format("{:016x}{:016x}", random_.next(), random_.next());
}

}  // namespace dflockd::http
