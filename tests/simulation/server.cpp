#include "server.hpp"

#include <cstring>
#include <exception>

#include <asio/co_spawn.hpp>
#include <asio/post.hpp>

#include "http/http_session.hpp"

namespace dflockd::simulation {

namespace {

using net::Want;

/// Where the salts of the server that draws come from. A pool's source knows no context.
thread_local Salts salts;
thread_local std::uint64_t salts_drawn = 0;

/// A source that makes the pool, which hands out from its end, hand out the salts in order.
ssize_t draw_salts(void* bytes, std::size_t size, unsigned int /*flags*/) {
  const std::size_t count = size / sizeof(std::uint64_t);
  for (std::size_t at = 0; at < count; ++at) {
    const std::uint64_t salt = salts.at(salts_drawn + count - 1 - at);
    std::memcpy(static_cast<char*>(bytes) + at * sizeof salt, &salt, sizeof salt);
  }
  salts_drawn += count;
  return static_cast<ssize_t>(size);
}

fencing::SaltPool::Source source_of(std::uint64_t stream) {
  salts = {stream};
  salts_drawn = 0;
  return draw_salts;
}

/// As the server's: what is still to be answered when nothing is held has a second.
constexpr Time kLastAnswers = std::chrono::seconds(1);

const asio::ip::address kAnybody = asio::ip::make_address("192.0.2.1");

}  // namespace

/// Stands between a pump and its session, and tells the oracle what passes.
class Server::Tap final : public net::Session, public net::Outlet {
 public:
  Tap(Server& server, ConnectionId id, Door door, net::Outlet& outlet)
      : server_(server), oracle_(server.oracle_), id_(id), outlet_(outlet) {
    const Oracle::Scene scene(oracle_, id_);
    session_ = server.session(id, door, *this);
    oracle_.accepted();
  }
  ~Tap() override {
    const Oracle::Scene scene(oracle_, id_);
    session_.reset();
    oracle_.gone(id_);
    server_.pumps_.erase(id_);
  }

  Want advance(net::InputBuffer& input, net::Output& output) override {
    return tell(input, output, false, [&] { return session_->advance(input, output); });
  }
  Want on_silence(const net::InputBuffer& input, net::Output& output) override {
    return tell(input, output, true, [&] { return session_->on_silence(input, output); });
  }
  void on_hangup(bool gone) override {
    const Oracle::Scene scene(oracle_, id_);
    session_->on_hangup(gone);
    oracle_.hung_up();
  }
  void on_sending_to_nobody(bool all_carried_out) override {
    const Oracle::Scene scene(oracle_, id_);
    session_->on_sending_to_nobody(all_carried_out);
    oracle_.sent_to_nobody();
  }
  void on_end(std::string_view unsent, std::string_view why) override {
    const Oracle::Scene scene(oracle_, id_);
    oracle_.ends(why);
    session_->on_end(unsent, why);
    oracle_.ended();
  }
  [[nodiscard]] net::Patience patience(const net::InputBuffer& input) const override {
    return session_->patience(input);
  }
  [[nodiscard]] bool is_spare(const net::InputBuffer& input) const override {
    return session_->is_spare(input);
  }
  [[nodiscard]] bool is_new() const override { return session_->is_new(); }
  [[nodiscard]] net::Peer peer() const override { return session_->peer(); }

  void wake() noexcept override { outlet_.wake(); }
  void answer() noexcept override { outlet_.answer(); }
  [[nodiscard]] bool peer_gone() noexcept override { return outlet_.peer_gone(); }

 private:
  template <class Call>
  Want tell(const net::InputBuffer& input, const net::Output& output, bool silent, Call call) {
    const Oracle::Scene scene(oracle_, id_);
    const std::string before(input.unread());
    const std::size_t said = output.bytes.size();
    const Want want = call();
    oracle_.advanced({.unread = before,
                      .taken = before.size() - input.unread().size(),
                      .said = std::string_view(output.bytes).substr(said),
                      .want = want,
                      .silent = silent});
    return want;
  }

  Server& server_;
  Oracle& oracle_;
  const ConnectionId id_;
  net::Outlet& outlet_;
  std::unique_ptr<net::Session> session_;
};

Server::Server(const Setup& setup, Oracle& oracle)
    : oracle_(oracle),
      clock_(setup.now),
      service_(
          setup.options, clock_, *this,
          {.first = setup.first_fence, .end = setup.fences_end, .can_be_reserved = setup.reserves},
          source_of(setup.salt_stream), &oracle),
      line_watch_(context_, clock_, setup.timeouts),
      http_watch_(context_, clock_,
                  {setup.timeouts.read, setup.timeouts.write, std::chrono::seconds(120)}),
      authenticator_(setup.secret),
      metrics_(service::labels(), service::status_names()),
      stats_(
          service_, [this] { return connections(); },
          [this] {
            asio::post(context_, [this] {
              while (stats_.step()) {
              }
            });
          }),
      line_door_{.service = service_,
                 .stats = stats_,
                 .authenticator = authenticator_,
                 .metrics = metrics_,
                 .complaints = complaints_,
                 .ends_idle = setup.timeouts.idle > std::chrono::seconds::zero()},
      http_door_(http::Surroundings{.service = service_,
                                    .clock = clock_,
                                    .stats = stats_,
                                    .authenticator = authenticator_,
                                    .metrics = metrics_,
                                    .complaints = complaints_,
                                    .metrics_text = [] { return std::string(); },
                                    .last_connection_id = last_number_,
                                    .draining = room_.draining},
                 {.rate = {},
                  .sessions = {.idle_timeout = setup.session_idle},
                  .allowed_hosts = {},
                  .allowed_origins = {}}) {
  oracle_.use(service_.batches(), setup.commits_at_once);
}

/// Whatever the connections are doing, they end now, and the oracle has looked away.
Server::~Server() {
  oracle_.look_away();
  stop();
  while (turn()) {
  }
}

std::unique_ptr<net::Session> Server::session(ConnectionId id, Door door, Tap& outlet) {
  if (door == Door::kLines) {
    return std::make_unique<protocol::LineSession>(line_door_, outlet,
                                                   service::OwnerInfo{id, "peer:1"});
  }
  return std::make_unique<http::HttpSession>(
      http_door_, outlet,
      http::HttpSession::Origin{.connection_id = id,
                                .peer_text = "peer:1",
                                .peer = kAnybody,
                                .local_address = "127.0.0.1"});
}

void Server::accept(ConnectionId id, Door door, std::shared_ptr<net::SimulatedWire> wire) {
  const bool lines = door == Door::kLines;
  auto pump = std::make_unique<Pump>(
      room_, lines ? line_watch_ : http_watch_, *gate_.admit(kAnybody, clock_.now()),
      net::SimulatedStream::Origin{context_, std::move(wire)},
      lines ? protocol::LineSession::kMostInput : http::HttpSession::kMostInput);
  pumps_[id] = pump.get();
  auto session = std::make_unique<Tap>(*this, id, door, pump->outlet());
  asio::co_spawn(context_.get_executor(), Pump::serve(std::move(pump), std::move(session)),
                 [](const std::exception_ptr& failure) noexcept {
                   if (failure) std::rethrow_exception(failure);
                 });
}

void Server::notice(ConnectionId id, bool whole) {
  if (const auto pump = pumps_.find(id); pump != pumps_.end()) pump->second->on_hangup(whole);
}

bool Server::turn() {
  context_.restart();
  return context_.poll_one() > 0;
}

void Server::fire() {
  timer_ = kNever;
  service_.on_timer();
}

void Server::tick() {
  service_.tick();
  line_watch_.tick();
  http_watch_.tick();
  http_door_.tick();
  if (room_.draining) continue_draining();
}

void Server::start_draining() {
  room_.draining = true;
  service_.start_draining();
  continue_draining();
}

/// As `server::Server` does it.
void Server::continue_draining() {
  if (stopped_) return;
  const bool lines_busy = line_watch_.drain();
  const bool http_busy = http_watch_.drain();
  if (service_.held() > 0) return;
  if (nothing_held_until_ == kNever) nothing_held_until_ = clock_.now() + kLastAnswers;
  if (clock_.now() >= nothing_held_until_) return stop();
  if (lines_busy || http_busy) return;
  asio::post(context_, [this] {
    if (stopped_) return;
    const bool lines = line_watch_.drain();
    const bool http = http_watch_.drain();
    if (service_.held() == 0 && !lines && !http) stop();
  });
}

void Server::stop() {
  stopped_ = true;
  line_watch_.stop();
  http_watch_.stop();
}

void Server::reserved(const fencing::FenceReserver::Result& result) {
  wants_fences_ = false;
  service_.take_reservation(result);
}

}  // namespace dflockd::simulation
