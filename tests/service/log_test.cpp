// The log of a service: whoever carries out its commands has the same table.
#include <algorithm>
#include <array>
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

/// Clients that do anything, and the replica beside them.
class ServiceLogOfAll : public ServiceLog {
 protected:
  struct Client {
    Deaf waiter;
    locks::OwnerId owner;
  };

  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }

  Key any_key() {
    static constexpr std::array kNames{"a", "b", "c", "d", "e", "f", "g", "h"};
    return {below(2) == 0 ? Kind::kLock : Kind::kSemaphore, kNames[below(8)]};
  }

  void ask(Client& client) {
    const Key key = any_key();
    const bool is_lock = key.kind == Kind::kLock;
    const Ask ask{key, is_lock ? 1U : 2U, is_lock && below(2) == 0, below(4) * 1s};
    const std::uint32_t what = below(10);
    const locks::Answer answer = what < 6   ? service_.acquire(client.owner, ask, below(4) * 1s)
                                 : what < 8 ? service_.enqueue(client.owner, ask)
                                            : service_.wait(client.owner, key, below(3) * 1s);
    const bool is_enqueue = what >= 6 && what < 8;
    client.waiter.blocked = !is_enqueue && answer.outcome == locks::Outcome::kQueued;
    if (answer.outcome == locks::Outcome::kGranted) granted_.emplace_back(key, answer.token);
  }

  void use_grant(const Client& client) {
    if (granted_.empty()) return;
    const auto& [key, token] = granted_.front();
    if (below(2) == 0) {
      std::ignore = service_.renew(client.owner, key, token, 3s);
      return;
    }
    std::ignore = service_.release(key, token);
    granted_.pop_front();
  }

  void come_back(Client& client) {
    const std::vector undelivered{client.waiter.last.token.fence};
    service_.close_owner(client.owner, undelivered);
    client.waiter.blocked = false;
    client.owner = service_.open_owner(client.waiter, {});
    if (below(2) == 0) std::ignore = service_.set_ref(client.owner, below(2) == 0 ? "x" : "y");
  }

  void act(Client& client) {
    const std::uint32_t what = below(20);
    if (client.waiter.blocked && what < 3) {
      service_.cancel_wait(client.owner);
      client.waiter.blocked = false;
    } else if (what < 10) {
      if (!client.waiter.blocked) ask(client);
    } else if (what < 16) {
      use_grant(client);
    } else if (what == 16) {
      come_back(client);
    } else if (what == 17) {
      service_.give_up_place(client.owner, any_key());
    } else if (what == 18) {
      service_.tick();
    }
  }

  std::mt19937 random_{20};
  std::deque<std::pair<Key, locks::Token>> granted_;
};

TEST_F(ServiceLogOfAll, whoever_carries_it_out_has_the_same_table) {
  std::deque<Client> clients(8);
  for (Client& client : clients) client.owner = service_.open_owner(client.waiter, {});
  for (int step = 0; step < 20'000; ++step) {
    clock_.set(clock_.now() + below(400) * 1ms);
    fire_if_due();
    act(clients[below(8)]);
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
