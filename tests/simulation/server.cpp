#include "server.hpp"

#include <algorithm>
#include <cstring>

#include "oracle.hpp"
#include "protocol/commands.hpp"
#include "protocol/request.hpp"
#include "recorder.hpp"

namespace dflockd::simulation {

namespace {

/// Where the salts of the server that draws come from. A pool's source knows no context.
thread_local Salts salts;
thread_local std::uint64_t salts_drawn = 0;

/// A source that makes the pool, which hands out from its end, hand out the salts in order.
ssize_t draw_salts(void* bytes, std::size_t size, unsigned int /*flags*/) {
  const std::size_t count = size / sizeof(std::uint64_t);
  for (std::size_t at = 0; at < count; ++at) {
    const std::uint64_t salt = salts.at(salts_drawn + count - 1 - at);
    std::memcpy(static_cast<char*>(bytes) + at * sizeof salt, &salt, sizeof salt);
  }
  salts_drawn += count;
  return static_cast<ssize_t>(size);
}

fencing::SaltPool::Source source_of(std::uint64_t stream) {
  salts = {stream};
  salts_drawn = 0;
  return draw_salts;
}

}  // namespace

Server::Server(const Setup& setup)
    : clock_(setup.now),
      service_(
          setup.options, clock_, *this,
          {.first = setup.first_fence, .end = setup.fences_end, .can_be_reserved = setup.reserves},
          source_of(setup.salt_stream)) {}

void Server::fire() {
  timer_ = kNever;
  service_.on_timer();
}

void Server::reserved(const fencing::FenceReserver::Result& result) {
  wants_fences_ = false;
  service_.take_reservation(result);
}

void Server::look(Sight& sight) {
  sight.keys.clear();
  service_.visit_keys(0, SIZE_MAX, [&](const locks::KeyInfo& info) {
    locks::KeyInfo& key = sight.keys.emplace_back(info);
    key.key = locks::kept(info.key);
    const ConnectionId holder = info.holders > 0 ? service_.info(info.owner).connection_id : 0;
    key.owner = {.index = static_cast<std::uint32_t>(holder), .generation = 0};
  });
  std::ranges::sort(sight.keys, {}, [](const locks::KeyInfo& key) {
    return std::pair(key.key.kind, key.key.name);
  });
  sight.counts = service_.counts();
  sight.next_deadline = service_.table().next_deadline();
  sight.said.swap(said);  // last: what is due was ended only now
  said.clear();
}

Connection::Connection(Server& server, ConnectionId id)
    : server_(server), id_(id), owner_(server.service().open_owner(*this, {id, {}})) {}

Connection::Progress Connection::handle_one() {
  if (blocked_) return Progress::kNothing;
  const protocol::Frame frame = framer_.next(input_);
  if (frame.status == protocol::FrameStatus::kIncomplete) return Progress::kNothing;
  std::string reply;
  if (frame.status == protocol::FrameStatus::kTooLong) {
    protocol::append_status(reply, protocol::Status::kError);
    say(reply);
    close(false);
    return Progress::kRefused;
  }
  const auto status = execute(protocol::parse(frame.lines), server_.service(), owner_, reply);
  input_.erase(0, frame.size);
  if (status) {
    say(reply);
    return Progress::kCarriedOut;
  }
  blocked_ = true;
  return Progress::kBlocked;
}

void Connection::cancel_wait() {
  server_.service().cancel_wait(owner_);
  blocked_ = false;
}

void Connection::close(bool release_all) {
  if (release_all) return server_.service().release_owner(owner_);
  std::vector<std::uint64_t> undelivered;
  if (server_.service().keeps_grants()) {
    for (const base::Token& token : protocol::granted_tokens(unsent)) {
      undelivered.push_back(token.fence);
    }
    std::ranges::sort(undelivered);
  }
  server_.service().close_owner(owner_, undelivered);
}

void Connection::wait_over(const locks::Answer& answer) noexcept {
  blocked_ = false;
  woken = true;
  // As the server's connection does, which looks before it sends what it could not take back.
  if (server_.service().keeps_grants() && peer_gone) hung_up = true;
  std::string reply;
  protocol::append_answer(reply, answer);
  say(reply);
}

void Connection::say(const std::string& line) {
  server_.said.push_back({id_, line});
  unsent += line;
}

}  // namespace dflockd::simulation
