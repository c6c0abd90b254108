// What a client may expect of the server: an independent reading of PROTOCOL.md, with vectors and
// linear scans, and nothing of the server's code. It reads the requests' bytes itself, says what
// each reply must be to the byte, and compares everything that can be seen of the server.
//
// What it cannot predict it learns and holds to: the fence of a grant is whatever the server says
// first, if it fits in between the grants before and after. Where the contract leaves an order open
// (what is due at the same instant, which of the keys that are idle for equally long makes room) it
// looks at what the server did, and checks that this was one of the orders allowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "random.hpp"
#include "sight.hpp"

namespace dflockd::simulation {

/// The server did something else than it had to. `what()` says what was expected and what happened.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The server's flags, as far as clients feel them. Zero caps are none.
struct Rules {
  std::size_t max_locks = 0;
  std::size_t max_waiters = 0;
  std::size_t max_claims = 0;
  std::int64_t max_lease = 0;       ///< seconds
  std::int64_t default_lease = 33;  ///< seconds
  bool release_on_disconnect = true;
  Time gc_interval{0};
  Time gc_max_idle{0};
};

/// The salts of one run of the server, in the order in which it draws them.
struct Salts {
  std::uint64_t stream = 0;
  [[nodiscard]] std::uint64_t at(std::uint64_t number) const { return spread(stream + number); }
};

class Oracle {
 public:
  explicit Oracle(const Rules& rules) : rules_(rules) {}

  // --- What happens to the server besides steps ---

  /// It starts, with nothing but what it may grant: `fences` new ones.
  void started(Time now, std::uint64_t fences, const Salts& salts);
  /// Its connections and all that was held are gone.
  void crashed();
  void fences_reserved(std::uint64_t count) { fences_left_ += count; }
  void connected(ConnectionId id) { streams_[id]; }
  void received(ConnectionId id, std::string_view bytes) { streams_.at(id).unread += bytes; }

  // --- Steps: what happened at the server's time `now`, and what was to be seen after it. Each
  // throws Violation. ---

  /// Whether the connection has a request that can be carried out.
  [[nodiscard]] bool has_request(ConnectionId id) const;
  /// The first request of the connection was carried out.
  void request(Time now, ConnectionId id, const Sight& sight);
  /// The connection has ended, its replies in `unsent` were not sent. `release_all`: whatever the
  /// rules say.
  void closed(Time now, ConnectionId id, std::string_view unsent, bool release_all,
              const Sight& sight);
  /// What the connection waited for was called off.
  void wait_cancelled(Time now, ConnectionId id, const Sight& sight);
  void time_passed(Time now, const Sight& sight);
  /// The regular work was done. `reading` is the clock as it was read, which may have stepped back.
  void ticked(Time reading, const Sight& sight);
  void drained(Time now, const Sight& sight);

  // --- Looking ---

  [[nodiscard]] bool is_open(ConnectionId id) const { return streams_.contains(id); }
  [[nodiscard]] bool is_blocked(ConnectionId id) const { return streams_.at(id).blocked; }
  /// Whether the connection holds or waits for something, for each open one in order.
  [[nodiscard]] std::vector<std::pair<ConnectionId, bool>> claims() const;
  [[nodiscard]] Time next_deadline() const;
  /// A deadline, of any grant, wait or idle key, or `kNever`.
  [[nodiscard]] Time some_deadline(Random& random) const;
  [[nodiscard]] std::uint64_t fences_left() const { return fences_left_; }
  /// Whether not everybody who waits could be granted a fence, so that who is depends on an order.
  [[nodiscard]] bool fences_scarce() const;
  /// Whether something that the connection waits for may be granted or over at the same instant, up
  /// to `now`.
  [[nodiscard]] bool may_get_either(ConnectionId id, Time now) const;
  [[nodiscard]] std::size_t claim_count() const { return claim_count_; }
  [[nodiscard]] std::uint64_t grants() const { return grants_; }

 private:
  struct Claim {
    ConnectionId owner = 0;
    std::uint64_t salt = 0;
    std::int64_t lease = 0;
    Time deadline = kNever;  ///< of the lease if held, of the wait if blocked
    bool phase_one = false;
    bool blocked = false;
    int told = 0;                          ///< how many replies have told its token
    std::optional<std::uint64_t> fence{};  ///< once known
    std::uint64_t granted_in = 0;          ///< the step
    std::uint64_t grant_number = 0;
    Time granted_at{0};
  };
  struct Spent {
    ConnectionId owner = 0;
    std::string why;
  };
  struct Key {
    std::uint32_t limit = 1;
    std::vector<Claim> holders{};  ///< in the order of their grants
    std::vector<Claim> queue{};
    std::vector<Spent> spent{};  ///< phase-1 states that ended before `w` came
    Time idle_since{0};
  };
  using Name = std::pair<bool, std::string>;  ///< is it a semaphore, and the key
  using Keys = std::map<Name, Key>;
  struct Stream {
    std::string unread;
    bool blocked = false;
  };
  /// A request's lines, or one that is too long.
  struct Frame {
    std::vector<std::string> lines;
    std::size_t size = 0;
    bool too_long = false;
  };
  struct Grant {
    std::uint64_t step = 0;
    std::uint64_t number = 0;
    Name key;
  };

  [[nodiscard]] static std::optional<Frame> read(const Stream& stream);
  void begin(Time now, const Sight& sight);
  void advance();
  void end_at(Keys::value_type& entry, Time deadline);
  void finish(const Sight& sight);
  void compare_keys(const Sight& sight) const;

  void carry_out(ConnectionId id, const std::vector<std::string>& lines);
  void acquire(ConnectionId id, const Name& name, std::uint32_t limit, std::int64_t lease,
               std::optional<std::int64_t> timeout);
  void wait(ConnectionId id, const Name& name, std::int64_t timeout);
  void release(ConnectionId id, const Name& name, std::string_view token);
  void renew(ConnectionId id, const Name& name, std::string_view token, std::int64_t lease);
  [[nodiscard]] bool full_of_claims() const;
  [[nodiscard]] bool make_room();

  void leave(ConnectionId id, std::string_view unsent, bool release_all);
  void serve(Keys::value_type& entry, Time due = Time{0});
  [[nodiscard]] bool gets_fence(const Keys::value_type& entry) const;
  void grant(Keys::value_type& entry, Claim claim);
  void drop_spent(Key& key, std::size_t at);
  static std::vector<Claim>::iterator holder_of(Key& key, std::string_view token);

  [[nodiscard]] const std::string* heard(ConnectionId id) const;
  void expect(ConnectionId id, std::string_view reply);
  void expect_grant(ConnectionId id, std::string_view word, const Name& name, Claim& claim);
  void learn(const Name& name, Claim& claim, std::uint64_t fence);

  const Rules rules_;
  Salts salts_;
  std::uint64_t salts_drawn_ = 0;
  Time now_{0};
  Time last_collection_{0};
  std::uint64_t fences_left_ = 0;
  bool draining_ = false;
  Keys keys_;
  std::map<ConnectionId, Stream> streams_;
  std::map<std::uint64_t, Grant> fences_;  ///< all that are known, those of earlier runs too
  std::uint64_t grants_ = 0;
  std::size_t claim_count_ = 0;

  // Of the current step.
  std::uint64_t step_ = 0;
  const Sight* sight_ = nullptr;
  std::map<ConnectionId, const std::string*> unheard_;  ///< replies that nothing has explained yet
  ConnectionId leaving_ = 0;  ///< hears nothing any more, whatever becomes of its wait
  bool scarce_ = false;
  bool refused_for_fences_ = false;
};

}  // namespace dflockd::simulation
