// What the oracle knows of callers, who speak HTTP: one response for each request, in order, and a
// session that owns what they hold.
#include <algorithm>
#include <array>
#include <string>
#include <variant>

#include "oracle.hpp"

namespace dflockd::simulation {

namespace {

using locks::Outcome;
using net::Want;
using What = Asked::What;

bool is_new_grant(const std::optional<locks::Answer>& answer) {
  return answer && answer->outcome == Outcome::kGranted && !answer->repeated;
}

/// Whether it is given up if its caller leaves.
bool needs_caller(const locks::Command& command) {
  return std::holds_alternative<locks::Acquire>(command) ||
         std::holds_alternative<locks::Wait>(command);
}

Response refused(int status, const std::string& code) {
  return {.status = status, .body = code};
}

/// What a caller is to be said of an answer: for what is refused, the code is enough.
Response response_to(const locks::Command& command, const locks::Answer& answer) {
  const bool enqueues = std::holds_alternative<locks::Enqueue>(command);
  const auto status_only = [](const char* status) {
    return Response{200, std::string(R"({"status":")") + status + R"("})"};
  };
  switch (answer.outcome) {
    case Outcome::kGranted: {
      std::array<char, 33> token{};
      std::snprintf(token.data(), token.size(), "%016llx%016llx",
                    static_cast<unsigned long long>(answer.token.fence),
                    static_cast<unsigned long long>(answer.token.salt));
      return {200, std::string(R"({"status":")") + (enqueues ? "acquired" : "ok") +
                       R"(","token":")" + token.data() + R"(","lease_ttl_s":)" +
                       std::to_string(answer.lease.count()) + "}"};
    }
    case Outcome::kQueued:
      return status_only("queued");
    case Outcome::kTimeout:
      return status_only("timeout");
    case Outcome::kDone:
      if (std::holds_alternative<locks::Release>(command)) return {204, ""};
      return {200, R"({"remaining_s":)" + std::to_string(answer.lease.count()) + "}"};
    case Outcome::kNotHeld:
      return refused(404, "not_held");
    case Outcome::kMaxLocks:
      return refused(503, "max_locks");
    case Outcome::kMaxWaiters:
      return refused(503, "max_waiters");
    case Outcome::kDraining:
      return refused(503, "draining");
    case Outcome::kModeMismatch:
      return refused(400, "bad_request");
    case Outcome::kHasRef:
      return refused(500, "never");
    case Outcome::kNoFence:
      return refused(503, "fence_persistence");
    case Outcome::kLimitMismatch:
      return refused(409, "limit_mismatch");
    case Outcome::kAlreadyEnqueued:
      return refused(409, "already_enqueued");
    case Outcome::kNotEnqueued:
      return refused(409, "not_enqueued");
    case Outcome::kLeaseExpired:
      return refused(409, "lease_expired");
  }
  return {};
}

bool is_response(const Response& seen, const Response& expected) {
  if (seen.status != expected.status) return false;
  return expected.status < 400 ? seen.body == expected.body + (expected.body.empty() ? "" : "\n")
                               : seen.body.find('"' + expected.body + '"') != std::string::npos;
}

}  // namespace

Oracle::Session* Oracle::session_of(locks::OwnerId owner) {
  const auto number = session_of_.find({owner.index, owner.generation});
  return number == session_of_.end() ? nullptr : &sessions_.at(number->second);
}

/// A session was advanced: the responses that it has said answer the first of what was asked, and
/// what it has carried out is for those, or blocks.
void Oracle::advance_caller(Peer& caller, const Advance& advance) {
  std::string said(advance.said);
  said_ = said;
  while (const std::optional<Response> response = take_response(said)) {
    if (caller.pending.empty()) {
      wrong(id(), "nothing to be said", std::to_string(response->status) + " is");
    }
    respond(caller, *response, advance.silent);
    caller.pending.pop_front();
    ++requests_;
  }
  if (!said.empty()) wrong(id(), "whole responses", shown(said));
  if (!calls().empty() && !caller.pending.empty()) begin_wait(caller.pending.front());
  leave(caller);
  switch (advance.want) {
    case Want::kClose:
      caller.phase = Phase::kClosing;
      break;
    case Want::kDrop:
      caller.phase = Phase::kDropped;
      drop_turn(caller);
      break;
    case Want::kPause:
      caller.phase = Phase::kDenied;
      break;
    default:
      caller.phase = Phase::kOpen;
  }
  if (caller.phase == Phase::kDenied &&
      (caller.pending.empty() || caller.pending.front().authorized)) {
    wrong(id(), "it not to be denied", "it is");
  }
}

/// A request is carried out that is not answered yet, unless what was carried out is for something
/// else.
void Oracle::begin_wait(Pending& request) {
  const auto found = sessions_.find(request.session);
  if (request.what != What::kLocks || request.carried_out || found == sessions_.end()) return;
  Session& session = found->second;
  if (!ask_alike(calls().front().command, command_of(request, session))) return;
  carry_out(request, session);
  if (!needs_caller(request.command) || request.answer) {
    wrong(id(), "an answer to be said", "it is not");
  }
  session.busy = id();
}

/// The first that was asked is answered.
void Oracle::respond(Peer& caller, const Response& response, bool silent) {
  Pending& request = caller.pending.front();
  const bool whole = caller.read_bytes >= request.end && !request.half;
  const bool head_says = response.status == 401 || response.status == 404 || response.status == 410;
  Response expected;
  if (!whole && !head_says) {
    if (!silent) wrong(id(), "a whole request first", std::to_string(response.status));
    expected = refused(400, "bad_request");
  } else if (!request.authorized && request.what != What::kHealth) {
    expected = refused(401, "unauthorized");
  } else if (request.what == What::kHealth) {
    expected = {200, R"({"status":"ok"})"};
  } else if (request.what == What::kNowhere) {
    expected = refused(404, "not_found");
  } else if (request.what == What::kOpen) {
    if (response.status != 200) wrong(id(), "a session", shown(response.body));
    const Call call = take_call();
    if (!std::holds_alternative<locks::OpenOwner>(call.command)) {
      wrong(id(), "an owner", shown(call.command));
    }
    sessions_[request.session] = {.owner = call.answer.owner, .active = now_};
    session_of_[{call.answer.owner.index, call.answer.owner.generation}] = request.session;
    describe(call.answer.owner, ++sessions_opened_, "http:192.0.2.1", request.name);
    if (!request.ref.empty()) {
      const locks::SetRef its_ref{call.answer.owner, request.ref};
      const Call named = take_call();
      if (!ask_alike(named.command, its_ref)) wrong(id(), shown(its_ref), shown(named.command));
    }
    expected = {200, response.body.substr(0, response.body.size() - 1)};
  } else {
    return respond_on_session(caller, request, response);
  }
  if (!is_response(response, expected)) {
    wrong(id(), std::to_string(expected.status) + " " + expected.body,
          std::to_string(response.status) + " " + shown(response.body));
  }
}

void Oracle::respond_on_session(Peer& caller, Pending& request, const Response& response) {
  const auto found = sessions_.find(request.session);
  Response expected = refused(410, "session_gone");
  if (found != sessions_.end()) {
    Session& session = found->second;
    if (!session.closed) {
      expected = outcome(caller, request, session);
      session.active = now_;
    }
    if (session.busy == id()) session.busy = 0;
  }
  if (!is_response(response, expected)) {
    wrong(id(), std::to_string(expected.status) + " " + expected.body,
          std::to_string(response.status) + " " + shown(response.body));
  }
}

/// What comes of a request on a session that is open.
Response Oracle::outcome(Peer& caller, Pending& request, Session& session) {
  if (request.what == What::kPing) return {204, ""};
  if (request.what == What::kClose) {
    const Call call = take_call();
    const auto* const close = std::get_if<locks::CloseOwner>(&call.command);
    if (close == nullptr || close->owner != session.owner || close->legacy.keeps_grants ||
        close->legacy.orphan_ttl.count() > 0) {
      wrong(id(), "the session to end", shown(call.command));
    }
    session.closed = true;
    session_of_.erase({session.owner.index, session.owner.generation});
    return {204, ""};
  }
  if (!request.carried_out) carry_out(request, session);
  if (!request.answer) wrong(id(), "no response before there is an answer", "there is one");
  const bool is_gone = caller.wire->is_shut() || caller.wire->is_reset();
  if (is_new_grant(request.answer) && needs_caller(request.command) && is_gone) {
    give_up(caller, take_call());  // it raced with its caller's leaving
    return refused(408, "client_canceled");
  }
  return response_to(request.command, *request.answer);
}

/// What a request is to the table, on this session.
locks::Command Oracle::command_of(const Pending& request, const Session& session) const {
  locks::Command command = request.command;
  const auto fill_in = [this](std::chrono::seconds& lease) {
    if (lease.count() == 0) lease = std::chrono::seconds(rules_.default_lease);
    if (rules_.max_lease > 0) lease = std::min(lease, std::chrono::seconds(rules_.max_lease));
  };
  std::visit(
      [&](auto& any) {
        if constexpr (requires { any.owner; }) any.owner = session.owner;
        if constexpr (requires { any.lease; }) fill_in(any.lease);
        if constexpr (requires { any.request; }) fill_in(any.request.lease);
      },
      command);
  return command;
}

/// A request has its turn.
void Oracle::carry_out(Pending& request, Session& session) {
  if (calls().empty())
    wrong(id(), "a command for the table",
          shown(std::string_view(said_).substr(said_.size() -
                                               std::min<std::size_t>(said_.size(), 100))) +
              " is said");
  if (session.busy != 0) wrong(id(), "it to wait for its turn", "it does not");
  const Call call = take_call();
  const locks::Command command = command_of(request, session);
  if (!ask_alike(call.command, command)) wrong(id(), shown(command), shown(call.command));
  request.carried_out = true;
  const bool blocks = call.answer.outcome == Outcome::kQueued &&
                      !std::holds_alternative<locks::Enqueue>(request.command);
  if (!blocks) request.answer = call.answer;
}

/// The first request waits for nothing any more.
void Oracle::drop_turn(Peer& caller) {
  if (caller.pending.empty()) return;
  const auto session = sessions_.find(caller.pending.front().session);
  if (session != sessions_.end() && session->second.busy == id()) session->second.busy = 0;
}

/// What the server gives up or back because its caller has left.
void Oracle::leave(Peer& caller) {
  while (!calls().empty()) {
    const Call call = take_call();
    if (caller.pending.empty()) wrong(id(), "nothing else", shown(call.command));
    give_up(caller, call);
  }
}

/// What the first request was for is not wanted any more.
void Oracle::give_up(Peer& caller, const Call& call) {
  Pending& request = caller.pending.front();
  const auto found = sessions_.find(request.session);
  if (found == sessions_.end() || found->second.closed ||
      !(caller.ends || caller.wire->is_shut() || caller.wire->is_reset())) {
    wrong(id(), "nothing to be given up", shown(call.command));
  }
  const locks::OwnerId owner = found->second.owner;
  bool good = false;
  if (const auto* const cancel = std::get_if<locks::CancelWait>(&call.command)) {
    good = cancel->owner == owner && request.carried_out && !request.answer;
  } else if (const auto* const give_up = std::get_if<locks::GiveUpPlace>(&call.command)) {
    good = give_up->owner == owner && !request.carried_out &&
           std::holds_alternative<locks::Wait>(request.command);
  } else if (const auto* const release = std::get_if<locks::Release>(&call.command)) {
    good = is_new_grant(request.answer) && release->token == request.answer->token;
  }
  if (!good) wrong(id(), "something else to be given up", shown(call.command));
  request.left = true;
  drop_turn(caller);
}

/// A session is ended because nobody has used it.
void Oracle::close_idle(const locks::CloseOwner& command) {
  Session* const session = session_of(command.owner);
  // By the tick before, which was later than now if the clock has stepped back since.
  const auto is_too_early = [&] {
    return latest_ == now_ && now_ - session->active < 2 * rules_.session_idle;
  };
  if (session == nullptr || session->closed || session->busy != 0 || !is_legacy(command.legacy) ||
      !command.undelivered.empty() || is_too_early()) {
    throw Violation("expected no session to be ended, but " + shown(command));
  }
  session->closed = true;
  session_of_.erase({command.owner.index, command.owner.generation});
}

/// Whether an earlier request on its session has to wait for its own connection, on which an
/// earlier response cannot be sent.
bool Oracle::is_held_up(ConnectionId id, const Pending& request) const {
  return std::ranges::any_of(peers_, [&](const auto& each) {
    const Peer& other = each.second;
    return each.first != id && !other.pending.empty() && other.said.size() > other.cut &&
           other.pending.front().session == request.session;
  });
}

void Oracle::rest_caller(ConnectionId id, const Peer& caller) {
  if (caller.pending.empty()) {
    if (caller.hung_up) wrong(id, "it to end with its peer", "it does not");
    return;
  }
  const Pending& request = caller.pending.front();
  const auto found = sessions_.find(request.session);
  const bool open = found != sessions_.end() && !found->second.closed;
  const bool waits = request.what == What::kLocks && open && !request.answer &&
                     (request.carried_out || found->second.busy != 0 || is_held_up(id, request));
  if (waits) {
    if (caller.hung_up && needs_caller(request.command)) {
      wrong(id, "it to end with its caller", "it does not");
    }
    return;
  }
  if (caller.read_bytes >= request.end && !request.half) {
    wrong(id, "a response", "there is none");
  }
  if (caller.hung_up) wrong(id, "it to end with its peer", "it does not");
}

}  // namespace dflockd::simulation
