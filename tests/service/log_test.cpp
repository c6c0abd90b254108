// The log of a service: whoever carries out its commands has the same table.
#include <chrono>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "base/loop_clock.hpp"
#include "locks/command.hpp"
#include "locks/lock_table.hpp"
#include "service/service.hpp"

namespace dflockd::service {

namespace {

using locks::Key;
using locks::Kind;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

/// A second table that is brought up by the log alone, with another secret.
class Replica final : public Log, private locks::EffectSink {
 public:
  void append(locks::Instant now, const locks::Command& command) noexcept override {
    table.apply(now, command);
    ++commands;
  }

  locks::LockTable table{{.max_locks = 6, .max_waiters = 4, .hash_key = {.low = 1, .high = 2}},
                         *this};
  std::size_t commands = 0;

 private:
  void take(const locks::Effect& /*effect*/) noexcept override {}
};

ssize_t draw_salts(void* bytes, std::size_t size, unsigned int /*flags*/) {
  static thread_local std::mt19937_64 random;
  std::uint64_t salt = 0;
  for (std::size_t at = 0; at < size; ++at) {
    if (at % sizeof salt == 0) salt = random();
    static_cast<unsigned char*>(bytes)[at] = static_cast<unsigned char>(salt >> at % 8 * 8);
  }
  return static_cast<ssize_t>(size);
}

class Deaf final : public Waiter {
 public:
  void wait_over(const locks::Answer& answer) noexcept override {
    blocked = false;
    last = answer;
  }
  bool blocked = false;
  locks::Answer last;
};

using Seen = std::tuple<Kind, std::string, std::uint32_t, std::uint32_t, std::uint32_t,
                        std::uint32_t, locks::Instant, locks::Instant, locks::Instant>;

std::vector<Seen> everything_in(const locks::LockTable& table) {
  std::vector<Seen> all;
  table.visit_keys(0, SIZE_MAX, [&](const locks::KeyInfo& info) {
    all.emplace_back(info.key.kind, std::string(info.key.name), info.limit, info.holders,
                     info.waiters, info.owner.index, info.held, info.lease_left, info.idle);
  });
  std::ranges::sort(all);
  return all;
}

}  // namespace

class ServiceLog : public testing::Test, private Host {
 protected:
  void set_timer(locks::Instant deadline) override { timer_ = deadline; }
  void reserve_fences(std::uint64_t /*count*/) override {}

  void fire_if_due() {
    if (timer_ <= clock_.now()) service_.on_timer();
  }

  locks::Instant timer_ = locks::kNever;
  base::LoopClock clock_{1s};
  Replica replica_;
  Service service_{
      {.table = {.max_locks = 6, .max_waiters = 4}, .gc_max_idle = 2s, .orphan_ttl = 3s},
      clock_,
      *this,
      {.first = 100, .end = 2000},
      draw_salts,
      &replica_};
};

TEST_F(ServiceLog, whoever_carries_it_out_has_the_same_table) {
  struct Client {
    Deaf waiter;
    locks::OwnerId owner;
  };
  std::mt19937 random(20);
  const auto below = [&](std::uint32_t bound) {
    return static_cast<std::uint32_t>(random() % bound);
  };
  std::deque<Client> clients(8);
  for (Client& client : clients) client.owner = service_.open_owner(client.waiter, {});
  std::deque<std::pair<Key, locks::Token>> granted;
  const std::vector<std::string> names{"a", "b", "c", "d", "e", "f", "g", "h"};
  for (int step = 0; step < 20'000; ++step) {
    clock_.set(clock_.now() + below(400) * 1ms);
    fire_if_due();
    Client& client = clients[below(8)];
    const Key key{below(2) == 0 ? Kind::kLock : Kind::kSemaphore, names[below(8)]};
    const std::uint32_t limit = key.kind == Kind::kLock ? 1 : 2;
    const bool shared = key.kind == Kind::kLock && below(2) == 0;
    const std::uint32_t what = below(20);
    locks::Answer answer;
    if (what < 10 && client.waiter.blocked) {
      if (below(4) != 0) continue;
      service_.cancel_wait(client.owner);
      client.waiter.blocked = false;
    } else if (what < 6) {
      answer = service_.acquire(client.owner, {key, limit, shared, below(4) * 1s}, below(4) * 1s);
    } else if (what < 8) {
      answer = service_.enqueue(client.owner, {key, limit, shared, 2s});
    } else if (what < 10) {
      answer = service_.wait(client.owner, key, below(3) * 1s);
    } else if (what < 14 && !granted.empty()) {
      std::ignore = service_.release(granted.front().first, granted.front().second);
      granted.pop_front();
    } else if (what < 16 && !granted.empty()) {
      std::ignore = service_.renew(client.owner, granted.front().first, granted.front().second, 3s);
    } else if (what == 16) {
      const std::vector undelivered{client.waiter.last.token.fence};
      service_.close_owner(client.owner, undelivered);
      client.waiter.blocked = false;
      client.owner = service_.open_owner(client.waiter, {});
      const bool named = below(2) == 0 && service_.set_ref(client.owner, names[below(3)]);
      std::ignore = named;
    } else if (what == 17) {
      service_.give_up_place(client.owner, key);
    } else if (what == 18) {
      service_.tick();
    }
    const bool blocks = what < 6 || (what >= 8 && what < 10);
    if (blocks && answer.outcome == locks::Outcome::kQueued) client.waiter.blocked = true;
    if (answer.outcome == locks::Outcome::kGranted) granted.emplace_back(key, answer.token);
    ASSERT_EQ(replica_.table.counts(), service_.counts()) << step;
    ASSERT_EQ(replica_.table.next_deadline(), service_.table().next_deadline()) << step;
    ASSERT_EQ(replica_.table.next_fence(), service_.table().next_fence()) << step;
    if (step % 50 == 0) {
      ASSERT_EQ(everything_in(replica_.table), everything_in(service_.table())) << step;
    }
  }
  EXPECT_GT(service_.table().grants(), 1000U);
  service_.start_draining();
  EXPECT_EQ(everything_in(replica_.table), everything_in(service_.table()));
}

TEST_F(ServiceLog, what_changes_the_table_waits_for_a_commit_and_nothing_else_does) {
  Deaf waiter;
  const std::size_t before = replica_.commands;
  const locks::OwnerId owner = service_.open_owner(waiter, {});
  EXPECT_EQ(replica_.commands, before + 1);
  EXPECT_FALSE(service_.batches().all_committed());
  service_.batches().commit(service_.batches().seal());
  EXPECT_TRUE(service_.batches().all_committed());
  std::ignore = service_.metrics();
  std::ignore = service_.has_claims(owner);
  EXPECT_TRUE(service_.batches().all_committed());
  std::ignore = service_.acquire(owner, {{Kind::kLock, "a"}}, 0s);
  EXPECT_FALSE(service_.batches().all_committed());
}

}  // namespace dflockd::service
