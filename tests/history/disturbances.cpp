#include "disturbances.hpp"

#include <algorithm>

namespace dflockd::history {

namespace {

/// Pairs of a beginning and an end; the last may be without its end.
class Spans {
 public:
  void begin(Time time) {
    if (depth_++ == 0) since_ = time;
  }
  void end(Time time, std::vector<Disturbances::Interval>& intervals) {
    if (depth_ == 0) return;
    --depth_;
    if (depth_ == 0) intervals.push_back({since_, time});
  }
  void finish(std::vector<Disturbances::Interval>& intervals) {
    if (depth_ > 0) intervals.push_back({since_, kNever});
    depth_ = 0;
  }

 private:
  int depth_ = 0;
  Time since_ = 0;
};

}  // namespace

Disturbances::Disturbances(const History& history, Time margin) : margin_(margin) {
  know_server(history);
  know_clients(history);
}

/// When the server was stopped, down, or under pressure, and its lives.
void Disturbances::know_server(const History& history) {
  Spans stopped;
  Spans down;
  Spans pressure;
  const auto end_life = [&](const Life& life) {
    if (!lives_.empty() && lives_.back().dead == kNever) return;
    down.begin(life.end_begins);
    lives_.push_back(life);
  };
  for (const Happening& happening : history.happenings) {
    const Time time = happening.time;
    switch (happening.event) {
      case Event::kServerStop:
        stopped.begin(time);
        break;
      case Event::kServerContinue:
        stopped.end(time, server_);
        break;
      case Event::kServerKill:
      case Event::kServerTerm:
        end_life({time, kNever, happening.event == Event::kServerTerm});
        break;
      case Event::kServerDead:
        end_life({time, kNever, false});
        lives_.back().dead = time;
        stopped.end(time, server_);
        break;
      case Event::kServerUp:
        down.end(time, server_);
        break;
      case Event::kPressureBegin:
        pressure.begin(time);
        break;
      case Event::kPressureEnd:
        pressure.end(time, server_);
        break;
      default:
        break;
    }
  }
  lives_.push_back({});
  stopped.finish(server_);
  down.finish(server_);
  pressure.finish(server_);
}

/// When each client was stopped, or its network disturbed, or the server.
void Disturbances::know_clients(const History& history) {
  std::unordered_map<std::string, Spans> clients;
  std::unordered_map<std::string, Spans> networks;
  for (const auto& [place, event, time, slot] : history.happenings) {
    if (event == Event::kClientStop) clients[slot].begin(time);
    if (event == Event::kClientContinue) clients[slot].end(time, clients_[slot]);
    if (event == Event::kNetworkBegin) networks[slot].begin(time);
    if (event == Event::kNetworkEnd) networks[slot].end(time, networks_[slot]);
  }
  for (auto& [slot, spans] : clients) spans.finish(clients_[slot]);
  for (auto& [slot, spans] : networks) spans.finish(networks_[slot]);
  for (auto& [slot, intervals] : networks_) {
    stretch(intervals);
    auto& all = clients_[slot];
    all.insert(all.end(), intervals.begin(), intervals.end());
    merge(intervals);
  }
  for (auto& [slot, intervals] : clients_) {
    intervals.insert(intervals.end(), server_.begin(), server_.end());
    merge(intervals);
  }
  merge(server_);
}

/// TCP waits twice as long before each further attempt, so it notices late that all is well: after
/// as long again as nothing arrived. What is cut off once more before that goes on waiting.
void Disturbances::stretch(std::vector<Interval>& intervals) {
  const auto noticed = [](const Interval& interval) {
    return interval.end == kNever ? kNever : later(interval.end, interval.end - interval.begin);
  };
  std::size_t kept = 0;
  for (const Interval& interval : intervals) {  // in order
    if (kept > 0 && interval.begin <= noticed(intervals[kept - 1])) {
      intervals[kept - 1].end = interval.end;
    } else {
      intervals[kept++] = interval;
    }
  }
  intervals.resize(kept);
  for (Interval& interval : intervals) interval.end = noticed(interval);
}

/// Puts those into one between which nothing would settle.
void Disturbances::merge(std::vector<Interval>& intervals) const {
  std::ranges::sort(intervals, {}, &Interval::begin);
  std::size_t kept = 0;
  for (const Interval& interval : intervals) {
    if (kept > 0 && interval.begin <= later(intervals[kept - 1].end, margin_)) {
      intervals[kept - 1].end = std::max(intervals[kept - 1].end, interval.end);
    } else {
      intervals[kept++] = interval;
    }
  }
  intervals.resize(kept);
}

const std::vector<Disturbances::Interval>& Disturbances::of(const std::string& slot) const {
  const auto found = clients_.find(slot);
  return found == clients_.end() ? server_ : found->second;
}

Time Disturbances::settled(Time time, const std::string& slot) const {
  const auto& intervals = of(slot);
  const auto next = std::ranges::upper_bound(intervals, time, {}, &Interval::end);
  if (next != intervals.end() && next->begin < later(time, margin_)) {
    return later(next->end, margin_);
  }
  return later(time, margin_);
}

Time Disturbances::decided(Time time, const std::string& slot) const {
  const auto& intervals = of(slot);
  const auto next = std::ranges::lower_bound(intervals, time, {}, [this](const Interval& interval) {
    return later(interval.end, margin_);
  });
  if (next != intervals.end() && next->begin < time) return next->begin - margin_;
  return time - margin_;
}

bool Disturbances::may_lose(Time from, Time to, const std::string& slot) const {
  const auto found = networks_.find(slot);
  if (found == networks_.end()) return false;
  const Time until = settled(to, slot);
  return std::ranges::any_of(found->second, [&](const Interval& interval) {
    return interval.begin <= until && later(interval.end, margin_) >= from;
  });
}

const Disturbances::Life& Disturbances::life_at(Time time) const {
  return *std::ranges::lower_bound(lives_, time, {}, &Life::dead);
}

}  // namespace dflockd::history
