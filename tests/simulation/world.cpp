#include "world.hpp"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

namespace dflockd::simulation {

namespace {

using namespace std::chrono_literals;

constexpr const char* kFenceFile = Disk::kPath.data();

/// Fewer than this and the server asks for more, whatever the disk gives it.
constexpr std::uint64_t kFewFences = fencing::FenceDemand::kLeastLowWater;
constexpr Time kReservationPause = 100ms;

}  // namespace

// --- Time ---

void World::plan(Time at, What what, std::uint64_t who) {
  queue_.push({at, ++events_, what, who});
}

/// A deadline of something in the table, or `kNever`.
Time World::some_deadline() {
  return oracle_.table().some_deadline(random_, rules_.gc_max_idle);
}

Totals World::run() {
  totals_.seeds = 1;
  if (trace_ != nullptr) introduce();
  try {
    live();
    totals_.simulated_ms = static_cast<std::uint64_t>((time_ - start_) / 1ms);
    finish();
  } catch (const Undecided&) {
    ++totals_.undecided;
  }
  totals_.requests = oracle_.requests();
  totals_.grants = oracle_.table().grants();
  totals_.faults = disk_.faults();
  if (server_ != nullptr)
    totals_.expiries += server_->service().metrics().lease_expirations.value();
  return totals_;
}

void World::live() {
  while (totals_.steps < most_steps_) {
    const Time timer = timer_due();
    const Time next = queue_.empty() ? kNever : queue_.top().at;
    if (timer < next || (timer == next && timer != kNever && random_.one_in(2))) {
      time_ = timer;
      step("timer", 0, [&] { server_->fire(); });
    } else {
      const Event event = queue_.top();
      queue_.pop();
      time_ = std::max(time_, event.at);
      happen(event);
    }
    turn();
  }
}

void World::happen(const Event& event) {
  const auto found = links_.find(event.who);
  Link* const link = found == links_.end() ? nullptr : &found->second;
  switch (event.what) {
    case What::kAct:
      return act(event.who);
    case What::kCall:
      return call(event.who);
    case What::kArrive:
    case What::kReply:
    case What::kLeave:
    case What::kNotice:
    case What::kPauseOver:
    case What::kRead:
    case What::kOver:
      return link == nullptr ? void() : happen(event, *link);
    case What::kTick:
      if (server_ != nullptr) tick();
      return plan(std::max(moment(random_.one_in(3) ? 30s : 2 * pace_), time_ + 1ms), What::kTick);
    case What::kCommit:
      if (event.who != run_) return;
      committing_ = false;
      step("commit", 0, [&] { commit(); });
      return;
    case What::kReserve:
      return event.who == run_ ? reserve() : void();
    case What::kReserved:
      return event.who == run_ ? reserved() : void();
    case What::kStart:
      return start_server();
    case What::kCrash:
      if (server_ != nullptr) crash();
      return plan(time_ + 3 * pace_ + span(25 * pace_), What::kCrash);
    case What::kDrain:
      return server_ != nullptr ? drain() : void();
    case What::kClock:
      set_clock();
      return plan(time_ + span(15 * pace_), What::kClock);
    case What::kWeather: {
      constexpr std::array<unsigned, 6> kFailing{0, 0, 5, 20, 60, 100};
      disk_.fail(random_.pick(kFailing));
      return plan(time_ + span(8 * pace_), What::kWeather);
    }
  }
}

/// Something happens to a connection.
void World::happen(const Event& event, Link& link) {
  const ConnectionId id = event.who;
  switch (event.what) {
    case What::kArrive:
      return arrive(id, link);
    case What::kReply:
      return reply(id, link);
    case What::kLeave:
      return leave(id, link);
    case What::kNotice:
      step("notice", id, [&] { server_->notice(id, link.whole); });
      return;
    case What::kPauseOver:
      step("pause over", id, [&] { link.wire->end_pause(); });
      return;
    case What::kRead:
      if (!link.left) step("read", id, [&] { link.wire->set_room(SIZE_MAX); });
      return;
    default:
      return over(id, link);
  }
}

void World::tick() {
  step("tick", 0, [&] { server_->tick(); });
  oracle_.ticked();
  if (has_fence_file_ && oracle_.table().fences_left() < kFewFences && !server_->wants_fences() &&
      reading() >= no_reservation_before_) {
    throw Violation("fences: expected more to be asked for, but they are not");
  }
  if (!draining_) return;
  // The drain goes on for as long as something is held, and then for a second at most.
  if (oracle_.table().held() > 0 || nothing_held_since_ == kNever) {
    nothing_held_since_ = oracle_.table().held() > 0 ? kNever : reading();
  } else if (reading() - nothing_held_since_ >= 1s && !server_->stopped()) {
    throw Violation("drain: expected it to end, but it does not");
  }
}

void World::drain() {
  if (std::exchange(draining_, true)) return;
  most_steps_ = std::min(most_steps_, totals_.steps + 500);  // not much happens any more
  nothing_held_since_ = kNever;
  oracle_.drained();
  step("drain", 0, [&] { server_->start_draining(); });
}

/// What was sealed before is committed.
void World::commit() {
  oracle_.commit();
  oracle_.seal();
}

// --- Clients and the network ---

void World::act(std::size_t number) {
  Client& client = clients_[number];
  plan(std::max(moment(pace_), time_ + 1us), What::kAct, number);
  if (server_ == nullptr || server_->stopped()) return;
  std::string bytes;
  if (client.connection == 0) {
    client.connection = connect(Door::kLines, number);
    client.greet(random_, rules_.secret, bytes);
  }
  Link& link = links_.at(client.connection);
  if (client.waits() && bytes.empty()) {
    if (random_.percent(client.temperament().vanishes_when_blocked)) return vanish(link);
    if (!random_.one_in(10)) return;
  }
  const Act what = client.move(random_, neighbourhood_, bytes);
  if (what == Act::kVanish) return vanish(link);
  if (what == Act::kStopReading) stall(link);
  send(link, link.id, bytes, random_.percent(client.temperament().dribbles));
  if ((what == Act::kHalf || what == Act::kStopReading) && random_.one_in(2)) vanish(link, false);
}

/// A caller does something.
void World::call(std::size_t number) {
  Caller& caller = callers_[number];
  plan(std::max(moment(pace_), time_ + 1us), What::kCall, number);
  if (server_ == nullptr || server_->stopped()) return;
  if (caller.connection == 0) caller.connection = connect(Door::kHttp, number);
  Link& link = links_.at(caller.connection);
  if (caller.waits()) {
    if (random_.percent(callers_vanish_)) vanish(link);
    return;
  }
  if (random_.one_in(25)) stall(link);
  std::string bytes;
  for (std::uint64_t count = random_.one_in(6) ? random_.between(2, 4) : 1; count > 0; --count) {
    Asked asked;
    bytes += caller.move(random_, neighbourhood_, sessions_, rules_.secret, asked);
    if (asked.what == Asked::What::kOpen) asked.session = ++last_session_;
    caller.sends(asked);
    oracle_.asked(link.id, asked);
    if (asked.half || !asked.authorized) break;
  }
  send(link, link.id, bytes, random_.one_in(5));
  if (random_.one_in(20)) vanish(link, random_.one_in(2));
}

ConnectionId World::connect(Door door, std::size_t number) {
  const ConnectionId id = ++last_connection_;
  Link& link = links_[id];
  link.id = id;
  link.door = door;
  link.client = number;
  link.last_in = link.last_out = time_;
  link.wire = std::make_shared<net::SimulatedWire>();
  if (random_.one_in(4)) link.wire->most_at_once = random_.between(1, 40);
  link.wire->on_pause = [this, id](std::chrono::milliseconds time) {
    plan(time_ + time, What::kPauseOver, id);
  };
  oracle_.set_now(reading());
  oracle_.connected(id, door, link.wire);
  step("accept", id, [&] { server_->accept(id, door, link.wire); });
  return id;
}

/// The peer reads little or nothing for a while.
void World::stall(Link& link) {
  link.wire->set_room(random_.one_in(2) ? 0 : random_.below(120));
  plan(time_ + span(5 * pace_), What::kRead, link.id);
}

/// Puts bytes on their way, whole or in pieces. Each takes its time, and none overtakes another.
void World::send(Link& link, ConnectionId id, const std::string& bytes, bool in_pieces) {
  for (std::size_t at = 0; at < bytes.size();) {
    std::size_t size = bytes.size() - at;
    if (in_pieces && size > 1) {
      const std::uint64_t most = size > 2000 ? size : random_.one_in(3) ? 3 : 20;
      size = std::min<std::size_t>(size, random_.between(1, most));
    }
    link.inbound.push_back(bytes.substr(at, size));
    link.last_in = std::max(link.last_in, moment(in_pieces ? 200ms : 20ms, 25));
    plan(link.last_in, What::kArrive, id);
    at += size;
  }
}

/// Ends a connection: behind what has been sent on it, or at once.
void World::vanish(Link& link) {
  vanish(link, random_.one_in(2));
}

void World::vanish(Link& link, bool at_once) {
  const bool waits =
      link.door == Door::kLines ? clients_[link.client].waits() : callers_[link.client].waits();
  Time at = link.last_in;
  if (at_once) {
    link.inbound.clear();
    at = time_;
  }
  plan(std::max(at, moment(50ms, waits ? 85 : 30)), What::kLeave, link.id);
  forget(link);
  ++totals_.disconnects;
}

/// Its client uses it no more.
void World::forget(Link& link) {
  link.left = true;
  if (link.door == Door::kLines) {
    if (clients_[link.client].connection == link.id) clients_[link.client].disconnected();
  } else if (callers_[link.client].connection == link.id) {
    callers_[link.client].disconnected();
  }
}

void World::arrive(ConnectionId id, Link& link) {
  if (link.inbound.empty() || link.wire->is_shut() || link.wire->is_reset()) return;
  const std::string bytes = std::move(link.inbound.front());
  link.inbound.pop_front();
  step("arrive", id, [&] { link.wire->arrive(bytes); });
}

/// A peer leaves at once, and the server hears of it before anything else.
void World::hang_up(ConnectionId id) {
  const auto found = links_.find(id);
  if (found == links_.end() || found->second.left) return;
  Link& link = found->second;
  forget(link);
  ++totals_.disconnects;
  link.whole = random_.one_in(2);
  step("shut", id, [&] { link.wire->shut(random_.one_in(2)); });
  step("notice", id, [&] { server_->notice(id, link.whole); });
}

/// The end of a connection reaches the server's system, and then the server.
void World::leave(ConnectionId id, Link& link) {
  const bool resets = random_.one_in(4);
  link.whole = resets || random_.one_in(2);
  const bool seen = random_.one_in(2);
  step(resets ? "reset" : "shut", id, [&] { resets ? link.wire->reset() : link.wire->shut(seen); });
  plan(std::min(moment(100ms, 60), time_ + 100ms), What::kNotice, id);
}

void World::reply(ConnectionId id, Link& link) {
  if (link.outbound.empty()) return;
  const std::string bytes = std::move(link.outbound.front());
  link.outbound.pop_front();
  if (link.door == Door::kHttp) {
    Caller& caller = callers_[link.client];
    if (caller.connection != id) return;
    if (caller.hear(bytes, sessions_, random_) && random_.percent(callers_vanish_)) vanish(link);
    return;
  }
  Client& client = clients_[link.client];
  if (client.connection != id) return;
  if (client.hear(bytes, neighbourhood_, random_) &&
      random_.percent(client.temperament().vanishes_when_granted)) {
    vanish(link);
  }
}

/// The server has closed it, and that has reached its client.
void World::over(ConnectionId id, Link& link) {
  if (oracle_.is_open(id)) return;
  forget(link);
  links_.erase(id);
}

// --- The server's life ---

void World::start_server() {
  if (server_ != nullptr) return;
  offset_ = 1000s + span(1h * 1000) - time_;  // a clock that began with the machine
  std::uint64_t first = wall_clock_;
  std::uint64_t fences_end = UINT64_MAX;
  if (has_fence_file_) {
    constexpr std::array<std::uint64_t, 4> kSteppedBackBy{0, 1, 1000, UINT64_MAX};
    const std::uint64_t clock = wall_clock_ - std::min(wall_clock_, random_.pick(kSteppedBackBy));
    const std::uint64_t faults_before = disk_.faults();
    if (crashes_ && cut_starts_ == 0 && random_.one_in(6)) cut_starts_ = random_.between(1, 30);
    if (cut_starts_ > 0) {
      --cut_starts_;
      disk_.die_after(random_.between(4, 12));  // most of them as it writes
    }
    if (failed_starts_ > 3) disk_.fail(0);
    std::string refusal;
    try {
      file_.emplace(fencing::FenceFile::open(kFenceFile, clock, {fence_step_, fence_step_}, disk_));
    } catch (const fencing::FenceFileError& error) {
      refusal = error.what();
    }
    if (!refusal.empty() && disk_.faults() == faults_before) {
      throw Violation("start: expected the server to start, but " + refusal);
    }
    if (!refusal.empty() || disk_.died()) {
      ++failed_starts_;
      file_.reset();
      end_process(disk_.died() ? 60 : 0);
      return plan(time_ + 1s, What::kStart);
    }
    failed_starts_ = 0;
    disk_.die_after(UINT64_MAX);
    first = file_->range().first;
    fences_end = file_->range().end;
  }
  ++run_;
  const Salts salts{spread(seed_ ^ spread(run_))};
  oracle_.set_now(reading());
  oracle_.started(salts);
  oracle_.expect_fences(fences_end);
  server_ = std::make_unique<Server>(Server::Setup{.options = options(),
                                                   .now = reading(),
                                                   .first_fence = first,
                                                   .fences_end = fences_end,
                                                   .reserves = has_fence_file_,
                                                   .salt_stream = salts.stream,
                                                   .secret = rules_.secret,
                                                   .timeouts = {.read = rules_.read_timeout,
                                                                .write = rules_.write_timeout,
                                                                .idle = rules_.idle_timeout},
                                                   .session_idle = rules_.session_idle,
                                                   .commits_at_once = commits_at_once_},
                                     oracle_);
  reserving_ = draining_ = committing_ = false;
  no_reservation_before_ = Time{0};
  late_for_ = Time{0};
  what_ = has_fence_file_ && file_->was_damaged() ? "start, one slot damaged" : "start";
  tell();
}

/// The server's process is gone, and with `percent` probability the power has failed, too.
void World::end_process(unsigned percent) {
  if (random_.percent(percent)) {
    disk_.power_cut(!disk_fails_ && random_.percent(70));
  } else {
    disk_.process_ended();
  }
}

void World::crash() {
  ++totals_.crashes;
  end_server();
  end_process(75);
  what_ = "crash";
  tell();
  plan(time_ + span(5 * pace_), What::kStart);
}

/// The server is gone with all its connections.
void World::end_server() {
  totals_.expiries += server_->service().metrics().lease_expirations.value();
  for (auto& [id, link] : links_) {
    forget(link);
    link.wire->end_pause();
  }
  ++run_;  // what is under way is for the old one
  server_.reset();
  links_.clear();
  file_.reset();
}

void World::reserve() {
  if (crashes_ && random_.one_in(100)) disk_.die_after(random_.between(1, 3));
  const std::error_code error = file_->reserve(random_.between(1, fence_step_));
  reservation_ = {.error = error, .end = file_->range().end};
  if (disk_.died()) return crash();
  disk_.die_after(UINT64_MAX);
  plan(time_ + span(random_.one_in(10) ? 2s : 10ms), What::kReserved, run_);
}

void World::reserved() {
  reserving_ = false;
  step("reserved", 0, [&] {
    if (reservation_.error) {
      no_reservation_before_ = reading() + kReservationPause;
    } else {
      oracle_.expect_fences(reservation_.end);
    }
    server_->reserved(reservation_);
  });
}

void World::set_clock() {
  if (server_ == nullptr) return;
  switch (random_.below(4)) {
    case 0:
      offset_ += span(1h * 100);
      break;
    case 1:
      offset_ -= Time(static_cast<std::int64_t>(random_.below(1000)));
      break;
    case 2:
      offset_ -= std::min(span(5s), reading());
      break;
    default: {  // just to where something ends
      const Time deadline = some_deadline();
      if (deadline != kNever && deadline > reading() && deadline - reading() < 1h * 10'000) {
        offset_ += deadline - reading();
      }
    }
  }
}

// --- Steps ---

/// Something happens to the server: true unless `act` says that nothing did.
template <class Act>
bool World::step(const char* what, std::uint64_t who, Act act) {
  what_ = what;
  who_ = who;
  server_->set_now(reading());
  oracle_.set_now(reading());
  if constexpr (std::is_void_v<decltype(act())>) {
    act();
  } else if (!act()) {
    return false;
  }
  ++totals_.steps;
  tell();
  const bool large = oracle_.table().counts().claims + links_.size() > kLarge;
  oracle_.judge(server_->service(), !large || totals_.steps % 16 == 0);
  if (server_->timer() > oracle_.table().next_deadline()) {
    throw Violation("timer: expected it at " +
                    std::to_string(oracle_.table().next_deadline().count()) +
                    " ns, but it is set for " + std::to_string(server_->timer().count()) + " ns");
  }
  if (server_->wants_fences() && !std::exchange(reserving_, true)) {
    plan(time_ + span(random_.one_in(10) ? 2s : disk_latency_), What::kReserve, run_);
  }
  if (!oracle_.all_committed() && !std::exchange(committing_, true)) {
    plan(time_ + span(commit_latency_), What::kCommit, run_);
  }
  for (const ConnectionId id : oracle_.touched()) deliver(id);
  return true;
}

/// The loop goes on with what is ready. Now and then something else happens before it is done.
void World::turn() {
  while (server_ != nullptr) {
    if (!step("turn", 0, [&] { return server_->turn(); })) break;
    if (!random_.one_in(lateness_of_turns_)) continue;
    if (random_.one_in(3)) hang_up(oracle_.last_answered());
    return;
  }
  if (server_ == nullptr) return;
  const bool large = links_.size() > kLarge;
  const bool changed = std::exchange(rested_at_, totals_.steps) != totals_.steps;
  if (changed && (!large || random_.one_in(16))) oracle_.at_rest();
  if (!server_->stopped()) return;
  if (!oracle_.all_denied()) throw Violation("drain: expected no connection to be left");
  ++totals_.drains;
  end_server();
  wall_clock_ += 1'000'000'000;
  disk_.process_ended();
  plan(time_ + span(5 * pace_), What::kStart);
}

/// Puts what was sent on its way to its client.
void World::deliver(ConnectionId id) {
  const auto found = links_.find(id);
  if (found == links_.end()) return;
  Link& link = found->second;
  if (!link.wire->sent.empty()) {
    link.outbound.push_back(std::exchange(link.wire->sent, {}));
    link.last_out = std::max(link.last_out, time_ + span(10ms));
    plan(link.last_out, What::kReply, id);
  }
  if (!oracle_.is_open(id)) plan(std::max(link.last_out, time_), What::kOver, id);
}

/// Everybody leaves, and nothing must be left.
void World::finish() {
  if (server_ == nullptr) return;
  for (auto& [id, link] : links_) {
    link.wire->set_room(SIZE_MAX);
    link.wire->end_pause();
    step("last leave", id, [&] { link.wire->shut(); });
    step("last notice", id, [&] { server_->notice(id, true); });
  }
  const auto settle = [&] {
    for (bool ready = true; ready;) {
      if (!commits_at_once_) {
        for (int i = 0; i < 2; ++i) step("last commit", 0, [&] { commit(); });
      }
      for (auto& [id, link] : links_) link.wire->end_pause();
      ready = step("last turn", 0, [&] { return server_->turn(); });
    }
  };
  settle();
  if (oracle_.connections() > 0) throw Violation("end: expected no connection to be left");
  if (oracle_.table().counts().claims > kLarge) return;  // the naive table would take hours
  for (int count = 0; count < 3; ++count) {
    time_ += 2 * rules_.session_idle + 60s;  // the clock may have stepped back meanwhile
    step("last tick", 0, [&] { server_->tick(); });
    settle();
  }
  if (oracle_.has_sessions() || server_->callers() > 0) {
    throw Violation("end: expected no session to be left");
  }
  const bool stays = rules_.orphan_ttl > 0s || !rules_.release_on_disconnect;
  if (oracle_.table().counts().claims > 0 && !stays) {
    throw Violation("end: expected nothing to be held, but something is");
  }
  end_leases();
}

/// Whatever was kept for a time is over then, but for leases longer than any clock goes.
void World::end_leases() {
  constexpr Time kBeyondClocks = kNever - 100'000s;
  for (Time next; (next = oracle_.table().next_deadline()) < kBeyondClocks;) {
    time_ = std::max(time_, next - offset_);
    step("last lease", 0, [&] { server_->fire(); });
  }
  for (int count = 0; count < 2; ++count) {
    time_ += 1h;
    step("last collection", 0, [&] { server_->tick(); });
  }
  const locks::TableCounts& counts = oracle_.table().counts();
  const std::size_t endless = rules_.release_on_disconnect ? 0 : oracle_.table().held();
  if (counts.claims > endless || counts.keys > endless) {
    throw Violation("end: expected nothing to be left, but something is");
  }
}

}  // namespace dflockd::simulation
