#include "checker.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "checker_parts.hpp"

namespace dflockd::history {

namespace {

constexpr std::array<std::string_view, kRules> kRuleNames = {
    "format", "exclusion", "order", "fence", "token", "release",    "renewal",
    "lease",  "wakeup",    "early", "late",  "reply", "connection", "ref"};

bool asks_for_slot(const Operation& op) {
  return op.verb == Verb::kAcquire || op.verb == Verb::kEnqueue;
}

}  // namespace

std::string Checker::at(Time time) const {
  if (time == kNever) return "never";
  std::string digits = std::to_string((time - beginning_) / 1'000'000);
  if (digits.size() < 4) digits.insert(0, 4 - digits.size(), '0');
  return digits.insert(digits.size() - 3, ".") + " s";
}

std::string Checker::show(const Operation& request) const {
  static constexpr std::array kVerbs = {"acquire", "enqueue", "wait", "release", "renew"};
  std::string text = history_.where(request.place) + " (" +
                     kVerbs[static_cast<std::size_t>(request.verb)] + " " +
                     history_.keys[request.key] + ", " + at(request.invoked) + " to " +
                     at(request.completed) + ")";
  return text;
}

Report Checker::run() {
  if (!history_.operations.empty()) beginning_ = history_.operations.front().invoked;
  for (const std::string& line : history_.malformed) violate(Rule::kFormat, line);
  for (const Happening& happening : history_.happenings) {
    ++report_.totals.events[static_cast<std::size_t>(happening.event)];
  }
  know_owners();
  know_limits();
  look_at_replies();
  look_at_losses();
  find_tokens();
  find_origins();
  find_takers();
  look_at_fences();
  follow_grants();
  look_at_holders();
  look_at_order();
  count_ordered_pairs();
  occupy();
  look_at_wakeups();
  report_.totals.operations = history_.operations.size();
  report_.totals.grants = grants_.size();
  report_.totals.connections = history_.connections.size();
  report_.totals.keys = history_.keys.size();
  return std::move(report_);
}

/// Works out when each process was killed, and between which times the server has let go of each
/// connection.
void Checker::know_owners() {
  killed_.assign(history_.files.size(), kNever);
  for (const Happening& happening : history_.happenings) {
    if (happening.event != Event::kClientKill) continue;
    for (std::size_t file = 0; file < killed_.size(); ++file) {
      if (history_.files[file].name == happening.subject) killed_[file] = happening.time;
    }
  }
  for (const Connection& connection : history_.connections) {
    owners_.push_back(
        {.slot = &history_.files[connection.place.file].slot, .heard = connection.opened});
  }
  for (const Operation& request : history_.operations) {
    if (request.completed == kNever && request.seen == kNever) continue;
    if (request.reply == Reply::kGone) continue;
    Owner& owner = owners_[request.connection];
    owner.heard = std::max(owner.heard, request.invoked);
    owner.busy = std::max(owner.busy, request.invoked);
    if (request.completed != kNever) owner.busy = std::max(owner.busy, decided(request));
  }
  for (std::size_t i = 0; i < owners_.size(); ++i) {
    const Connection& connection = history_.connections[i];
    Owner& owner = owners_[i];
    const Time killed = killed_[connection.place.file];
    Time left = connection.ended;  // when the client's side ended
    if (connection.ending == Ending::kNone) {
      left = killed != kNever ? killed : later(history_.files[connection.place.file].last, 1);
    }
    owner.may_end = may_end(connection, owner, left);
    owner.must_end = must_end(connection, owner, left);
    const bool was_deleted = connection.ending == Ending::kDeleted;
    const bool leaves_nothing = was_deleted && connection.confirmed != kNever;
    if (connection.ref != kNoRef) {
      connections_[connection.ref].push_back(static_cast<std::uint32_t>(i));
      if (!leaves_nothing) owner.orphan_ttl = bounds_.orphan_ttl;
    }
    if (bounds_.auto_release || was_deleted) {
      owner.may_release = was_deleted ? owner.may_end : later(owner.may_end, owner.orphan_ttl);
      owner.must_release = later(owner.must_end, owner.orphan_ttl);
    }
  }
}

/// Until when the server has a connection at least, whose client's side ended when it `left`.
Time Checker::may_end(const Connection& connection, const Owner& owner, Time left) const {
  const bool session = connection.door == Door::kSession;
  Time end = left;
  if (connection.ending == Ending::kNone && session) end = kNever;
  if (connection.ending == Ending::kLost || connection.ending == Ending::kFailed) {
    const Time server_ends = disturbances_.life_at(owner.heard).end_begins;
    const bool with_server = server_ends <= connection.ended &&
                             !disturbances_.may_lose(owner.heard, connection.ended, *owner.slot);
    end = with_server ? std::max(server_ends, owner.heard) : owner.heard;
  }
  return std::min(end, session ? later(owner.busy, bounds_.session_silence)
                               : later(owner.heard, bounds_.silence));
}

/// By when the server has ended it.
Time Checker::must_end(const Connection& connection, const Owner& owner, Time left) const {
  if (connection.confirmed != kNever) return connection.confirmed;
  if (connection.ending == Ending::kLost) return connection.ended;
  const bool was_killed = killed_[connection.place.file] != kNever;
  if (connection.ending == Ending::kNone && !was_killed) return kNever;
  const Time noticed = disturbances_.settled(left, *owner.slot);
  if (connection.door == Door::kSession) return later(noticed, bounds_.session_end);
  // Whether a reset arrives is a matter of luck; what the server asks the dead peer is not.
  const bool may_be_lost =
      connection.ending == Ending::kFailed || disturbances_.may_lose(left, left, *owner.slot);
  return may_be_lost ? later(noticed, bounds_.dead_peer) : noticed;
}

/// The limit of a key is what most ask for: a client may ask for another one to be refused.
void Checker::know_limits() {
  std::vector<std::map<std::uint32_t, std::size_t>> votes(history_.keys.size());
  for (const Operation& request : history_.operations) {
    if (asks_for_slot(request)) ++votes[request.key][request.limit];
  }
  for (const auto& vote : votes) {
    const auto most = std::ranges::max_element(
        vote, {}, [](const auto& limit_and_count) { return limit_and_count.second; });
    limits_.push_back(most == vote.end() ? 1 : most->first);
  }
}

// --- Replies ---

std::uint32_t Checker::add_grant(std::uint32_t asked_by, std::uint32_t answered_by) {
  if (is_handed_back(answered_by)) {
    uses_.emplace_back(by_token_[op(answered_by).token], answered_by);
    return uses_.back().first;
  }
  const auto index = static_cast<std::uint32_t>(grants_.size());
  Grant grant{.asked_by = asked_by, .answered_by = answered_by, .lease = op(asked_by).lease};
  grant.asked_from = op(asked_by).invoked;
  grant.was_queued = op(asked_by).reply == Reply::kQueued || op(asked_by).seen != kNever;
  grant.is_shared = op(asked_by).shared;
  grant.is_exclusive = !grant.is_shared;
  if (grant.is_shared) ++report_.totals.shared_grants;
  if (op(asked_by).verb == Verb::kWait) {
    grant.lease = op(answered_by).reply_lease;  // as another of its ref asked
    grant.is_exclusive = ref_of(op(asked_by)) == kNoRef || !modes_[name_of(op(asked_by))][1];
  } else if (op(answered_by).reply_lease != grant.lease) {
    violate(Rule::kLease, op(answered_by), " was granted another lease than was asked for");
  }
  if (op(asked_by).verb != Verb::kWait && op(asked_by).limit != limits_[op(asked_by).key]) {
    violate(Rule::kReply, op(asked_by), " was granted a limit of ", op(asked_by).limit,
            ", and the key's is ", limits_[op(asked_by).key]);
  }
  grants_.push_back(grant);
  const auto [earlier, is_new] = by_token_.try_emplace(op(answered_by).token, index);
  if (!is_new) {
    violate(Rule::kToken, op(answered_by), " was granted ", to_string(op(answered_by).token),
            ", as was ", answered(grants_[earlier->second]));
  }
  return index;
}

void Checker::look_at_replies() {
  handed_back_.assign(history_.operations.size(), false);
  for (std::uint32_t i = 0; i < history_.operations.size(); ++i) {
    const Operation& request = op(i);
    if (request.reply == Reply::kNone) ++report_.totals.unknown;
    look_at_time(request);
    if (asks_for_slot(request) && ref_of(request) != kNoRef) {
      modes_[name_of(request)][request.shared ? 1 : 0] = true;
    }
    const auto refuse = [&] { violate(Rule::kReply, request, " got a reply that it cannot get"); };
    switch (request.verb) {
      case Verb::kAcquire: {
        using enum Reply;
        if (request.reply == kGranted) {
          add_grant(i, i);
        } else if (request.reply == kLimitMismatch) {
          if (request.limit == limits_[request.key]) refuse();
        } else if (request.reply == kTimeout) {
          if (request.seen != kNever) timed_out_.emplace_back(i, i);
        } else if (request.reply != kNone && request.reply != kDraining && request.reply != kGone &&
                   !may_mismatch(request)) {
          refuse();
        }
        note_exclusive(request, request.completed == kNever
                                    ? held_undelivered(request, request.lease)
                                    : request.completed);
        if (request.timeout > 0 && (request.reply == kGranted || request.reply == kTimeout)) {
          waits_.push_back({i, request.shared,
                            std::min(request.seen, settled(request.invoked, request)),
                            decided(request)});
        }
        if (request.reply == kNone) {
          // Had it been granted before, the client would have heard of it.
          occupancies_.push_back({request.key, 1,
                                  std::max(request.invoked, decided(abandoned(request), request)),
                                  held_undelivered(request, request.lease)});
          note_leaving(i, request.lease);
        }
        break;
      }
      case Verb::kEnqueue:
        look_at_enqueue(i, phases_[{request.connection, request.key}]);
        break;
      case Verb::kWait:
        look_at_wait(i, phases_[{request.connection, request.key}]);
        break;
      case Verb::kRelease:
      case Verb::kRenew:
        ++report_.totals.token_requests;
        if (request.reply != Reply::kNone && request.reply != Reply::kOk &&
            request.reply != Reply::kError && request.reply != Reply::kGone) {
          refuse();
        }
        if (request.verb == Verb::kRenew && request.reply == Reply::kOk &&
            request.reply_lease != request.lease) {
          violate(Rule::kLease, request, " was answered another lease than was asked for");
        }
        break;
    }
    if (request.reply == Reply::kDraining) {
      const Disturbances::Life& life = disturbances_.life_at(request.invoked);
      if (!life.drained || request.completed < life.end_begins) {
        violate(Rule::kReply, request, " was answered that the server drains, and it does not");
      }
    }
  }
  abandon_phases();
}

void Checker::look_at_enqueue(std::uint32_t index, PhaseOne& state) {
  using enum Reply;
  using enum PhaseOne::Certainty;
  const Operation& request = op(index);
  switch (request.reply) {
    case kGranted:
    case kQueued:
      if (state.certainty == kSure && op(state.enqueue).reply == kQueued &&
          request.completed < later(op(state.enqueue).invoked, op(state.enqueue).lease)) {
        violate(Rule::kReply, request, " was enqueued although ", op(state.enqueue), " still was");
      }
      end_phase_one(state, request.completed);
      state = {.certainty = kSure, .enqueue = index};
      if (request.reply == kGranted) state.grant = add_grant(index, index);
      break;
    case kAlreadyEnqueued:
      if (state.certainty == kAbsent) {
        violate(Rule::kReply, request, " was answered that it is enqueued, and it is not");
      }
      break;
    case kLimitMismatch:
      if (request.limit == limits_[request.key]) {
        violate(Rule::kReply, request, " was answered that the limit is another, and it is not");
      }
      break;
    case kNone:
      end_phase_one(state, kNever);
      state = {.certainty = kMaybe,
               .enqueue = index,
               .undelivered_until = held_undelivered(request, request.lease)};
      break;
    case kDraining:
    case kGone:
      break;
    default:
      if (may_mismatch(request)) break;
      violate(Rule::kReply, request, " got a reply that it cannot get");
  }
}

void Checker::refute_wait(const Operation& request, const PhaseOne& state, const char* why) {
  if (state.enqueue == kNobody) return violate(Rule::kReply, request, why);
  violate(Rule::kReply, request, why, ": ", op(state.enqueue));
}

void Checker::look_at_granted_wait(std::uint32_t index, const PhaseOne& state) {
  if (state.certainty == PhaseOne::Certainty::kAbsent) {
    if (ref_of(op(index)) == kNoRef) {
      refute_wait(op(index), state, " was granted what was not enqueued for");
    }
    add_grant(index, index);
  } else if (state.grant != kNobody) {
    if (!(answered(grants_[state.grant]).token == op(index).token)) {
      refute_wait(op(index), state, " was granted another token than its enqueue");
    }
    uses_.emplace_back(state.grant, index);
  } else {
    add_grant(state.enqueue, index);
  }
}

void Checker::look_at_wait(std::uint32_t index, PhaseOne& state) {
  using enum Reply;
  using enum PhaseOne::Certainty;
  const Operation& request = op(index);
  const auto impossible = [&](const char* why) { refute_wait(request, state, why); };
  const bool sure = state.certainty == kSure;
  const bool queued = sure && op(state.enqueue).reply == kQueued;
  const Time in_queue_since = queued ? op(state.enqueue).completed : kNever;
  const std::uint32_t enqueue = state.enqueue;
  switch (request.reply) {
    case kGranted:
      look_at_granted_wait(index, state);
      state = {};
      break;
    case kTimeout:
      if (state.certainty == kAbsent && ref_of(request) == kNoRef) {
        impossible(" timed out without a place in the queue");
      }
      if (sure && !queued) impossible(" timed out although it had been granted");
      if (queued) timed_out_.emplace_back(state.enqueue, index);
      state = {};
      break;
    case kNotEnqueued:
      if (sure && (queued || !may_be_released(grants_[state.grant], request.completed))) {
        impossible(" was answered that it is not enqueued, and it is");
      }
      end_phase_one(state, request.completed);
      state = {};
      break;
    case kLeaseExpired:
      if (state.certainty == kAbsent) {
        impossible(" was answered that its lease is over, and had none");
      } else if (request.completed < later(op(state.enqueue).invoked, op(state.enqueue).lease)) {
        impossible(" was answered too early that its lease is over");
      }
      end_phase_one(state, request.completed);
      state = {};
      break;
    case kDraining:
      // Whom it kept waiting it had not granted anything.
      if (decided(request) <= settled(request.invoked, request)) {
        end_phase_one(state, request.completed);
      }
      state = {};
      break;
    case kNone:
      look_at_lost_wait(index, state);
      break;
    case kGone:
      break;
    default:
      impossible(" got a reply that it cannot get");
  }
  if (enqueue != kNobody && state.enqueue == kNobody) {
    note_exclusive(op(enqueue), request.completed);
  }
  // A wait that was answered at once may have been granted long before.
  const bool waited =
      request.reply == kTimeout || decided(request) > settled(request.invoked, request);
  if (queued && request.timeout > 0 && waited &&
      (request.reply == kGranted || request.reply == kTimeout)) {
    waits_.push_back({index, op(enqueue).shared, in_queue_since, decided(request)});
  }
}

/// Whether a release that was asked for by then can have ended the grant.
bool Checker::may_be_released(const Grant& grant, Time by) const {
  return std::ranges::any_of(history_.operations, [&](const Operation& other) {
    return other.invoked <= by && other.verb == Verb::kRelease &&
           other.token == answered(grant).token;
  });
}

/// A wait whose reply never came.
void Checker::look_at_lost_wait(std::uint32_t index, PhaseOne& state) {
  using enum PhaseOne::Certainty;
  const Operation& request = op(index);
  const Time end = decided(abandoned(request), request);
  if (end > settled(request.invoked, request)) state.not_granted_before = end;
  if (state.certainty == kAbsent) return;
  if (state.certainty == kSure && state.grant != kNobody) uses_.emplace_back(state.grant, index);
  state.certainty = kMaybe;
  state.undelivered_until = held_undelivered(request, op(state.enqueue).lease);
}

/// An exclusive request may have waited, until then.
void Checker::note_exclusive(const Operation& request, Time until) {
  if (!request.shared) exclusives_.push_back({request.key, 1, request.invoked, until});
}

/// A place in a queue may have become a grant that no answer named.
void Checker::end_phase_one(const PhaseOne& state, Time by) {
  if (state.certainty == PhaseOne::Certainty::kAbsent || state.grant != kNobody) return;
  const Operation& request = op(state.enqueue);
  const Time unsure_until = std::max(std::min(by, owner_of(request).must_end),
                                     by == kNever ? orphaned_until(request, request.lease) : 0);
  const Time until = std::max(unsure_until, state.undelivered_until);
  occupancies_.push_back(
      {request.key, 1, std::max(request.invoked, state.not_granted_before), until});
  note_exclusive(request, until);
  if (by == kNever) note_leaving(state.enqueue, request.lease);
}

void Checker::abandon_phases() {
  for (const auto& [where, state] : phases_) end_phase_one(state, kNever);
  phases_.clear();
}

void Checker::look_at_time(const Operation& request) {
  if (request.reply == Reply::kTimeout &&
      request.completed < later(request.invoked, request.timeout)) {
    violate(Rule::kEarly, request, " timed out before its time");
  }
  const Time due = settled(later(settled(request.invoked, request), request.timeout), request);
  if (request.completed != kNever && request.completed > due) {
    violate(Rule::kLate, request, " was answered late: due by ", at(due));
  }
  if (request.completed == kNever && request.abandoned != kNever && request.abandoned > due) {
    violate(Rule::kLate, request, " was not answered until ", at(request.abandoned), ": due by ",
            at(due));
  }
}

/// The server ends a connection only when it ends itself.
void Checker::look_at_losses() {
  for (std::size_t i = 0; i < owners_.size(); ++i) {
    const Connection& connection = history_.connections[i];
    const Owner& owner = owners_[i];
    if (connection.ending != Ending::kLost && connection.ending != Ending::kFailed) continue;
    if (disturbances_.may_lose(owner.heard, connection.ended, *owner.slot)) continue;
    if (connection.door == Door::kSession ? connection.ended - owner.busy > bounds_.session_silence
                                          : connection.ended - owner.heard > bounds_.silence) {
      continue;
    }
    if (disturbances_.life_at(owner.heard).end_begins <= connection.ended) continue;
    violate(Rule::kConnection, history_.where(connection.place), " was lost for no reason at ",
            at(connection.ended), "; heard of last at ", at(owner.heard));
  }
}

// --- Tokens and fences ---

void Checker::find_tokens() {
  for (std::uint32_t i = 0; i < history_.operations.size(); ++i) {
    const Operation& request = op(i);
    if (request.verb != Verb::kRelease && request.verb != Verb::kRenew) continue;
    const auto found = by_token_.find(request.token);
    const bool right = found != by_token_.end() && asked(grants_[found->second]).key == request.key;
    if (right) {
      uses_.emplace_back(found->second, i);
    } else if (request.reply == Reply::kOk) {
      violate(Rule::kToken, request, " was accepted with a token that nobody was granted");
    } else if (request.reply == Reply::kError) {
      ++report_.totals.certain_refusals;
    }
  }
}

std::string_view name_of(Rule rule) {
  return kRuleNames[static_cast<std::size_t>(rule)];
}

Report check(const History& history, const Bounds& bounds) {
  return Checker(history, bounds).run();
}

}  // namespace dflockd::history
