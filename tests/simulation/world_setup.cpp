// What a world is drawn from its seed: the server, its clients, and what will go wrong; and what is
// told of it.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>

#include "world.hpp"

namespace dflockd::simulation {

using namespace std::chrono_literals;

World::World(std::uint64_t seed, std::FILE* trace)
    : seed_(seed),
      trace_(trace),
      random_(spread(seed + 1)),
      client_count_(draw_client_count()),
      rules_(draw_rules()),
      disk_(spread(~seed)),
      oracle_(rules_) {
  if (trace_ != nullptr) oracle_.tell();
  draw_faults();
  make_neighbourhood();
  make_clients();
  make_history();
}

World::~World() = default;

std::size_t World::draw_client_count() {
  if (random_.one_in(250)) return random_.between(1000, 4000);
  if (random_.one_in(12)) return random_.between(20, 150);
  return random_.between(2, 12);
}

/// None, about as long as a client is away, or longer than anybody stays.
std::chrono::seconds World::draw_orphan_ttl() {
  constexpr std::array<std::uint64_t, 6> kLongest{0, 3, 3, 60, 3600, 86'400};
  const std::uint64_t longest = random_.pick(kLongest);
  return std::chrono::seconds(longest == 0 ? 0 : random_.between(1, longest));
}

Rules World::draw_rules() {
  const auto cap = [&](unsigned chance, std::uint64_t most) {
    return random_.percent(chance) ? static_cast<std::size_t>(random_.between(1, most)) : 0;
  };
  return {.max_locks = cap(40, 6),
          .max_waiters = cap(client_count_ > kLarge ? 10 : 30, 4),
          .max_claims = random_.percent(20) ? random_.between(1, 2 * client_count_) : 0,
          .max_lease = random_.percent(20) ? static_cast<std::int64_t>(random_.between(1, 40)) : 0,
          .default_lease = static_cast<std::int64_t>(random_.between(1, 40)),
          .release_on_disconnect = !random_.percent(45),
          .orphan_ttl = draw_orphan_ttl(),
          .gc_interval = std::chrono::seconds(random_.between(1, 20)),
          .gc_max_idle = std::chrono::seconds(random_.between(1, 60)),
          .secret = random_.percent(25) ? "open sesame" : "",
          .read_timeout = std::chrono::seconds(random_.between(1, 30)),
          .write_timeout = std::chrono::seconds(random_.between(1, 10)),
          .idle_timeout = std::chrono::seconds(random_.percent(30) ? random_.between(1, 60) : 0),
          .session_idle = std::chrono::seconds(random_.between(1, 40))};
}

service::ServiceOptions World::options() const {
  using std::chrono::duration_cast;
  using std::chrono::seconds;
  return {.table = {.max_locks = rules_.max_locks,
                    .max_waiters = rules_.max_waiters,
                    .max_claims = rules_.max_claims},
          .default_lease = seconds(rules_.default_lease),
          .max_lease = seconds(rules_.max_lease),
          .sweep_interval = 1s,
          .gc_interval = duration_cast<seconds>(rules_.gc_interval),
          .gc_max_idle = duration_cast<seconds>(rules_.gc_max_idle),
          .orphan_ttl = rules_.orphan_ttl,
          .release_on_disconnect = rules_.release_on_disconnect};
}

void World::draw_faults() {
  constexpr std::array kPaces{Time(20ms), Time(300ms), Time(1s),   Time(5s),
                              Time(60s),  Time(600s),  Time(7200s)};
  pace_ = random_.pick(kPaces);
  has_fence_file_ = random_.percent(75);
  constexpr std::array kSteps{1, 2, 3, 8, 64, 1 << 20};
  fence_step_ = static_cast<std::uint64_t>(random_.pick(kSteps));
  wall_clock_ = random_.next() >> random_.between(1, 60);
  const std::array latencies{Time(10ms), 2 * pace_, 10 * pace_};
  disk_latency_ = random_.pick(latencies);
  crashes_ = has_fence_file_ && random_.percent(60);
  disk_fails_ = has_fence_file_ && random_.percent(40);
  clock_jumps_ = random_.percent(30);
  timer_is_late_ = random_.percent(50);
  constexpr std::array<std::uint64_t, 3> kLateness{3, 20, 1000};
  lateness_of_turns_ = random_.pick(kLateness);
  callers_vanish_ = random_.one_in(2) ? 5 : 30;
  commits_at_once_ = random_.percent(70);
  commit_latency_ = random_.one_in(2) ? Time(10ms) : pace_;
}

void World::make_neighbourhood() {
  constexpr std::array kHot{100, 80, 50, 20, 0};
  constexpr std::array kSemaphores{0, 20, 50, 100};
  constexpr std::array<std::uint64_t, 5> kLongest{2, 5, 30, 600, 86'400};
  neighbourhood_.hot = static_cast<unsigned>(random_.pick(kHot));
  neighbourhood_.semaphores = static_cast<unsigned>(random_.pick(kSemaphores));
  constexpr std::array kShared{0, 0, 35, 60, 90};
  neighbourhood_.shared = static_cast<unsigned>(random_.pick(kShared));
  neighbourhood_.longest_lease = random_.pick(kLongest);
  neighbourhood_.longest_timeout = random_.pick(kLongest);
  const std::uint64_t count = random_.one_in(4) ? random_.between(1, 60) : random_.between(1, 8);
  for (std::uint64_t number = 0; number < count; ++number) {
    std::string name = "key" + std::to_string(number);
    if (random_.one_in(20)) name += std::string(256 - name.size(), 'x');
    if (random_.one_in(20)) name += "\xff\x01\x80";
    neighbourhood_.keys.push_back(name.substr(0, 256));
    neighbourhood_.limits.push_back(static_cast<std::uint32_t>(
        random_.one_in(10) ? random_.between(1, 1'048'576) : random_.between(1, 4)));
  }
  if (random_.percent(40)) return;
  for (std::uint64_t left = random_.between(1, 1 + client_count_ / 2); left > 0; --left) {
    neighbourhood_.refs.push_back("the ref " + std::to_string(left));
  }
}

std::string World::draw_ref() {
  const std::vector<std::string>& refs = neighbourhood_.refs;
  return refs.empty() || random_.one_in(4) ? "" : random_.pick(refs);
}

void World::make_clients() {
  most_steps_ = random_.between(400, 6000) + 8 * client_count_;
  const std::span<const Temperament> all = temperaments();
  const bool alike = random_.one_in(5);
  const std::uint64_t first = random_.below(all.size());
  for (std::size_t number = 0; number < client_count_; ++number) {
    clients_.emplace_back(all[alike ? first : random_.below(all.size())], draw_ref());
    plan(time_ + span(pace_), What::kAct, number);
  }
  const std::uint64_t caller_count = random_.one_in(3) ? 0 : random_.between(1, 10);
  for (std::size_t number = 0; number < caller_count; ++number) {
    callers_.emplace_back(draw_ref());
    plan(time_ + span(pace_), What::kCall, number);
  }
}

/// What happens to the server.
void World::make_history() {
  start_ = time_ = 0s;
  plan(0s, What::kStart);
  plan(span(1s), What::kTick);
  if (crashes_) plan(3 * pace_ + span(20 * pace_), What::kCrash);
  if (disk_fails_) plan(span(8 * pace_), What::kWeather);
  if (clock_jumps_) plan(span(8 * pace_), What::kClock);
  if (random_.percent(40)) plan(span(20 * pace_), What::kDrain);
}

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
  const Time deadline = random_.one_in(2) ? oracle_.table().next_deadline() : some_deadline();
  if (deadline == kNever || deadline < reading() || deadline - reading() > 50 * pace_ + 1s)
    return at;
  const Time then = deadline - offset_;
  return std::max(
      time_, then + Time(static_cast<std::int64_t>(random_.one_in(2) ? 0 : random_.below(3)) - 1));
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

void World::introduce() const {
  const auto number = [](auto value) { return static_cast<unsigned long long>(value); };
  std::fprintf(trace_,
               "clients %llu, callers %llu, pace %llu ms, max locks %llu, max waiters %llu, max "
               "claims %llu, "
               "default lease %llu s, longest %llu s%s\n",
               number(client_count_), number(callers_.size()), number(pace_ / 1ms),
               number(rules_.max_locks), number(rules_.max_waiters), number(rules_.max_claims),
               number(rules_.default_lease), number(rules_.max_lease),
               rules_.release_on_disconnect ? "" : ", grants outlive connections");
  std::fprintf(trace_, "%llu%% shared, %llu refs, orphans last %llu s\n",
               number(neighbourhood_.shared), number(neighbourhood_.refs.size()),
               number(rules_.orphan_ttl.count()));
  if (has_fence_file_) {
    std::fprintf(trace_, "fences %llu at a time, the disk takes %llu ms%s%s\n", number(fence_step_),
                 number(disk_latency_ / 1ms), disk_fails_ ? " or fails" : "",
                 crashes_ ? ", crashes" : "");
  }
}

std::string World::where() const {
  return "step " + std::to_string(totals_.steps) + " (" + what_ +
         (who_ == 0 ? "" : " " + std::to_string(who_)) + ")";
}

/// Says what has happened.
void World::tell() {
  if (trace_ == nullptr) return;
  std::string story = oracle_.take_story();
  // Keys may hold any bytes.
  std::ranges::replace_if(
      story, [](char c) { return c != '\n' && (c < ' ' || c > '~'); }, '?');
  const std::string who = who_ == 0 ? "" : " " + std::to_string(who_);
  std::fprintf(trace_, "%llu %lld %s%s\n%s", static_cast<unsigned long long>(totals_.steps),
               static_cast<long long>(reading().count()), what_, who.c_str(), story.c_str());
}

Totals& Totals::operator+=(const Totals& other) {
  seeds += other.seeds;
  steps += other.steps;
  requests += other.requests;
  grants += other.grants;
  expiries += other.expiries;
  disconnects += other.disconnects;
  drains += other.drains;
  crashes += other.crashes;
  faults += other.faults;
  undecided += other.undecided;
  simulated_ms += other.simulated_ms;
  return *this;
}

}  // namespace dflockd::simulation
