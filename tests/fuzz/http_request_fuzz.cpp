// Feeds bytes that may be HTTP requests to their reader, and what comes out of it to the next
// steps. How the bytes arrive must not matter: they are read whole, in pieces, and one by one.
//
// The pieces are cut by the end of the input: its last byte says how many sizes of pieces stand in
// front of it, so that a request with "0" behind it is an input.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fuzzer/FuzzedDataProvider.h>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "check.hpp"
#include "http/authority.hpp"
#include "http/body.hpp"
#include "http/browser_guard.hpp"
#include "http/message.hpp"
#include "http/request_reader.hpp"
#include "http/routes.hpp"

namespace {

using dflockd::fuzz::check;
using dflockd::http::Body;
using dflockd::http::BrowserGuard;
using dflockd::http::Failure;
using dflockd::http::Match;
using dflockd::http::Method;
using dflockd::http::NoMatch;
using dflockd::http::parse_authority;
using dflockd::http::Request;
using dflockd::http::RequestReader;
using State = RequestReader::State;

/// A request, and how many bytes it took.
struct Taken {
  Request request;
  std::size_t size = 0;
};

struct Reading {
  std::vector<Taken> taken;
  State state = State::kIdle;
  int status = 0;  ///< of the failure
};

bool same(const Taken& left, const Taken& right) {
  const Request& a = left.request;
  const Request& b = right.request;
  return left.size == right.size && a.method == b.method && a.path == b.path && a.host == b.host &&
         a.session == b.session && a.authorization == b.authorization && a.origin == b.origin &&
         a.request_method == b.request_method && a.keep_alive == b.keep_alive &&
         a.http_1_0 == b.http_1_0 && a.body == b.body;
}

bool same(const Reading& left, const Reading& right) {
  return left.state == right.state && left.status == right.status &&
         std::ranges::equal(left.taken, right.taken,
                            [](const Taken& a, const Taken& b) { return same(a, b); });
}

void check_failure(const Failure& failure) {
  check(failure.status == 400 || failure.status == 413 || failure.status == 431,
        "a failure has a status of the documentation");
  check(!failure.code.empty(), "a failure has a code");
  std::string out;
  append_response(out, to_response(failure), {.keep_alive = false});
  check(out.ends_with("}\n"), "a failure is told in JSON");
}

enum class Bodies { kKept, kSkipped };

/// Reads what it can of a request and its body.
std::size_t read_whole(RequestReader& reader, std::string_view bytes, Bodies bodies) {
  std::size_t taken = reader.read(bytes);
  if (reader.state() != State::kHead) return taken;
  check(!reader.take_expectation(), "nothing is asked for before the head is judged");
  check(reader.read(bytes.substr(taken)) == 0, "nothing is read before the head is judged");
  check(reader.request().body.empty(), "a head comes before its body");
  bodies == Bodies::kKept ? reader.keep_body() : reader.skip_body();
  taken += reader.read(bytes.substr(taken));
  return taken;
}

/// Reads the bytes as they arrive, in pieces that are `sizes` long, over and over again; whole if
/// there are none.
Reading read(std::string_view bytes, const std::vector<std::size_t>& sizes,
             Bodies bodies = Bodies::kKept) {
  RequestReader reader;
  Reading reading;
  std::size_t consumed = 0;
  std::size_t begin = 0;  // of a request
  std::size_t arrived = 0;
  for (std::size_t piece = 0; reader.state() != State::kRefused; ++piece) {
    const std::size_t size = sizes.empty() ? bytes.size() : sizes[piece % sizes.size()];
    arrived = std::min(arrived + size, bytes.size());
    // Elsewhere each time, and with an end that the sanitizer guards.
    const std::vector<char> unread(bytes.begin() + static_cast<std::ptrdiff_t>(consumed),
                                   bytes.begin() + static_cast<std::ptrdiff_t>(arrived));
    std::string_view rest(unread.data(), unread.size());
    for (;;) {
      const std::size_t taken = read_whole(reader, rest, bodies);
      check(taken <= rest.size(), "no more is consumed than was given");
      rest.remove_prefix(taken);
      consumed += taken;
      if (reader.state() != State::kComplete) break;
      check(!reader.take_expectation(), "who sent everything waits for nothing");
      check(reader.read(rest) == 0, "nothing is read behind a request that is complete");
      reading.taken.push_back({reader.request(), consumed - begin});
      begin = consumed;
      reader.next();
      check(reader.state() == State::kIdle, "the next request has not begun");
    }
    if (reader.state() == State::kIdle) {
      check(rest.empty() || rest == "\r", "a request that is there has begun");
    }
    if (reader.take_expectation()) {
      check(reader.state() == State::kPartial, "who waits has sent a head");
      check(!reader.take_expectation(), "who waits is told once");
    }
    if (arrived == bytes.size()) break;
  }
  reading.state = reader.state();
  if (reading.state == State::kRefused) {
    reading.status = reader.failure().status;
    check_failure(reader.failure());
    check(reader.read(bytes) == 0 && reader.state() == State::kRefused,
          "nothing is read behind what was refused");
  }
  return reading;
}

/// `bytes` are what the reader took for the request.
void check_request(const Request& request, std::string_view bytes) {
  check(request.path.starts_with('/') || request.path.starts_with('*'), "a path is absolute");
  check(request.path.find_first_of("?# \t") == std::string::npos, "a path is only a path");
  check(request.body.size() <= RequestReader::kMaxBody, "a body is not too large");
  while (bytes.starts_with("\r\n")) bytes.remove_prefix(2);
  const std::size_t end = bytes.find("\r\n\r\n");
  check(end != std::string_view::npos, "a head has an end");
  const std::string_view head = bytes.substr(0, end);
  const std::string_view body = bytes.substr(end + 4);
  for (std::size_t i = 0; i < head.size(); ++i) {
    const bool begins_line_end = head[i] == '\r' && head.substr(i + 1).starts_with('\n');
    if (begins_line_end) {
      check(!head.substr(i + 2).starts_with(' ') && !head.substr(i + 2).starts_with('\t'),
            "a head is not folded");
      ++i;
    } else {
      check(static_cast<unsigned char>(head[i]) >= ' ' || head[i] == '\t',
            "a head has no control characters");
    }
  }
  if (body != request.body) {
    check(body.ends_with("\r\n\r\n") && body.size() >= request.body.size() + 5,
          "a body is what follows the head, or in chunks");
  }
}

/// Whatever the guard makes of it, it makes of it again, and never lets a page in that is neither
/// listed nor of the server's own.
void check_guard(const Request& request) {
  static const BrowserGuard kGuard({"locks.example", "::1"}, {"https://page.example"});
  check(!request.host || parse_authority(*request.host), "a host can be taken apart");
  check(request.host || request.http_1_0, "a request of HTTP/1.1 has a host");
  const auto failure = kGuard.check(request, {}, [] { return std::string_view("192.0.2.1"); });
  if (failure) {
    check(failure->status == 403, "who is not wanted is forbidden");
    std::string out;
    append_response(out, to_response(*failure), {});
    check(out.ends_with("}\n"), "a failure is told in JSON");
    return;
  }
  check(!request.origin || kGuard.allows(*request.origin) ||
            (request.host && request.origin->size() > std::string_view("http://").size()),
        "a page is of the server's own host or listed");
}

void check_route(const Request& request) {
  const auto route = find_route(request.method, request.path);
  if (const auto* const match = std::get_if<Match>(&route)) {
    check(match->route != nullptr, "a match has a route");
    check(match->parameter.size() <= request.path.size(), "decoding shortens");
    const Method method = request.method == Method::kHead ? Method::kGet : request.method;
    check(match->route->method == method, "a route has the method of the request");
  } else if (const auto* const failure = std::get_if<Failure>(&route)) {
    check_failure(*failure);
  } else if (const std::string& allow = std::get<NoMatch>(route).allow; !allow.empty()) {
    const std::string_view method = text(request.method);
    check(allow.find(method) == std::string::npos, "a method that is refused is not allowed");
  }
}

void check_body(std::string_view bytes) {
  const auto parsed = dflockd::http::parse_body(
      bytes, {"acquire_timeout_s", "timeout_s", "lease_ttl_s", "limit", "token"});
  if (const auto* const failure = std::get_if<Failure>(&parsed)) return check_failure(*failure);
  const Body& body = std::get<Body>(parsed);
  check(!body.token || body.token->size() <= bytes.size(), "a token stands in the body");
  check(bytes.find('{') != std::string_view::npos, "a body is an object");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  std::vector<std::size_t> pieces(input.ConsumeIntegralInRange<std::size_t>(0, 7));
  for (std::size_t& piece : pieces) piece = input.ConsumeIntegralInRange<std::size_t>(1, 256);
  const std::string bytes = input.ConsumeRemainingBytesAsString();

  const Reading whole = read(bytes, {});
  check(same(whole, read(bytes, pieces)), "pieces give the same as the whole");
  check(same(whole, read(bytes, {1})), "single bytes give the same as the whole");

  Reading without_bodies = whole;
  for (Taken& taken : without_bodies.taken) taken.request.body.clear();
  check(same(without_bodies, read(bytes, pieces, Bodies::kSkipped)),
        "requests end where they do though their bodies are skipped");

  std::size_t begin = 0;
  for (const Taken& taken : whole.taken) {
    const std::string_view alone = std::string_view(bytes).substr(begin, taken.size);
    const Reading again = read(alone, {});
    check(again.taken.size() == 1 && again.state == State::kIdle && same(again.taken[0], taken),
          "a request alone is the same as behind others");
    check_request(taken.request, alone);
    check_route(taken.request);
    check_guard(taken.request);
    check_body(taken.request.body);
    begin += taken.size;
  }
  const Reading rest = read(std::string_view(bytes).substr(begin), {});
  check(rest.taken.empty() && rest.state == whole.state && rest.status == whole.status,
        "what follows is read as it is alone");
  check_body(bytes);  // or the parser of bodies would hardly see one
  return 0;
}
