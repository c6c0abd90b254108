#include "reactor/http_connection.hpp"

#include <chrono>
#include <new>
#include <utility>
#include <variant>
#include <vector>

#include <asio/buffer.hpp>
#include <asio/post.hpp>
#include <fmt/format.h>

#include "http/body.hpp"
#include "http/openapi.hpp"
#include "logging/logging.hpp"
#include "reactor/server.hpp"

namespace dflockd::reactor {

namespace {

using http::Failure;
using http::Method;
using http::Operation;
using http::Response;

/// Room for a head, and for what comes with it.
constexpr std::size_t kInputLimit = 2 * http::RequestReader::kMaxHead;

/// The status that the metrics show for a caller who left before the response.
constexpr int kClientCanceled = 408;

Response no_content() {
  return {.status = 204};
}

Response session_gone() {
  return http::to_response({410, "session_gone", "no such session, or not any more"});
}

Response client_canceled() {
  return http::to_response({kClientCanceled, "client_canceled", "the caller has left"});
}

Response draining() {
  return http::to_response({503, "draining", "the server is shutting down"});
}

Response not_found() {
  return http::to_response({404, "not_found", "no such route"});
}

Response too_many(std::chrono::nanoseconds wait) {
  Response response = http::to_response({429, "rate_limited", "too many requests"});
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  response.headers += fmt::format("Retry-After: {}\r\n", seconds);
  return response;
}

// In functions of their own: GCC 12 destroys the temporaries of an expression with `co_await` twice
// if they come from braces.

Response too_slow() {
  return http::to_response(
      {400, "bad_request", "the request was not whole within the read timeout"});
}

Response out_of_memory() {
  return http::to_response({503, "out_of_memory", "no memory for a report"});
}

Response unauthorized() {
  Response response =
      http::to_response({401, "unauthorized", "expected 'Authorization: Bearer' with the secret"});
  response.headers += "WWW-Authenticate: Bearer\r\n";
  return response;
}

Response status_ok() {
  return {.body = R"({"status":"ok"})"};
}

/// A body where none is expected may be empty or an object without fields.
std::optional<Failure> refuse_fields(std::string_view body) {
  if (body.empty()) return std::nullopt;
  auto parsed = http::parse_body(body, {});
  if (auto* const failure = std::get_if<Failure>(&parsed)) return std::move(*failure);
  return std::nullopt;
}

/// The route of a request, or another one of its path; null if there is no such path.
const http::Route* route_of(const std::variant<http::Match, http::NoMatch, Failure>& found) {
  if (const auto* const match = std::get_if<http::Match>(&found)) return match->route;
  const auto* const none = std::get_if<http::NoMatch>(&found);
  return none != nullptr ? none->other : nullptr;
}

/// A request that no route takes is a common one, lest it empty the bucket of those that hold, but
/// for a preflight: without that a page cannot keep what it holds.
http::Bucket bucket_of(const std::variant<http::Match, http::NoMatch, Failure>& found,
                       bool preflight) {
  const http::Route* const route = route_of(found);
  if (route == nullptr) return http::Bucket::kCommon;
  const bool taken = preflight || std::holds_alternative<http::Match>(found);
  return !taken && route->bucket == http::Bucket::kHolding ? http::Bucket::kCommon : route->bucket;
}

bool may_block(Operation operation) {
  return operation == Operation::kAcquire || operation == Operation::kWait;
}

}  // namespace

template <class Stream>
HttpConnection<Stream>::HttpConnection(HttpServer& http, OwnerInfo info, asio::ip::address peer,
                                       access::Gate::Pass pass, typename Stream::Origin origin)
    : Base(http.server(), http.watch(), std::move(pass), std::move(origin)),
      http_(http),
      info_(std::move(info)),
      peer_(std::move(peer)),
      input_(kInputLimit) {}

template <class Stream>
HttpConnection<Stream>::~HttpConnection() {
  logging::debug("disconnected",
                 {{"connection", info_.connection_id}, {"peer", info_.peer}, {"reason", ending_}});
}

template <class Stream>
net::Awaitable HttpConnection<Stream>::serve(std::unique_ptr<HttpConnection> self) {
  if constexpr (Stream::kBeginsWithHandshake) {
    // GCC 12 spoils the coroutine if this is the condition of an `if`.
    self->keep_alive_ = co_await self->shake_hands();
  }
  self->watch_.watch_idle(*self, self->service_.awake_now());
  while (!self->ended_ && self->keep_alive_) {
    self->input_.consume(self->reader_.read(self->input_.unread()));
    switch (self->reader_.state()) {
      case http::RequestReader::State::kComplete:
        co_await self->respond();
        self->reader_.next();
        break;
      case http::RequestReader::State::kHead:
        self->reader_.keep_body();
        break;
      case http::RequestReader::State::kRefused:
        co_await self->refuse(http::to_response(self->reader_.failure()));
        break;
      case http::RequestReader::State::kIdle:
      case http::RequestReader::State::kPartial:
        co_await self->receive();
        break;
    }
  }
  if (!self->ended_) {
    self->input_.consume(self->input_.unread().size());
    co_await self->linger(self->input_.space());
  }
}

// --- Receiving ---

template <class Stream>
net::Awaitable HttpConnection<Stream>::receive() {
  if (timed_out_) {
    const Response response = too_slow();
    co_return co_await refuse(response);
  }
  if (reader_.take_expectation()) co_await send_all("HTTP/1.1 100 Continue\r\n\r\n");
  if (ended_) co_return;
  if (!is_idle() && !std::exchange(arriving_, true)) {
    // The read timeout is for the whole request, from its first byte on.
    watch_.watch_receiving(*this, service_.awake_now());
  }

  const std::span<char> space = input_.space();
  std::error_code error;
  std::size_t size = 0;
  if (hung_up_ || (server_.draining() && is_spare())) {
    co_await asio::post(socket().get_executor(), net::kUseAwaitable);  // after the others
    size = stream_.read_some(space, error);
    if (error == asio::error::would_block) end(hung_up_ ? "peer_left" : "draining");
  } else {
    suspended_in_ = Suspension::kReceiving;
    size = co_await stream_.async_read_some(space, error);
    suspended_in_ = Suspension::kNone;
  }
  service_.refresh_clock();
  if (size > 0) {
    input_.received(size);
  } else if (error == asio::error::eof) {
    end("peer_left");
  } else if (error && error != asio::error::operation_aborted &&
             error != asio::error::would_block) {
    end("connection_lost");
  }
}

/// Nothing of a request has come. To be asked when all input has been read.
template <class Stream>
bool HttpConnection<Stream>::is_idle() const {
  return reader_.state() == http::RequestReader::State::kIdle;
}

/// A drain ends it: it is idle, and has had a request. The first request of a new connection is
/// about to come, and may be what the drain waits for.
template <class Stream>
bool HttpConnection<Stream>::is_spare() const {
  return had_request_ && is_idle();
}

// --- Answering ---

template <class Stream>
net::Awaitable HttpConnection<Stream>::respond() {
  began_ = service_.now();
  had_request_ = true;
  keep_alive_ = reader_.request().keep_alive && !server_.draining();
  Answer made = answer();
  if (std::holds_alternative<Unauthorized>(made)) {
    co_await hold_back();
    made = unauthorized();
  } else if (const auto* const change = std::get_if<Change>(&made)) {
    made = co_await carry_out_in_turn(*change);
    turn_ = nullptr;
  }
  if (ended_) co_return;
  if (const auto* const response = std::get_if<Response>(&made)) {
    co_await send(*response);
  } else if (std::holds_alternative<Report>(made)) {
    co_await send_stats();
  } else {
    count(kClientCanceled, 0);
    end("peer_left");
  }
  arriving_ = false;
  watch_.watch_idle(*this, service_.awake_now());
}

template <class Stream>
typename HttpConnection<Stream>::Answer HttpConnection<Stream>::answer() {
  const http::Request& request = reader_.request();
  auto found = http::find_route(request.method, request.path);
  const auto* const match = std::get_if<http::Match>(&found);
  const http::Route* const route = route_of(found);
  route_ = route != nullptr ? route->pattern : "-";
  if (const auto failure = refuse_foreign(route)) return http::to_response(*failure);
  const bool preflight = is_preflight();
  if (!preflight && (route == nullptr || route->needs_auth) && !is_authorized()) {
    server_.warn(net::Complaint::kAuth, info_, request.authorization ? "wrong_secret" : "no_auth");
    server_.metrics().auth_failures("http").add();
    return Unauthorized();
  }
  // After that: a stranger at the same address must not use up what holders renew from.
  if (const auto wait = http_.take(bucket_of(found, preflight), peer_, service_.now())) {
    return too_many(*wait);
  }
  if (preflight) return answer_preflight(route);
  if (match != nullptr) return answer(*match);
  if (const auto* const failure = std::get_if<Failure>(&found)) {
    return http::to_response(*failure);
  }
  return to_response(std::get<http::NoMatch>(found));
}

/// Why the request is refused: a page from elsewhere sent it, or it is for another host.
template <class Stream>
std::optional<Failure> HttpConnection<Stream>::refuse_foreign(const http::Route* route) {
  const auto local_address = [this] {
    std::error_code error;
    const asio::ip::tcp::endpoint local = socket().local_endpoint(error);
    return error ? std::string() : local.address().to_string();
  };
  auto failure =
      http_.guard().check(reader_.request(),
                          {.tls = Stream::kBeginsWithHandshake,
                           .has_secret = server_.authenticator().required(),
                           .is_probe = route != nullptr && route->bucket == http::Bucket::kNone},
                          local_address);
  if (failure) server_.warn(net::Complaint::kForbidden, info_, failure->code);
  return failure;
}

template <class Stream>
typename HttpConnection<Stream>::Answer HttpConnection<Stream>::answer(const http::Match& match) {
  switch (match.route->operation) {
    case Operation::kHealth:
      return status_ok();
    case Operation::kReady:
      if (!server_.draining()) return status_ok();
      return Response{.status = 503, .body = R"({"status":"draining"})"};
    case Operation::kStats:
      return Report();
    case Operation::kOpenApi:
      return Response{.cache_control = "max-age=60", .body = std::string(http::openapi_document())};
    case Operation::kMetrics:
      return Response{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                      .body = server_.metrics_text()};
    case Operation::kCreateSession:
      return open_session();
    case Operation::kDeleteSession:
    case Operation::kPingSession: {
      if (const auto failure = refuse_fields(reader_.request().body)) {
        return http::to_response(*failure);
      }
      const std::shared_ptr<HttpSession> session = http_.sessions().find(match.parameter);
      if (session == nullptr) return session_gone();
      if (match.route->operation == Operation::kPingSession) {
        http_.sessions().touch(*session);
      } else {
        http_.sessions().end(*session);
      }
      return no_content();
    }
    default:
      return change_locks(match);
  }
}

template <class Stream>
Response HttpConnection<Stream>::open_session() {
  if (const auto failure = refuse_fields(reader_.request().body)) {
    return http::to_response(*failure);
  }
  if (server_.draining()) return draining();
  std::variant<std::shared_ptr<HttpSession>, HttpSessions::Refusal> opened;
  try {
    opened = http_.sessions().open(peer_);
  } catch (const std::bad_alloc&) {
    return http::to_response({503, "out_of_memory", "no memory for a session"});
  }
  if (const auto* const refusal = std::get_if<HttpSessions::Refusal>(&opened)) {
    const bool per_ip = *refusal == HttpSessions::Refusal::kMaxSessionsPerIp;
    return http::to_response(
        {503, per_ip ? "max_sessions_per_ip" : "max_sessions",
         per_ip ? "too many sessions from this address" : "too many sessions"});
  }
  return {.body = fmt::format(R"({{"session_id":"{}","idle_timeout_s":{}}})",
                              std::get<std::shared_ptr<HttpSession>>(opened)->id(),
                              http_.sessions().options().idle_timeout.count())};
}

/// What a request on a session does. It is read and checked before it takes its turn.
template <class Stream>
typename HttpConnection<Stream>::Answer HttpConnection<Stream>::change_locks(
    const http::Match& match) {
  const http::Request& request = reader_.request();
  if (!request.session) {
    return http::to_response({400, "bad_request", "the field X-Dflockd-Session is missing"});
  }
  auto read = read_operation(*match.route, match.parameter, request.body);
  if (const auto* const failure = std::get_if<Failure>(&read)) return http::to_response(*failure);
  std::shared_ptr<HttpSession> session = http_.sessions().find(*request.session);
  if (session == nullptr) return session_gone();
  return Change{.operation = std::move(std::get<LockOperation>(read)),
                .session = std::move(session)};
}

/// This may last, and many may be in it at a time: what is only needed before belongs elsewhere.
template <class Stream>
net::AwaitableOf<typename HttpConnection<Stream>::Answer> HttpConnection<Stream>::carry_out_in_turn(
    const Change& change) {
  const LockOperation& operation = change.operation;
  const locks::Key key{operation.semaphore ? locks::Kind::kSemaphore : locks::Kind::kLock,
                       operation.key};
  HttpTurn turn(change.session,
                may_block(operation.operation) ? HttpTurn::For::kCaller : HttpTurn::For::kSession);
  // cppcheck-suppress danglingLifetime ; `respond` clears it
  turn_ = &turn;
  if (hung_up_) turn.caller_left();
  if (!turn.is_first()) {
    input_.release();
    suspended_in_ = Suspension::kWaiting;
    const bool go_on = co_await turn.begin();
    suspended_in_ = Suspension::kNone;
    if (!go_on && turn.session_gone()) co_return session_gone();
    if (!go_on) {
      if (operation.operation == Operation::kWait) service_.give_up_place(turn.owner(), key);
      co_return CallerLeft();
    }
  }
  OperationResult result = carry_out(operation, service_, turn.owner());
  auto* const answer = std::get_if<locks::Answer>(&result);
  if (answer != nullptr && may_block(operation.operation)) {
    bool go_on = true;
    if (answer->outcome == locks::Outcome::kQueued) {
      turn.queued();
      input_.release();
      suspended_in_ = Suspension::kWaiting;
      go_on = co_await turn.wait(*answer);
      suspended_in_ = Suspension::kNone;
      if (turn.session_gone()) co_return session_gone();
    }
    // What the session was told by `enqueue` that it holds, it holds.
    const bool is_new = answer->outcome == locks::Outcome::kGranted && !answer->repeated;
    if (is_new && (!go_on || peer_gone())) {
      // It raced with the caller's leaving: the next in the queue has it.
      static_cast<void>(service_.release(key, answer->token));
      if (go_on) co_return client_canceled();  // and then what it has sent behind it
    }
    if (!go_on) co_return CallerLeft();
  }
  co_return tell(operation, std::move(result));
}

/// Counts what came of an operation, as the line protocol does, and makes the response. What its
/// caller or its session did not stay for has no outcome.
template <class Stream>
Response HttpConnection<Stream>::tell(const LockOperation& operation, OperationResult result) {
  const auto status = static_cast<std::size_t>(status_of(operation, result));
  server_.metrics().commands.of(label_of(operation), status).add();
  if (auto* const response = std::get_if<Response>(&result)) return std::move(*response);
  return reactor::to_response(operation, std::get<locks::Answer>(result));
}

template <class Stream>
bool HttpConnection<Stream>::is_authorized() const {
  if (!server_.authenticator().required()) return true;
  const std::optional<std::string>& field = reader_.request().authorization;
  const std::string_view given = field ? std::string_view(*field) : std::string_view();
  const std::optional<std::string_view> token = http::bearer_token(given);
  return server_.authenticator().accepts(token.value_or(given)) && token;
}

template <class Stream>
Response HttpConnection<Stream>::to_response(const http::NoMatch& none) const {
  if (none.allow.empty()) return not_found();
  Response response = http::to_response({405, "method_not_allowed", "expected " + none.allow});
  response.headers += "Allow: " + none.allow + "\r\n";
  return response;
}

// --- CORS (the Fetch standard) ---

template <class Stream>
bool HttpConnection<Stream>::is_preflight() const {
  const http::Request& request = reader_.request();
  return request.method == Method::kOptions && request.request_method && request.origin &&
         http_.guard().allows(*request.origin);
}

/// Needs no secret, which browsers do not send with a preflight. The browser compares the method
/// that it asks for with those that are listed; whether the path has it, the request itself shows.
template <class Stream>
Response HttpConnection<Stream>::answer_preflight(const http::Route* route) const {
  if (route == nullptr) return not_found();
  return {.status = 204,
          .headers =
              "Access-Control-Allow-Methods: GET, HEAD, POST, DELETE\r\n"
              "Access-Control-Allow-Headers: "
              "Authorization, Content-Type, X-Dflockd-Session\r\n"
              "Access-Control-Max-Age: 300\r\n"};
}

template <class Stream>
void HttpConnection<Stream>::add_cors(Response& response) const {
  if (!http_.guard().has_cors()) return;
  const std::optional<std::string>& origin = reader_.request().origin;
  response.headers += "Vary: Origin\r\n";
  if (origin && http_.guard().allows(*origin)) {
    response.headers += "Access-Control-Allow-Origin: " + *origin + "\r\n";
  }
}

// --- Sending ---

/// A client of HTTP/1.0 expects the connection to end unless it is told otherwise.
template <class Stream>
void HttpConnection<Stream>::add_keep_alive(Response& response) const {
  if (reader_.request().http_1_0 && keep_alive_) response.headers += "Connection: keep-alive\r\n";
}

/// To be used at once: see `HttpServer::date_line`.
template <class Stream>
http::Delivery HttpConnection<Stream>::delivery() const {
  return {.head_only = reader_.request().method == Method::kHead,
          .keep_alive = keep_alive_,
          .date_line = http_.date_line()};
}

template <class Stream>
net::Awaitable HttpConnection<Stream>::send(const Response& response) {
  std::string out;
  Response whole = response;
  add_cors(whole);
  add_keep_alive(whole);
  http::append_response(out, whole, delivery());
  count(response.status, out.size());
  co_await send_all(out);
}

/// Answers what is not a whole request, so that no other can follow. It has no route, and takes no
/// time.
template <class Stream>
net::Awaitable HttpConnection<Stream>::refuse(const Response& response) {
  keep_alive_ = false;
  route_ = "-";
  began_ = service_.now();
  co_await send(response);
}

/// `bytes` must live until it is over.
template <class Stream>
net::Awaitable HttpConnection<Stream>::send_all(std::string_view bytes) {
  std::error_code error;
  const std::size_t sent = stream_.write_some(bytes, error);
  if (sent == bytes.size()) co_return;
  if (error && error != asio::error::would_block) {
    end("connection_lost");
    co_return;
  }
  co_await send_slowly(asio::buffer(bytes) + sent);
}

template <class Stream>
net::Awaitable HttpConnection<Stream>::send_stats() {
  AwaitedReport asker(socket().get_executor());
  server_.stats_reporter().ask(asker);
  asker_ = &asker;
  suspended_in_ = Suspension::kReporting;
  std::error_code called;
  co_await asker.called.async_wait(net::into(called));
  const StatsReporter::Report report = std::move(asker.report);
  suspended_in_ = Suspension::kNone;
  asker_ = nullptr;
  service_.refresh_clock();
  if (ended_) co_return;
  if (report == nullptr) {
    const Response response = out_of_memory();
    co_return co_await send(response);
  }
  std::size_t size = 0;
  for (const std::string& piece : *report) size += piece.size();
  Response head;
  add_cors(head);
  add_keep_alive(head);
  std::string out;
  http::append_head(out, head, size, delivery());
  count(200, out.size() + size);
  std::vector<asio::const_buffer> pieces{asio::buffer(out)};
  if (reader_.request().method != Method::kHead) {
    for (const std::string& piece : *report) {
      pieces.push_back(asio::buffer(piece));
    }
  }
  co_await send_slowly(pieces);
}

template <class Stream>
void HttpConnection<Stream>::count(int status, std::size_t size) {
  const http::Request& request = reader_.request();
  service_.refresh_clock();  // the request itself took time
  server_.metrics().http_requests(http::text(request.method), route_, status).add();
  server_.metrics().http_duration(route_).observe(service_.now() - began_);
  if (!logging::enabled(logging::Level::kDebug)) return;
  const std::chrono::duration<double> duration = service_.now() - began_;
  logging::debug("http_request", {{"connection", info_.connection_id},
                                  {"method", http::text(request.method)},
                                  {"route", route_},
                                  {"status", status},
                                  {"duration_s", duration.count()},
                                  {"session", request.session.value_or("-").substr(0, 8)},
                                  {"bytes", size}});
}

// --- The end ---

template <class Stream>
void HttpConnection<Stream>::on_silence() {
  if (suspended_in_ == Suspension::kShakingHands) return end_handshake();
  if (suspended_in_ != Suspension::kReceiving) return;
  if (is_idle()) {
    end("idle");
  } else {
    timed_out_ = true;
  }
  interrupt();
}

template <class Stream>
void HttpConnection<Stream>::on_stuck() {
  end_stuck();
}

template <class Stream>
void HttpConnection<Stream>::on_hangup(bool whole) {
  hung_up_ = true;
  if (turn_ != nullptr) turn_->caller_left();
  if (asker_ != nullptr && whole) {
    end("connection_lost");
    asker_->called.cancel();
  }
  interrupt();
}

template <class Stream>
void HttpConnection<Stream>::on_drain() {
  if (suspended_in_ == Suspension::kReceiving && is_spare()) interrupt();
}

template <class Stream>
void HttpConnection<Stream>::on_stop() {
  if (asker_ != nullptr) asker_->called.cancel();
  if (turn_ != nullptr) turn_->give_up();
  if (suspended_in_ != Suspension::kSending) stream_.end_sending();  // else it is cut off
  abandon("stopped");
}

template <class Stream>
bool HttpConnection<Stream>::busy() const {
  switch (suspended_in_) {
    case Suspension::kReceiving:
      return stream_.has_arrivals();
    case Suspension::kShakingHands:
    case Suspension::kLingering:
      return false;
    case Suspension::kNone:
    case Suspension::kWaiting:
    case Suspension::kReporting:
    case Suspension::kSending:
      return true;
  }
  return true;
}

template class HttpConnection<net::PlainStream>;
template class HttpConnection<net::TlsStream>;

}  // namespace dflockd::reactor
