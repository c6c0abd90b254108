// Stable refs: who may own a grant that its connection has left behind, and whose place in the
// queue a grant may have had.
#include <algorithm>
#include <unordered_map>

#include "checker_parts.hpp"

namespace dflockd::history {

/// Until when a claim that no reply has named can be there, because its connection has left it to
/// its ref; 0 if it cannot.
Time Checker::orphaned_until(const Operation& request, Time lease) const {
  const Owner& owner = owner_of(request);
  if (owner.orphan_ttl == 0) return 0;
  if (owner.must_end == kNever) return kNever;  // the server may have seen its end all the same
  const Time until = later(owner.must_end, owner.orphan_ttl + bounds_.lease_lateness);
  return bounds_.auto_release ? until : later(until, lease);
}

void Checker::note_leaving(std::uint32_t index, Time lease) {
  const Operation& request = op(index);
  const Time until = orphaned_until(request, lease);
  if (until > 0) leavings_[name_of(request)].push_back({index, request.invoked, until});
}

/// Whether `error` can be the answer because the ref has a claim of the other mode.
bool Checker::may_mismatch(const Operation& request) const {
  if (request.reply != Reply::kError) return false;
  const auto found = modes_.find(name_of(request));
  return found != modes_.end() && found->second[request.shared ? 0 : 1];
}

/// Whether a grant with that token was known, and its ref is that of whoever was answered with it.
bool Checker::is_handed_back(std::uint32_t index) {
  const Operation& request = op(index);
  const auto found = by_token_.find(request.token);
  if (found == by_token_.end() || owner_of(request).orphan_ttl == 0) return false;
  handed_back_[index] = name_of(asked(grants_[found->second])) == name_of(request);
  if (handed_back_[index]) ++report_.totals.hand_backs;
  return handed_back_[index];
}

/// Finds out since when each grant may have had a place in the queue: a connection that comes back
/// has the place of the one before it.
void Checker::find_origins() {
  for (auto& [name, leavings] : leavings_) {
    std::ranges::sort(leavings, {}, &Leaving::op);
    for (auto leaving = leavings.begin(); leaving != leavings.end(); ++leaving) {
      for (auto before = leavings.begin(); before != leaving; ++before) {
        if (before->until < op(leaving->op).invoked) continue;
        leaving->from = std::min(leaving->from, before->from);
      }
    }
  }
  for (Grant& grant : grants_) {
    const auto found = leavings_.find(name_of(asked(grant)));
    if (found == leavings_.end()) continue;
    for (const Leaving& leaving : found->second) {
      const Operation& left = op(leaving.op);
      if (left.connection == asked(grant).connection || leaving.until < asked(grant).invoked ||
          left.invoked > answered(grant).completed) {
        continue;
      }
      grant.asked_from = std::min(grant.asked_from, leaving.from);
    }
  }
}

/// Finds the requests that may have taken a grant back although no reply says so, and those that
/// should have if they could.
void Checker::find_takers() {
  constexpr std::size_t kLatest = 2;  // more than one is rare, and all of them would be too many
  std::unordered_map<std::uint32_t, std::uint32_t> told_by;
  for (std::uint32_t i = 0; i < grants_.size(); ++i) told_by[grants_[i].answered_by] = i;
  std::map<Pair, std::vector<std::uint32_t>> known;
  std::vector<std::uint32_t> lost;
  for (std::uint32_t i = 0; i < history_.operations.size(); ++i) {
    const Operation& request = op(i);
    const bool has_token = request.verb == Verb::kRelease || request.verb == Verb::kRenew;
    if (has_token || owner_of(request).orphan_ttl == 0) continue;
    std::vector<std::uint32_t>& grants = known[name_of(request)];
    const bool is_new = request.reply == Reply::kGranted && !handed_back_[i];
    if (request.reply == Reply::kNone) {
      lost.push_back(i);
    } else if (request.verb != Verb::kWait &&
               (is_new || request.reply == Reply::kQueued || request.reply == Reply::kTimeout)) {
      const std::size_t first = grants.size() - std::min(grants.size(), kLatest);
      for (std::size_t g = first; g < grants.size(); ++g) uses_.emplace_back(grants[g], i);
    }
    if (const auto told = told_by.find(i); told != told_by.end()) grants.push_back(told->second);
  }
  for (const std::uint32_t i : lost) {
    for (const std::uint32_t grant : known[name_of(op(i))]) {
      if (asked(grants_[grant]).invoked < owner_of(op(i)).must_end) uses_.emplace_back(grant, i);
    }
  }
  std::ranges::sort(uses_);
  const auto twice = std::ranges::unique(uses_);
  uses_.erase(twice.begin(), twice.end());
}

// --- Whose a grant is ---

/// Until when the grant's owner keeps it at least.
Time Checker::may_leave(const Course& course) const {
  Time time = course.life.end_begins;
  for (const Holder& owner : course.owners) {
    time = std::min(time, owners_[owner.connection].may_release);
  }
  return time;
}

/// By when it has lost it.
Time Checker::must_leave(const Course& course) const {
  Time time = 0;
  for (const Holder& holder : course.owners) {
    const Owner& owner = owners_[holder.connection];
    const Time lateness = owner.orphan_ttl > 0 ? bounds_.lease_lateness : 0;
    time = std::max(time, later(owner.must_release, lateness));
  }
  return std::min(time, course.life.dead);
}

bool Checker::is_owned_by(const Course& course, std::uint32_t connection) const {
  return std::ranges::find(course.owners, connection, &Holder::connection) != course.owners.end();
}

/// From when on the grant may be an orphan for a connection to take; it has been its own perhaps.
Time Checker::may_be_orphaned(const Course& course, std::uint32_t except) const {
  Time from = kNever;
  for (const Holder& holder : course.owners) {
    const Owner& owner = owners_[holder.connection];
    if (holder.connection != except && owner.orphan_ttl > 0) from = std::min(from, owner.may_end);
  }
  return from;
}

bool Checker::must_be_orphaned(const Course& course, Time by) const {
  return std::ranges::all_of(course.owners, [&](const Holder& holder) {
    const Owner& owner = owners_[holder.connection];
    return owner.orphan_ttl > 0 && owner.must_end <= by;
  });
}

/// Whether no other connection under the request's ref can be there.
bool Checker::must_be_alone(const Operation& request) const {
  const auto& connections = connections_.at(ref_of(request));
  return std::ranges::all_of(connections, [&](std::uint32_t other) {
    return other == request.connection || owners_[other].must_end <= request.invoked ||
           history_.connections[other].opened >= request.completed;
  });
}

/// The grant is the request's connection's, unless it had an owner: then it is not.
void Checker::adopt(Course& course, const Operation& request, bool surely) const {
  if (surely) {
    std::erase_if(course.owners,
                  [&](const Holder& holder) { return holder.since < request.invoked; });
  }
  course.owners.push_back({request.connection, request.completed});
}

void Checker::follow_renewer(Course& course, const Operation& request) const {
  if (may_be_orphaned(course, request.connection) > request.completed) return;
  adopt(course, request, request.completed != kNever && must_be_orphaned(course, request.invoked));
}

// --- Hand-backs ---

/// A request for the key, under the ref that the grant was made to.
void Checker::follow_taker(Course& course, const Operation& request) {
  if (request.reply == Reply::kNone) {
    follow_silent_taker(course, request);
  } else if (request.reply == Reply::kGranted && request.token == answered(course.grant).token) {
    follow_hand_back(course, request);
  } else if (must_be_handed_back(course, request)) {
    violate(Rule::kRef, request, " was not handed back the grant of ", answered(course.grant),
            ", which its ref held until ", at(std::min(course.lease_from, may_leave(course))));
  }
}

/// Whether the grant is there for the request until it has been answered, and nobody else has the
/// ref or does anything with the grant meanwhile.
bool Checker::must_be_handed_back(const Course& course, const Operation& request) const {
  const Time held = std::min({course.lease_from, may_leave(course), course.released_from});
  if (request.invoked <= answered(course.grant).completed || request.completed >= held) {
    return false;
  }
  const bool is_disturbed = std::ranges::any_of(course.requests, [&](std::uint32_t index) {
    const Operation& other = op(index);
    return &other != &request && other.invoked < request.completed &&
           std::min(other.completed, owner_of(other).must_end) >= request.invoked;
  });
  return !is_disturbed && must_be_orphaned(course, request.invoked) && must_be_alone(request);
}

void Checker::follow_hand_back(Course& course, const Operation& request) {
  const Time over = must_be_over(course);
  const bool has_owner = std::ranges::all_of(course.owners, [&](const Holder& holder) {
    return holder.connection == request.connection ||
           owners_[holder.connection].may_end > request.completed;
  });
  if (request.invoked > over) {
    violate(Rule::kRef, request, " was handed back the grant of ", answered(course.grant),
            ", which was over by ", at(over));
  } else if (has_owner) {
    violate(Rule::kRef, request, " was handed back the grant of ", answered(course.grant),
            ", which its owner had not left");
  } else if (must_be_handed_back(course, request)) {
    ++report_.totals.certain_hand_backs;
  }
  if (request.verb != Verb::kWait) {
    course.grant.lease = request.lease;
    if (request.reply_lease != request.lease) {
      violate(Rule::kLease, request, " was handed back another lease than was asked for");
    }
  }
  adopt(course, request, true);
  course.proven = std::max(course.proven, request.invoked);
  keep_lease(course, request, request.verb == Verb::kWait ? request.reply_lease : request.lease);
}

/// A request without a reply. It may have waited, for as long as the server took its peer to be
/// there, and been given the grant when its owner left.
void Checker::follow_silent_taker(Course& course, const Operation& request) {
  const Time from = std::max(request.invoked, may_be_orphaned(course, request.connection));
  const Time end = settled(owner_of(request).must_end, request);
  if (from > end || request.invoked > must_be_over(course)) return;
  const Time lease = lease_of(course, request);
  course.open.emplace_back(kNever, lease);
  course.lease_from = std::min(course.lease_from, later(from, lease));
  course.lease_to = std::max(course.lease_to, later(end, lease));
  adopt(course, request, false);
}

}  // namespace dflockd::history
