// Random sequences of commands, with simulated time that often hits a deadline exactly, against the
// naive model and against invariants that need no model.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "any_command.hpp"
#include "duel.hpp"
#include "recorder.hpp"
#include "table_command.hpp"

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

// More than RapidCheck's hundred, unless the environment says otherwise.
[[maybe_unused]] const int kEnvironmentSet = setenv("RC_PARAMS", "max_success=1500", 0);

}  // namespace

RC_GTEST_PROP(LockTableProperty, table_does_what_the_naive_model_does, ()) {
  const Setup setup = *any_setup();
  const std::vector<Draft> commands = *any_commands();
  Duel duel(setup);
  for (const Draft& command : commands) duel.run_command(command);
}

RC_GTEST_PROP(LockTableProperty, closing_every_owner_leaves_nothing, ()) {
  const Setup setup = *any_setup();
  const std::vector<Draft> commands = *any_commands();
  Duel duel(setup);
  for (const Draft& command : commands) {
    if (command.op != Op::kCloseOwnerKeepingGrants) duel.run_command(command);
  }
  while (!duel.owners().empty()) {
    duel.perform({.op = Op::kCloseOwner, .now = duel.now(), .owner = duel.owners().front()});
  }
  LockTable& table = duel.table();
  RC_ASSERT(table.held() == 0U);
  RC_ASSERT(table.counts().lock_waiters + table.counts().semaphore_waiters == 0U);
  RC_ASSERT(table.next_deadline() == kNever);
  const std::size_t keys = table.counts().keys;
  RC_ASSERT(table.apply(duel.now(), CollectIdle{Instant(0), keys}).dropped == keys);
  RC_ASSERT(keys_of(table).empty());
}

RC_GTEST_PROP(LockTableProperty, time_alone_ends_everything_that_does_not_last_for_ever, ()) {
  const Setup setup = *any_setup();
  std::vector<Draft> commands = *any_commands();
  Duel duel(setup);
  for (Draft& command : commands) {
    command.lease = std::min(command.lease, seconds(5));
    command.timeout = std::min(command.timeout, seconds(5));
    duel.run_command(command);
  }
  while (duel.table().next_deadline() != kNever) {
    duel.perform({.op = Op::kAdvance, .now = duel.table().next_deadline()});
  }
  RC_ASSERT(duel.table().held() == 0U);
  RC_ASSERT(duel.table().counts().lock_waiters + duel.table().counts().semaphore_waiters == 0U);
}

RC_GTEST_PROP(LockTableProperty, same_calls_give_the_same_table_whatever_its_secret, ()) {
  const Setup setup = *any_setup();
  const std::vector<Draft> commands = *any_commands();
  Duel duel(setup);
  for (const Draft& command : commands) duel.run_command(command);

  Recorder recorder;
  TableOptions options = setup.options;
  options.hash_key = {.low = 1, .high = 2};
  LockTable again(options, recorder);
  std::vector<OwnerId> owners;
  for (const auto& [call, before] : duel.history()) {
    Sight sight;
    if (call.op == Op::kOpenOwner) {
      owners.push_back(again.apply(call.now, OpenOwner{}).owner);
      if (owners.back() != call.owner) RC_FAIL("the same calls gave other owners");
    }
    run(again, call, sight);
    if (call.op == Op::kCloseOwner || call.op == Op::kCloseOwnerKeepingGrants) {
      std::erase(owners, call.owner);
    }
    look(again, owners, sight);
    sight.events = recorder.events();
    sight.keys = keys_of(again);
    sort_by_name(sight.keys);
    if (!(sight == before)) RC_FAIL("the same calls gave another table");
  }
  // In the order of the slots.
  if (keys_of(again) != keys_of(duel.table())) RC_FAIL("the same calls gave other slots");
}

// Needs no model: those who are granted are granted in the order in which they came, and nobody who
// waited to the end is left out.
RC_GTEST_PROP(LockTableProperty, waiters_are_granted_in_the_order_in_which_they_came, ()) {
  using namespace std::chrono_literals;
  const auto limit = *rc::gen::inRange<std::uint32_t>(1, 4);
  const auto leavers = *rc::gen::container<std::vector<bool>>(rc::gen::arbitrary<bool>());
  Recorder recorder;
  LockTable table({}, recorder);
  table.apply(0s, ReserveFences{1, 1'000'000});
  const Key pool{Kind::kSemaphore, "pool"};

  std::vector<Token> held;
  for (std::uint32_t i = 0; i < limit; ++i) {
    const Answer answer =
        table.apply(0s, Acquire{table.apply(0s, OpenOwner{}).owner, {pool, limit, 100s, i}, 0s});
    RC_ASSERT(answer.outcome == Outcome::kGranted);
    held.push_back(answer.token);
  }
  std::vector<OwnerId> waiters;
  for (std::size_t i = 0; i < leavers.size(); ++i) {
    waiters.push_back(table.apply(0s, OpenOwner{}).owner);
    const Answer answer =
        table.apply(0s, Acquire{waiters[i], {pool, limit, 100s, limit + i}, 100s});
    RC_ASSERT(answer.outcome == Outcome::kQueued);
  }
  std::vector<OwnerId> expected;
  for (std::size_t i = 0; i < leavers.size(); ++i) {
    if (!leavers[i]) {
      expected.push_back(waiters[i]);
    } else if (i % 2 == 0) {
      table.apply(1s, CancelWait{waiters[i]});
    } else {
      table.apply(1s, CloseOwner{waiters[i]});
    }
  }
  std::vector<OwnerId> granted;
  for (std::size_t i = 0; i < held.size(); ++i) {
    RC_ASSERT(table.apply(2s, Release{pool, held[i]}).outcome == Outcome::kDone);
    for (const Event& event : recorder.events()) {
      RC_ASSERT(event.outcome == Outcome::kGranted);
      granted.push_back(event.owner);
      held.push_back({event.fence, event.salt});
    }
  }
  RC_ASSERT(granted == expected);
  RC_ASSERT(table.held() == 0U);
  RC_ASSERT(table.consistent());
}

}  // namespace dflockd::locks
