// Renewal in the background, and how its failure is noticed.

#include <atomic>
#include <csignal>
#include <fstream>
#include <future>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include "fixture.hpp"
#include "support/relay.hpp"

namespace dflockd::client_test {
namespace {

/// What `on_renew_error` gets.
struct Losses {
  std::mutex mutex;
  std::vector<Error> errors;
  std::atomic<int> count = 0;

  [[nodiscard]] auto handler() {
    return [this](const Error& error) {
      const std::lock_guard guard(mutex);
      errors.push_back(error);
      ++count;
    };
  }
};

class Renewals : public OfEachKind {
 protected:
  [[nodiscard]] LockOptions options(const std::string& server, std::chrono::seconds lease = 1s) {
    LockOptions options = lock_options(server);
    options.lease_ttl = lease;
    options.on_renew_error = losses_.handler();
    return options;
  }

  /// A contender that has acquired.
  [[nodiscard]] static auto holding(const LockOptions& options) {
    auto contender = make(options);
    EXPECT_TRUE(contender->acquire());
    return contender;
  }

  /// The one loss that is reported, sooner or later.
  [[nodiscard]] Error only_loss() {
    EXPECT_TRUE(eventually([&] { return losses_.count == 1; }));
    return losses_.errors.at(0);
  }

  Server server_;
  test::Client other_{server_};
  Losses losses_;
};
FOR_EACH_KIND(Renewals);

TEST_P(Renewals, held_for_longer_than_its_lease) {
  const auto job = holding(options(address_of(server_)));
  const std::string token = job->token();
  // Another waits for three leases in vain, and the server would grant it at the first one's end.
  EXPECT_EQ(other_.acquire(key(), 3), "timeout");
  EXPECT_TRUE(job->held());
  EXPECT_EQ(job->token(), token);
  EXPECT_EQ(losses_.count, 0);
  job->release();
}

TEST_P(Renewals, ratio_of_zero_never_renews) {
  LockOptions never = options(address_of(server_));
  never.renew_ratio = 0;
  const auto job = holding(never);
  EXPECT_TRUE(job->wait_lost());
  EXPECT_FALSE(job->held());
  EXPECT_EQ(only_loss().code(), errc::lease_expired);
  EXPECT_EQ(std::string(only_loss().what()),
            address_of(server_) + ": cannot keep \"job\": the lease ran out");
}

TEST_P(Renewals, released_by_somebody_else_is_lost_at_the_next_renewal) {
  const auto job = holding(options(address_of(server_)));
  ASSERT_EQ(other_.release(key(), job->token()), "ok");
  EXPECT_TRUE(job->wait_lost());
  EXPECT_FALSE(job->held());
  EXPECT_EQ(job->remaining(), 0ms);
  EXPECT_EQ(job->token().size(), 32U) << "for the log";
  EXPECT_EQ(only_loss().code(), errc::not_held);
  EXPECT_EQ(code_of([&](auto& error) { job->release(error); }), errc::not_held);
  EXPECT_EQ(losses_.count, 1);
}

TEST_P(Renewals, lost_is_reported_once_and_what_follows_begins_anew) {
  const auto job = make(options(address_of(server_)));
  for (int round = 1; round <= 2; ++round) {
    ASSERT_TRUE(job->acquire()) << "without a release in between";
    ASSERT_EQ(other_.release(key(), job->token()), "ok");
    EXPECT_TRUE(job->wait_lost());
    ASSERT_TRUE(eventually([&] { return losses_.count == round; }));
  }
}

TEST_P(Renewals, what_one_thread_lost_another_gets_after_its_release) {
  const auto job = holding(options(address_of(server_)));
  ASSERT_EQ(other_.release(key(), job->token()), "ok");
  ASSERT_TRUE(job->wait_lost());
  auto waiting = std::async(std::launch::async, [&] { return job->acquire(); });
  EXPECT_EQ(waiting.wait_for(50ms), std::future_status::timeout);
  std::error_code error;
  job->release(error);
  EXPECT_TRUE(waiting.get());
}

TEST_P(Renewals, server_killed_and_restarted_under_a_held_lock_is_a_loss) {
  auto first = std::make_unique<Server>();
  Relay relay(first->port());
  const auto job = holding(options(relay.address(), 30s));
  first->crash();
  EXPECT_TRUE(eventually([&] { return !job->held(); })) << "long before the lease is over";
  Server second;
  relay.lead_to(second.port());
  EXPECT_TRUE(job->wait_lost());
  EXPECT_EQ(only_loss().code(), errc::not_held);
  EXPECT_TRUE(job->acquire()) << "from the new server";
}

TEST_P(Renewals, server_that_stays_away_is_a_loss_when_the_lease_is_over) {
  const auto job = make(options(address_of(server_), 2s));
  const auto begun = Time::now();
  ASSERT_TRUE(job->acquire());
  server_.crash();
  EXPECT_TRUE(job->wait_lost());
  EXPECT_LE(Time::now() - begun, 2s + within(500ms));
  EXPECT_EQ(only_loss().code(), errc::lease_expired);
  EXPECT_NE(std::string(only_loss().what()).find("could not be renewed: "), std::string::npos);
}

TEST_P(Renewals, frozen_server_lets_held_be_false_before_it_grants_to_another) {
  const auto job = holding(options(address_of(server_)));
  server_.signal(SIGSTOP);
  other_.begin_acquire(key());
  ASSERT_TRUE(eventually([&] { return !job->held(); }));
  server_.signal(SIGCONT);
  other_.read_grant();
  EXPECT_FALSE(job->held());
  EXPECT_TRUE(job->wait_lost());
}

TEST_P(Renewals, server_frozen_for_less_than_the_lease_is_survived) {
  const auto job = holding(options(address_of(server_), 3s));
  server_.signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return job->remaining() < 1'000ms; }));
  EXPECT_TRUE(job->held());
  server_.signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return job->remaining() > 1'500ms; }));
  EXPECT_TRUE(job->held());
  EXPECT_EQ(losses_.count, 0);
}

TEST_P(Renewals, network_that_stands_still_lets_held_be_false_in_time) {
  Relay relay(server_.port());
  test::Client other(server_);
  const auto job = holding(options(relay.address()));
  relay.freeze();
  other.begin_acquire(key());
  other.read_grant();
  EXPECT_FALSE(job->held());
  EXPECT_TRUE(job->wait_lost());
  relay.thaw();
}

TEST_P(Renewals, lost_connection_puts_held_in_doubt_and_the_server_decides) {
  Relay relay(server_.port());
  const auto job = holding(options(relay.address(), 30s));
  relay.reset_all();
  EXPECT_TRUE(job->wait_lost()) << "the server released it when the connection ended";
  EXPECT_EQ(only_loss().code(), errc::not_held);
}

TEST_P(Renewals, grant_that_outlives_its_connection_stays_held) {
  Server server({"--auto-release-on-disconnect=false"});
  Relay relay(server.port());
  LockOptions outliving = options(relay.address());
  outliving.auto_release_on_disconnect = false;
  const auto job = make(outliving);
  test::Client other(server);
  ASSERT_TRUE(job->acquire());
  const std::string token = job->token();
  relay.reset_all();
  EXPECT_EQ(other.acquire(key(), 2), "timeout") << "renewed over a new connection";
  EXPECT_TRUE(job->held());
  EXPECT_EQ(losses_.count, 0);
  job->release();
  EXPECT_TRUE(job->acquire());
  EXPECT_NE(job->token(), token);
}

TEST_P(Renewals, renewed_grant_is_not_held_while_the_server_may_yet_miss_its_connection) {
  Relay relay(server_.port());
  test::Client other(server_);
  const auto job = holding(options(relay.address()));
  relay.reset_clients();  // and the server sees nothing of it
  ASSERT_TRUE(eventually([&] { return !job->held(); }));
  EXPECT_EQ(other.acquire(key(), 2), "timeout") << "renewed over a new connection";
  EXPECT_FALSE(job->held());
  EXPECT_EQ(losses_.count, 0);
  relay.reset_all();  // and now it does
  EXPECT_TRUE(job->wait_lost());
}

TEST_P(Renewals, who_acquires_again_while_in_doubt_is_woken_by_the_loss) {
  auto first = std::make_unique<Server>();
  Relay relay(first->port());
  const auto job = holding(options(relay.address(), 30s));
  relay.refuse(true);
  first->crash();
  ASSERT_TRUE(eventually([&] { return !job->held(); }));
  Server second;
  relay.lead_to(second.port());
  std::thread heal([&] { relay.refuse(false); });
  EXPECT_TRUE(job->acquire_for(25s)) << "before the lease of the lost one is over";
  heal.join();
}

TEST_P(Renewals, overdue_lease_is_reported_even_if_release_notices_it_first) {
  // The thread that renews is kept busy by the handler of another lock.
  std::promise<void> entered;
  std::promise<void> leave;
  LockOptions blocking = lock_options(address_of(server_), "blocking");
  blocking.lease_ttl = 1s;
  blocking.on_renew_error = [&](const Error&) {
    entered.set_value();
    leave.get_future().wait();
  };
  Lock blocker(blocking);
  LockOptions never = options(address_of(server_));
  never.renew_ratio = 0;
  const auto job = make(never);
  ASSERT_TRUE(blocker.acquire());
  ASSERT_EQ(other_.release(test::lock("blocking"), blocker.token()), "ok");
  entered.get_future().wait();
  ASSERT_TRUE(job->acquire());
  ASSERT_TRUE(eventually([&] { return !job->held(); }));
  EXPECT_EQ(code_of([&](auto& error) { job->release(error); }), errc::not_held);
  EXPECT_EQ(losses_.count, 0);
  leave.set_value();
  EXPECT_TRUE(eventually([&] { return losses_.count == 1; }));
}

TEST_P(Renewals, connection_of_the_renewals_is_replaced) {
  Relay relay(server_.port());
  test::Client other(server_);
  const auto job = holding(options(relay.address()));
  ASSERT_TRUE(eventually([&] { return relay.accepted() == 2; })) << "for the first renewal";
  relay.refuse(true);  // and then there is one for the lock, and one for its renewals
  EXPECT_EQ(other.acquire(key(), 2), "timeout");
  EXPECT_TRUE(job->held());
}

TEST_P(Renewals, renewals_go_on_when_new_connections_are_refused_for_a_while) {
  Server server({"--read-timeout", "1"});  // the renewals' connection is closed while idle
  Relay relay(server.port());
  const auto job = make(options(relay.address(), 6s));
  relay.refuse(false);
  ASSERT_TRUE(job->acquire());
  relay.refuse(true);
  ASSERT_TRUE(eventually([&] { return relay.accepted() > 3; })) << "it goes on trying";
  relay.refuse(false);
  EXPECT_TRUE(eventually([&] { return job->remaining() > 4s; }));
  EXPECT_EQ(losses_.count, 0);
}

TEST_P(Renewals, handler_may_ask_and_release_but_not_wait) {
  std::promise<std::error_code> waited;
  std::unique_ptr<Contender, void (*)(Contender*)> job(nullptr, nullptr);
  LockOptions using_it = options(address_of(server_));
  using_it.on_renew_error = [&](const Error&) {
    std::error_code error;
    job->release(error);
    EXPECT_EQ(error, errc::not_held);
    EXPECT_FALSE(job->held());
    EXPECT_EQ(job->enqueue(error), EnqueueStatus::kFailed);
    EXPECT_EQ(error, errc::invalid_argument);
    job->acquire(error);
    waited.set_value(error);
  };
  job = make(using_it);
  ASSERT_TRUE(job->acquire());
  ASSERT_EQ(other_.release(key(), job->token()), "ok");
  EXPECT_EQ(waited.get_future().get(), errc::invalid_argument);
}

TEST_P(Renewals, handler_leaves_alone_what_another_thread_acquires_meanwhile) {
  test::Client rival(server_);
  std::promise<void> lost;
  std::promise<void> contending;
  std::promise<std::error_code> released_early;
  std::promise<void> acquired;
  std::promise<std::error_code> released_late;
  std::unique_ptr<Contender, void (*)(Contender*)> job(nullptr, nullptr);
  LockOptions using_it = options(address_of(server_));
  using_it.on_renew_error = [&](const Error&) {
    lost.set_value();
    contending.get_future().wait();
    released_early.set_value(code_of([&](auto& error) { job->release(error); }));
    acquired.get_future().wait();
    released_late.set_value(code_of([&](auto& error) { job->release(error); }));
  };
  job = make(using_it);
  ASSERT_TRUE(job->acquire());
  ASSERT_EQ(other_.release(key(), job->token()), "ok");
  lost.get_future().wait();
  const std::string token = rival.hold(key()).token;
  // The rival gives way once the handler has been refused, which does not wait for the turn.
  std::thread in_between([&] {
    test::await_waiters(other_, key(), 1);
    contending.set_value();
    auto refused = released_early.get_future();
    EXPECT_EQ(refused.wait_for(kPatience), std::future_status::ready);
    EXPECT_EQ(rival.release(key(), token), "ok");
    EXPECT_EQ(refused.get(), errc::not_held);
  });
  EXPECT_TRUE(job->acquire());
  in_between.join();
  acquired.set_value();
  EXPECT_EQ(released_late.get_future().get(), errc::not_held);
  EXPECT_TRUE(job->held());
  EXPECT_EQ(other_.release(key(), job->token()), "ok");
}

TEST_P(Renewals, destruction_waits_for_the_handler) {
  std::promise<void> entered;
  std::promise<void> leave;
  std::atomic<bool> left = false;
  LockOptions slow = options(address_of(server_));
  slow.on_renew_error = [&](const Error&) {
    entered.set_value();
    leave.get_future().wait();
    left = true;
  };
  auto job = make(slow);
  ASSERT_TRUE(job->acquire());
  ASSERT_EQ(other_.release(key(), job->token()), "ok");
  entered.get_future().wait();
  std::thread destroyer([&] {
    job.reset();
    EXPECT_TRUE(left);
  });
  leave.set_value();
  destroyer.join();
}

TEST_P(Renewals, handler_and_release_at_the_same_time_do_not_wait_for_each_other) {
  std::promise<void> entered;
  std::unique_ptr<Contender, void (*)(Contender*)> job(nullptr, nullptr);
  LockOptions slow = options(address_of(server_));
  slow.on_renew_error = [&](const Error&) {
    entered.set_value();
    std::error_code error;
    job->release(error);
  };
  job = make(slow);
  ASSERT_TRUE(job->acquire());
  ASSERT_EQ(other_.release(key(), job->token()), "ok");
  entered.get_future().wait();
  std::error_code error;
  job->release(error);
  EXPECT_TRUE(job->acquire());
}

TEST_P(Renewals, nothing_is_reported_that_was_released) {
  const auto job = make(options(address_of(server_)));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(job->acquire());
    job->release();
  }
  server_.crash();
  EXPECT_FALSE(job->wait_lost());
  EXPECT_EQ(losses_.count, 0);
}

TEST_P(Renewals, wait_lost_ends_with_the_release) {
  const auto job = make(options(address_of(server_), 30s));
  EXPECT_FALSE(job->wait_lost()) << "nothing is held";
  ASSERT_TRUE(job->acquire());
  auto waiting = std::async(std::launch::async, [&] { return job->wait_lost(); });
  EXPECT_EQ(waiting.wait_for(20ms), std::future_status::timeout);
  job->release();
  EXPECT_FALSE(waiting.get());
}

TEST_P(Renewals, wait_lost_ends_when_it_is_stopped) {
  const auto job = holding(options(address_of(server_), 30s));
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] { return job->wait_lost(stop.get_token()); });
  stop.request_stop();
  EXPECT_FALSE(waiting.get());
  EXPECT_TRUE(job->held());
}

TEST_P(Renewals, grant_that_comes_after_a_long_wait_is_renewed_before_it_is_believed) {
  test::Client holder(server_);
  Relay relay(server_.port());
  const auto job = make(options(relay.address()));
  const auto theirs = holder.hold(key());
  auto waiting = std::async(std::launch::async, [&] { return job->acquire(); });
  test::await_waiters(holder, key(), 1);
  // The grant is under way for longer than its lease.
  relay.freeze();
  ASSERT_EQ(holder.release(key(), theirs.token), "ok");
  ASSERT_TRUE(eventually([&] { return test::held(holder, key()).is_null(); }));
  relay.thaw();
  EXPECT_THROW(waiting.get(), Error);
  EXPECT_FALSE(job->held());
  EXPECT_TRUE(job->try_acquire());
}

TEST(ManyRenewals, urgent_lease_does_not_wait_for_what_a_silent_connection_owes_a_long_one) {
  Server server;
  Relay relay(server.port());
  test::Client other(server);
  LockOptions options = lock_options(relay.address(), "long");
  options.response_timeout = 500ms;  // of the releases, which get no answer
  options.lease_ttl = 100s;
  options.renew_ratio = 0.01;
  Lock patient(options);
  options.key = "short";
  options.lease_ttl = 3s;
  options.renew_ratio = 0.5;
  Lock urgent(options);
  ASSERT_TRUE(patient.acquire());
  ASSERT_TRUE(urgent.acquire());
  ASSERT_TRUE(eventually([&] { return relay.accepted() == 3; })) << "for the renewals";
  relay.freeze_present();
  EXPECT_EQ(other.acquire(test::lock("short"), 6), "timeout");
  EXPECT_TRUE(urgent.held());
  EXPECT_TRUE(patient.held());
}

/// How many threads this process has.
int threads() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line) && !line.starts_with("Threads:")) continue;
  return std::stoi(line.substr(8));
}

TEST(ManyRenewals, thousands_of_locks_are_renewed_by_one_thread) {
  test::allow_many_connections();
  const std::size_t count = test::kSanitized ? 500 : 10'000;
  Server server({"--max-locks", "0"});
  std::atomic<int> lost = 0;
  LockOptions options = lock_options(address_of(server));
  options.lease_ttl = 6s;
  options.on_renew_error = [&](const Error&) { ++lost; };
  std::vector<Lock> locks;
  int with_one = 0;
  locks.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    options.key = "lock-" + std::to_string(i);
    locks.emplace_back(options);
    ASSERT_TRUE(locks.back().try_acquire());
    if (i == 0) with_one = threads();
  }
  EXPECT_EQ(threads(), with_one);
  // Each has been renewed at least once when all are held after more than a lease.
  const auto begun = Time::now();
  ASSERT_TRUE(eventually([&] { return Time::now() - begun > 7s; }));
  for (const Lock& lock : locks) EXPECT_TRUE(lock.held());
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace dflockd::client_test
