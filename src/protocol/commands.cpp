#include "protocol/commands.hpp"

#include <array>
#include <charconv>
#include <cstring>

#include "service/stats_report.hpp"

namespace dflockd::protocol {

namespace {

using locks::Outcome;
using service::status_of;

/// Appends the answer to an acquire or a wait, unless it is still to come.
std::optional<Status> append_unless_queued(std::string& out, const locks::Answer& answer) {
  if (answer.outcome == Outcome::kQueued) return std::nullopt;
  return append_answer(out, answer);
}

Status append_enqueued(std::string& out, const locks::Answer& answer) {
  if (answer.outcome != Outcome::kGranted) return append_status(out, status_of(answer.outcome));
  append_acquired(out, answer.token, answer.lease);
  return Status::kAcquired;
}

Status append_renewed(std::string& out, std::chrono::seconds remaining) {
  if (remaining == std::chrono::seconds::zero()) return append_status(out, Status::kError);
  append_remaining(out, remaining);
  return Status::kOk;
}

constexpr std::string_view kGrant = "ok ";
constexpr std::string_view kAcquired = "acquired ";

using Line = std::array<char, kLongestReply>;

char* put(char* to, std::string_view text) {
  std::memcpy(to, text.data(), text.size());
  return to + text.size();
}

char* put_hex(char* to, std::uint64_t number) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int shift = 60; shift >= 0; shift -= 4) *to++ = kDigits[number >> shift & 0xFU];
  return to;
}

char* put_seconds(char* to, Line& line, std::chrono::seconds seconds) {
  return std::to_chars(to, line.data() + line.size(), seconds.count()).ptr;
}

void append_line(std::string& out, const Line& line, char* end) {
  *end++ = '\n';
  out.append(line.data(), static_cast<std::size_t>(end - line.data()));
}

void append_token(std::string& out, std::string_view status, const base::Token& token,
                  std::chrono::seconds lease) {
  Line line;
  char* end = put(line.data(), status);
  end = put_hex(end, token.fence);
  end = put_hex(end, token.salt);
  *end++ = ' ';
  append_line(out, line, put_seconds(end, line, lease));
}

Status append_stat(std::string& out, service::Service& service, const locks::Key& key) {
  const std::optional<std::string> stat = service::stat_of(service, key);
  if (!stat) return append_status(out, Status::kError);
  out.append(text(Status::kOk)).append(" ").append(*stat).append("\n");
  return Status::kOk;
}

service::Ask ask_of(const Request& request) {
  return {request.key, request.limit, request.shared, request.lease};
}

}  // namespace

std::optional<Status> execute(const Request& request, service::Service& service,
                              locks::OwnerId owner, std::string& out) {
  const locks::Key& key = request.key;
  switch (request.verb) {
    case Verb::kAcquire:
      return append_unless_queued(out, service.acquire(owner, ask_of(request), request.timeout));
    case Verb::kWait:
      return append_unless_queued(out, service.wait(owner, key, request.timeout));
    case Verb::kEnqueue:
      return append_enqueued(out, service.enqueue(owner, ask_of(request)));
    case Verb::kRelease:
      return append_status(out, service.release(key, request.token) ? Status::kOk : Status::kError);
    case Verb::kRenew:
      return append_renewed(out, service.renew(owner, key, request.token, request.lease));
    case Verb::kStat:
      return append_stat(out, service, key);
    case Verb::kStableRef:
      return append_status(out,
                           service.set_ref(owner, request.text) ? Status::kOk : Status::kError);
    case Verb::kName:
      service.set_name(owner, request.text);
      return append_status(out, Status::kOk);
    case Verb::kPing:
    case Verb::kBarrier:
      return append_status(out, Status::kOk);
    default:
      return append_status(out, Status::kError);
  }
}

Status append_answer(std::string& out, const locks::Answer& answer) {
  if (answer.outcome != Outcome::kGranted) return append_status(out, status_of(answer.outcome));
  append_grant(out, answer.token, answer.lease);
  return Status::kOk;
}

// --- Replies ---

Status append_status(std::string& out, Status status) {
  out.append(text(status));
  out.push_back('\n');
  return status;
}

void append_grant(std::string& out, const base::Token& token, std::chrono::seconds lease) {
  append_token(out, kGrant, token, lease);
}

void append_acquired(std::string& out, const base::Token& token, std::chrono::seconds lease) {
  append_token(out, kAcquired, token, lease);
}

void append_remaining(std::string& out, std::chrono::seconds remaining) {
  Line line;
  append_line(out, line, put_seconds(put(line.data(), "ok "), line, remaining));
}

std::vector<base::Token> granted_tokens(std::string_view replies) {
  std::vector<base::Token> tokens;
  for (std::size_t end = 0; (end = replies.find('\n')) != std::string_view::npos;
       replies.remove_prefix(end + 1)) {
    const std::string_view line = replies.substr(0, end);
    for (const std::string_view status : {kGrant, kAcquired}) {
      if (!line.starts_with(status)) continue;
      const std::string_view rest =
          line.substr(status.size());  // a token, or the seconds of a renewal
      if (const auto token = base::parse_token(rest.substr(0, rest.find(' '))))
        tokens.push_back(*token);
    }
  }
  return tokens;
}

}  // namespace dflockd::protocol
