// The checker's insides: what it works out of a history, one step after the other. Internal to
// checker.cpp, which looks at each request, and checker_grants.cpp, which looks at the grants
// together.
#pragma once

#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "checker.hpp"
#include "disturbances.hpp"

namespace dflockd::history {

constexpr std::uint32_t kNobody = ~0U;

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
  std::uint32_t asked_by = 0;     ///< the operation that asked for it: acquire or enqueue
  std::uint32_t answered_by = 0;  ///< the operation whose reply named its token
  Time not_before = 0;            ///< when it was made
  Time not_after = kNever;
  Time held_until = 0;    ///< certainly
  Time gone_by = kNever;  ///< certainly
  bool was_queued = false;
};

/// What is known of a grant so far, as the requests with its token are gone through.
struct Course {
  Grant& grant;
  std::span<const std::uint32_t> requests;
  Time may_leave;   ///< its owner
  Time must_leave;  ///< its owner
  Time lease_from;  ///< when the lease may end
  Time lease_to;    ///< and must have ended
  Time proven = 0;  ///< held then
  Time released_from = kNever;
  Time released_to = kNever;
  bool was_released = false;
  std::vector<std::pair<Time, Time>> open{};  ///< end and lease of what may be carried out yet
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
  /// Until when a grant can be held that a lost reply named.
  Time undelivered_until = 0;
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
  [[nodiscard]] const Operation& answered(const Grant& grant) const {
    return op(grant.answered_by);
  }
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
  /// Until when a grant with this lease can be held that a lost reply named.
  [[nodiscard]] Time held_undelivered(const Operation& request, Time lease) const {
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
  [[nodiscard]] Time may_end(const Connection& connection, const Owner& owner, Time left) const;
  [[nodiscard]] Time must_end(const Connection& connection, const Owner& owner, Time left) const;
  void know_limits();
  void look_at_replies();
  void look_at_enqueue(std::uint32_t index, PhaseOne& state);
  void refute_wait(const Operation& request, const PhaseOne& state, const char* why);
  void look_at_granted_wait(std::uint32_t index, const PhaseOne& state);
  void look_at_wait(std::uint32_t index, PhaseOne& state);
  void look_at_lost_wait(std::uint32_t index, PhaseOne& state);
  [[nodiscard]] bool may_be_released(const Grant& grant, Time by) const;
  void look_at_time(const Operation& request);
  void look_at_losses();
  std::uint32_t add_grant(std::uint32_t asked_by, std::uint32_t answered_by);
  void end_phase_one(const PhaseOne& state, Time by);
  void abandon_phases();
  void find_tokens();
  void sort_grants();
  void look_at_fences();
  void follow_grants();
  void follow(Grant& grant, std::span<const std::uint32_t> requests);
  void follow_consent(Course& course, const Operation& request);
  void follow_refusal(Course& course, const Operation& request);
  void follow_silence(Course& course, const Operation& request);
  [[nodiscard]] Time must_be_over(const Course& course) const;
  [[nodiscard]] Time lease_of(const Course& course, const Operation& request) const {
    return request.verb == Verb::kWait ? asked(course.grant).lease : request.lease;
  }
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

template <class... Parts>
void Checker::violate(Rule rule, const Parts&... parts) {
  report_.violations.push_back({rule, (text(parts) + ...)});
}

}  // namespace dflockd::history
