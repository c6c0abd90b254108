#include "worker.hpp"

#include <algorithm>
#include <utility>

namespace dflockd::history {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{500};
/// How long to wait for an answer beyond the time that was asked for; the server has to be stopped
/// or cut off for it to take that long.
constexpr seconds kPatience{20};

}  // namespace

void Pool::leave(Grant grant) {
  const std::lock_guard lock(mutex_);
  grants_.push_back(std::move(grant));
}

std::optional<Grant> Pool::take() {
  const std::lock_guard lock(mutex_);
  if (grants_.empty()) return std::nullopt;
  Grant grant = std::move(grants_.back());
  grants_.pop_back();
  return grant;
}

Worker::Worker(const Server& server, User user, Writer& writer, Pool& pool, std::uint64_t seed)
    : server_(server), user_(std::move(user)), writer_(writer), pool_(pool), random_(seed) {}

std::int64_t Worker::pick(std::int64_t least, std::int64_t most) {
  return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
}

std::int64_t Worker::holding_time() {
  if (user_.habit == Habit::kQuiet) return pick(300, 1500);
  if (chance(85)) return pick(0, 2);
  return chance(97) ? pick(0, 20) : pick(0, 1500);
}

std::int64_t Worker::pick_lease() {
  // Under a ref it must not be over before somebody can come back.
  if (user_.habit == Habit::kQuiet || !user_.ref.empty()) return pick(2, 4);
  return chance(70) ? 1 : pick(1, 4);
}

const Key& Worker::pick_key() {
  const auto last = static_cast<std::int64_t>(user_.keys.size()) - 1;
  return user_.keys[static_cast<std::size_t>(pick(0, last))];
}

void Worker::run() {
  milliseconds pause = kFirstPause;
  while (!stopping) {
    try {
      if (!door_ && wish_) rest(milliseconds(chance(50) ? pick(0, 100) : pick(1000, 2500)));
      if (!door_) connect();
      pause = kFirstPause;
      cycle();
    } catch (const Gone&) {
      door_.reset();
    } catch (const Lost&) {  // by `connect`
      rest(pause * pick(5, 15) / 10);
      pause = std::min(2 * pause, kLongestPause);
    } catch (const Impatient&) {
    }
  }
  if (door_) {
    writer_.end(connection_, "close");
    door_->vanish(false);
  }
}

void Worker::connect() {
  const Clock::time_point deadline = Clock::now() + milliseconds(pick(1000, 5000));
  door_ = open_door(user_.door, server_, deadline);
  connection_ = writer_.open(user_.door, user_.ref);
  try {
    door_->enter(user_.ref, deadline);
  } catch (const Lost& lost) {
    writer_.lost(connection_, lost.by_peer() ? "peer" : "local");
    door_.reset();
    throw;
  } catch (const Impatient&) {
    vanish();
  }
}

void Worker::cycle() {
  if (wish_) return come_back(*std::exchange(wish_, {}));
  if (user_.habit == Habit::kQuiet) {
    rest(milliseconds(pick(1500, 4000)));
  } else if (chance(10)) {
    rest(milliseconds(pick(0, 100)));
  }
  use_left_grant();
  const std::int64_t dice = pick(1, 100);
  if (dice <= 95) {
    ask_for(new_request());
  } else if (dice <= 97) {
    use_no_grant();
  } else {
    leave();
  }
}

Request Worker::new_request() {
  const Key& key = pick_key();
  Request request{.verb = "acquire", .key = key.key, .lease = pick_lease(), .limit = key.limit};
  request.shared = user_.shares && key.limit == 0 && chance(70);
  if (chance(37)) {
    request.verb = "enqueue";
  } else if (!chance(20)) {
    request.timeout = pick(1, 8);
  }
  return request;
}

/// Asks under the ref for what it was about to have, or had, when it lost its connection.
void Worker::come_back(const Request& request) {
  if (chance(10)) return wait(request);
  ask_for(request);
}

void Worker::ask_for(const Request& request) {
  if (!user_.ref.empty()) wish_ = request;
  request.verb == "acquire" ? acquire(request) : enqueue(request);
  wish_.reset();
}

void Worker::acquire(const Request& request) {
  std::optional<std::int64_t> patience;
  if (chance(4)) patience = pick(1, 500);
  const std::string reply = ask(request, patience);
  if (reply.starts_with("ok "))
    use({{request.key, request.limit}, reply.substr(3, 32), request.lease});
}

void Worker::enqueue(const Request& request) {
  const std::string place = ask(request);
  if (!place.starts_with("acquired ") && place != "queued") return;
  if (chance(10)) ask(request);  // once more, which is refused as long as the first one is valid
  if (chance(2)) {               // so late that the lease may be over
    rest(milliseconds(pick(500, request.lease * 1000 + 200)));
  } else if (chance(30)) {
    rest(milliseconds(pick(0, 50)));
  }
  if (chance(2)) vanish();
  wait(request);
}

/// The second phase of a request.
void Worker::wait(const Request& first) {
  const Request second{.verb = "wait", .key = first.key, .timeout = chance(10) ? 0 : pick(1, 8)};
  std::optional<std::int64_t> patience;
  if (chance(4)) patience = pick(1, 500);
  const std::string reply = ask(second, patience);
  if (reply.starts_with("ok ")) use({{first.key, first.limit}, reply.substr(3, 32), first.lease});
}

void Worker::use(Grant grant) {
  rest(milliseconds(holding_time()));
  while (chance(25)) {
    const std::int64_t lease = pick_lease();
    if (!ask_renew(grant, lease).starts_with("ok")) return;
    grant.lease = lease;
    rest(milliseconds(holding_time()));
  }
  // To come back for it, which a session that is still there prevents.
  if (!user_.ref.empty() && chance(door_->outlives_connection() ? 2 : 15)) vanish();
  const std::int64_t dice = pick(1, 1000);
  if (dice <= 5) {
    if (chance(50)) pool_.leave(std::move(grant));
    vanish();
  } else if (dice <= 9) {
    outlive(grant);
  } else if (dice <= 40) {
    pool_.leave(std::move(grant));
  } else {
    if (grant.key.limit > 0 && chance(10)) ask_for_too_much(grant.key);
    ask_release(grant);
    if (chance(5)) chance(50) ? ask_release(grant) : ask_renew(grant, 1);
  }
}

/// Sleeps through the end of the lease, and finds that it is over.
void Worker::outlive(const Grant& grant) {
  rest(milliseconds(grant.lease * 1000 + pick(-50, 300)));
  chance(50) ? ask_release(grant) : ask_renew(grant, 1);
}

/// Another limit than the one that the semaphore has while it is held.
void Worker::ask_for_too_much(const Key& key) {
  ask({.verb = "acquire", .key = key.key, .timeout = 0, .lease = 1, .limit = key.limit + 1});
}

/// Whoever has the token may release or renew.
void Worker::use_left_grant() {
  const std::optional<Grant> grant = pool_.take();
  if (!grant) return;
  if (chance(50)) {
    ask_renew(*grant, pick(1, 2));
    rest(milliseconds(holding_time()));
  }
  ask_release(*grant);
}

/// A token that nobody was granted.
void Worker::use_no_grant() {
  const Grant grant{pick_key(), "0000000000000001" + std::string(16, 'a')};
  chance(50) ? ask_release(grant) : ask_renew(grant, 1);
}

std::string Worker::ask_renew(const Grant& grant, std::int64_t lease) {
  return ask({.verb = "renew", .key = grant.key.key, .lease = lease, .token = grant.token});
}

std::string Worker::ask_release(const Grant& grant) {
  return ask({.verb = "release", .key = grant.key.key, .token = grant.token});
}

std::string Worker::ask(const Request& request, std::optional<std::int64_t> give_up_after) {
  Clock::time_point deadline = Clock::now() + seconds(request.timeout) + kPatience;
  if (give_up_after) deadline = Clock::now() + milliseconds(*give_up_after);
  const std::uint64_t operation = writer_.invoke(connection_, request.record());
  std::function<void()> seen;
  const bool may_wait = request.verb == "acquire" && request.timeout > 0;
  if (may_wait && (user_.habit == Habit::kQuiet || chance(50)))
    seen = [&] { writer_.seen(operation); };
  std::string reply;
  try {
    reply = door_->ask(request, deadline, seen);
  } catch (const Lost& lost) {
    lose(operation, lost);
  } catch (const Impatient&) {
    give_up(operation);
  }
  writer_.reply(operation, words_of(request.verb, reply));
  if (reply == "gone") {
    writer_.lost(connection_, "peer");
    throw Gone();
  }
  return reply;
}

void Worker::lose(std::uint64_t operation, const Lost& lost) {
  writer_.abandon(operation);
  if (door_->outlives_connection()) {
    reconnect();
    throw Impatient();  // so it goes on with something else
  }
  writer_.lost(connection_, lost.by_peer() ? "peer" : "local");
  throw Gone();
}

void Worker::give_up(std::uint64_t operation) {
  writer_.abandon(operation);
  if (door_->outlives_connection() && chance(70)) {
    door_->vanish(chance(50));
    reconnect();
    throw Impatient();
  }
  vanish();
}

/// Comes back to the session until it is gone or there is no sense in it any more.
void Worker::reconnect() {
  constexpr int kAttempts = 20;
  milliseconds pause = kFirstPause;
  for (int attempt = 0; attempt < kAttempts && !stopping; ++attempt) {
    try {
      return door_->reconnect(Clock::now() + seconds(2));
    } catch (const std::runtime_error&) {
      rest(pause);
      pause = std::min(2 * pause, kLongestPause);
    }
  }
  writer_.end(connection_, "close");
  throw Gone();
}

void Worker::vanish() {
  const bool reset = chance(50);
  writer_.end(connection_, reset ? "reset" : "close");
  door_->vanish(reset);
  throw Gone();
}

void Worker::leave() {
  if (!door_->leaves_by_request()) {
    writer_.end(connection_, "close");
    door_->vanish(false);
    throw Gone();
  }
  writer_.end(connection_, "delete");
  try {
    if (door_->leave(Clock::now() + kPatience)) writer_.confirm_end(connection_);
  } catch (const std::runtime_error&) {
    // Whether it is ended nobody knows.
  }
  throw Gone();
}

}  // namespace dflockd::history
