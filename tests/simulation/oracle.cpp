#include "oracle.hpp"

#include <algorithm>
#include <exception>
#include <sstream>

namespace dflockd::simulation {

namespace {

using locks::OwnerId;

/// How many idle keys are dropped at a time.
constexpr std::size_t kCollected = 4096;

auto key_of(OwnerId owner) {
  return std::pair(owner.index, owner.generation);
}

}  // namespace

Oracle::Oracle(const Rules& rules)
    : rules_(rules), table_({rules.max_locks, rules.max_waiters, rules.max_claims}) {}

// --- What happens to the server ---

void Oracle::started(const Salts& salts) {
  table_.started(salts);
  peers_.clear();
  lines_.clear();
  session_of_.clear();
  described_.clear();
  sessions_opened_ = 0;
  for (auto& [number, session] : sessions_) session.closed = true;
  touched_.clear();
  batches_ = nullptr;
  logged_ = judged_ = sealed_ = committed_ = 0;
  looks_away_ = draining_ = false;
  last_collection_ = latest_ = now_;
}

void Oracle::use(base::Batches& batches, bool at_once) {
  batches_ = &batches;
  commits_at_once_ = at_once;
  seal();
  commit();
}

void Oracle::seal() {
  sealed_batch_ = batches_->seal();
  sealed_ = logged_;
}

void Oracle::commit() {
  committed_ = sealed_;
  batches_->commit(sealed_batch_);
}

void Oracle::connected(ConnectionId id, Door door, std::shared_ptr<net::SimulatedWire> wire) {
  wire->on_read = [this, id](std::string_view bytes) { read(id, bytes); };
  wire->on_write = [this, id](std::string_view bytes) { sent(id, bytes); };
  Peer& peer = peers_[id];
  peer.door = door;
  peer.wire = std::move(wire);
  peer.authenticated = rules_.secret.empty();
  peer.since = now_;
}

void Oracle::asked(ConnectionId id, const Asked& request) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;  // its caller does not know yet
  Peer& peer = found->second;
  peer.asked_bytes += request.size;
  peer.pending.push_back({{request}, peer.asked_bytes, false, false, {}});
}

// --- What the server does ---

void Oracle::fail(const std::string& what) {
  if (failure_.empty()) failure_ = what;
}

void Oracle::wrong(ConnectionId id, const std::string& expected, const std::string& seen) {
  throw Violation("connection " + std::to_string(id) + ": expected " + expected + ", but " + seen);
}

/// Checks something in the middle of the server's work, which must not see an exception.
template <class Check>
void Oracle::check(Check check) noexcept {
  if (looks_away_ || undecided_ || !failure_.empty()) return;
  try {
    check();
  } catch (const Undecided&) {
    undecided_ = true;
  } catch (const std::exception& violation) {
    fail(violation.what());
  }
}

void Oracle::leave_scene() noexcept {
  check([&] {
    if (!calls().empty()) wrong(id(), "nothing else", shown(calls().front().command));
    touched_.push_back(id());
  });
  scenes_.pop_back();
}

Oracle::Call Oracle::take_call() {
  if (calls().empty()) wrong(id(), "a command for the table", "there is none");
  Call call = std::move(calls().front());
  calls().erase(calls().begin());
  return call;
}

/// A command is about to be carried out.
void Oracle::append(Time now, const locks::Command& logged) noexcept {
  check([&] {
    const locks::Command command = kept(logged);
    if (now != now_) throw Violation(shown(command) + ": expected it to happen now");
    ++logged_;
    const TableOracle::Outcome outcome = table_.carry_out(now, command);
    if (tells_) {
      std::ostringstream out;
      out << "    " << command << " -> " << outcome.answer << "\n";
      for (const locks::Effect& effect : outcome.effects) out << "      " << effect << "\n";
      story_ += out.str();
    }
    const auto* const close = std::get_if<locks::CloseOwner>(&command);
    for (const locks::Effect& effect : outcome.effects) {
      if (close == nullptr || effect.owner != close->owner) answered(effect);
    }
    if (const auto* const collection = std::get_if<locks::CollectIdle>(&command)) {
      collected_ = collection->max_idle == rules_.gc_max_idle && collection->budget == kCollected;
    }
    if (const auto* const fences = std::get_if<locks::ReserveFences>(&command)) {
      const auto expected = std::exchange(fences_end_, std::nullopt);
      if (fences->end != expected)
        throw Violation("expected no such fences, but " + shown(command));
    }
    if (!scenes_.empty()) {
      Call& call = calls().emplace_back(command, outcome.answer);
      if (close != nullptr) {
        call.undelivered.assign(close->undelivered.begin(), close->undelivered.end());
      }
    } else if (close != nullptr) {
      close_idle(*close);
    }
  });
  if (looks_away_ || batches_ == nullptr || !commits_at_once_) return;
  seal();
  commit();
}

/// Somebody's wait is over.
void Oracle::answered(const locks::Effect& effect) {
  if (effect.answer.outcome == locks::Outcome::kLeaseExpired) return;
  if (const auto line = lines_.find(key_of(effect.owner)); line != lines_.end()) {
    Peer& peer = peers_.at(line->second);
    if (!std::exchange(peer.waits, false)) {
      wrong(line->second, "no answer", "one comes");
    }
    peer.answer = effect.answer;
    last_answered_ = line->second;
    // Whoever cannot take a grant back looks before it sends one.
    if (!rules_.release_on_disconnect && (peer.wire->is_shut() || peer.wire->is_reset())) {
      peer.hung_up = true;
    }
  } else if (Session* const session = session_of(effect.owner); session != nullptr) {
    const auto peer = peers_.find(session->busy);
    if (peer == peers_.end() || peer->second.pending.empty()) {
      throw Violation("a session that waits for nothing is answered");
    }
    peer->second.pending.front().answer = effect.answer;
    last_answered_ = session->busy;
  } else {
    throw Violation("an owner that nobody knows is answered");
  }
}

void Oracle::read(ConnectionId id, std::string_view bytes) noexcept {
  check([&] {
    const auto found = peers_.find(id);
    if (found == peers_.end()) return;
    Peer& peer = found->second;
    if (peer.phase >= Phase::kClosing) return;  // it is thrown away
    if (peer.arrived.empty() && peer.phase != Phase::kNew) peer.since = now_;
    peer.read_bytes += bytes.size();
    if (peer.door == Door::kLines) peer.arrived += bytes;
    touched_.push_back(id);
  });
}

void Oracle::sent(ConnectionId id, std::string_view bytes) noexcept {
  check([&] {
    const auto found = peers_.find(id);
    if (found == peers_.end() || found->second.phase == Phase::kOver) {
      return wrong(id, "nothing to be sent any more", shown(bytes) + " is");
    }
    Peer& peer = found->second;
    if (std::string_view(peer.said).substr(peer.cut, bytes.size()) != bytes) {
      wrong(id, shown(std::string_view(peer.said).substr(peer.cut)) + " to be sent",
            shown(bytes) + " is");
    }
    if (!may_leave(peer))
      wrong(id, "its replies to wait for the commit", shown(bytes) + " is sent");
    const std::size_t sent = peer.cut + bytes.size();
    const std::size_t whole = peer.door == Door::kHttp ? sent : peer.said.rfind('\n', sent - 1) + 1;
    peer.said.erase(0, whole);
    peer.cut = sent - whole;
    for (auto& [end, count] : peer.leaves) end -= std::min(end, whole);
    while (!peer.leaves.empty() && peer.leaves.front().first <= peer.cut) peer.leaves.pop_front();
    touched_.push_back(id);
  });
}

/// Whether the next byte that is to be sent may be.
bool Oracle::may_leave(const Peer& peer) const {
  return peer.leaves.empty() || peer.leaves.front().second <= committed_;
}

void Oracle::note_said(Peer& peer, std::string_view said) {
  if (tells_ && !said.empty()) {
    // Of responses the status alone: sessions have names that no seed gives.
    const std::size_t size = peer.door == Door::kHttp ? 12 : said.size();
    story_ += "    " + std::to_string(id()) + " < " + shown(said.substr(0, size)) + "\n";
  }
  if (said.empty()) return;
  if (peer.said.size() == peer.cut) peer.unsent_since = now_;
  peer.said += said;
  peer.leaves.emplace_back(peer.said.size(), logged_);
  peer.since = now_;
}

void Oracle::accepted() noexcept {
  check([&] {
    if (peers_.at(id()).door == Door::kHttp) return;
    const Call call = take_call();
    if (!std::holds_alternative<locks::OpenOwner>(call.command)) {
      wrong(id(), "an owner", shown(call.command));
    }
    peers_.at(id()).owner = call.answer.owner;
    lines_[key_of(call.answer.owner)] = id();
    describe(call.answer.owner, id(), "peer:1", {});
  });
}

void Oracle::advanced(const Advance& advance) noexcept {
  check([&] {
    Peer& peer = peers_.at(id());
    peer.door == Door::kLines ? advance_line(peer, advance) : advance_caller(peer, advance);
    note_said(peer, advance.said);
  });
}

void Oracle::hung_up() noexcept {
  check([&] {
    Peer& peer = peers_.at(id());
    peer.hung_up = true;
    if (peer.door == Door::kLines) return;
    leave(peer);
    // A release or a renewal goes on.
    if (!peer.pending.empty() && peer.pending.front().carried_out) drop_turn(peer);
  });
}

/// What it says goes slowly to a peer that has hung up.
void Oracle::sent_to_nobody() noexcept {
  check([&] {
    Peer& peer = peers_.at(id());
    if (!peer.hung_up && !peer.wire->is_shut() && !peer.wire->is_reset()) {
      wrong(id(), "it to know that its peer has not left", "it does not");
    }
    if (peer.door == Door::kHttp || calls().empty()) return;
    if (rules_.release_on_disconnect) {
      close_owner(peer, false);
      if (peer.phase == Phase::kWaiting) peer.phase = Phase::kDropped;
      return;
    }
    const Call call = take_call();
    const auto* const cancel = std::get_if<locks::CancelWaits>(&call.command);
    if (cancel == nullptr || cancel->owner != peer.owner || !is_legacy(cancel->legacy)) {
      wrong(id(), "its waits to be cancelled", shown(call.command));
    }
  });
}

void Oracle::ends(std::string_view why) noexcept {
  check([&] {
    check_reason(peers_.at(id()), why);
    peers_.at(id()).ends = true;
  });
}

void Oracle::ended() noexcept {
  check([&] {
    Peer& peer = peers_.at(id());
    if (peer.door == Door::kHttp) {
      leave(peer);
      drop_turn(peer);
      for (const Pending& pending : peer.pending) {
        const bool granted = pending.answer && pending.answer->outcome == locks::Outcome::kGranted;
        const bool closed =
            sessions_.contains(pending.session) && sessions_.at(pending.session).closed;
        if (granted && !pending.answer->repeated && !pending.left && !closed) {
          wrong(id(), "a grant that nobody heard of to be given back", "it is not");
        }
      }
    } else if (!peer.left) {
      close_owner(peer, true);
    }
    peer.phase = Phase::kOver;
  });
}

void Oracle::gone(ConnectionId id) noexcept {
  check([&] {
    if (peers_.at(id).phase != Phase::kOver) wrong(id, "it to end", "it is gone without");
  });
  peers_.erase(id);
}

/// Nobody's connection ends without a reason.
void Oracle::check_reason(const Peer& peer, std::string_view why) {
  const bool peer_left = peer.wire->is_shut() || peer.wire->is_reset();
  bool good = false;
  if (why.empty()) {
    good = peer.phase == Phase::kDenied || peer.phase >= Phase::kClosing;
  } else if (why == "peer_left") {
    good = peer_left && (peer.wire->is_reset() || peer.wire->unread().empty());
  } else if (why == "connection_lost") {
    good = peer.wire->is_reset();
  } else if (why == "write_timeout") {
    // It may have gone at the last moment.
    good = now_ - peer.unsent_since >= rules_.write_timeout;
  } else if (why == "draining") {
    good = draining_ && (peer.door == Door::kLines ? !has_claims(peer) : !has_begun(peer));
  } else if (why == "stopped") {
    good = draining_ && table_.held() == 0;
  }
  if (!good) wrong(id(), "it to go on", "it ends: " + std::string(why));
}

bool Oracle::has_claims(const Peer& line) const {
  return !line.left && table_.has_claims(line.owner);
}

/// Whether something of a request has been read that was not answered.
bool Oracle::has_begun(const Peer& caller) {
  return !caller.pending.empty() &&
         caller.read_bytes > caller.pending.front().end - caller.pending.front().size;
}

// --- Judgement ---

void Oracle::judge(const service::Service& service, bool with_keys) {
  check([&] {
    const bool changed = std::exchange(judged_, logged_) != logged_;
    table_.compare(service.table(), with_keys && changed);
    if (!with_keys || !changed) return;
    for (const auto& [owner, id] : lines_) {
      const OwnerId its = peers_.at(id).owner;
      if (service.has_claims(its) != table_.has_claims(its)) {
        wrong(id, "it to hold and wait for the same", "it does not");
      }
    }
  });
  if (!failure_.empty()) throw Violation(failure_);
  if (undecided_) throw Undecided();
}

void Oracle::at_rest() {
  for (const auto& [id, peer] : peers_) rest(id, peer);
}

/// What must not be so when the server has nothing left to do.
void Oracle::rest(ConnectionId id, const Peer& peer) {
  if (peer.phase == Phase::kOver || peer.phase == Phase::kDenied) return;
  if (peer.said.size() > peer.cut) {
    if (all_committed() && (peer.wire->room() > 0 || peer.wire->is_reset())) {
      wrong(id, "its replies to be sent", "they are not");
    }
    return;
  }
  if (peer.phase >= Phase::kClosing) wrong(id, "it to end", "it does not");
  peer.door == Door::kLines ? rest_line(id, peer) : rest_caller(id, peer);
}

void Oracle::ticked() {
  if (now_ - last_collection_ >= rules_.gc_interval) {
    if (!std::exchange(collected_, false)) throw Violation("idle keys: expected their collection");
    last_collection_ = now_;
  } else if (std::exchange(collected_, false)) {
    throw Violation("idle keys: expected no collection");
  }
}

bool Oracle::all_denied() const {
  return std::ranges::all_of(peers_,
                             [](const auto& each) { return each.second.phase == Phase::kDenied; });
}

bool Oracle::has_sessions() const {
  return std::ranges::any_of(sessions_, [](const auto& each) { return !each.second.closed; });
}

}  // namespace dflockd::simulation
