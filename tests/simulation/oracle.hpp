// What clients may expect of the server, for both protocols. The oracle reads what a connection has
// received itself, says which commands must reach the table for it and what must be said to the
// byte, and looks at all that passes between the wires, the pumps, the sessions and the table. Of
// the server's code it uses nothing but the form of the commands.
//
// What it sees while the server is at work it takes note of; `judge` throws the first thing that is
// wrong.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/batches.hpp"
#include "caller.hpp"
#include "locks/command.hpp"
#include "net/session.hpp"
#include "service/service.hpp"
#include "sight.hpp"
#include "support/simulated_stream.hpp"
#include "table_oracle.hpp"

namespace dflockd::simulation {

/// The server's flags, as far as clients feel them. Zero caps are none.
struct Rules {
  std::size_t max_locks = 0;
  std::size_t max_waiters = 0;
  std::size_t max_claims = 0;
  std::int64_t max_lease = 0;       ///< seconds
  std::int64_t default_lease = 33;  ///< seconds
  bool release_on_disconnect = true;
  std::chrono::seconds orphan_ttl{0};
  Time gc_interval{0};
  Time gc_max_idle{0};
  std::string secret{};
  std::chrono::seconds read_timeout{0};
  std::chrono::seconds write_timeout{0};
  std::chrono::seconds idle_timeout{0};  ///< 0: none
  std::chrono::seconds session_idle{0};
};

class Oracle final : public service::Log {
 public:
  explicit Oracle(const Rules& rules);

  /// The server's time.
  void set_now(Time now) {
    now_ = now;
    latest_ = std::max(latest_, now);
  }

  // --- What happens to the server ---

  /// It starts.
  void started(const Salts& salts);
  /// It ends: whatever happens until it is gone does not count.
  void look_away() { looks_away_ = true; }
  /// What it carries out is committed at once, or else by `seal` and then `commit`.
  void use(base::Batches& batches, bool at_once);
  void seal();
  void commit();
  [[nodiscard]] bool all_committed() const { return committed_ == logged_; }
  void drained() { draining_ = true; }
  /// Fences up to `end` may be granted once the server reserves them.
  void expect_fences(std::uint64_t end) { fences_end_ = end; }
  /// A connection is about to be accepted.
  void connected(ConnectionId id, Door door, std::shared_ptr<net::SimulatedWire> wire);
  /// A caller is about to send a request.
  void asked(ConnectionId id, const Asked& request);

  // --- What the server does, to be said while it does it ---

  /// What happens during its life is done by a connection.
  class Scene {
   public:
    Scene(Oracle& oracle, ConnectionId id) : oracle_(oracle) {
      oracle_.scenes_.push_back({id, {}});
    }
    Scene(const Scene&) = delete;
    Scene& operator=(const Scene&) = delete;
    ~Scene() { oracle_.leave_scene(); }

   private:
    Oracle& oracle_;
  };

  /// A session was advanced.
  struct Advance {
    std::string_view unread;  ///< before it
    std::size_t taken = 0;    ///< of that
    std::string_view said;
    net::Want want{};
    bool silent = false;  ///< because the peer was silent for too long
  };
  void accepted() noexcept;
  void advanced(const Advance& advance) noexcept;
  void hung_up() noexcept;
  void sent_to_nobody() noexcept;
  void ends(std::string_view why) noexcept;
  void ended() noexcept;
  void gone(ConnectionId id) noexcept;
  void append(Time now, const locks::Command& command) noexcept override;

  // --- Judgement. Each throws Violation, and `judge` Undecided. ---

  /// After each step.
  void judge(const service::Service& service, bool with_keys);
  /// The server has nothing left to do.
  void at_rest();
  /// The regular work was done at the clock's `reading`.
  void ticked();

  // --- Looking ---

  [[nodiscard]] const TableOracle& table() const { return table_; }
  [[nodiscard]] std::size_t connections() const { return peers_.size(); }
  [[nodiscard]] bool is_open(ConnectionId id) const { return peers_.contains(id); }
  [[nodiscard]] bool has_sessions() const;
  /// Whether all connections that there are were denied, and wait for that to be over.
  [[nodiscard]] bool all_denied() const;
  /// Whose wait was over last.
  [[nodiscard]] ConnectionId last_answered() const { return last_answered_; }
  [[nodiscard]] std::uint64_t requests() const { return requests_; }
  /// The connections at which something happened since the last call.
  [[nodiscard]] std::vector<ConnectionId> touched() { return std::exchange(touched_, {}); }
  /// From now on what is carried out and said is told, and taken out with this.
  void tell() { tells_ = true; }
  [[nodiscard]] std::string take_story() { return std::exchange(story_, {}); }

 private:
  enum class Phase : std::uint8_t { kNew, kOpen, kWaiting, kDenied, kClosing, kDropped, kOver };
  struct Call {
    locks::Command command;
    locks::Answer answer;
    std::vector<std::uint64_t> undelivered;
  };
  struct Happening {
    ConnectionId id;
    std::vector<Call> calls;
  };
  /// A request of a caller, until it is answered.
  struct Pending : Asked {
    std::size_t end = 0;  ///< where it ends in all that the connection receives
    bool carried_out = false;
    bool left = false;  ///< given up by the server, whose caller has left
    std::optional<locks::Answer> answer;
  };
  struct Peer {
    Door door = Door::kLines;
    std::shared_ptr<net::SimulatedWire> wire;
    Phase phase = Phase::kNew;
    bool authenticated = false;
    bool served = false;  ///< has had a request besides `auth`, `stable-ref` and `name`
    bool has_ref = false;
    bool hung_up = false;  ///< and the server knows
    bool ends = false;     ///< is about to end
    bool left = false;     ///< its owner is closed
    bool waits = false;    ///< in the table
    locks::OwnerId owner{};
    std::string arrived;  ///< read, and not carried out
    std::string said;     ///< and not sent, from the start of a line on
    std::size_t cut = 0;  ///< so much of it was sent
    /// How much of `said` may leave when so many commands are committed.
    std::deque<std::pair<std::size_t, std::uint64_t>> leaves;
    std::optional<locks::Answer> answer;  ///< to what it waited for, until it is said
    Time since{0};                        ///< when it spoke or was answered last
    Time unsent_since{0};
    // Callers.
    std::deque<Pending> pending;
    std::size_t asked_bytes = 0;
    std::size_t read_bytes = 0;
  };
  struct Session {
    locks::OwnerId owner;
    Time active{0};
    bool closed = false;
    ConnectionId busy = 0;  ///< with the request that blocks on it
  };
  /// A request's lines, or one that is too long.
  struct Frame {
    std::vector<std::string> lines;
    std::size_t size = 0;
    bool too_long = false;
  };

  void fail(const std::string& what);
  [[noreturn]] static void wrong(ConnectionId id, const std::string& expected,
                                 const std::string& seen);
  template <class Check>
  void check(Check check) noexcept;
  void leave_scene() noexcept;
  [[nodiscard]] ConnectionId id() const { return scenes_.back().id; }
  [[nodiscard]] std::vector<Call>& calls() { return scenes_.back().calls; }
  [[nodiscard]] Call take_call();
  void answered(const locks::Effect& effect);
  void read(ConnectionId id, std::string_view bytes) noexcept;
  void sent(ConnectionId id, std::string_view bytes) noexcept;
  void note_said(Peer& peer, std::string_view said);
  [[nodiscard]] bool may_leave(const Peer& peer) const;
  [[nodiscard]] bool has_claims(const Peer& line) const;
  [[nodiscard]] static bool has_begun(const Peer& caller);
  void check_reason(const Peer& peer, std::string_view why);
  void rest(ConnectionId id, const Peer& peer);

  // The line protocol.
  [[nodiscard]] static std::optional<Frame> read_frame(std::string_view unread);
  [[nodiscard]] std::optional<locks::Command> parse(locks::OwnerId owner,
                                                    const std::vector<std::string>& lines) const;
  void advance_line(Peer& line, const Advance& advance);
  [[nodiscard]] net::Want go_on(Peer& line, const Advance& advance, std::string& replies);
  [[nodiscard]] net::Want carry_out(Peer& line, const Advance& advance, std::string& replies);
  [[nodiscard]] net::Want carry_out(Peer& line, const Frame& frame, std::string& replies);
  [[nodiscard]] std::optional<net::Want> carry_out_word(Peer& line, const Frame& frame,
                                                        std::string& replies);
  [[nodiscard]] std::string stat_of(const locks::Key& key) const;
  [[nodiscard]] bool is_legacy(const locks::Legacy& legacy) const;
  void describe(locks::OwnerId owner, std::uint64_t connection, std::string_view peer,
                std::string_view name);
  [[nodiscard]] net::Want silence(Peer& line, const Advance& advance, std::string& replies) const;
  [[nodiscard]] net::Want refuse(Peer& line, std::string& replies) const;
  [[nodiscard]] static net::Want deny(Peer& line, std::string& replies);
  [[nodiscard]] static net::Want drop(Peer& line);
  void close_owner(Peer& line, bool with_undelivered);
  void rest_line(ConnectionId id, const Peer& line);

  // Callers.
  void advance_caller(Peer& caller, const Advance& advance);
  void begin_wait(Pending& request);
  [[nodiscard]] bool is_held_up(ConnectionId id, const Pending& request) const;
  void respond(Peer& caller, const Response& response, bool silent);
  void respond_on_session(Peer& caller, Pending& request, const Response& response);
  [[nodiscard]] Response outcome(Peer& caller, Pending& request, Session& session);
  void carry_out(Pending& request, Session& session);
  [[nodiscard]] locks::Command command_of(const Pending& request, const Session& session) const;
  void drop_turn(Peer& caller);
  void leave(Peer& caller);
  void give_up(Peer& caller, const Call& call);
  void close_idle(const locks::CloseOwner& command);
  void rest_caller(ConnectionId id, const Peer& caller);
  [[nodiscard]] Session* session_of(locks::OwnerId owner);

  using OwnerKey = std::pair<std::uint32_t, std::uint32_t>;

  const Rules rules_;
  TableOracle table_;
  Time now_{0};
  Time latest_{0};  ///< that there was: clocks step back
  std::map<ConnectionId, Peer> peers_;
  std::map<OwnerKey, ConnectionId> lines_;        ///< by the owner of each
  std::map<OwnerKey, std::uint64_t> session_of_;  ///< the same
  /// What `stat` says of owners, as long as they may have something: a part of its JSON.
  std::map<OwnerKey, std::string> described_;
  std::uint64_t sessions_opened_ = 0;  ///< in this run
  std::map<std::uint64_t, Session> sessions_;
  std::vector<Happening> scenes_;
  std::vector<ConnectionId> touched_;
  ConnectionId last_answered_ = 0;
  base::Batches* batches_ = nullptr;
  bool commits_at_once_ = true;
  std::uint64_t logged_ = 0;  ///< commands, in this run
  std::uint64_t judged_ = 0;  ///< of those
  std::uint64_t sealed_ = 0;
  std::uint64_t committed_ = 0;
  std::uint64_t sealed_batch_ = 0;
  std::optional<std::uint64_t> fences_end_;
  bool looks_away_ = true;
  bool draining_ = false;
  std::string said_;  ///< in the advance that is looked at
  std::string failure_;
  bool undecided_ = false;
  bool tells_ = false;
  std::string story_;
  std::uint64_t requests_ = 0;
  Time last_collection_{0};
  bool collected_ = false;
};

}  // namespace dflockd::simulation
