#include "http/http_session.hpp"

#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "http/body.hpp"
#include "http/reports.hpp"
#include "logging/logging.hpp"

namespace dflockd::http {

namespace {

using net::Want;

/// The status that the metrics show for a caller who left before the response.
constexpr int kClientCanceled = 408;

Response session_gone() {
  return to_response({410, "session_gone", "no such session, or not any more"});
}

Response client_canceled() {
  return to_response({kClientCanceled, "client_canceled", "the caller has left"});
}

Response not_found() {
  return to_response({404, "not_found", "no such route"});
}

Response not_allowed(const NoMatch& none) {
  Response response = to_response({405, "method_not_allowed", "expected " + none.allow});
  response.headers += "Allow: " + none.allow + "\r\n";
  return response;
}

Response too_many(std::chrono::nanoseconds wait) {
  Response response = to_response({429, "rate_limited", "too many requests"});
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  response.headers += fmt::format("Retry-After: {}\r\n", seconds);
  return response;
}

Response unauthorized() {
  Response response =
      to_response({401, "unauthorized", "expected 'Authorization: Bearer' with the secret"});
  response.headers += "WWW-Authenticate: Bearer\r\n";
  return response;
}

Response status_ok() {
  return {.body = R"({"status":"ok"})"};
}

/// Needs no secret, which browsers do not send with a preflight. The browser compares the method
/// that it asks for with those that are listed; whether the path has it, the request itself shows.
Response preflight_allowed() {
  return {.status = 204,
          .headers =
              "Access-Control-Allow-Methods: GET, HEAD, POST, DELETE\r\n"
              "Access-Control-Allow-Headers: "
              "Authorization, Content-Type, X-Dflockd-Session\r\n"
              "Access-Control-Max-Age: 300\r\n"};
}

/// A body where none is expected may be empty or an object without fields.
std::optional<Response> refuse_fields(std::string_view body) {
  if (body.empty()) return std::nullopt;
  const auto parsed = parse_body(body, {});
  const auto* const failure = std::get_if<Failure>(&parsed);
  return failure != nullptr ? std::optional(to_response(*failure)) : std::nullopt;
}

/// Whether the caller holds what it did not know to hold. (What `enqueue` has answered that the
/// session holds, it holds.)
bool is_new_grant(const locks::Answer& answer) {
  return answer.outcome == locks::Outcome::kGranted && !answer.repeated;
}

}  // namespace

HttpSession::HttpSession(HttpDoor& door, net::Outlet& outlet, Origin origin)
    : door_(door), outlet_(outlet), origin_(std::move(origin)) {}

net::Peer HttpSession::peer() const {
  return {.connection_id = origin_.connection_id, .address = origin_.peer_text};
}

// --- Reading ---

Want HttpSession::advance(net::InputBuffer& input, net::Output& output) {
  served_ = false;
  const Want want = go_on(input, output);
  output.served = served_;
  return want;
}

Want HttpSession::go_on(net::InputBuffer& input, net::Output& output) {
  note_followers(input);
  switch (phase_) {
    case Phase::kDenied:
      answer_head(unauthorized(), output.bytes);
      break;
    case Phase::kQueued:
    case Phase::kBlocked:
      change(output.bytes);
      break;
    case Phase::kReported:
      answer_report(output);
      return phase_ == Phase::kClosing ? Want::kClose : Want::kTurn;
    default:
      break;
  }
  return read(input, output);
}

/// Reads and answers what has come, up to a request whose answer has to be waited for.
Want HttpSession::read(net::InputBuffer& input, net::Output& output) {
  for (int begun = 0;
       phase_ == Phase::kNew || phase_ == Phase::kOpen || phase_ == Phase::kSkipping;) {
    if (begun == kRequestsATurn || output.bytes.size() >= kBytesATurn) return Want::kTurn;
    const bool had_a_turn = reader_.state() == RequestReader::State::kComplete;
    if (!had_a_turn) input.consume(reader_.read(input.unread()));
    note_followers(input);
    switch (reader_.state()) {
      case RequestReader::State::kIdle:
        return Want::kInput;
      case RequestReader::State::kPartial:
        if (reader_.take_expectation()) {
          output.bytes += "HTTP/1.1 100 Continue\r\n\r\n";
        }
        return Want::kInput;
      case RequestReader::State::kHead:
        ++begun;
        judge(output.bytes);
        break;
      case RequestReader::State::kComplete:
        if (phase_ == Phase::kSkipping) {
          end_request();
        } else if (!had_a_turn && reader_.request().body.size() > kLargeBody) {
          return Want::kTurn;
        } else {
          carry_out(output.bytes);
        }
        break;
      case RequestReader::State::kRefused:
        if (phase_ == Phase::kSkipping) {
          phase_ = Phase::kClosing;
        } else {
          refuse(to_response(reader_.failure()), output.bytes);
        }
        break;
    }
  }
  if (is_waiting()) input.release();
  if (turn_ && input.full() && needs_caller(operation_->operation)) refuse_change(output.bytes);
  return want();
}

/// What the session wants in a phase in which it does not read.
Want HttpSession::want() const {
  switch (phase_) {
    case Phase::kDenied:
      return Want::kPause;
    case Phase::kQueued:
    case Phase::kBlocked:
      // That the caller leaves may show in what arrives, as over TLS.
      return needs_caller(operation_->operation) ? Want::kAnswer : Want::kPark;
    case Phase::kReporting:
    case Phase::kReported:
      return Want::kPark;
    case Phase::kClosing:
      return Want::kClose;
    case Phase::kDropped:
      return Want::kDrop;
    default:
      return Want::kInput;
  }
}

/// Looks whether more has arrived, which a drain answers too.
void HttpSession::note_followers(const net::InputBuffer& input) {
  followed_ = !input.empty() || input.filled();
}

bool HttpSession::is_waiting() const {
  return phase_ == Phase::kQueued || phase_ == Phase::kBlocked || phase_ == Phase::kReporting;
}

// --- Judging the head ---

/// Answers a head if something is wrong that it shows, and otherwise goes on to the body.
void HttpSession::judge(std::string& out) {
  phase_ = Phase::kOpen;
  const Request& request = reader_.request();
  began_ = door_.clock.now();
  keep_alive_ = request.keep_alive;
  auto found = find_route(request.method, request.path);
  route_ = route_of(found);
  if (auto* const match = std::get_if<Match>(&found)) parameter_ = std::move(match->parameter);
  std::optional<Response> wrong = judge(found);
  if (phase_ == Phase::kDenied) return;
  if (wrong) return answer_head(std::move(*wrong), out);
  if (takes_body(route_->operation)) {
    reader_.keep_body();
  } else {
    reader_.skip_body();
  }
}

/// What to answer to a request without its body. Nothing if it is to be read, or the caller denied.
std::optional<Response> HttpSession::judge(const std::variant<Match, NoMatch, Failure>& found) {
  const Request& request = reader_.request();
  if (const auto failure = refuse_foreign()) return to_response(*failure);
  const bool preflight = is_preflight();
  if (!preflight && (route_ == nullptr || route_->needs_auth) && !is_authorized()) {
    door_.complaints.warn(net::Complaint::kAuth, peer(),
                          request.authorization ? "wrong_secret" : "no_auth", door_.clock.now());
    door_.metrics.auth_failures("http").add();
    phase_ = Phase::kDenied;
    return std::nullopt;
  }
  // After that: a stranger at the same address must not use up what holders renew from.
  if (const auto wait = door_.take(bucket_of(found, preflight), origin_.peer)) {
    return too_many(*wait);
  }
  if (preflight) return route_ != nullptr ? preflight_allowed() : not_found();
  if (const auto* const failure = std::get_if<Failure>(&found)) return to_response(*failure);
  if (const auto* const none = std::get_if<NoMatch>(&found)) {
    return none->allow.empty() ? not_found() : not_allowed(*none);
  }
  return find_session();
}

/// Why the request is refused: a page from elsewhere sent it, or it is for another host.
std::optional<Failure> HttpSession::refuse_foreign() {
  auto failure =
      door_.guard.check(reader_.request(),
                        {.tls = origin_.tls,
                         .has_secret = door_.authenticator.required(),
                         .is_probe = route_ != nullptr && route_->bucket == Bucket::kNone},
                        [this] { return std::string_view(origin_.local_address); });
  if (failure) {
    door_.complaints.warn(net::Complaint::kForbidden, peer(), failure->code, door_.clock.now());
  }
  return failure;
}

bool HttpSession::is_authorized() const {
  if (!door_.authenticator.required()) return true;
  const std::optional<std::string>& field = reader_.request().authorization;
  const std::string_view given = field ? std::string_view(*field) : std::string_view();
  const std::optional<std::string_view> token = bearer_token(given);
  return door_.authenticator.accepts(token.value_or(given)) && token;
}

bool HttpSession::is_preflight() const {
  const Request& request = reader_.request();
  return request.method == Method::kOptions && request.request_method && request.origin &&
         door_.guard.allows(*request.origin);
}

/// Finds the session that a request names, if it must name one. A request keeps it alive.
std::optional<Response> HttpSession::find_session() {
  const std::optional<std::string>& field = reader_.request().session;
  const bool in_path = names_session(route_->operation);
  if (!in_path && !changes_locks(route_->operation)) return std::nullopt;
  if (!in_path && !field) {
    return to_response({400, "bad_request", "the field X-Dflockd-Session is missing"});
  }
  caller_ = door_.callers.find(in_path ? parameter_ : *field);
  if (caller_ == nullptr) return session_gone();
  door_.callers.touch(*caller_);
  return std::nullopt;
}

/// Answers before the body is read. A client that waits for `100 Continue` may send it or not,
/// which leaves open where the next request would begin.
void HttpSession::answer_head(Response response, std::string& out) {
  phase_ = Phase::kOpen;
  reader_.skip_body();
  const bool has_more = reader_.state() == RequestReader::State::kPartial;
  const bool is_refused = reader_.state() == RequestReader::State::kRefused;
  if (is_refused || (has_more && reader_.expects_continue())) keep_alive_ = false;
  answer(std::move(response), out);
}

// --- Carrying out ---

void HttpSession::carry_out(std::string& out) {
  began_ = door_.clock.now();
  switch (route_->operation) {
    case Operation::kHealth:
      return answer(status_ok(), out);
    case Operation::kReady:
      if (!door_.draining) return answer(status_ok(), out);
      return answer({.status = 503, .body = R"({"status":"draining"})"}, out);
    case Operation::kStats:
      return ask_stats(out);
    case Operation::kOpenApi:
      return answer({.cache_control = "max-age=60", .body = std::string(openapi_document())}, out);
    case Operation::kMetrics:
      return answer({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                     .body = door_.metrics_text()},
                    out);
    case Operation::kCreateSession:
      return answer(open_session(), out);
    case Operation::kListSessions:
      return answer(list_of(door_.callers), out);
    case Operation::kStat:
      return answer(describe(door_.service, {route_->kind, parameter_}), out);
    case Operation::kDeleteSession:
    case Operation::kPingSession:
      return answer(carry_out_on_session(), out);
    case Operation::kAcquire:
    case Operation::kRelease:
    case Operation::kRenew:
    case Operation::kEnqueue:
    case Operation::kWait:
      return begin_change(out);
  }
}

void HttpSession::ask_stats(std::string& out) {
  auto query = read_stats_query(reader_.request().query);
  if (const auto* const failure = std::get_if<Failure>(&query)) {
    return answer(to_response(*failure), out);
  }
  phase_ = Phase::kReporting;
  door_.stats.ask(*this, std::move(std::get<0>(query)));
}

Response HttpSession::open_session() {
  const auto identity = read_identity(reader_.request().body);
  if (const auto* const failure = std::get_if<Failure>(&identity)) return to_response(*failure);
  const auto opened =
      door_.callers.open(origin_.peer, door_.last_connection_id + 1, std::get<Identity>(identity));
  if (const auto* const refusal = std::get_if<Callers::Refusal>(&opened)) {
    const bool per_ip = *refusal == Callers::Refusal::kMaxSessionsPerIp;
    return to_response({503, per_ip ? "max_sessions_per_ip" : "max_sessions",
                        per_ip ? "too many sessions from this address" : "too many sessions"});
  }
  ++door_.last_connection_id;
  return {.body = fmt::format(R"({{"session_id":"{}","idle_timeout_s":{}}})",
                              std::get<std::shared_ptr<CallerSession>>(opened)->id(),
                              door_.callers.options().idle_timeout.count())};
}

/// A `ping` or a `DELETE`, which no other request on the session can hold up.
Response HttpSession::carry_out_on_session() {
  const std::shared_ptr<CallerSession> session = std::exchange(caller_, nullptr);
  if (auto refusal = refuse_fields(reader_.request().body)) return std::move(*refusal);
  if (session->is_closed()) return session_gone();
  if (route_->operation == Operation::kPingSession) {
    door_.callers.touch(*session);
  } else {
    door_.callers.end(*session);
  }
  return {.status = 204};
}

/// Takes its turn on the caller's session. The body has been read and checked before.
void HttpSession::begin_change(std::string& out) {
  auto read = read_operation(*route_, std::move(parameter_), reader_.request().body);
  if (const auto* const failure = std::get_if<Failure>(&read)) {
    return answer(to_response(*failure), out);
  }
  operation_ = std::move(std::get<LockOperation>(read));
  turn_.emplace(std::exchange(caller_, nullptr), outlet_);
  phase_ = Phase::kQueued;
  change(out);
}

/// Goes on with what has a turn, as far as it goes.
void HttpSession::change(std::string& out) {
  if (turn_->session_gone()) return end_change(session_gone(), out);
  OperationResult result;
  if (phase_ == Phase::kBlocked) {
    if (!turn_->answer()) return;
    result = *turn_->answer();
  } else if (turn_->is_first()) {
    result = http::carry_out(*operation_, door_.service, turn_->owner());
  } else {
    if (hung_up_ && needs_caller(operation_->operation)) leave();
    return;
  }
  const auto* const answer = std::get_if<locks::Answer>(&result);
  if (answer == nullptr || !needs_caller(operation_->operation)) {
    return end_change(tell(std::move(result)), out);
  }
  if (answer->outcome == locks::Outcome::kQueued) {
    turn_->queued();
    phase_ = Phase::kBlocked;
    if (hung_up_) leave();
    return;
  }
  if (is_new_grant(*answer) && outlet_.peer_gone()) {
    // It raced with the caller's leaving: the next in the queue has it.
    static_cast<void>(door_.service.release(operation_->key(), answer->token));
    return end_change(client_canceled(), out);
  }
  end_change(tell(std::move(result)), out);
}

/// The next request on the caller's session has its turn.
void HttpSession::end_change(Response response, std::string& out) {
  turn_.reset();
  operation_.reset();
  answer(std::move(response), out);
}

/// Counts what came of the operation, as the line protocol does, and makes the response. What its
/// caller or its session did not stay for has no outcome.
Response HttpSession::tell(OperationResult result) {
  const auto status = static_cast<std::size_t>(status_of(*operation_, result));
  door_.metrics.commands.of(label_of(*operation_), status).add();
  if (auto* const response = std::get_if<Response>(&result)) return std::move(*response);
  return to_response(*operation_, std::get<locks::Answer>(result));
}

/// The caller has sent so much ahead that it could leave behind that without being seen.
void HttpSession::refuse_change(std::string& out) {
  withdraw();
  keep_alive_ = false;
  ending_ = "too_much_sent_ahead";
  answer(to_response({400, "bad_request", "over 128 KiB sent ahead of the answer"}), out);
}

/// The caller has left before the answer.
void HttpSession::leave() {
  withdraw();
  count(kClientCanceled, 0);
  phase_ = Phase::kDropped;
}

/// Ends what has a turn without an answer: its place is lost, and a grant goes to the next.
void HttpSession::withdraw() {
  if (!turn_->session_gone()) {
    if (phase_ == Phase::kQueued && operation_->operation == Operation::kWait) {
      door_.service.give_up_place(turn_->owner(), operation_->key());
    }
    if (turn_->answer() && is_new_grant(*turn_->answer())) {
      static_cast<void>(door_.service.release(operation_->key(), turn_->answer()->token));
    }
  }
  turn_.reset();
  operation_.reset();
}

// --- Answering ---

void HttpSession::answer(Response response, std::string& out) {
  prepare(response);
  const std::size_t before = out.size();
  append_response(out, response, delivery());
  count(response.status, out.size() - before);
  end_request();
}

/// Answers with the report, whose pieces follow the head.
void HttpSession::answer_report(net::Output& output) {
  const service::StatsReporter::Report report = std::exchange(report_, nullptr);
  std::size_t size = 0;
  for (const std::string& piece : *report) size += piece.size();
  Response head;
  prepare(head);
  const std::size_t before = output.bytes.size();
  append_head(output.bytes, head, size, delivery());
  if (reader_.request().method != Method::kHead) output.text = report;
  count(head.status, output.bytes.size() - before + size);
  end_request();
}

/// Answers what is not a whole request, so that no other can follow. It has no route, and takes no
/// time.
void HttpSession::refuse(Response response, std::string& out) {
  keep_alive_ = false;
  route_ = nullptr;
  began_ = door_.clock.now();
  answer(std::move(response), out);
}

void HttpSession::end_request() {
  caller_.reset();
  if (!keep_alive_) {
    phase_ = Phase::kClosing;
  } else if (reader_.state() == RequestReader::State::kComplete) {
    reader_.next();
    phase_ = Phase::kOpen;
    served_ = true;
  } else {
    phase_ = Phase::kSkipping;
  }
}

/// Decides whether the connection goes on, and adds what a browser and a client of HTTP/1.0 look
/// for: that one expects the connection to end unless it reads otherwise.
void HttpSession::prepare(Response& response) {
  if (door_.draining && !followed_) keep_alive_ = false;
  const Request& request = reader_.request();
  if (door_.guard.has_cors()) {
    response.headers += "Vary: Origin\r\n";
    if (request.origin && door_.guard.allows(*request.origin)) {
      response.headers += "Access-Control-Allow-Origin: " + *request.origin + "\r\n";
    }
  }
  if (request.http_1_0 && keep_alive_) response.headers += "Connection: keep-alive\r\n";
}

/// To be used at once: see `DateLine`.
Delivery HttpSession::delivery() {
  return {.head_only = reader_.request().method == Method::kHead,
          .keep_alive = keep_alive_,
          .date_line = door_.date_line.at(std::time(nullptr))};
}

void HttpSession::count(int status, std::size_t size) {
  const Request& request = reader_.request();
  const std::string_view route = route_ != nullptr ? route_->pattern : "-";
  door_.clock.refresh();  // the request itself took time
  const base::Instant duration = door_.clock.now() - began_;
  door_.metrics.http_requests(text(request.method), route, status).add();
  door_.metrics.http_duration(route).observe(duration);
  if (!logging::enabled(logging::Level::kDebug)) return;
  logging::debug("http_request", {{"connection", origin_.connection_id},
                                  {"method", text(request.method)},
                                  {"route", route},
                                  {"status", status},
                                  {"duration_s", std::chrono::duration<double>(duration).count()},
                                  {"session", request.session.value_or("-").substr(0, 8)},
                                  {"bytes", size}});
}

void HttpSession::on_report(const service::StatsReporter::Report& report) {
  if (phase_ != Phase::kReporting) return;
  report_ = report;
  phase_ = Phase::kReported;
  outlet_.wake();
}

// --- Silence and the end ---

net::Patience HttpSession::patience(const net::InputBuffer& input) const {
  return is_spare(input) ? net::Patience::kIdle : net::Patience::kRequest;
}

Want HttpSession::on_silence(const net::InputBuffer& input, net::Output& output) {
  ending_ = is_spare(input) ? "idle" : "read_timeout";
  if (phase_ == Phase::kSkipping) {
    phase_ = Phase::kClosing;
  } else if (reader_.state() == RequestReader::State::kPartial) {
    refuse(to_response({400, "bad_request", "the request was not whole within the read timeout"}),
           output.bytes);
  } else {
    phase_ = Phase::kDropped;
  }
  return want();
}

void HttpSession::on_hangup(bool gone) {
  hung_up_ = true;
  if (turn_ && needs_caller(operation_->operation)) {
    door_.clock.refresh();
    leave();
  } else if (gone && phase_ == Phase::kReporting) {
    ending_ = "connection_lost";
    phase_ = Phase::kDropped;
  }
}

/// Between two requests. What is left of the input then is half of an empty line.
bool HttpSession::is_spare(const net::InputBuffer& /*input*/) const {
  return phase_ == Phase::kOpen && reader_.state() == RequestReader::State::kIdle;
}

/// Nothing of a request has come yet.
bool HttpSession::is_new() const {
  return phase_ == Phase::kNew && reader_.state() == RequestReader::State::kIdle;
}

void HttpSession::on_end(std::string_view /*unsent*/, std::string_view why) {
  if (!why.empty()) ending_ = why;
  if (turn_) leave();
  logging::debug(
      "disconnected",
      {{"connection", origin_.connection_id}, {"peer", origin_.peer_text}, {"reason", ending_}});
}

}  // namespace dflockd::http
