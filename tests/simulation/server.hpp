// The server in the simulation: its real lock table, service core, framing, parsing, dispatch and
// replies. Only what stands around them is simulated: a connection hands whole requests on one at a
// time, and keeps what its peer has not taken.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/framer.hpp"
#include "service/service.hpp"
#include "sight.hpp"

namespace dflockd::simulation {

/// The service with what is around it: what it calls for is noted here; the world sees to it.
class Server final : private service::Host {
 public:
  struct Setup {
    service::ServiceOptions options;
    Time now{0};
    std::uint64_t first_fence = 0;
    std::uint64_t fences_end = 0;
    bool reserves = false;          ///< there are more fences to be had
    std::uint64_t salt_stream = 0;  ///< see `Salts`
  };

  explicit Server(const Setup& setup);

  /// The time of the requests to come.
  void set_now(Time now) { clock_.set(now); }

  [[nodiscard]] service::Service& service() { return service_; }
  [[nodiscard]] const service::Service& service() const { return service_; }

  /// The timer fires, once.
  void fire();
  /// When it is to fire.
  [[nodiscard]] Time timer() const { return timer_; }
  /// Whether fences are to be reserved, until `reserved`.
  [[nodiscard]] bool wants_fences() const { return wants_fences_; }
  void reserved(const fencing::FenceReserver::Result& result);

  /// Who was said what since the last call of `look`.
  std::vector<Said> said;

  /// Brings everything that there is to see into `sight`.
  void look(Sight& sight);

 private:
  void set_timer(locks::Instant deadline) override { timer_ = deadline; }
  void reserve_fences(std::uint64_t /*count*/) override { wants_fences_ = true; }

  base::LoopClock clock_;
  service::Service service_;
  Time timer_ = kNever;
  bool wants_fences_ = false;
};

/// A connection as the server sees it.
class Connection final : public service::Waiter {
 public:
  Connection(Server& server, ConnectionId id);
  ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  enum class Progress { kNothing, kCarriedOut, kBlocked, kRefused };

  void receive(std::string_view bytes) { input_ += bytes; }
  /// Carries out the first request, if it has arrived. After `kRefused` the owner is closed.
  Progress handle_one();
  /// Calls off what it waits for, without a reply, as an HTTP session does whose caller has left.
  /// There may be a reply all the same, if the wait was over by now.
  void cancel_wait();
  /// Ends the connection: nothing but the destructor may follow. `release_all`: as the end of an
  /// HTTP session does.
  void close(bool release_all);

  [[nodiscard]] ConnectionId id() const { return id_; }
  [[nodiscard]] locks::OwnerId owner() const { return owner_; }
  [[nodiscard]] bool blocked() const { return blocked_; }
  /// What has arrived and was not carried out yet.
  [[nodiscard]] std::string_view received() const { return input_; }

  /// Replies that are to be sent.
  std::string unsent;
  /// The peer has left, whether or not it has been noticed yet.
  bool peer_gone = false;
  /// It has been noticed.
  bool hung_up = false;
  /// A reply came while the connection was blocked: there may be more to carry out.
  bool woken = false;

 private:
  void wait_over(const locks::Answer& answer) noexcept override;
  void say(const std::string& line);

  Server& server_;
  const ConnectionId id_;
  const locks::OwnerId owner_;
  std::string input_;
  protocol::Framer framer_;
  bool blocked_ = false;
};

}  // namespace dflockd::simulation
