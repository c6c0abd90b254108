#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "checker_parts.hpp"

namespace dflockd::history {

/// Orders the grants by their fences.
void Checker::sort_grants() {
  std::vector<std::uint32_t> order(grants_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto fence = [this](std::uint32_t i) { return answered(grants_[i]).token.fence; };
  std::ranges::stable_sort(order, {}, fence);
  std::vector<std::uint32_t> rank(grants_.size());
  std::vector<Grant> sorted;
  sorted.reserve(grants_.size());
  for (const std::uint32_t i : order) {
    rank[i] = static_cast<std::uint32_t>(sorted.size());
    sorted.push_back(grants_[i]);
  }
  grants_ = std::move(sorted);
  for (auto& [grant, request] : uses_) grant = rank[grant];
  std::ranges::sort(uses_);
}

/// Looks whether the fences are in the order of real time, and bounds the grants' times by it.
void Checker::look_at_fences() {
  sort_grants();
  bool good = true;
  for (std::size_t i = 1; i < grants_.size(); ++i) {
    const Operation& one = answered(grants_[i - 1]);
    const Operation& other = answered(grants_[i]);
    if (one.token.fence != other.token.fence) continue;
    good = false;
    if (!(one.token == other.token)) {  // or it has been said already
      violate(Rule::kToken, one, " and ", other, " were granted one fence");
    }
  }

  // Each grant against the highest fence that was answered before it was asked for.
  std::vector<std::uint32_t> by_asking(grants_.size());
  for (std::uint32_t i = 0; i < by_asking.size(); ++i) by_asking[i] = i;
  std::vector<std::uint32_t> by_answer = by_asking;
  std::ranges::sort(by_asking, {}, [this](std::uint32_t i) { return grants_[i].asked_from; });
  std::ranges::sort(by_answer, {},
                    [this](std::uint32_t i) { return answered(grants_[i]).completed; });
  std::size_t answered_before = 0;
  std::uint32_t highest = kNobody;
  for (const std::uint32_t i : by_asking) {
    const Grant& grant = grants_[i];
    for (; answered_before < by_answer.size(); ++answered_before) {
      const std::uint32_t earlier = by_answer[answered_before];
      if (answered(grants_[earlier]).completed >= grant.asked_from) break;
      if (highest == kNobody || earlier > highest) highest = earlier;
    }
    if (highest == kNobody) continue;
    ++report_.totals.fence_pairs;
    if (answered(grants_[highest]).token.fence < answered(grant).token.fence) continue;
    good = false;
    violate(Rule::kFence, answered(grant), " was granted ", to_string(answered(grant).token),
            " after ", answered(grants_[highest]), " had been granted ",
            to_string(answered(grants_[highest]).token));
  }

  Time not_before = 0;
  for (Grant& grant : grants_) {
    not_before = good ? std::max(not_before, grant.asked_from) : grant.asked_from;
    grant.not_before = not_before;
  }
  Time not_after = kNever;
  for (std::size_t i = grants_.size(); i-- > 0;) {
    const Time completed = answered(grants_[i]).completed;
    not_after = good ? std::min(not_after, completed) : completed;
    grants_[i].not_after = not_after;
  }
}

// --- Holding ---

void Checker::follow_grants() {
  std::vector<std::uint32_t> requests;
  auto use = uses_.begin();
  for (std::uint32_t i = 0; i < grants_.size(); ++i) {
    requests.clear();
    for (; use != uses_.end() && use->first == i; ++use) requests.push_back(use->second);
    follow(grants_[i], requests);
  }
}

/// Works out until when a grant certainly is held, and from when on it certainly is not, by what
/// was asked with its token; and whether what was asked could be answered as it was.
void Checker::follow(Grant& grant, std::span<const std::uint32_t> requests) {
  const Disturbances::Life& life = disturbances_.life_at(asked(grant).invoked);
  const Time lease = grant.lease;
  const Operation& first = answered(grant).verb == Verb::kWait ? answered(grant) : asked(grant);
  Course course{.grant = grant,
                .requests = requests,
                .life = life,
                .owners = {{asked(grant).connection, answered(grant).completed}},
                .lease_from = later(std::max(first.invoked, grant.not_before), lease),
                .lease_to = later(answered(grant).completed, lease)};
  for (const std::uint32_t index : requests) {
    const Operation& request = op(index);
    std::erase_if(course.open, [&](const auto& one) { return one.first < request.invoked; });
    const bool has_token = request.verb == Verb::kRelease || request.verb == Verb::kRenew ||
                           (request.verb == Verb::kWait && is_owned_by(course, request.connection));
    has_token ? follow_token(course, request) : follow_taker(course, request);
  }
  grant.held_until = std::max(
      course.proven, std::min({course.lease_from, may_leave(course), course.released_from}));
  grant.gone_by = must_be_over(course);
  if (grant.held_until > grant.not_after) ++report_.totals.certain_holds;
}

/// A request with the grant's token, or the second phase of what began it.
void Checker::follow_token(Course& course, const Operation& request) {
  switch (request.reply) {
    case Reply::kOk:
    case Reply::kGranted:
      return follow_consent(course, request);
    case Reply::kError:
    case Reply::kLeaseExpired:
      return follow_refusal(course, request);
    case Reply::kNone:
      return follow_silence(course, request);
    default:
      return;
  }
}

Time Checker::must_be_over(const Course& course) const {
  return std::min(
      {later(course.lease_to, bounds_.lease_lateness), course.released_to, must_leave(course)});
}

void Checker::follow_consent(Course& course, const Operation& request) {
  const bool is_release = request.verb == Verb::kRelease;
  const Time over = must_be_over(course);
  if (request.invoked > over || (is_release && course.was_released)) {
    violate(is_release ? Rule::kRelease : Rule::kRenewal, request,
            " was accepted although the grant of ", answered(course.grant), " was over by ",
            at(over));
  } else if (request.completed < std::min(course.lease_from, may_leave(course))) {
    ++report_.totals.certain_consents;
  }
  course.proven = std::max(course.proven, request.invoked);
  if (is_release) {
    course.released_from = std::min(course.released_from, request.invoked);
    course.released_to = std::min(course.released_to, request.completed);
    course.was_released = true;
    return;
  }
  if (request.verb == Verb::kRenew) follow_renewer(course, request);
  keep_lease(course, request, lease_of(course, request));
}

/// The lease has been restarted.
void Checker::keep_lease(Course& course, const Operation& request, Time lease) {
  course.open.emplace_back(request.completed, lease);
  course.lease_from = kNever;
  for (const auto& [end, length] : course.open) {
    course.lease_from = std::min(course.lease_from, later(request.invoked, length));
  }
  if (course.open.size() == 1) course.lease_to = 0;
  course.lease_to = std::max(course.lease_to, later(request.completed, lease));
}

void Checker::follow_refusal(Course& course, const Operation& request) {
  const Time held = std::min(course.lease_from, may_leave(course));
  // A release that may come between, seen from any request.
  const bool may_be_released = std::ranges::any_of(course.requests, [&](std::uint32_t other) {
    return &op(other) != &request && op(other).verb == Verb::kRelease &&
           op(other).reply != Reply::kError && op(other).reply != Reply::kGone &&
           op(other).invoked < request.completed;
  });
  if (request.completed < std::min(held, course.released_from) && !may_be_released) {
    violate(request.verb == Verb::kRelease ? Rule::kRelease : Rule::kRenewal, request,
            " was refused although the grant of ", answered(course.grant), " was held until ",
            at(held));
  } else if (request.invoked > must_be_over(course)) {
    ++report_.totals.certain_refusals;
  }
  course.lease_from = std::min(course.lease_from, request.invoked);
  course.lease_to = std::min(course.lease_to, request.completed);
}

void Checker::follow_silence(Course& course, const Operation& request) {
  if (request.verb == Verb::kRelease) {
    course.released_from = std::min(course.released_from, request.invoked);
    return;
  }
  const Time lease = lease_of(course, request);
  const Time end = settled(std::min(abandoned(request), owner_of(request).must_end), request);
  course.open.emplace_back(kNever, lease);
  course.lease_from = std::min(course.lease_from, later(request.invoked, lease));
  course.lease_to = std::max(course.lease_to, later(end, lease));
  if (request.verb == Verb::kRenew) follow_renewer(course, request);
}

/// At the moment of each grant, those before it that certainly are held leave room for it.
void Checker::look_at_holders() {
  struct Hold {
    Time until;
    std::uint32_t grant;
    bool operator>(const Hold& other) const { return until > other.until; }
  };
  using Holders = std::priority_queue<Hold, std::vector<Hold>, std::greater<>>;
  std::vector<Holders> holders(history_.keys.size());
  std::vector<Holders> sharers(history_.keys.size());
  // In the order in which they were made; where the fences cannot be trusted, in that of the times
  // at which they certainly had been.
  std::vector<std::uint32_t> order(grants_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [this](std::uint32_t i) { return grants_[i].not_after; });
  for (const std::uint32_t i : order) {
    const Grant& grant = grants_[i];
    const std::uint32_t key = asked(grant).key;
    Holders& held = holders[key];
    Holders& shared = sharers[key];
    for (Holders* const those : {&held, &shared}) {
      while (!those->empty() && those->top().until <= grant.not_after) those->pop();
    }
    ++report_.totals.successions;
    if (grant.is_exclusive && !shared.empty()) {
      violate(Rule::kExclusion, answered(grant), " was granted by ", at(grant.not_after),
              " beside one who shares it, ", answered(grants_[shared.top().grant]),
              ", who held it until ", at(shared.top().until));
    }
    if (held.size() >= limits_[key]) {
      violate(Rule::kExclusion, answered(grant), " was granted by ", at(grant.not_after),
              " beside as many holders as the limit allows, ", limits_[key], "; one of them is ",
              answered(grants_[held.top().grant]), ", who held it until ", at(held.top().until));
    }
    if (grant.held_until <= grant.not_after) continue;
    if (grant.is_exclusive) held.push({grant.held_until, i});
    if (grant.is_shared) shared.push({grant.held_until, i});
  }
}

// --- The queue ---

/// Whoever certainly has a place in the queue before another asks is served before it.
void Checker::look_at_order() {
  struct Turn {
    std::uint32_t key;
    Time since;           ///< certainly in the queue, or served
    std::uint64_t fence;  ///< of the grant, if one came of it
    Time stayed_until;    ///< in the queue, if none came of it
    std::uint32_t asked_by;
  };
  std::vector<Turn> places;
  for (const Grant& grant : grants_) {
    const Operation& first = asked(grant);
    const Time since = std::min({answered(grant).completed, first.completed, first.seen});
    places.push_back({first.key, since, answered(grant).token.fence, 0, grant.asked_by});
  }
  for (const auto& [asked_by, waited] : timed_out_) {
    const Operation& first = op(asked_by);
    const Time since = first.verb == Verb::kEnqueue ? first.completed : first.seen;
    places.push_back(
        {first.key, since, 0, later(op(waited).invoked, op(waited).timeout), asked_by});
  }
  std::ranges::sort(places, {}, &Turn::since);
  std::vector<std::uint32_t> order(grants_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [this](std::uint32_t i) { return grants_[i].asked_from; });

  struct Ahead {
    const Turn* served = nullptr;    ///< with the highest fence
    const Turn* unserved = nullptr;  ///< who stayed longest
  };
  std::vector<Ahead> ahead(history_.keys.size());
  std::size_t next = 0;
  for (const std::uint32_t i : order) {
    const Grant& grant = grants_[i];
    for (; next < places.size() && places[next].since < grant.asked_from; ++next) {
      const Turn& place = places[next];
      Ahead& best = ahead[place.key];
      const Turn*& which = place.fence != 0 ? best.served : best.unserved;
      if (which == nullptr || place.fence > which->fence ||
          (place.fence == 0 && place.stayed_until > which->stayed_until)) {
        which = &place;
      }
    }
    const Ahead& best = ahead[asked(grant).key];
    if (best.served != nullptr && best.served->fence > answered(grant).token.fence) {
      violate(Rule::kOrder, asked(grant), " was granted before ", op(best.served->asked_by),
              ", who had come by ", at(best.served->since));
    }
    if (best.unserved != nullptr && best.unserved->stayed_until > grant.not_after) {
      violate(Rule::kOrder, asked(grant), " was granted by ", at(grant.not_after), " before ",
              op(best.unserved->asked_by), ", who waited from ", at(best.unserved->since), " to ",
              at(best.unserved->stayed_until), " and got nothing");
    }
  }
}

/// How many pairs of grants there are of which one certainly was in the queue, and not served, when
/// the other was asked for.
void Checker::count_ordered_pairs() {
  struct Change {
    Time time;
    std::uint32_t key;
    int kind;  ///< 1 joins the queue, -1 leaves it, 0 asks
  };
  std::vector<Change> changes;
  for (const Grant& grant : grants_) {
    const Operation& first = asked(grant);
    changes.push_back({first.invoked, first.key, 0});
    const Time since = std::min(first.completed, first.seen);
    const Time until = answered(grant).completed;
    if (!grant.was_queued || since >= until) continue;
    changes.push_back({since, first.key, 1});
    changes.push_back({until, first.key, -1});
  }
  std::ranges::sort(changes, {}, &Change::time);
  std::vector<std::size_t> queue(history_.keys.size());
  for (const Change& change : changes) {
    if (change.kind > 0) ++queue[change.key];
    if (change.kind < 0) --queue[change.key];
    if (change.kind == 0) report_.totals.ordered_pairs += queue[change.key];
  }
}

/// Adds the times in which each grant may have been held, and those in which nothing is known.
void Checker::occupy() {
  for (const Grant& grant : grants_) {
    const Operation& teller = answered(grant);
    Time from = std::max(grant.not_before, decided(teller));
    // Of a wait that was answered at once it is not known how long it had been granted.
    const bool waited = decided(teller) > settled(teller.invoked, teller);
    if (teller.verb == Verb::kWait && !waited) from = asked(grant).invoked;
    if (grant.asked_from < asked(grant).invoked) from = grant.asked_from;
    occupancies_.push_back({asked(grant).key, 1, from, grant.gone_by});
    if (!grant.is_shared) {
      exclusives_.push_back({asked(grant).key, 1, grant.asked_from, grant.gone_by});
    }
  }
  for (const Disturbances::Interval& interval : disturbances_.of_server()) {
    for (std::uint32_t key = 0; key < history_.keys.size(); ++key) {
      const Occupancy nobody_knows{key, limits_[key], interval.begin - bounds_.margin,
                                   later(interval.end, bounds_.margin)};
      occupancies_.push_back(nobody_knows);
      exclusives_.push_back(nobody_knows);
    }
  }
}

/// Nobody waits beside a slot that certainly is free, and nobody who would share it beside others
/// who do, unless somebody may be there, or ahead, who would not.
void Checker::look_at_wakeups() {
  look_at_waiters(free_times(occupancies_), false);
  look_at_waiters(free_times(exclusives_), true);
}

/// For each key, when less than its limit is taken.
std::vector<std::vector<Checker::Free>> Checker::free_times(
    const std::vector<Occupancy>& occupancies) const {
  struct Change {
    Time time;
    std::int64_t weight;
  };
  std::vector<std::vector<Change>> changes(history_.keys.size());
  for (const Occupancy& one : occupancies) {
    if (one.to <= one.from) continue;
    changes[one.key].push_back({one.from, one.weight});
    changes[one.key].push_back({one.to, -static_cast<std::int64_t>(one.weight)});
  }
  std::vector<std::vector<Free>> free(history_.keys.size());
  for (std::uint32_t key = 0; key < history_.keys.size(); ++key) {
    auto& steps = changes[key];
    std::ranges::sort(steps, {}, &Change::time);
    std::int64_t holders = 0;
    Time since = 0;
    for (const Change& step : steps) {
      const bool was_free = holders < limits_[key];
      holders += step.weight;
      const bool is_free = holders < limits_[key];
      if (was_free && !is_free && step.time - since > bounds_.wakeup) {
        free[key].push_back({since, step.time});
      }
      if (!was_free && is_free) since = step.time;
    }
    if (holders < limits_[key]) free[key].push_back({since, kNever});
  }
  return free;
}

void Checker::look_at_waiters(const std::vector<std::vector<Free>>& free, bool only_shared) {
  for (const Wait& wait : waits_) {
    const Operation& request = op(wait.op);
    if (wait.to - bounds_.wakeup <= wait.from || (only_shared && !wait.is_shared)) continue;
    if (!only_shared) ++report_.totals.waits;
    const auto& slots = free[request.key];
    auto slot = std::ranges::lower_bound(slots, later(wait.from, bounds_.wakeup), {}, &Free::to);
    for (; slot != slots.end() && slot->from < wait.to; ++slot) {
      const Time from = std::max(slot->from, wait.from);
      const Time to = std::min(slot->to, wait.to);
      if (to - from <= bounds_.wakeup) continue;
      violate(Rule::kWakeup, request, " waited beside a free slot from ", at(from), " to ", at(to));
      break;
    }
  }
  // Who does not wait is served at once, or there was somebody.
  for (const Operation& request : history_.operations) {
    const bool refused =
        request.verb == Verb::kAcquire && request.timeout == 0 && request.reply == Reply::kTimeout;
    const bool queued = request.verb == Verb::kEnqueue && request.reply == Reply::kQueued;
    if ((!refused && !queued) || (only_shared && !request.shared)) continue;
    const auto& slots = free[request.key];
    const auto slot = std::ranges::lower_bound(slots, request.completed, {}, &Free::to);
    if (slot == slots.end() || later(slot->from, bounds_.wakeup) > request.invoked) continue;
    violate(Rule::kWakeup, request, " was not granted a slot that is free since ", at(slot->from));
  }
}

}  // namespace dflockd::history
