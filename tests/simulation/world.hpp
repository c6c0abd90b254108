// A world made from one seed: a server, its disk and its clock, clients and the network between
// them, and the oracle that looks on.
//
// Two times: the world's own, in which everything happens one after the other, and what the server
// reads from its clock, which jumps. A step is one thing that happens to the server, or one handler
// that its loop carries out. The oracle judges each.
#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "caller.hpp"
#include "client.hpp"
#include "disk.hpp"
#include "fencing/fence_file.hpp"
#include "oracle.hpp"
#include "random.hpp"
#include "server.hpp"
#include "sight.hpp"

namespace dflockd::simulation {

/// What has happened, in one world or in many.
struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t steps = 0;
  std::uint64_t requests = 0;
  std::uint64_t grants = 0;
  std::uint64_t expiries = 0;
  std::uint64_t disconnects = 0;
  std::uint64_t drains = 0;
  std::uint64_t crashes = 0;
  std::uint64_t faults = 0;
  std::uint64_t undecided = 0;  ///< worlds that ended early
  std::uint64_t simulated_ms = 0;

  Totals& operator+=(const Totals& other);
};

/// From here on what costs time in proportion to everything there is is done less often.
inline constexpr std::size_t kLarge = 150;

class World {
 public:
  /// `trace`, if not null, gets a line for each step.
  World(std::uint64_t seed, std::FILE* trace);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Lives to its end. Throws Violation.
  Totals run();

  /// The step that is under way.
  [[nodiscard]] std::uint64_t step() const { return totals_.steps; }
  [[nodiscard]] std::string where() const;

 private:
  enum class What : std::uint8_t {
    kAct,        ///< a client does something
    kCall,       ///< a caller does
    kArrive,     ///< bytes reach the server's system
    kReply,      ///< replies reach the client
    kLeave,      ///< the end of a connection reaches the server's system
    kNotice,     ///< and the server
    kPauseOver,  ///< whoever was denied has been kept waiting
    kRead,       ///< the peer reads again
    kOver,       ///< the server's end of a connection has reached the client
    kTick,
    kCommit,
    kReserve,   ///< the disk is asked for fences
    kReserved,  ///< and has answered
    kStart,
    kCrash,
    kDrain,
    kClock,
    kWeather,  ///< the disk's
  };
  struct Event {
    Time at{0};
    std::uint64_t number = 0;
    What what{};
    std::uint64_t who = 0;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };
  struct Link {
    ConnectionId id = 0;
    Door door = Door::kLines;
    std::size_t client = 0;  ///< or caller
    std::shared_ptr<net::SimulatedWire> wire;
    std::deque<std::string> inbound;
    std::deque<std::string> outbound;
    Time last_in{0};
    Time last_out{0};
    bool left = false;   ///< its client uses it no more
    bool whole = false;  ///< when its peer leaves, that reads nothing more either
  };
  using Links = std::map<ConnectionId, Link>;

  [[nodiscard]] std::size_t draw_client_count();
  [[nodiscard]] std::chrono::seconds draw_orphan_ttl();
  [[nodiscard]] Rules draw_rules();
  [[nodiscard]] service::ServiceOptions options() const;
  void draw_faults();
  void make_neighbourhood();
  [[nodiscard]] std::string draw_ref();
  void make_clients();
  void make_history();

  [[nodiscard]] Time reading() const { return time_ + offset_; }
  [[nodiscard]] Time moment(Time usual, unsigned coincidence = 15);
  [[nodiscard]] Time span(Time longest);
  void plan(Time at, What what, std::uint64_t who = 0);
  [[nodiscard]] Time timer_due();
  [[nodiscard]] Time some_deadline();
  void happen(const Event& event);
  void happen(const Event& event, Link& link);

  void act(std::size_t number);
  void call(std::size_t number);
  ConnectionId connect(Door door, std::size_t number);
  void stall(Link& link);
  void send(Link& link, ConnectionId id, const std::string& bytes, bool in_pieces);
  void vanish(Link& link);
  void vanish(Link& link, bool at_once);
  void forget(Link& link);
  void hang_up(ConnectionId id);
  void arrive(ConnectionId id, Link& link);
  void leave(ConnectionId id, Link& link);
  void reply(ConnectionId id, Link& link);
  void over(ConnectionId id, Link& link);

  void start_server();
  void end_process(unsigned percent);
  void crash();
  void end_server();
  void reserve();
  void reserved();
  void set_clock();
  void tick();
  void drain();
  void commit();

  template <class Act>
  bool step(const char* what, std::uint64_t who, Act act);
  void turn();
  void deliver(ConnectionId id);
  void live();
  void finish();
  void end_leases();
  void introduce() const;
  void tell();

  const std::uint64_t seed_;
  std::FILE* const trace_;
  Random random_;
  Totals totals_;
  const char* what_ = "begin";
  std::uint64_t who_ = 0;

  // What is drawn in the beginning.
  const std::size_t client_count_;
  const Rules rules_;
  Neighbourhood neighbourhood_;
  std::vector<Client> clients_;
  std::vector<Caller> callers_;
  Time pace_{0};  ///< a client does something in about every such time
  std::uint64_t most_steps_ = 0;
  bool has_fence_file_ = false;
  std::uint64_t fence_step_ = 1;
  std::uint64_t wall_clock_ = 0;
  Time disk_latency_{0};
  bool crashes_ = false;
  bool disk_fails_ = false;
  bool clock_jumps_ = false;
  bool timer_is_late_ = false;
  std::uint64_t lateness_of_turns_ = 1;  ///< one turn in so many comes after something else
  unsigned callers_vanish_ = 0;          ///< so many of a hundred times when they wait
  bool commits_at_once_ = true;
  Time commit_latency_{0};

  Time time_{0};
  Time start_{0};
  Time offset_{0};
  std::uint64_t events_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> queue_;
  Links links_;
  ConnectionId last_connection_ = 0;
  std::vector<KnownSession> sessions_;
  std::uint64_t last_session_ = 0;

  Disk disk_;
  Oracle oracle_;
  std::unique_ptr<Server> server_;
  std::optional<fencing::FenceFile> file_;
  std::uint64_t run_ = 0;  ///< of the server
  bool reserving_ = false;
  bool committing_ = false;
  std::uint64_t rested_at_ = 0;  ///< the step after which the server was last seen at rest
  fencing::FenceReserver::Result reservation_;
  Time no_reservation_before_{0};
  unsigned failed_starts_ = 0;
  std::uint64_t cut_starts_ = 0;  ///< how many of the next starts are cut off
  Time late_for_{0};              ///< the deadline for which the timer's lateness was drawn
  Time lateness_{0};
  bool draining_ = false;
  Time nothing_held_since_ = kNever;
};

}  // namespace dflockd::simulation
