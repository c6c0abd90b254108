// The server in the simulation: its real lock table, service, sessions, pumps and watch, over wires
// without sockets, under the clock, the disk and the network of a world.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "access/authenticator.hpp"
#include "access/gate.hpp"
#include "http/http_door.hpp"
#include "net/watch.hpp"
#include "oracle.hpp"
#include "protocol/line_session.hpp"
#include "service/service.hpp"
#include "service/stats_reporter.hpp"
#include "sight.hpp"
#include "support/simulated_stream.hpp"

namespace dflockd::simulation {

class Server final : private service::Host {
 public:
  struct Setup {
    service::ServiceOptions options;
    Time now{0};
    std::uint64_t first_fence = 0;
    std::uint64_t fences_end = 0;
    bool reserves = false;          ///< there are more fences to be had
    std::uint64_t salt_stream = 0;  ///< see `Salts`
    std::string secret;             ///< none: nobody has to authenticate
    net::Watch::Timeouts timeouts;
    std::chrono::seconds session_idle{20};
    bool commits_at_once = true;
  };

  /// `oracle`, which was told of the start, is told of everything, and must outlive the server.
  Server(const Setup& setup, Oracle& oracle);
  ~Server();

  /// The time of what happens next.
  void set_now(Time now) { clock_.set(now); }

  /// A connection is accepted. It ends with its pump.
  void accept(ConnectionId id, Door door, std::shared_ptr<net::SimulatedWire> wire);
  /// The system tells the server that a peer has hung up.
  void notice(ConnectionId id, bool whole);
  /// Has the loop carry out one thing that is ready. False if there is none.
  bool turn();

  /// The timer fires, once.
  void fire();
  /// When it is to fire.
  [[nodiscard]] Time timer() const { return timer_; }
  /// What the server does some times a second.
  void tick();
  void start_draining();
  /// A drain is over, and everything was ended.
  [[nodiscard]] bool stopped() const { return stopped_; }

  /// Whether fences are to be reserved, until `reserved`.
  [[nodiscard]] bool wants_fences() const { return wants_fences_; }
  void reserved(const fencing::FenceReserver::Result& result);

  [[nodiscard]] const service::Service& service() const { return service_; }
  [[nodiscard]] std::size_t connections() const { return pumps_.size(); }
  [[nodiscard]] std::size_t callers() const { return http_door_.callers.size(); }

 private:
  class Tap;
  using Pump = net::Pump<net::SimulatedStream>;

  void set_timer(locks::Instant deadline) override { timer_ = deadline; }
  void reserve_fences(std::uint64_t /*count*/) override { wants_fences_ = true; }
  [[nodiscard]] std::unique_ptr<net::Session> session(ConnectionId id, Door door, Tap& outlet);
  void continue_draining();
  void stop();

  Oracle& oracle_;
  asio::io_context context_{ASIO_CONCURRENCY_HINT_UNSAFE};
  base::LoopClock clock_;
  service::Service service_;
  net::Turns turns_{context_, std::chrono::milliseconds(0)};
  net::Complaints complaints_;
  net::PumpRoom room_{.context = context_,
                      .clock = clock_,
                      .batches = service_.batches(),
                      .turns = turns_,
                      .complaints = complaints_};
  net::Watch line_watch_;
  net::Watch http_watch_;
  access::Gate gate_{"simulated", {}};
  access::Authenticator authenticator_;
  metrics::Metrics metrics_;
  service::StatsReporter stats_;
  protocol::LineDoor line_door_;
  std::uint64_t last_number_ = 0;
  http::HttpDoor http_door_;
  std::map<ConnectionId, Pump*> pumps_;
  Time timer_ = kNever;
  bool wants_fences_ = false;
  bool stopped_ = false;
  Time nothing_held_until_ = kNever;
};

}  // namespace dflockd::simulation
