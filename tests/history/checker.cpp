#include "checker.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>

#include "disturbances.hpp"

namespace dflockd::history {

namespace {

constexpr std::array<std::string_view, kRules> kRuleNames = {
    "format", "exclusion", "order", "fence", "token", "release",   "renewal",
    "lease",  "wakeup",    "early", "late",  "reply", "connection"};

constexpr std::uint32_t kNobody = ~0U;

bool asks_for_slot(const Operation& op) {
  return op.verb == Verb::kAcquire || op.verb == Verb::kEnqueue;
}

/// What is known of a connection from its own records and its process's end.
struct Owner {
  const std::string* slot = nullptr;
  Time heard = 0;          ///< a request sent then was carried out: the server had it then
  Time busy = 0;           ///< the server had something to do for it then, or later
  Time may_end = kNever;   ///< the server has it until then at least
  Time must_end = kNever;  ///< and not after this
  /// The same of what it was granted, as far as its end has to do with that.
  Time may_release = kNever;
  Time must_release = kNever;
};

struct Grant {
  std::uint32_t asked_by = 0;  ///< the operation that asked for it: acquire or enqueue
  std::uint32_t told_by = 0;   ///< the operation whose reply told its token
  Time not_before = 0;         ///< when it was made
  Time not_after = kNever;
  Time held_until = 0;    ///< certainly
  Time gone_by = kNever;  ///< certainly
  bool was_queued = false;
};

/// A time in which a key may have had a holder.
struct Occupancy {
  std::uint32_t key;
  std::uint32_t weight;
  Time from;
  Time to;
};

/// A time in which somebody certainly waited for a key.
struct Wait {
  std::uint32_t op;
  Time from;
  Time to;
};

/// The two-phase state of an owner at a key, as far as the client can know it.
struct PhaseOne {
  enum class Certainty : std::uint8_t { kAbsent, kMaybe, kSure } certainty = Certainty::kAbsent;
  std::uint32_t enqueue = kNobody;
  std::uint32_t grant = kNobody;  ///< if it was acquired at once
  Time not_granted_before = 0;
  /// Until when a grant can be held of which a reply told that did not arrive.
  Time told_until = 0;
};

class Checker {
 public:
  Checker(const History& history, const Bounds& bounds)
      : history_(history), bounds_(bounds), disturbances_(history, bounds.margin) {}

  Report run();

 private:
  [[nodiscard]] const Operation& op(std::uint32_t index) const {
    return history_.operations[index];
  }
  [[nodiscard]] const Operation& asked(const Grant& grant) const { return op(grant.asked_by); }
  [[nodiscard]] const Operation& told(const Grant& grant) const { return op(grant.told_by); }
  [[nodiscard]] const Owner& owner_of(const Operation& request) const {
    return owners_[request.connection];
  }
  [[nodiscard]] const std::string& slot_of(const Operation& request) const {
    return *owner_of(request).slot;
  }
  [[nodiscard]] Time settled(Time time, const Operation& request) const {
    return disturbances_.settled(time, slot_of(request));
  }
  /// When the client's side of a request was gone, which ends a wait whatever door it came through.
  [[nodiscard]] Time abandoned(const Operation& request) const {
    return std::min(request.abandoned, killed_[request.place.file]);
  }
  /// Until when a grant with this lease can be held of which the reply told, had it arrived.
  [[nodiscard]] Time held_untold(const Operation& request, Time lease) const {
    const Time end = std::min(later(request.invoked, request.timeout), abandoned(request));
    return std::min(later(settled(end, request), lease), owner_of(request).must_release);
  }
  [[nodiscard]] Time decided(Time time, const Operation& request) const {
    return time == kNever ? 0 : disturbances_.decided(time, slot_of(request));
  }
  [[nodiscard]] Time decided(const Operation& request) const {
    return decided(request.completed, request);
  }

  void know_owners();
  void know_limits();
  void look_at_replies();
  void look_at_enqueue(std::uint32_t index, PhaseOne& state);
  void look_at_wait(std::uint32_t index, PhaseOne& state);
  void look_at_time(const Operation& request);
  void look_at_losses();
  std::uint32_t add_grant(std::uint32_t asked_by, std::uint32_t told_by);
  void end_phase_one(const PhaseOne& state, Time by);
  void abandon_phases();
  void find_tokens();
  void look_at_fences();
  void follow_grants();
  void follow(Grant& grant, std::uint32_t* first, std::uint32_t* last);
  void look_at_holders();
  void look_at_order();
  void count_ordered_pairs();
  void occupy();
  void look_at_wakeups();

  template <class... Parts>
  void violate(Rule rule, const Parts&... parts);
  [[nodiscard]] std::string show(const Operation& request) const;
  [[nodiscard]] std::string text(const std::string& part) const { return part; }
  [[nodiscard]] std::string text(const char* part) const { return part; }
  [[nodiscard]] std::string text(const Operation& part) const { return show(part); }
  [[nodiscard]] std::string text(std::uint32_t number) const { return std::to_string(number); }
  /// Seconds since the history began.
  [[nodiscard]] std::string at(Time time) const;

  const History& history_;
  const Bounds bounds_;
  const Disturbances disturbances_;
  Report report_;
  std::vector<Owner> owners_;
  std::vector<Time> killed_;           ///< when each file's process was
  std::vector<std::uint32_t> limits_;  ///< of the keys
  std::map<std::pair<std::uint32_t, std::uint32_t>, PhaseOne> phases_;
  std::vector<Grant> grants_;  ///< by fence, from `look_at_fences` on
  std::unordered_map<Token, std::uint32_t> by_token_;
  /// What was asked with a grant's token, as grant and operation.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> uses_;
  std::vector<Occupancy> occupancies_;
  std::vector<Wait> waits_;
  /// Who certainly had a place in a queue and timed out: operations that asked, and that waited.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> timed_out_;
  Time beginning_ = 0;
};

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

template <class... Parts>
void Checker::violate(Rule rule, const Parts&... parts) {
  report_.violations.push_back({rule, (text(parts) + ...)});
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

/// Works out between which times the server has let go of each connection.
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
    const File& file = history_.files[connection.place.file];
    Owner& owner = owners_[i];
    const bool session = connection.door == Door::kSession;
    const Time killed = killed_[connection.place.file];
    const bool was_killed = killed != kNever;
    Time left = connection.ended;  // when the client's side ended
    switch (connection.ending) {
      case Ending::kNone:
        left = was_killed ? killed : later(file.last, 1);
        owner.may_end = session ? kNever : left;
        break;
      case Ending::kClosed:
      case Ending::kReset:
      case Ending::kDeleted:
        owner.may_end = left;
        break;
      case Ending::kLost:
      case Ending::kFailed: {
        const Time server_ends = disturbances_.life_at(owner.heard).end_begins;
        const bool with_server =
            server_ends <= connection.ended &&
            !disturbances_.may_lose(owner.heard, connection.ended, *owner.slot);
        owner.may_end = with_server ? std::max(server_ends, owner.heard) : owner.heard;
        break;
      }
    }
    owner.may_end = std::min(owner.may_end, session ? later(owner.busy, bounds_.session_silence)
                                                    : later(owner.heard, bounds_.silence));

    const Time noticed = disturbances_.settled(left, *owner.slot);
    if (connection.confirmed != kNever) {
      owner.must_end = connection.confirmed;
    } else if (connection.ending == Ending::kLost) {
      owner.must_end = connection.ended;
    } else if (connection.ending == Ending::kNone && !was_killed) {
      owner.must_end = kNever;
    } else if (session) {
      owner.must_end = later(noticed, bounds_.session_end);
    } else if (connection.ending == Ending::kFailed ||
               disturbances_.may_lose(left, left, *owner.slot)) {
      // Whether a reset arrives is a matter of luck; what the server asks the dead peer is not.
      owner.must_end = later(noticed, bounds_.dead_peer);
    } else {
      owner.must_end = noticed;
    }
    if (bounds_.auto_release || connection.ending == Ending::kDeleted) {
      owner.may_release = owner.may_end;
      owner.must_release = owner.must_end;
    }
  }
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

std::uint32_t Checker::add_grant(std::uint32_t asked_by, std::uint32_t told_by) {
  const auto index = static_cast<std::uint32_t>(grants_.size());
  Grant grant{.asked_by = asked_by, .told_by = told_by};
  grant.was_queued = op(asked_by).reply == Reply::kQueued || op(asked_by).seen != kNever;
  if (op(told_by).reply_lease != op(asked_by).lease) {
    violate(Rule::kLease, op(told_by), " was granted another lease than was asked for");
  }
  if (op(asked_by).limit != limits_[op(asked_by).key]) {
    violate(Rule::kReply, op(asked_by), " was granted a limit of ", op(asked_by).limit,
            ", and the key's is ", limits_[op(asked_by).key]);
  }
  grants_.push_back(grant);
  const auto [earlier, is_new] = by_token_.try_emplace(op(told_by).token, index);
  if (!is_new) {
    violate(Rule::kToken, op(told_by), " was granted ", to_string(op(told_by).token), ", as was ",
            told(grants_[earlier->second]));
  }
  return index;
}

void Checker::look_at_replies() {
  for (std::uint32_t i = 0; i < history_.operations.size(); ++i) {
    const Operation& request = op(i);
    if (request.reply == Reply::kNone) ++report_.totals.unknown;
    look_at_time(request);
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
        } else if (request.reply != kNone && request.reply != kDraining && request.reply != kGone) {
          refuse();
        }
        if (request.timeout > 0 && (request.reply == kGranted || request.reply == kTimeout)) {
          waits_.push_back(
              {i, std::min(request.seen, settled(request.invoked, request)), decided(request)});
        }
        if (request.reply == kNone) {
          // Had it been granted before, the client would have heard of it.
          occupancies_.push_back({request.key, 1,
                                  std::max(request.invoked, decided(abandoned(request), request)),
                                  held_untold(request, request.lease)});
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
        violate(Rule::kReply, request, " was told that a server drains which does not");
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
        violate(Rule::kReply, request, " was told that it is enqueued, and it is not");
      }
      break;
    case kLimitMismatch:
      if (request.limit == limits_[request.key]) {
        violate(Rule::kReply, request, " was told of another limit, and there is none");
      }
      break;
    case kNone:
      end_phase_one(state, kNever);
      state = {
          .certainty = kMaybe, .enqueue = index, .told_until = held_untold(request, request.lease)};
      break;
    case kDraining:
    case kGone:
      break;
    default:
      violate(Rule::kReply, request, " got a reply that it cannot get");
  }
}

void Checker::look_at_wait(std::uint32_t index, PhaseOne& state) {
  using enum Reply;
  using enum PhaseOne::Certainty;
  const Operation& request = op(index);
  const auto impossible = [&](const char* why) {
    if (state.enqueue == kNobody) return violate(Rule::kReply, request, why);
    violate(Rule::kReply, request, why, ": ", op(state.enqueue));
  };
  const bool sure = state.certainty == kSure;
  const bool queued = sure && op(state.enqueue).reply == kQueued;
  const Time in_queue_since = queued ? op(state.enqueue).completed : kNever;
  switch (request.reply) {
    case kGranted:
      if (state.certainty == kAbsent) {
        impossible(" was granted what was not enqueued for");
        add_grant(index, index);
      } else if (state.grant != kNobody) {
        const Grant& grant = grants_[state.grant];
        if (!(told(grant).token == request.token)) {
          impossible(" was granted another token than its enqueue");
        }
        uses_.emplace_back(state.grant, index);
      } else {
        add_grant(state.enqueue, index);
      }
      state = {};
      break;
    case kTimeout:
      if (state.certainty == kAbsent) impossible(" timed out without a place in the queue");
      if (sure && !queued) impossible(" timed out although it had been granted");
      if (queued) timed_out_.emplace_back(state.enqueue, index);
      state = {};
      break;
    case kNotEnqueued: {
      bool released = false;
      if (sure && !queued) {  // then a release can have ended it
        const Token token = told(grants_[state.grant]).token;
        for (const Operation& other : history_.operations) {
          if (other.invoked > request.completed) break;
          released = released || (other.verb == Verb::kRelease && other.token == token);
        }
      }
      if (sure && !released) impossible(" was told that it is not enqueued, and it is");
      end_phase_one(state, request.completed);
      state = {};
      break;
    }
    case kLeaseExpired:
      if (state.certainty == kAbsent) {
        impossible(" was told of a lease, and had none");
      } else if (request.completed < later(op(state.enqueue).invoked, op(state.enqueue).lease)) {
        impossible(" was told too early that its lease is over");
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
      if (decided(abandoned(request), request) > settled(request.invoked, request)) {
        state.not_granted_before = decided(abandoned(request), request);
      }
      if (state.certainty == kSure && !queued) uses_.emplace_back(state.grant, index);
      if (state.certainty != kAbsent) {
        state.certainty = kMaybe;
        state.told_until = held_untold(request, op(state.enqueue).lease);
      }
      break;
    case kGone:
      break;
    default:
      impossible(" got a reply that it cannot get");
  }
  // A wait that was answered at once may have been granted long before.
  const bool waited =
      request.reply == kTimeout || decided(request) > settled(request.invoked, request);
  if (queued && request.timeout > 0 && waited &&
      (request.reply == kGranted || request.reply == kTimeout)) {
    waits_.push_back({index, in_queue_since, decided(request)});
  }
}

/// A place in a queue may have become a grant of which nobody was told.
void Checker::end_phase_one(const PhaseOne& state, Time by) {
  if (state.certainty == PhaseOne::Certainty::kAbsent || state.grant != kNobody) return;
  const Operation& request = op(state.enqueue);
  const Time untold_until = std::min(by, owner_of(request).must_end);
  occupancies_.push_back({request.key, 1, std::max(request.invoked, state.not_granted_before),
                          std::max(untold_until, state.told_until)});
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

/// Orders the grants by their fences, and looks whether that is the order of real time.
void Checker::look_at_fences() {
  std::vector<std::uint32_t> order(grants_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto fence = [this](std::uint32_t i) { return told(grants_[i]).token.fence; };
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

  bool good = true;
  for (std::size_t i = 1; i < grants_.size(); ++i) {
    const Operation& one = told(grants_[i - 1]);
    const Operation& other = told(grants_[i]);
    if (one.token.fence != other.token.fence) continue;
    good = false;
    if (!(one.token == other.token)) {  // or it has been said already
      violate(Rule::kToken, one, " and ", other, " were granted one fence");
    }
  }

  // Each grant against the highest fence that was told before it was asked for.
  std::vector<std::uint32_t> by_asking(grants_.size());
  for (std::uint32_t i = 0; i < by_asking.size(); ++i) by_asking[i] = i;
  std::vector<std::uint32_t> by_telling = by_asking;
  std::ranges::sort(by_asking, {}, [this](std::uint32_t i) { return asked(grants_[i]).invoked; });
  std::ranges::sort(by_telling, {}, [this](std::uint32_t i) { return told(grants_[i]).completed; });
  std::size_t told_before = 0;
  std::uint32_t highest = kNobody;
  for (const std::uint32_t i : by_asking) {
    const Grant& grant = grants_[i];
    for (; told_before < by_telling.size(); ++told_before) {
      const std::uint32_t earlier = by_telling[told_before];
      if (told(grants_[earlier]).completed >= asked(grant).invoked) break;
      if (highest == kNobody || earlier > highest) highest = earlier;
    }
    if (highest == kNobody) continue;
    ++report_.totals.fence_pairs;
    if (told(grants_[highest]).token.fence < told(grant).token.fence) continue;
    good = false;
    violate(Rule::kFence, told(grant), " was granted ", to_string(told(grant).token), " after ",
            told(grants_[highest]), " had been granted ", to_string(told(grants_[highest]).token));
  }

  Time not_before = 0;
  for (Grant& grant : grants_) {
    not_before = good ? std::max(not_before, asked(grant).invoked) : asked(grant).invoked;
    grant.not_before = not_before;
  }
  Time not_after = kNever;
  for (std::size_t i = grants_.size(); i-- > 0;) {
    const Time completed = told(grants_[i]).completed;
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
    follow(grants_[i], requests.data(), requests.data() + requests.size());
  }
}

/// Works out until when a grant certainly is held, and from when on it certainly is not, by what
/// was asked with its token; and whether what was asked could be answered as it was.
void Checker::follow(Grant& grant, std::uint32_t* first, std::uint32_t* last) {
  const Owner& owner = owner_of(asked(grant));
  const Disturbances::Life& life = disturbances_.life_at(asked(grant).invoked);
  const Time may_leave = std::min(owner.may_release, life.end_begins);
  const Time must_leave = std::min(owner.must_release, life.dead);
  const Time lease = asked(grant).lease;

  Time lease_from = later(std::max(told(grant).invoked, grant.not_before), lease);
  if (told(grant).verb != Verb::kWait) {
    lease_from = later(std::max(asked(grant).invoked, grant.not_before), lease);
  }
  Time lease_to = later(told(grant).completed, lease);
  Time proven = 0;
  Time released_from = kNever;
  Time released_to = kNever;
  const Operation* released_by = nullptr;
  std::vector<std::pair<Time, Time>> open;  // end and lease of requests that may be carried out yet

  // A release that may come between, seen from any request.
  const auto may_be_released_by = [&](const Operation& request) {
    return std::any_of(first, last, [&](std::uint32_t other) {
      return &op(other) != &request && op(other).verb == Verb::kRelease &&
             op(other).reply != Reply::kError && op(other).reply != Reply::kGone &&
             op(other).invoked < request.completed;
    });
  };

  for (; first != last; ++first) {
    const Operation& request = op(*first);
    const bool is_release = request.verb == Verb::kRelease;
    const Rule rule = is_release ? Rule::kRelease : Rule::kRenewal;
    std::erase_if(open, [&](const auto& one) { return one.first < request.invoked; });
    const Time asked_lease = request.verb == Verb::kWait ? lease : request.lease;
    const Time must_be_over =
        std::min({later(lease_to, bounds_.lease_lateness), released_to, must_leave});
    switch (request.reply) {
      case Reply::kOk:
      case Reply::kGranted:
        if (request.invoked > must_be_over || (is_release && released_by != nullptr)) {
          violate(rule, request, " was accepted although the grant of ", told(grant),
                  " was over by ", at(must_be_over));
        } else if (request.completed < std::min(lease_from, may_leave)) {
          ++report_.totals.certain_consents;
        }
        proven = std::max(proven, request.invoked);
        if (is_release) {
          released_from = std::min(released_from, request.invoked);
          released_to = std::min(released_to, request.completed);
          released_by = &request;
          break;
        }
        open.emplace_back(request.completed, asked_lease);
        lease_from = kNever;
        for (const auto& [end, length] : open) {
          lease_from = std::min(lease_from, later(request.invoked, length));
        }
        if (open.size() == 1) lease_to = 0;
        lease_to = std::max(lease_to, later(request.completed, asked_lease));
        break;
      case Reply::kError:
      case Reply::kLeaseExpired:
        if (request.completed < std::min({lease_from, may_leave, released_from}) &&
            !may_be_released_by(request)) {
          violate(rule, request, " was refused although the grant of ", told(grant),
                  " was held until ", at(std::min(lease_from, may_leave)));
        } else if (request.invoked > must_be_over) {
          ++report_.totals.certain_refusals;
        }
        lease_from = std::min(lease_from, request.invoked);
        lease_to = std::min(lease_to, request.completed);
        break;
      case Reply::kNone:
        if (is_release) {
          released_from = std::min(released_from, request.invoked);
        } else {
          const Time end =
              settled(std::min(abandoned(request), owner_of(request).must_end), request);
          open.emplace_back(kNever, asked_lease);
          lease_from = std::min(lease_from, later(request.invoked, asked_lease));
          lease_to = std::max(lease_to, later(end, asked_lease));
        }
        break;
      default:
        break;
    }
  }
  grant.held_until = std::max(proven, std::min({lease_from, may_leave, released_from}));
  grant.gone_by = std::min({later(lease_to, bounds_.lease_lateness), released_to, must_leave});
  if (grant.held_until > grant.not_after) ++report_.totals.certain_holds;
}

/// At the moment of each grant, those before it that certainly are held leave room for it.
void Checker::look_at_holders() {
  struct Holder {
    Time until;
    std::uint32_t grant;
    bool operator>(const Holder& other) const { return until > other.until; }
  };
  using Holders = std::priority_queue<Holder, std::vector<Holder>, std::greater<>>;
  std::vector<Holders> holders(history_.keys.size());
  // In the order in which they were made; where the fences cannot be trusted, in that of the times
  // at which they certainly had been.
  std::vector<std::uint32_t> order(grants_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [this](std::uint32_t i) { return grants_[i].not_after; });
  for (const std::uint32_t i : order) {
    const Grant& grant = grants_[i];
    const std::uint32_t key = asked(grant).key;
    Holders& held = holders[key];
    while (!held.empty() && held.top().until <= grant.not_after) held.pop();
    ++report_.totals.successions;
    if (held.size() >= limits_[key]) {
      violate(Rule::kExclusion, told(grant), " was granted by ", at(grant.not_after),
              " beside as many holders as the limit allows, ", limits_[key], "; one of them is ",
              told(grants_[held.top().grant]), ", who held it until ", at(held.top().until));
    }
    if (grant.held_until > grant.not_after) held.push({grant.held_until, i});
  }
}

// --- The queue ---

/// Whoever certainly has a place in the queue before another asks is served before it.
void Checker::look_at_order() {
  struct Place {
    std::uint32_t key;
    Time since;           ///< certainly in the queue, or served
    std::uint64_t fence;  ///< of the grant, if one came of it
    Time stayed_until;    ///< in the queue, if none came of it
    std::uint32_t asked_by;
  };
  std::vector<Place> places;
  for (const Grant& grant : grants_) {
    const Operation& first = asked(grant);
    const Time since = std::min({told(grant).completed, first.completed, first.seen});
    places.push_back({first.key, since, told(grant).token.fence, 0, grant.asked_by});
  }
  for (const auto& [asked_by, waited] : timed_out_) {
    const Operation& first = op(asked_by);
    const Time since = first.verb == Verb::kEnqueue ? first.completed : first.seen;
    places.push_back(
        {first.key, since, 0, later(op(waited).invoked, op(waited).timeout), asked_by});
  }
  std::ranges::sort(places, {}, &Place::since);
  std::vector<std::uint32_t> order(grants_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [this](std::uint32_t i) { return asked(grants_[i]).invoked; });

  struct Ahead {
    const Place* served = nullptr;    ///< with the highest fence
    const Place* unserved = nullptr;  ///< who stayed longest
  };
  std::vector<Ahead> ahead(history_.keys.size());
  std::size_t next = 0;
  for (const std::uint32_t i : order) {
    const Grant& grant = grants_[i];
    for (; next < places.size() && places[next].since < asked(grant).invoked; ++next) {
      const Place& place = places[next];
      Ahead& best = ahead[place.key];
      const Place*& which = place.fence != 0 ? best.served : best.unserved;
      if (which == nullptr || place.fence > which->fence ||
          (place.fence == 0 && place.stayed_until > which->stayed_until)) {
        which = &place;
      }
    }
    const Ahead& best = ahead[asked(grant).key];
    if (best.served != nullptr && best.served->fence > told(grant).token.fence) {
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
    const Time until = told(grant).completed;
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
    const Operation& teller = told(grant);
    Time from = std::max(grant.not_before, decided(teller));
    // Of a wait that was answered at once it is not known how long it had been granted.
    const bool waited = decided(teller) > settled(teller.invoked, teller);
    if (teller.verb == Verb::kWait && !waited) from = asked(grant).invoked;
    occupancies_.push_back({asked(grant).key, 1, from, grant.gone_by});
  }
  for (const Disturbances::Interval& interval : disturbances_.of_server()) {
    for (std::uint32_t key = 0; key < history_.keys.size(); ++key) {
      occupancies_.push_back({key, limits_[key], interval.begin - bounds_.margin,
                              later(interval.end, bounds_.margin)});
    }
  }
}

/// Nobody waits beside a slot that certainly is free.
void Checker::look_at_wakeups() {
  struct Change {
    Time time;
    std::int64_t weight;
  };
  struct Free {
    Time from;
    Time to;
  };
  std::vector<std::vector<Change>> changes(history_.keys.size());
  for (const Occupancy& one : occupancies_) {
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
  for (const Wait& wait : waits_) {
    const Operation& request = op(wait.op);
    if (wait.to - bounds_.wakeup <= wait.from) continue;
    ++report_.totals.waits;
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
    if (!refused && !queued) continue;
    const auto& slots = free[request.key];
    const auto slot = std::ranges::lower_bound(slots, request.completed, {}, &Free::to);
    if (slot == slots.end() || later(slot->from, bounds_.wakeup) > request.invoked) continue;
    violate(Rule::kWakeup, request, " was not granted a slot that is free since ", at(slot->from));
  }
}

}  // namespace

std::string_view name_of(Rule rule) {
  return kRuleNames[static_cast<std::size_t>(rule)];
}

Report check(const History& history, const Bounds& bounds) {
  return Checker(history, bounds).run();
}

}  // namespace dflockd::history
