#include "world.hpp"

#include <algorithm>
#include <array>
#include <ranges>
#include <utility>

namespace dflockd::simulation {

namespace {

using namespace std::chrono_literals;

constexpr const char* kFenceFile = Disk::kPath.data();

/// Fewer than this and the server asks for more, whatever the disk gives it.
constexpr std::uint64_t kFewFences = fencing::FenceDemand::kLeastLowWater;
constexpr Time kReservationPause = 100ms;

}  // namespace

Totals& Totals::operator+=(const Totals& other) {
  seeds += other.seeds;
  steps += other.steps;
  requests += other.requests;
  grants += other.grants;
  expiries += other.expiries;
  disconnects += other.disconnects;
  crashes += other.crashes;
  faults += other.faults;
  simulated_ms += other.simulated_ms;
  return *this;
}

// --- Time ---

Time World::span(Time longest) {
  const auto most = static_cast<std::uint64_t>(longest.count());
  switch (random_.below(4)) {
    case 0:
      return Time{0};
    case 1:  // round, so that things coincide
      return Time(static_cast<std::int64_t>(random_.below(most / 1'000'000'000 + 1)) *
                  1'000'000'000);
    default:
      return Time(static_cast<std::int64_t>(random_.below(most + 1)));
  }
}

/// After the usual time, or just when something ends, or just before or after that.
Time World::moment(Time usual, unsigned coincidence) {
  const Time at = time_ + span(usual);
  if (server_ == nullptr || !random_.percent(coincidence)) return at;
  const Time deadline =
      random_.one_in(2) ? oracle_.next_deadline() : oracle_.some_deadline(random_);
  if (deadline == kNever || deadline < reading() || deadline - reading() > 50 * pace_ + 1s)
    return at;
  const Time then = deadline - offset_;
  return std::max(
      time_, then + Time(static_cast<std::int64_t>(random_.one_in(2) ? 0 : random_.below(3)) - 1));
}

void World::plan(Time at, What what, std::uint64_t who) {
  queue_.push({at, ++events_, what, who});
}

/// When the server's timer fires, which may be late.
Time World::timer_due() {
  const Time timer = server_ == nullptr ? kNever : server_->timer();
  if (timer == kNever) return kNever;
  if (std::exchange(late_for_, timer) != timer) {
    lateness_ = timer_is_late_ && random_.one_in(2) ? span(random_.one_in(2) ? pace_ : 50ms) : 0ns;
  }
  const Time due = timer - offset_ + lateness_;
  return std::max(due, time_);
}

Totals World::run() {
  totals_.seeds = 1;
  if (trace_ != nullptr) introduce();
  while (totals_.steps < most_steps_) {
    const Time timer = timer_due();
    const Time next = queue_.empty() ? kNever : queue_.top().at;
    if (timer < next || (timer == next && timer != kNever && random_.one_in(2))) {
      time_ = timer;
      expire();
    } else {
      const Event event = queue_.top();
      queue_.pop();
      time_ = std::max(time_, event.at);
      happen(event);
    }
    serve_woken();
  }
  totals_.grants = oracle_.grants();
  totals_.faults = disk_.faults();
  totals_.simulated_ms = static_cast<std::uint64_t>((time_ - start_) / 1ms);
  if (server_ != nullptr)
    totals_.expiries += server_->service().metrics().lease_expirations.value();
  return totals_;
}

void World::happen(const Event& event) {
  const auto link = links_.find(event.who);
  const bool has_link = link != links_.end();
  switch (event.what) {
    case What::kAct:
      return act(event.who);
    case What::kArrive:
      if (has_link) arrive(event.who, link->second);
      return;
    case What::kReply:
      if (has_link) reply(event.who, link->second);
      return;
    case What::kLeave:
      if (!has_link) return;
      link->second.server_side->peer_gone = true;
      return plan(std::min(moment(100ms, 60), time_ + 100ms), What::kNotice, event.who);
    case What::kNotice:
      if (has_link) notice(event.who, link->second);
      return;
    case What::kCallOff:
      if (has_link) call_off(event.who, link->second);
      return;
    case What::kEnd:
      if (has_link) end(event.who);
      return;
    case What::kRead:
      if (!has_link || link->second.server_side->hung_up) return;
      link->second.stalled = false;
      deliver({event.who, {}});
      return go_on(event.who);
    case What::kGoOn:
      if (has_link) go_on(event.who);
      return;
    case What::kTick:
      if (server_ != nullptr) tick();
      return plan(std::max(moment(random_.one_in(3) ? 30s : 2 * pace_), time_ + 1ms), What::kTick);
    case What::kReserve:
      if (event.who == run_) reserve();
      return;
    case What::kReserved:
      if (event.who == run_) reserved();
      return;
    case What::kStart:
      return start_server();
    case What::kCrash:
      if (server_ != nullptr) crash();
      return plan(time_ + 10 * pace_ + span(80 * pace_), What::kCrash);
    case What::kDrain:
      if (server_ != nullptr) drain();
      return;
    case What::kClock:
      set_clock();
      return plan(time_ + span(40 * pace_), What::kClock);
    case What::kWeather: {
      constexpr std::array<unsigned, 6> kFailing{0, 0, 5, 20, 60, 100};
      disk_.fail(random_.pick(kFailing));
      return plan(time_ + span(20 * pace_), What::kWeather);
    }
  }
}

void World::tick() {
  take_step(
      "tick", 0, [&] { server_->service().tick(); }, [&] { oracle_.ticked(reading(), sight_); });
  if (has_fence_file_ && oracle_.fences_left() < kFewFences && !server_->wants_fences() &&
      reading() >= no_reservation_before_) {
    throw Violation("fences: expected more to be asked for, but they are not");
  }
}

void World::drain() {
  most_steps_ = std::min(most_steps_, totals_.steps + 200);  // not much happens any more
  take_step(
      "drain", 0, [&] { server_->service().start_draining(); },
      [&] { oracle_.drained(reading(), sight_); });
}

// --- Clients and the network ---

void World::act(std::size_t number) {
  Client& client = clients_[number];
  plan(std::max(moment(pace_), time_ + 1us), What::kAct, number);
  if (server_ == nullptr) return;
  if (client.connection == 0) connect(client, number);
  if (client.waits()) {
    if (random_.percent(client.temperament().vanishes_when_blocked)) return vanish(client);
    if (random_.one_in(60)) plan(moment(pace_, 60), What::kCallOff, client.connection);
    if (!random_.one_in(10)) return;
  }
  std::string bytes;
  const Act what = client.move(random_, neighbourhood_, bytes);
  Link& link = links_.at(client.connection);
  if (what == Act::kVanish) return vanish(client);
  if (what == Act::kStopReading) {
    link.stalled = true;
    plan(time_ + span(5 * pace_), What::kRead, client.connection);
  }
  send(link, client.connection, bytes, random_.percent(client.temperament().dribbles));
  if ((what == Act::kHalf || what == Act::kStopReading) && random_.one_in(2)) vanish(client, false);
}

void World::connect(Client& client, std::size_t number) {
  client.connection = ++last_connection_;
  Link& link = links_[client.connection];
  link.client = number;
  link.last_in = link.last_out = time_;
  link.server_side = std::make_unique<Connection>(*server_, client.connection);
  oracle_.connected(client.connection);
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

/// Ends a client's connection: behind what it has sent, or at once.
void World::vanish(Client& client) {
  vanish(client, random_.one_in(2));
}

void World::vanish(Client& client, bool at_once) {
  const ConnectionId id = client.connection;
  Link& link = links_.at(id);
  Time at = link.last_in;
  if (at_once) {
    link.inbound.clear();
    at = time_;
  }
  plan(std::max(at, moment(50ms, client.waits() ? 85 : 30)), What::kLeave, id);
  client.disconnected();
  ++totals_.disconnects;
}

void World::arrive(ConnectionId id, Link& link) {
  if (link.inbound.empty()) return;  // lost with the connection
  const std::string bytes = std::move(link.inbound.front());
  link.inbound.pop_front();
  if (link.server_side->hung_up) return;
  link.server_side->receive(bytes);
  oracle_.received(id, bytes);
  go_on(id);
}

void World::reply(ConnectionId id, Link& link) {
  if (link.outbound.empty()) return;
  const std::string bytes = std::move(link.outbound.front());
  link.outbound.pop_front();
  Client& client = clients_[link.client];
  if (client.connection != id) return;
  if (client.hear(bytes, neighbourhood_, random_) &&
      random_.percent(client.temperament().vanishes_when_granted)) {
    vanish(client);
  }
}

void World::notice(ConnectionId id, Link& link) {
  Connection& connection = *link.server_side;
  connection.hung_up = true;
  if (link.stalled && !connection.unsent.empty() && !rules_.release_on_disconnect) {
    return plan(moment(3s), What::kEnd, id);  // what is being sent to it may still arrive
  }
  if (connection.unsent.empty()) go_on(id);
  if (links_.contains(id)) end(id);
}

void World::call_off(ConnectionId id, Link& link) {
  if (!link.server_side->blocked()) return;
  take_step(
      "call off", id, [&] { link.server_side->cancel_wait(); },
      [&] { oracle_.wait_cancelled(reading(), id, sight_); });
  Client& client = clients_[link.client];
  if (client.connection == id) client.called_off();
  plan(time_, What::kGoOn, id);
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
  server_ = std::make_unique<Server>(Server::Setup{.options = options(),
                                                   .now = reading(),
                                                   .first_fence = first,
                                                   .fences_end = fences_end,
                                                   .reserves = has_fence_file_,
                                                   .salt_stream = salts.stream});
  oracle_.started(reading(), first, fences_end, salts);
  reserving_ = false;
  no_reservation_before_ = Time{0};
  late_for_ = Time{0};
  tell(has_fence_file_ && file_->was_damaged() ? "start, one slot damaged" : "start", run_);
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
  totals_.expiries += server_->service().metrics().lease_expirations.value();
  for (auto& [id, link] : links_) {
    if (clients_[link.client].connection == id) clients_[link.client].disconnected();
  }
  links_.clear();
  woken_.clear();
  ++run_;  // what is under way is for the old one
  server_.reset();
  file_.reset();
  end_process(75);
  oracle_.crashed();
  tell("crash", 0);
  plan(time_ + span(5 * pace_), What::kStart);
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
  take_step(
      "reserved", 0,
      [&] {
        if (reservation_.error) no_reservation_before_ = reading() + kReservationPause;
        server_->reserved(reservation_);
      },
      [&] {
        if (reservation_.error) return oracle_.time_passed(reading(), sight_);
        oracle_.fences_reserved(reading(), reservation_.end, sight_);
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
      const Time deadline = oracle_.some_deadline(random_);
      if (deadline != kNever && deadline > reading() && deadline - reading() < 1h * 10'000) {
        offset_ += deadline - reading();
      }
    }
  }
  tell("clock", 0);
}

// --- Steps ---

/// Carries out what a connection has sent, as far as it goes.
void World::go_on(ConnectionId id) {
  for (;;) {
    const auto found = links_.find(id);
    if (found == links_.end()) return;
    Connection& connection = *found->second.server_side;
    if (connection.hung_up && (connection.blocked() || !connection.unsent.empty())) {
      return found->second.stalled ? void() : end(id);
    }
    if (!connection.unsent.empty()) return;  // it waits until that is sent
    if (!oracle_.has_request(id)) {
      if (connection.handle_one() == Connection::Progress::kNothing) return;
      throw Violation("connection " + std::to_string(id) +
                      ": expected nothing, but a request was carried out");
    }
    auto progress = Connection::Progress::kNothing;
    if (trace_ != nullptr) tell("from", id);
    take_step(
        "request", id, [&] { progress = connection.handle_one(); },
        [&] { oracle_.request(reading(), id, sight_); });
    ++totals_.requests;
    if (progress == Connection::Progress::kNothing) {
      throw Violation("connection " + std::to_string(id) +
                      ": expected a request to be carried out, but it was not");
    }
    const bool refused = progress == Connection::Progress::kRefused;
    if (refused == oracle_.is_open(id)) {
      throw Violation("connection " + std::to_string(id) + ": expected it to be " +
                      (refused ? "open, but it is closed" : "closed, but it is open"));
    }
    if (refused) {
      Client& client = clients_[found->second.client];
      if (client.connection == id) client.disconnected();
      links_.erase(found);
      return;
    }
    if (random_.one_in(10)) return plan(moment(5ms), What::kGoOn, id);
  }
}

void World::end(ConnectionId id) {
  Link& link = links_.at(id);
  const bool release_all = random_.one_in(20);
  const std::string unsent = link.server_side->unsent;
  take_step(
      "end", id, [&] { link.server_side->close(release_all); },
      [&] { oracle_.closed(reading(), id, unsent, release_all, sight_); });
  Client& client = clients_[link.client];
  if (client.connection == id) client.disconnected();
  links_.erase(id);
}

void World::expire() {
  take_step(
      "timer", 0, [&] { server_->fire(); }, [&] { oracle_.time_passed(reading(), sight_); });
}

/// Goes on with those connections that were blocked.
void World::serve_woken() {
  while (!woken_.empty()) {
    const std::vector<ConnectionId> woken = std::exchange(woken_, {});
    for (const ConnectionId id : woken) {
      if (random_.one_in(4)) {
        plan(moment(5ms), What::kGoOn, id);
      } else {
        go_on(id);
      }
    }
  }
}

template <class Act, class Judge>
void World::take_step(const char* what, std::uint64_t who, Act act, Judge judge) {
  ++totals_.steps;
  what_ = what;
  who_ = who;
  server_->set_now(reading());
  act();
  server_->look(sight_);
  if (trace_ != nullptr) tell(what, who);
  judge();
  check_server();
  for (const Said& said : sight_.said) deliver(said);
  sight_.said.clear();
}

/// What is to be seen of the server besides its keys.
void World::check_server() {
  const bool large = oracle_.claim_count() + links_.size() > kLarge;
  if (!large || totals_.steps % 16 == 0) {
    if (!server_->service().table().consistent()) {
      throw Violation("table: expected it to be consistent, but it is not");
    }
    for (const auto& [id, has_claims] : oracle_.claims()) {
      const auto link = links_.find(id);
      if (link == links_.end() ||
          server_->service().has_claims(link->second.server_side->owner()) != has_claims) {
        throw Violation("connection " + std::to_string(id) + ": expected it to hold or wait for " +
                        (has_claims ? "something" : "nothing") + ", but it does not");
      }
    }
  }
  if (server_->timer() > oracle_.next_deadline()) {
    throw Violation("timer: expected it at " + std::to_string(oracle_.next_deadline().count()) +
                    " ns, but it is set for " + std::to_string(server_->timer().count()) + " ns");
  }
  if (server_->wants_fences() && !std::exchange(reserving_, true)) {
    plan(time_ + span(random_.one_in(10) ? 2s : disk_latency_), What::kReserve, run_);
  }
}

/// Puts what a connection has to send on its way, if its peer reads.
void World::deliver(const Said& said) {
  const auto found = links_.find(said.to);
  if (found == links_.end()) return;
  Link& link = found->second;
  Connection& connection = *link.server_side;
  if (std::exchange(connection.woken, false)) woken_.push_back(said.to);
  if (link.stalled || connection.hung_up || connection.unsent.empty()) return;
  link.outbound.push_back(std::exchange(connection.unsent, {}));
  link.last_out = std::max(link.last_out, time_ + span(10ms));
  plan(link.last_out, What::kReply, said.to);
}

std::string World::where() const {
  return "step " + std::to_string(totals_.steps) + " (" + what_ +
         (who_ == 0 ? "" : " " + std::to_string(who_)) + ")";
}

/// Says what the seed has made.
void World::tell(const char* what, std::uint64_t who) {
  if (trace_ == nullptr) return;
  const auto shown = [](std::string_view text) {
    std::string result;
    for (const char c : text.substr(0, 120)) {
      result += c == '\n' ? '|' : c < ' ' || c > '~' ? '?' : c;
    }
    return result;
  };
  std::string line =
      std::to_string(totals_.steps) + " " + std::to_string(reading().count()) + " " + what;
  if (who != 0) line += " " + std::to_string(who);
  if (std::string_view(what) == "from") {
    line += " " + shown(links_.at(who).server_side->received());
  } else {
    for (const Said& said : sight_.said)
      line += "  " + std::to_string(said.to) + "<" + shown(said.line);
    for (const locks::KeyInfo& key : sight_.keys | std::views::take(8)) {
      line += "  " + std::string(key.key.kind == locks::Kind::kSemaphore ? "s:" : "") +
              shown(key.key.name).substr(0, 12) + "=" + std::to_string(key.holders) + "/" +
              std::to_string(key.limit) + "+" + std::to_string(key.waiters);
    }
  }
  std::fprintf(trace_, "%s\n", line.c_str());
}

}  // namespace dflockd::simulation
