#include "connected.hpp"

#include <algorithm>
#include <cstdlib>

#include <sys/random.h>

#include <fmt/format.h>

namespace dflockd::http {

Answer parse_answer(const std::string& bytes, bool of_head) {
  Answer answer;
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos || !bytes.starts_with("HTTP/1.1 ")) return answer;
  answer.status = std::atoi(bytes.c_str() + std::string_view("HTTP/1.1 ").size());
  answer.head = bytes.substr(0, end + 2);
  std::size_t length = 0;
  constexpr std::string_view kLength = "Content-Length: ";
  if (const std::size_t at = answer.head.find(kLength); at != std::string::npos && !of_head) {
    length = static_cast<std::size_t>(std::atol(answer.head.c_str() + at + kLength.size()));
  }
  answer.body = bytes.substr(end + 4, length);
  answer.rest = bytes.substr(std::min(end + 4 + length, bytes.size()));
  return answer;
}

std::vector<Answer> parse_answers(std::string bytes) {
  std::vector<Answer> answers;
  while (!bytes.empty()) {
    answers.push_back(parse_answer(bytes));
    if (answers.back().status == 0) break;
    bytes = answers.back().rest;
  }
  return answers;
}

std::string request(std::string_view line, std::string_view body, std::string_view fields) {
  return fmt::format("{} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: {}\r\n\r\n{}", line,
                     fields, body.size(), body);
}

// --- The server ---

Server::Server(const Setup& setup)
    : service_(setup.service, clock_, *this, {.first = 1, .end = 1'000'000}, ::getrandom),
      stats_(
          service_, [] { return 7; }, [] {}),
      authenticator_(setup.secret),
      door_({.service = service_,
             .clock = clock_,
             .stats = stats_,
             .authenticator = authenticator_,
             .metrics = metrics_,
             .complaints = complaints_,
             .metrics_text = [] { return "metrics\n"; },
             .last_connection_id = last_connection_id_,
             .draining = draining_},
            setup.options) {}

void Server::pass(base::Instant time) {
  for (; time > base::Instant::zero(); time -= base::LoopClock::kBeat) {
    skip(base::LoopClock::kBeat);
    tick();
  }
}

void Server::tick() {
  service_.tick();
  door_.tick();
}

void Server::drain() {
  draining_ = true;
  service_.start_draining();
}

std::string Server::open_session(std::string_view body_sent) {
  Connection connection(*this);
  const std::string body = connection.send(request("POST /v1/sessions", body_sent)).body;
  constexpr std::string_view kBefore = R"({"session_id":")";
  return body.substr(kBefore.size(), 32);
}

// --- A connection ---

Connection::Connection(Server& server, const char* peer)
    : session_(std::make_unique<HttpSession>(
          server.door(), *this,
          HttpSession::Origin{.connection_id = 1,
                              .peer_text = std::string(peer) + ":50000",
                              .peer = asio::ip::make_address(peer),
                              .local_address = "192.0.2.1"})) {}

Answer Connection::send(std::string_view bytes) {
  arrive(bytes);
  return take_answer();
}

net::Want Connection::arrive(std::string_view bytes) {
  lay(bytes);
  return advance();
}

void Connection::lay(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::span<char> space = input_.space();
    const std::string_view part = bytes.substr(0, space.size());
    std::ranges::copy(part, space.begin());
    input_.received(part.size());
    bytes.remove_prefix(part.size());
  }
}

net::Want Connection::advance(bool once) {
  do {
    woken = false;
    std::string bytes;
    net::Output output{bytes};
    want = session_->advance(input_, output);
    note(output);
  } while (!once && want == net::Want::kTurn);
  return want;
}

net::Want Connection::go_on() {
  return woken ? advance() : want;
}

net::Want Connection::be_silent() {
  std::string bytes;
  net::Output output{bytes};
  want = session_->on_silence(input_, output);
  note(output);
  return want;
}

void Connection::hang_up(bool gone) {
  is_gone = true;
  session_->on_hangup(gone);
  advance();
}

void Connection::end(std::string_view why) {
  if (session_ == nullptr) return;
  session_->on_end({}, why);
  session_.reset();
}

std::string Connection::take() {
  return std::exchange(said_, {});
}

void Connection::note(net::Output& output) {
  said_ += output.bytes;
  served = output.served;
  if (output.text != nullptr) text = output.text;
}

}  // namespace dflockd::http
