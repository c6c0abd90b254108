// HTTP connections in memory: sessions with what they need around them, and no socket. Time is
// simulated.
//
//   Server server;
//   Connection connection(server);
//   EXPECT_EQ(connection.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>

#include "access/authenticator.hpp"
#include "base/loop_clock.hpp"
#include "http/http_door.hpp"
#include "http/http_session.hpp"
#include "metrics/metrics.hpp"
#include "net/complaints.hpp"
#include "net/input_buffer.hpp"
#include "net/session.hpp"
#include "service/service.hpp"
#include "service/stats_reporter.hpp"
#include "service/verbs.hpp"

namespace dflockd::http {

/// The first response in `bytes`, and what follows it.
struct Answer {
  int status = 0;
  std::string head;
  std::string body;
  std::string rest;

  [[nodiscard]] bool has(std::string_view line) const {
    return head.find(std::string(line) + "\r\n") != std::string::npos;
  }
};

[[nodiscard]] Answer parse_answer(const std::string& bytes, bool of_head = false);
[[nodiscard]] std::vector<Answer> parse_answers(std::string bytes);

/// A request with these further header lines, each ended by CR and LF, and a Content-Length.
[[nodiscard]] std::string request(std::string_view line, std::string_view body = {},
                                  std::string_view fields = {});

class Server final : private service::Host {
 public:
  struct Setup {
    DoorOptions options{};
    service::ServiceOptions service{};
    std::string secret{};
  };

  Server() : Server(Setup{}) {}
  explicit Server(const Setup& setup);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Lets time pass, with a tick every 50 ms.
  void pass(base::Instant time);
  /// Lets time pass without one, as if the process was stopped.
  void skip(base::Instant time) { clock_.set(clock_.now() + time); }
  void tick();
  void drain();
  /// Makes the report that sessions wait for.
  void report() {
    while (stats_.step()) {
    }
  }
  /// Opens a caller's session, and returns its id.
  [[nodiscard]] std::string open_session(std::string_view body = {});

  [[nodiscard]] HttpDoor& door() { return door_; }
  [[nodiscard]] const locks::TableCounts& counts() { return service_.counts(); }
  [[nodiscard]] std::uint64_t auth_failures() { return metrics_.auth_failures("http").value(); }
  [[nodiscard]] std::uint64_t counted(std::string_view method, std::string_view route, int status) {
    return metrics_.http_requests(method, route, status).value();
  }

 private:
  void set_timer(locks::Instant /*deadline*/) override {}
  void reserve_fences(std::uint64_t /*count*/) override {}

  base::LoopClock clock_{std::chrono::hours(1'000'000)};
  service::Service service_;
  service::StatsReporter stats_;
  access::Authenticator authenticator_;
  metrics::Metrics metrics_{service::labels(), service::status_names()};
  net::Complaints complaints_;
  std::uint64_t last_connection_id_ = 0;
  bool draining_ = false;
  HttpDoor door_;
};

class Connection final : public net::Outlet {
 public:
  explicit Connection(Server& server, const char* peer = "127.0.0.1");
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { end(); }

  /// Has bytes arrive, and advances the session as far as it goes. The answer is the first.
  Answer send(std::string_view bytes);
  /// The same without looking at what it says: see `take`.
  net::Want arrive(std::string_view bytes);
  /// Has bytes arrive, and no more.
  void lay(std::string_view bytes);
  /// Advances the session as far as it goes, once if `once`.
  net::Want advance(bool once = false);
  /// Advances it if it was woken up.
  net::Want go_on();
  net::Want be_silent();
  void hang_up(bool gone = false);
  void end(std::string_view why = {});

  /// What the session has said since the last call.
  [[nodiscard]] std::string take();
  [[nodiscard]] Answer take_answer() { return parse_answer(take()); }

  [[nodiscard]] net::Patience patience() const { return session_->patience(input_); }
  [[nodiscard]] bool is_spare() const { return session_->is_spare(input_); }
  [[nodiscard]] bool is_new() const { return session_->is_new(); }

  net::Want want = net::Want::kInput;
  net::SharedText text;  ///< what followed the bytes
  bool woken = false;
  bool served = false;   ///< a request was taken whole in the last turn
  bool is_gone = false;  ///< what `peer_gone` says

 private:
  void wake() noexcept override { woken = true; }
  void answer() noexcept override { woken = true; }
  [[nodiscard]] bool peer_gone() noexcept override { return is_gone; }

  void note(net::Output& output);

  net::InputBuffer input_{HttpSession::kMostInput};
  std::string said_;
  std::unique_ptr<HttpSession> session_;
};

}  // namespace dflockd::http
