// The line protocol on one connection: reads requests, has them carried out in order, and says the
// replies. A state machine over bytes; see `net::Session`.
//
// | phase     | it is, and `advance`     | silence        | the peer hangs up    | a drain      |
// |-----------|--------------------------|----------------|----------------------|--------------|
// | new       | before its first         | `error`,       | carries out what it  | ends it      |
// |           | request: carries out     | closes         | sent, then ends      | after a      |
// |           | what is complete         |                |                      | second       |
// | open      | between two requests, or | `error` if a   | the same             | ends it if   |
// |           | in one: the same         | request began; |                      | it holds     |
// |           |                          | ends if idle   |                      | nothing      |
// | waiting   | a request blocks: waits  | -              | ends at once: the    | the table    |
// |           | on; `error` if too much  |                | place is given up    | answers it   |
// |           | is sent ahead            |                |                      |              |
// | answered  | the answer is there:     | -              | ends at once: a      | -            |
// |           | says it, goes on         |                | grant goes on        |              |
// | reporting | waiting for `stats`      | -              | ends if nobody reads | -            |
// | reported  | with `stats` there: says | -              | the same             | -            |
// |           | it, goes on              |                |                      |              |
// | denied    | `error_auth` is said:    | -              | -                    | -            |
// |           | drops it after the pause |                |                      |              |
// | closing   | the last reply is said:  | -              | -                    | -            |
// |           | closes                   |                |                      |              |
// | dropped   | nobody is to hear more:  | -              | -                    | -            |
// |           | drops it                 |                |                      |              |
//
// A peer that leaves with replies unsent has not heard of the grants in them: where grants outlive
// connections, those end with this one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "access/authenticator.hpp"
#include "net/complaints.hpp"
#include "net/session.hpp"
#include "protocol/commands.hpp"
#include "protocol/framer.hpp"
#include "service/service.hpp"
#include "service/stats_reporter.hpp"

namespace dflockd::protocol {

/// What all sessions of the line protocol share. Everything it refers to must outlive them; the
/// secret may be replaced meanwhile.
struct LineDoor {
  service::Service& service;
  service::StatsReporter& stats;
  const access::Authenticator& authenticator;
  metrics::Metrics& metrics;
  net::Complaints& complaints;
  bool ends_idle = false;  ///< there is a limit to how long a connection may be idle
};

class LineSession final : public net::Session, private service::Waiter {
 public:
  /// How much a client may send ahead while a request of its blocks. It holds any one request. Not
  /// reading any further instead of refusing would hide the end of the stream behind the rest.
  static constexpr std::size_t kMostInput = 1024UL * 1024;
  static_assert(kMostInput > kMaxFrame);

  /// How many requests are carried out in one turn, about a tenth of a millisecond's work.
  static constexpr int kRequestsATurn = 64;

  /// `door` and `outlet` must outlive the session.
  LineSession(LineDoor& door, net::Outlet& outlet, service::OwnerInfo info);
  ~LineSession() override;

  net::Want advance(net::InputBuffer& input, net::Output& output) override;
  [[nodiscard]] net::Patience patience(const net::InputBuffer& input) const override;
  net::Want on_silence(const net::InputBuffer& input, net::Output& output) override;
  void on_hangup(bool gone) override;
  void on_sending_to_nobody(bool all_carried_out) override;
  [[nodiscard]] bool is_spare(const net::InputBuffer& input) const override;
  [[nodiscard]] bool is_new() const override { return !served_; }
  void on_end(std::string_view unsent, std::string_view why) override;
  [[nodiscard]] net::Peer peer() const override;

 private:
  enum class Phase : std::uint8_t {
    kNew,
    kOpen,
    kWaiting,
    kAnswered,
    kReporting,
    kReported,
    kDenied,
    kClosing,
    kDropped,
  };

  void wait_over(const locks::Answer& answer) noexcept override;

  net::Want carry_out(net::InputBuffer& input, std::string& replies);
  net::Want carry_out(const Frame& frame, net::InputBuffer& input, std::string& replies);
  [[nodiscard]] bool must_authenticate(const Request& request) const;
  [[nodiscard]] bool authenticate(const Request& request, std::string_view argument,
                                  std::string& replies);
  net::Want refuse(std::string_view why, std::string& replies);
  net::Want deny(std::string_view why, std::string& replies);
  net::Want drop(std::string_view why);
  [[nodiscard]] bool has_nothing(const net::InputBuffer& input) const;
  void take_answer(std::string& replies);
  void take_report(net::Output& output);
  void leave(std::string_view unsent);
  [[nodiscard]] std::vector<std::uint64_t> undelivered(std::string_view unsent) const;
  void count(std::size_t label, Status status);
  void log_request(const Lines& lines, std::string_view reply) const;

  LineDoor& door_;
  net::Outlet& outlet_;
  const locks::OwnerId owner_;
  Framer framer_;
  locks::Answer answer_;                ///< to the request that blocked, until it is said
  struct Question;                      ///< for a report
  std::unique_ptr<Question> question_;  ///< in phases `kReporting` and `kReported`
  std::unique_ptr<const service::OwnerInfo> left_as_;  ///< who its owner was, once that is closed
  std::string_view ending_ = "peer_left";  ///< why the connection ends, for the log; a literal
  Phase phase_ = Phase::kNew;
  std::uint8_t blocked_label_ = 0;  ///< of the request that waits, for the metrics
  bool authenticated_;              ///< or need not
  bool served_ = false;             ///< has had a request besides `auth`, `stable-ref` and `name`
  bool hung_up_ = false;            ///< the peer sends no more
};

}  // namespace dflockd::protocol
