// The checker's insides: what it works out of a history, one step after the other. Internal to
// checker.cpp, which looks at each request, checker_grants.cpp, which looks at the grants together,
// and checker_refs.cpp, which knows what stable refs do to both.
#pragma once

#include <array>
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
  /// How long what it leaves is orphaned; 0: not at all.
  Time orphan_ttl = 0;
};

struct Grant {
  /// The operation that asked for it: acquire or enqueue, or a wait that found it under its ref.
  std::uint32_t asked_by = 0;
  std::uint32_t answered_by = 0;  ///< the operation whose reply named its token
  Time asked_from = 0;            ///< by another of its ref perhaps
  Time lease = 0;                 ///< as it was asked for last
  bool is_shared = false;
  bool is_exclusive = true;  ///< or neither, if that is not known
  Time not_before = 0;       ///< when it was made
  Time not_after = kNever;
  Time held_until = 0;    ///< certainly
  Time gone_by = kNever;  ///< certainly
  bool was_queued = false;
};

/// A connection that owns a grant, perhaps, and when it was clear that it may.
struct Holder {
  std::uint32_t connection;
  Time since;
};

/// What is known of a grant so far, as the requests with its token, and those that may have been
/// answered with it, are gone through.
struct Course {
  Grant& grant;
  std::span<const std::uint32_t> requests;
  const Disturbances::Life& life;
  std::vector<Holder> owners;
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
  bool is_shared;
  Time from;
  Time to;
};

/// What a connection under a ref may have left without a reply that names it: a place in a queue
/// or a grant.
struct Leaving {
  std::uint32_t op;  ///< that asked for it
  Time from;         ///< or another one before it, whose place it had
  Time until;
};

/// A ref, or a connection, and a key.
using Pair = std::pair<std::uint32_t, std::uint32_t>;

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
    return std::max(std::min(later(settled(end, request), lease), owner_of(request).must_release),
                    orphaned_until(request, lease));
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
  void note_exclusive(const Operation& request, Time until);
  void abandon_phases();
  void find_tokens();

  // Stable refs
  [[nodiscard]] std::uint32_t ref_of(const Operation& request) const {
    return history_.connections[request.connection].ref;
  }
  [[nodiscard]] Pair name_of(const Operation& request) const {
    return {ref_of(request), request.key};
  }
  [[nodiscard]] Time orphaned_until(const Operation& request, Time lease) const;
  void note_leaving(std::uint32_t index, Time lease);
  [[nodiscard]] bool may_mismatch(const Operation& request) const;
  [[nodiscard]] bool is_handed_back(std::uint32_t index);
  void find_origins();
  void find_takers();
  [[nodiscard]] Time may_leave(const Course& course) const;
  [[nodiscard]] Time must_leave(const Course& course) const;
  [[nodiscard]] bool is_owned_by(const Course& course, std::uint32_t connection) const;
  [[nodiscard]] Time may_be_orphaned(const Course& course, std::uint32_t except) const;
  [[nodiscard]] bool must_be_orphaned(const Course& course, Time by) const;
  [[nodiscard]] bool must_be_alone(const Operation& request) const;
  void adopt(Course& course, const Operation& request, bool surely) const;
  void follow_renewer(Course& course, const Operation& request) const;
  void follow_taker(Course& course, const Operation& request);
  [[nodiscard]] bool must_be_handed_back(const Course& course, const Operation& request) const;
  void follow_hand_back(Course& course, const Operation& request);
  void follow_silent_taker(Course& course, const Operation& request);

  void sort_grants();
  void look_at_fences();
  void follow_grants();
  void follow(Grant& grant, std::span<const std::uint32_t> requests);
  void follow_token(Course& course, const Operation& request);
  void keep_lease(Course& course, const Operation& request, Time lease);
  void follow_consent(Course& course, const Operation& request);
  void follow_refusal(Course& course, const Operation& request);
  void follow_silence(Course& course, const Operation& request);
  [[nodiscard]] Time must_be_over(const Course& course) const;
  [[nodiscard]] Time lease_of(const Course& course, const Operation& request) const {
    return request.verb == Verb::kWait ? course.grant.lease : request.lease;
  }
  void look_at_holders();
  void look_at_order();
  void count_ordered_pairs();
  void occupy();
  struct Free {
    Time from;
    Time to;
  };
  [[nodiscard]] std::vector<std::vector<Free>> free_times(
      const std::vector<Occupancy>& occupancies) const;
  void look_at_waiters(const std::vector<std::vector<Free>>& free, bool only_shared);
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
  std::map<Pair, PhaseOne> phases_;    ///< by connection
  std::map<Pair, std::vector<Leaving>> leavings_;
  std::map<std::uint32_t, std::vector<std::uint32_t>> connections_;  ///< of the refs
  std::map<Pair, std::array<bool, 2>> modes_;  ///< in which a ref has asked: exclusive, shared
  std::vector<bool> handed_back_;              ///< the operations
  std::vector<Grant> grants_;                  ///< by fence, from `look_at_fences` on
  std::unordered_map<Token, std::uint32_t> by_token_;
  /// What was asked with a grant's token, as grant and operation.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> uses_;
  std::vector<Occupancy> occupancies_;
  /// Times in which an exclusive claim may have held a key or waited for it.
  std::vector<Occupancy> exclusives_;
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
