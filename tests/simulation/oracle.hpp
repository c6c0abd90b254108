// What a client may expect of the server. The oracle reads the requests' bytes itself, makes
// commands of them for the naive table that the property tests have too, written from the contracts
// alone, and says what each reply must be to the byte. It uses nothing of the server's code but the
// commands' form.
//
// Where the contract leaves an order open (what is due at the same instant, which of the keys that
// are idle for equally long makes room) it follows every way that agrees with what the server did.
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

#include "locks/command.hpp"
#include "naive_table.hpp"
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
  explicit Oracle(const Rules& rules)
      : rules_(rules), options_{rules.max_locks, rules.max_waiters, rules.max_claims} {}

  // --- What happens to the server besides steps ---

  /// It starts, with nothing but the fences that it may grant, from `first` up to `end`. Throws
  /// Violation if one of them may have been granted before.
  void started(Time now, std::uint64_t first, std::uint64_t end, const Salts& salts);
  /// Its connections and all that was held are gone.
  void crashed();
  void connected(ConnectionId id);
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
  /// A reservation has succeeded: fences up to `end` may be granted.
  void fences_reserved(Time now, std::uint64_t end, const Sight& sight);
  void drained(Time now, const Sight& sight);

  // --- Looking ---

  [[nodiscard]] bool is_open(ConnectionId id) const { return streams_.contains(id); }
  [[nodiscard]] bool is_blocked(ConnectionId id) const { return streams_.at(id).blocked; }
  /// Whether the connection holds or waits for something, for each open one in order.
  [[nodiscard]] std::vector<std::pair<ConnectionId, bool>> claims() const;
  [[nodiscard]] Time next_deadline() const;
  /// A deadline, of any grant, wait or idle key, or `kNever`.
  [[nodiscard]] Time some_deadline(Random& random) const;
  [[nodiscard]] std::uint64_t fences_left() const { return models_.front().fences_left(); }
  [[nodiscard]] std::size_t claim_count() const { return models_.front().counts().claims; }
  [[nodiscard]] std::uint64_t grants() const { return grants_; }

 private:
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
  /// What a step is to the table, and how its answer is said.
  struct Step {
    Time now{0};
    std::vector<locks::Command> commands{};  ///< before time passes
    ConnectionId caller = 0;                 ///< is answered, unless it is 0
    std::string refusal{};                   ///< the reply, without asking the table
    ConnectionId leaving = 0;  ///< gets no reply any more, whatever becomes of its wait
  };
  using Model = locks::NaiveTable;

  [[nodiscard]] static std::optional<Frame> read(const Stream& stream);
  [[nodiscard]] std::optional<locks::Command> parse(ConnectionId id,
                                                    const std::vector<std::string>& lines);
  [[nodiscard]] locks::CloseOwner close(ConnectionId id, std::string_view unsent, bool release_all);
  void judge(const Step& step, const Sight& sight);
  [[nodiscard]] static std::vector<Said> replies(const Step& step, const locks::Answer& answer,
                                                 const std::vector<locks::Effect>& effects);

  const Rules rules_;
  const locks::TableOptions options_;
  Salts salts_;
  std::uint64_t salts_drawn_ = 0;
  Time now_{0};
  Time last_collection_{0};
  std::vector<Model> models_{Model(options_)};  ///< all that agree with what was seen
  std::map<ConnectionId, Stream> streams_;
  std::vector<std::uint64_t> undelivered_;  ///< that the latest `close` points to
  std::uint64_t next_fence_ = 0;            ///< not to be granted before, in any run
  std::uint64_t grants_ = 0;
};

}  // namespace dflockd::simulation
