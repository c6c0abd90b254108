// One connection of the HTTP API, over plain TCP or TLS: reads requests one after the other, and
// answers each before it reads the next.
//
// While a request waits for a lock nothing is read; that the caller leaves is seen all the same, by
// `HangupWatch`. What a client sends ahead stays in the kernel's buffers until its turn comes.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "http/message.hpp"
#include "http/request_reader.hpp"
#include "http/routes.hpp"
#include "net/input_buffer.hpp"
#include "net/net.hpp"
#include "net/plain_stream.hpp"
#include "net/tls_stream.hpp"
#include "reactor/http_api.hpp"
#include "reactor/http_server.hpp"
#include "reactor/http_sessions.hpp"
#include "reactor/stats_reporter.hpp"
#include "reactor/stream_connection.hpp"

namespace dflockd::reactor {

struct AwaitedReport final : StatsReporter::Asker {
  explicit AwaitedReport(const net::Executor& executor)
      : called(executor, net::Timer::time_point::max()) {}
  void on_report(const StatsReporter::Report& made) override {
    report = made;
    called.cancel();
  }
  net::Timer called;
  StatsReporter::Report report;
};

template <class Stream>
class HttpConnection final : public StreamConnection<Stream> {
  using Base = StreamConnection<Stream>;
  using typename Base::Suspension;

 public:
  /// `http` must outlive the connection.
  HttpConnection(HttpServer& http, OwnerInfo info, asio::ip::address peer, access::Gate::Pass pass,
                 typename Stream::Origin origin);
  ~HttpConnection() override;

  /// The connection's life. Owns it, and ends with it.
  static net::Awaitable serve(std::unique_ptr<HttpConnection> self);

  using Base::socket;

  void on_silence() override;
  void on_stuck() override;
  void on_hangup(bool whole) override;
  void on_drain() override;
  void on_stop() override;
  [[nodiscard]] bool busy() const override;

 private:
  using Base::abandon;
  using Base::end;
  using Base::end_handshake;
  using Base::end_stuck;
  using Base::ended_;
  using Base::ending_;
  using Base::hold_back;
  using Base::hung_up_;
  using Base::interrupt;
  using Base::linger;
  using Base::peer_gone;
  using Base::send_slowly;
  using Base::server_;
  using Base::service_;
  using Base::shake_hands;
  using Base::stream_;
  using Base::suspended_in_;
  using Base::watch_;

  /// The answer is a report of its own size, or comes when a change of locks is carried out, or
  /// when whoever does not know the secret has waited, or is not wanted any more.
  struct Report {};
  struct Change {
    LockOperation operation;
    std::shared_ptr<HttpSession> session;
  };
  struct Unauthorized {};
  struct CallerLeft {};
  using Answer = std::variant<http::Response, Report, Change, Unauthorized, CallerLeft>;

  [[nodiscard]] const OwnerInfo& info() const override { return info_; }

  net::Awaitable receive();
  net::Awaitable respond();
  [[nodiscard]] Answer answer();
  [[nodiscard]] Answer answer(const http::Match& match);
  [[nodiscard]] std::optional<http::Failure> refuse_foreign(const http::Route* route);
  [[nodiscard]] Answer change_locks(const http::Match& match);
  net::AwaitableOf<Answer> carry_out_in_turn(const Change& change);
  net::Awaitable send_stats();
  net::Awaitable send(const http::Response& response);
  net::Awaitable refuse(const http::Response& response);
  net::Awaitable send_all(std::string_view bytes);

  [[nodiscard]] http::Response tell(const LockOperation& operation, OperationResult result);
  [[nodiscard]] http::Response open_session();
  [[nodiscard]] bool is_preflight() const;
  [[nodiscard]] http::Response answer_preflight(const http::Route* route) const;
  [[nodiscard]] bool is_authorized() const;
  [[nodiscard]] http::Response to_response(const http::NoMatch& none) const;
  void add_cors(http::Response& response) const;
  void add_keep_alive(http::Response& response) const;
  [[nodiscard]] http::Delivery delivery() const;
  [[nodiscard]] bool is_idle() const;
  [[nodiscard]] bool is_spare() const;
  void count(int status, std::size_t size);

  HttpServer& http_;
  const OwnerInfo info_;
  const asio::ip::address peer_;
  net::InputBuffer input_;
  http::RequestReader reader_;
  std::string_view route_ = "-";    ///< the pattern of the request's route, if it has one
  locks::Instant began_{0};         ///< when the request was whole
  HttpTurn* turn_ = nullptr;        ///< while it waits for its turn or for the lock table
  AwaitedReport* asker_ = nullptr;  ///< while it waits for a report
  bool arriving_ = false;           ///< a request has begun to arrive
  bool had_request_ = false;        ///< one has been whole
  bool keep_alive_ = true;          ///< another request may follow
  bool timed_out_ = false;          ///< the request was not whole in time
};

}  // namespace dflockd::reactor
