// HTTP/1.1 on one connection: reads one request after the other and answers each before the next. A
// state machine over bytes; see `net::Session`.
//
// What is wrong first is answered first. As soon as the head is there: another host or page (403),
// credentials (401), rate (429), route (404, 405), session (400, 410), all before the body is read
// or `100 Continue` is said; then the body (400, 413), then what the lock table says.
//
// | phase     | it is, and `advance`       | silence      | the peer hangs up    | a drain      |
// |-----------|----------------------------|--------------|----------------------|--------------|
// | new       | before its first head:     | 400 if a     | answers what it      | ends it      |
// |           | reads, judges, answers     | request      | sent, then ends      | after a      |
// |           |                            | began; ends  |                      | second       |
// | open      | between two requests, or   | the same     | the same             | ends it      |
// |           | in one: the same           |              |                      | between two  |
// | skipping  | answered before the body   | ends         | the same             | -            |
// |           | came: throws that away     |              |                      |              |
// | denied    | without credentials: 401   | -            | -                    | -            |
// |           | after the pause            |              |                      |              |
// | queued    | not the first on its       | -            | gives up, unless it  | -            |
// |           | caller's session: goes on  |              | needs no caller      |              |
// |           | when it is; 410 if that    |              |                      |              |
// |           | was closed; gives up, 400, |              |                      |              |
// |           | if too much is sent ahead  |              |                      |              |
// | blocked   | in the lock table's queue: | -            | gives up its place;  | the table    |
// |           | says what that does; 410   |              | a grant goes on      | answers it   |
// |           | and 400 the same           |              |                      |              |
// | reporting | waiting for `stats`        | -            | ends if nobody reads | -            |
// | reported  | with `stats` there: says   | -            | the same             | -            |
// |           | it                         |              |                      |              |
// | closing   | done: closes               | -            | -                    | -            |
// | dropped   | not to say more: drops it  | -            | -                    | -            |
//
// A release or renewal that is queued does not need its caller: it is carried out though the peer
// has hung up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <asio/ip/address.hpp>

#include "http/callers.hpp"
#include "http/http_door.hpp"
#include "http/lock_api.hpp"
#include "http/message.hpp"
#include "http/request_reader.hpp"
#include "http/routes.hpp"
#include "net/session.hpp"
#include "service/stats_reporter.hpp"

namespace dflockd::http {

class HttpSession final : public net::Session, private service::StatsReporter::Asker {
 public:
  /// In one turn no more is answered than this many requests, nor a further one after this many
  /// bytes: less than a millisecond's work.
  static constexpr int kRequestsATurn = 32;
  static constexpr std::size_t kBytesATurn = 64UL * 1024;
  /// A request with a larger body has a turn of its own.
  static constexpr std::size_t kLargeBody = 16UL * 1024;

  /// Room for a head and what comes with it; as much may be sent ahead while a request blocks. Not
  /// reading any further instead of refusing would hide that the caller leaves: over TLS that is
  /// behind the rest.
  static constexpr std::size_t kMostInput = 2 * RequestReader::kMaxHead;

  /// Who is at the other end, and how the connection came.
  struct Origin {
    std::uint64_t connection_id;
    std::string peer_text;  ///< "address:port"
    asio::ip::address peer;
    std::string local_address;  ///< at this end; needed only where no secret is demanded
    bool tls = false;
  };

  /// `door` and `outlet` must outlive the session.
  HttpSession(HttpDoor& door, net::Outlet& outlet, Origin origin);

  net::Want advance(net::InputBuffer& input, net::Output& output) override;
  [[nodiscard]] net::Patience patience(const net::InputBuffer& input) const override;
  net::Want on_silence(const net::InputBuffer& input, net::Output& output) override;
  void on_hangup(bool gone) override;
  void on_sending_to_nobody(bool /*all_carried_out*/) override {}  // it holds nothing itself
  [[nodiscard]] bool is_spare(const net::InputBuffer& input) const override;
  [[nodiscard]] bool is_new() const override;
  void on_end(std::string_view unsent, std::string_view why) override;
  [[nodiscard]] net::Peer peer() const override;

 private:
  enum class Phase : std::uint8_t {
    kNew,
    kOpen,
    kSkipping,
    kDenied,
    kQueued,
    kBlocked,
    kReporting,
    kReported,
    kClosing,
    kDropped,
  };

  void on_report(const service::StatsReporter::Report& report) override;

  net::Want go_on(net::InputBuffer& input, net::Output& output);
  net::Want read(net::InputBuffer& input, net::Output& output);
  [[nodiscard]] net::Want want() const;
  void note_followers(const net::InputBuffer& input);
  [[nodiscard]] bool is_waiting() const;

  // The head.
  void judge(std::string& out);
  [[nodiscard]] std::optional<Response> judge(const std::variant<Match, NoMatch, Failure>& found);
  [[nodiscard]] std::optional<Failure> refuse_foreign();
  [[nodiscard]] bool is_authorized() const;
  [[nodiscard]] bool is_preflight() const;
  [[nodiscard]] std::optional<Response> find_session();
  void answer_head(Response response, std::string& out);

  // The whole request.
  void carry_out(std::string& out);
  void ask_stats(std::string& out);
  [[nodiscard]] Response carry_out_on_session();
  [[nodiscard]] Response open_session();
  void begin_change(std::string& out);
  void change(std::string& out);
  void end_change(Response response, std::string& out);
  [[nodiscard]] Response tell(OperationResult result);
  void refuse_change(std::string& out);
  void withdraw();
  void leave();

  // Answers.
  void answer(Response response, std::string& out);
  void answer_report(net::Output& output);
  void refuse(Response response, std::string& out);
  void end_request();
  void prepare(Response& response);
  [[nodiscard]] Delivery delivery();
  void count(int status, std::size_t size);

  HttpDoor& door_;
  net::Outlet& outlet_;
  const Origin origin_;
  RequestReader reader_;
  const Route* route_ = nullptr;            ///< of the request, or another one of its path
  std::string parameter_;                   ///< in its path
  std::shared_ptr<CallerSession> caller_;   ///< that it names
  std::optional<LockOperation> operation_;  ///< that is being carried out, in a turn
  std::optional<Turn> turn_;
  service::StatsReporter::Report report_;  ///< in phase `kReported`
  base::Instant began_{0};                 ///< when the request was whole, or its head was refused
  std::string_view ending_ = "peer_left";  ///< why the connection ends, for the log
  Phase phase_ = Phase::kNew;
  bool keep_alive_ = true;  ///< another request may follow
  bool hung_up_ = false;    ///< the peer sends nothing more
  bool served_ = false;     ///< a request was taken whole in this turn
  bool followed_ = false;   ///< more has arrived behind the request
};

}  // namespace dflockd::http
