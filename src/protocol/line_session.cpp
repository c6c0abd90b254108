#include "protocol/line_session.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "logging/logging.hpp"

namespace dflockd::protocol {

namespace {

using net::Want;

std::string_view first_word(std::string_view reply) {
  return reply.substr(0, reply.find_first_of(" \n"));
}

/// Whether the peer begins a TLS handshake where nobody answers it, and would wait.
bool speaks_tls(std::string_view unread) {
  // A record's type, version and length, then the message's type (RFC 8446, 5.1 and 4).
  constexpr std::string_view kHandshake = "\x16\x03";
  constexpr std::size_t kMessageType = 5;
  constexpr char kClientHello = 1;
  return unread.starts_with(kHandshake) && unread.size() > kMessageType &&
         unread[kMessageType] == kClientHello;
}

/// Whether the peer's first line is a request of HTTP, `METHOD SP target SP HTTP/1.x`: what a
/// browser can be made to send to any port. A line that is too long for us need not have come
/// whole.
bool speaks_http(std::string_view unread) {
  const std::size_t end = unread.find('\n');
  if (end == std::string_view::npos && unread.size() <= kMaxLine) return false;
  std::string_view line = unread.substr(0, end);
  const std::size_t method = line.find(' ');
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (method == 0 || method == std::string_view::npos ||
      !std::ranges::all_of(line.substr(0, method), is_upper)) {
    return false;
  }
  if (end == std::string_view::npos) return true;
  while (line.ends_with('\r')) line.remove_suffix(1);
  const std::size_t version = line.rfind(' ');
  return version > method && line.substr(version).starts_with(" HTTP/1.");
}

}  // namespace

struct LineSession::Question final : service::StatsReporter::Asker {
  explicit Question(LineSession& asker) : session(asker) { session.door_.stats.ask(*this); }

  void on_report(const service::StatsReporter::Report& made) override {
    report = made;
    session.phase_ = Phase::kReported;
    session.outlet_.wake();
  }

  LineSession& session;
  net::SharedText report;
};

LineSession::LineSession(LineDoor& door, net::Outlet& outlet, service::OwnerInfo info)
    : door_(door),
      outlet_(outlet),
      owner_(door.service.open_owner(*this, std::move(info))),
      authenticated_(!door.authenticator.required()) {}

LineSession::~LineSession() {
  if (left_as_ == nullptr) leave({});
}

net::Peer LineSession::peer() const {
  const service::OwnerInfo& info = left_as_ != nullptr ? *left_as_ : door_.service.info(owner_);
  return {.connection_id = info.connection_id, .address = info.peer};
}

// --- Requests ---

net::Want LineSession::advance(net::InputBuffer& input, net::Output& output) {
  switch (phase_) {
    case Phase::kWaiting:
      if (hung_up_) return drop("peer_left");
      return input.full() ? refuse("too_much_sent_ahead", output.bytes) : Want::kAnswer;
    case Phase::kAnswered:
      if (hung_up_) return drop("peer_left");
      take_answer(output.bytes);
      break;
    case Phase::kReporting:
      return Want::kPark;
    case Phase::kReported:
      take_report(output);
      return Want::kTurn;
    case Phase::kClosing:
      return Want::kClose;
    case Phase::kDenied:
    case Phase::kDropped:
      return Want::kDrop;
    case Phase::kNew:
      if (speaks_tls(input.unread())) return refuse("tls", output.bytes);
      if (speaks_http(input.unread())) {
        door_.complaints.warn(net::Complaint::kForbidden, peer(), "http_request",
                              door_.service.now());
        return drop("http_request");
      }
      break;
    case Phase::kOpen:
      if (left_as_ != nullptr) return drop("peer_left");
      break;
  }
  const std::size_t before = input.unread().size();
  const Want want = carry_out(input, output.bytes);
  output.served = input.unread().size() != before;
  return want;
}

/// Carries out requests that are complete, up to one that blocks, and gathers the replies.
net::Want LineSession::carry_out(net::InputBuffer& input, std::string& replies) {
  for (int carried_out = 0; carried_out < kRequestsATurn; ++carried_out) {
    const Frame frame = framer_.next(input.unread());
    if (frame.status == FrameStatus::kIncomplete) return Want::kInput;
    if (frame.status == FrameStatus::kTooLong) return refuse("line_too_long", replies);
    phase_ = Phase::kOpen;
    const Want want = carry_out(frame, input, replies);
    if (want != Want::kInput) return want;
  }
  return input.empty() ? Want::kInput : Want::kTurn;
}

net::Want LineSession::carry_out(const Frame& frame, net::InputBuffer& input,
                                 std::string& replies) {
  const Request request = parse(frame.lines);
  if (must_authenticate(request)) {
    const bool is_auth = request.verb == Verb::kAuth;
    const bool authenticated = authenticate(request, frame.lines.argument, replies);
    input.wipe(frame.size);
    return authenticated ? Want::kInput : deny(is_auth ? "wrong_secret" : "no_auth", replies);
  }
  // Who has only said who it is may have come for what it left behind.
  if (request.verb != Verb::kStableRef && request.verb != Verb::kName) served_ = true;
  const std::size_t reply_start = replies.size();
  const bool is_stats = request.verb == Verb::kStats;
  const std::size_t label = service::label(request.verb, request.key.kind, request.shared);
  const std::optional<Status> status =
      is_stats ? Status::kOk : execute(request, door_.service, owner_, replies);
  if (status) {
    count(label, *status);
  } else {
    phase_ = Phase::kWaiting;
    blocked_label_ = static_cast<std::uint8_t>(label);
  }
  if (logging::enabled(logging::Level::kDebug)) {
    log_request(frame.lines,
                is_stats ? text(Status::kOk) : std::string_view(replies).substr(reply_start));
  }
  input.consume(frame.size);
  if (is_stats) {
    phase_ = Phase::kReporting;
    question_ = std::make_unique<Question>(*this);
    return Want::kPark;
  }
  // A key may have thousands of claims to tell of.
  if (request.verb == Verb::kStat) return Want::kTurn;
  if (status) return Want::kInput;
  if (hung_up_) return drop("peer_left");
  return input.full() ? refuse("too_much_sent_ahead", replies) : Want::kAnswer;
}

/// The first request on a connection must, if a secret is demanded, and every `auth` after it.
bool LineSession::must_authenticate(const Request& request) const {
  return !authenticated_ || (request.verb == Verb::kAuth && door_.authenticator.required());
}

bool LineSession::authenticate(const Request& request, std::string_view argument,
                               std::string& replies) {
  // Compared whatever the command, so that the time tells nothing; and as it came, too, for a
  // secret that begins or ends with white space.
  const bool as_it_came = door_.authenticator.accepts(argument);
  const bool trimmed = door_.authenticator.accepts(base::trim(argument, " \t\r"));
  const bool accepted = as_it_came || trimmed;
  if (!accepted || request.verb != Verb::kAuth) return false;
  authenticated_ = true;
  count(service::label(request.verb, request.key.kind, request.shared), Status::kOk);
  append_status(replies, Status::kOk);
  return true;
}

/// Says `error_auth`, and that is all.
net::Want LineSession::deny(std::string_view why, std::string& replies) {
  ending_ = "auth_failed";
  door_.complaints.warn(net::Complaint::kAuth, peer(), why, door_.service.now());
  door_.metrics.auth_failures("tcp").add();
  append_status(replies, Status::kAuth);
  phase_ = Phase::kDenied;
  return Want::kPause;
}

/// Says `error` for the last time.
net::Want LineSession::refuse(std::string_view why, std::string& replies) {
  if (!authenticated_) return deny(why, replies);
  ending_ = why;
  append_status(replies, Status::kError);
  phase_ = Phase::kClosing;
  return Want::kClose;
}

net::Want LineSession::drop(std::string_view why) {
  ending_ = why;
  phase_ = Phase::kDropped;
  return Want::kDrop;
}

// --- Answers ---

/// Appends the reply to the request that blocked.
void LineSession::take_answer(std::string& replies) {
  phase_ = Phase::kOpen;
  count(blocked_label_, append_answer(replies, std::exchange(answer_, {})));
  if (logging::enabled(logging::Level::kDebug)) {
    logging::debug("unblocked",
                   {{"connection", peer().connection_id}, {"reply", first_word(replies)}});
  }
}

void LineSession::wait_over(const locks::Answer& answer) noexcept {
  answer_ = answer;
  if (phase_ != Phase::kWaiting) return;  // it is ending, and nobody hears of it
  phase_ = Phase::kAnswered;
  // A grant that is sent is kept for its lease then, so it must not be sent to nobody.
  if (door_.service.keeps_grants() && outlet_.peer_gone()) hung_up_ = true;
  outlet_.answer();
}

void LineSession::take_report(net::Output& output) {
  phase_ = Phase::kOpen;
  output.text = std::move(question_->report);
  output.bytes += "ok ";
  question_ = nullptr;
}

// --- Silence and the end ---

net::Patience LineSession::patience(const net::InputBuffer& input) const {
  if (!input.empty() || phase_ == Phase::kNew) return net::Patience::kRequest;
  return door_.ends_idle ? net::Patience::kIdle : net::Patience::kEndless;
}

net::Want LineSession::on_silence(const net::InputBuffer& input, net::Output& output) {
  if (patience(input) == net::Patience::kRequest) return refuse("read_timeout", output.bytes);
  return has_nothing(input) ? drop("idle") : Want::kInput;
}

void LineSession::on_hangup(bool gone) {
  hung_up_ = true;
  if (!gone || phase_ != Phase::kReporting) return;
  question_ = nullptr;
  drop("connection_lost");
}

void LineSession::on_sending_to_nobody(bool all_carried_out) {
  if (left_as_ != nullptr || (phase_ != Phase::kWaiting && !all_carried_out)) return;
  if (door_.service.keeps_grants()) {
    door_.service.cancel_waits(owner_);  // what is being sent to it stays, if it arrives
    return;
  }
  leave({});
  if (phase_ == Phase::kWaiting || phase_ == Phase::kAnswered) drop("peer_left");
}

bool LineSession::is_spare(const net::InputBuffer& input) const {
  return served_ && has_nothing(input);
}

/// Whether it holds nothing, waits for nothing, and no request has begun.
bool LineSession::has_nothing(const net::InputBuffer& input) const {
  return phase_ == Phase::kOpen && input.empty() && !door_.service.has_claims(owner_);
}

void LineSession::on_end(std::string_view unsent, std::string_view why) {
  if (left_as_ != nullptr) return;
  if (!why.empty()) ending_ = why;
  leave(unsent);
}

/// Ends the owner: what it held and waited for goes to others now.
void LineSession::leave(std::string_view unsent) {
  left_as_ = std::make_unique<service::OwnerInfo>(door_.service.info(owner_));
  logging::debug(
      "disconnected",
      {{"connection", peer().connection_id}, {"peer", peer().address}, {"reason", ending_}});
  std::vector<std::uint64_t> fences;
  if (door_.service.keeps_grants()) fences = undelivered(unsent);
  door_.service.close_owner(owner_, fences);
}

/// The fences of the grants that have not been handed to the socket, in ascending order.
std::vector<std::uint64_t> LineSession::undelivered(std::string_view unsent) const {
  std::vector<std::uint64_t> fences;
  if (answer_.outcome == locks::Outcome::kGranted) fences.push_back(answer_.token.fence);
  for (const base::Token& token : granted_tokens(unsent)) fences.push_back(token.fence);
  std::ranges::sort(fences);
  return fences;
}

void LineSession::count(std::size_t label, Status status) {
  door_.metrics.commands.of(label, static_cast<std::size_t>(status)).add();
}

void LineSession::log_request(const Lines& lines, std::string_view reply) const {
  // A client that sends a secret to a server that wants none may have put it on the wrong line,
  // too.
  const std::string_view command = first_word(lines.command);
  const std::string_view key = command == "auth" ? "_" : lines.key;
  logging::debug("request", {{"connection", peer().connection_id},
                             {"command", command},
                             {"key", key},
                             {"reply", phase_ == Phase::kWaiting ? "blocked" : first_word(reply)}});
}

}  // namespace dflockd::protocol
