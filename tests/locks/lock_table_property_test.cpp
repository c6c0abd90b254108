// Random sequences of commands, with simulated time that often hits a deadline exactly, against the
// naive model and against invariants that need no model.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "duel.hpp"
#include "moves.hpp"
#include "recorder.hpp"

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

// More than RapidCheck's hundred, unless the environment says otherwise.
[[maybe_unused]] const int kEnvironmentSet = setenv("RC_PARAMS", "max_success=1500", 0);

template <class Bytes>
rc::Gen<Bytes> any_bytes() {
  // Of all sizes at once, where RapidCheck would begin with small numbers.
  const auto byte = rc::gen::resize(100, rc::gen::inRange<unsigned>(0, 256));
  return rc::gen::container<Bytes>(rc::gen::cast<std::uint8_t>(byte));
}

Setup any_setup() {
  return *rc::gen::map(any_bytes<SetupBytes>(), setup_of);
}

std::vector<Move> any_moves() {
  // RapidCheck's sizes go up to 100, and a table has more to show than that.
  const auto move = rc::gen::map(any_bytes<MoveBytes>(), move_of);
  return *rc::gen::scale(6, rc::gen::container<std::vector<Move>>(move));
}

}  // namespace

RC_GTEST_PROP(LockTableProperty, table_does_what_the_naive_model_does, ()) {
  Duel duel(any_setup());
  for (const Move& move : any_moves()) duel.make(move);
}

RC_GTEST_PROP(LockTableProperty, closing_every_owner_leaves_nothing, ()) {
  Duel duel(any_setup());
  for (Move& move : any_moves()) {
    if (auto* const close = std::get_if<CloseOwner>(&move.command)) close->legacy = {};
    if (auto* const waits = std::get_if<CancelWaits>(&move.command)) waits->legacy = {};
    duel.make(move);
  }
  duel.close_all_owners();
}

RC_GTEST_PROP(LockTableProperty, time_alone_ends_everything_that_does_not_last_for_ever, ()) {
  Duel duel(any_setup());
  for (Move& move : any_moves()) {
    shorten(move.command, seconds(5));
    duel.make(move);
  }
  duel.let_time_pass();
}

RC_GTEST_PROP(LockTableProperty, same_commands_give_the_same_table_whatever_its_secret, ()) {
  Setup setup = any_setup();
  Duel duel(setup);
  for (const Move& move : any_moves()) duel.make(move);

  Recorder recorder;
  setup.options.hash_key = {.low = 1, .high = 2};
  LockTable again(setup.options, recorder);
  std::vector<OwnerId> owners;
  for (const auto& [call, before] : duel.history()) {
    if (run(again, recorder, call, owners) != before) {
      RC_FAIL("the same commands gave another table");
    }
  }
  // In the order of the slots.
  if (keys_of(again) != keys_of(duel.table())) RC_FAIL("the same commands gave other slots");
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
    for (const Effect& effect : recorder.effects()) {
      RC_ASSERT(effect.answer.outcome == Outcome::kGranted);
      granted.push_back(effect.owner);
      held.push_back(effect.answer.token);
    }
  }
  RC_ASSERT(granted == expected);
  RC_ASSERT(table.held() == 0U);
  RC_ASSERT(table.consistent());
}

}  // namespace dflockd::locks
