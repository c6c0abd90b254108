// The test of the test: what a server does that works passes, and what one does that does not is
// seen.
#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "simulated_history.hpp"
#include "written.hpp"

namespace dflockd::history {

namespace {

using testing::Contains;
using testing::IsEmpty;

constexpr std::uint64_t kSeeds = 50;
/// In how many of them there may be nothing to corrupt, where that takes several chances at once.
constexpr std::uint64_t kRare = 45;

/// As much as the simulated network takes.
const Bounds kTight{.margin = 20 * kMillisecond,
                    .wakeup = 50 * kMillisecond,
                    .lease_lateness = kMillisecond,
                    .orphan_ttl = kSimulatedTtl.count() * kSecond};

/// One grant and what became of it.
struct Story {
  Operation* told = nullptr;
  std::vector<Operation*> uses;
  std::vector<Operation*> hand_backs;

  /// As far as the operation that was told says so: phase two does not.
  [[nodiscard]] bool is_exclusive() const { return is_plain() && !told->shared; }
  [[nodiscard]] bool is_shared() const { return is_plain() && told->shared; }

 private:
  [[nodiscard]] bool is_plain() const { return hand_backs.empty() && told->verb != Verb::kWait; }
};

/// Two grants of one lock, one after the other, and when the next one was told.
struct Succession {
  const History* history = nullptr;
  Story before;
  Story after;
  Time next = kNever;
};

/// The grants of a history, in the order of their fences.
std::vector<Story> stories_of(History& history) {
  std::unordered_map<Token, Story> by_token;
  for (Operation& op : history.operations) {
    if (op.reply == Reply::kGranted) {
      Story& story = by_token[op.token];
      if (story.told == nullptr) {
        story.told = &op;
      } else if (op.connection != story.told->connection) {
        story.hand_backs.push_back(&op);
      }
    } else if (op.verb == Verb::kRelease || op.verb == Verb::kRenew) {
      by_token[op.token].uses.push_back(&op);
    }
  }
  std::vector<Story> stories;
  for (auto& [token, story] : by_token) {
    if (story.told != nullptr) stories.push_back(story);
  }
  std::ranges::sort(stories, {}, [](const Story& story) { return story.told->token.fence; });
  return stories;
}

std::vector<Succession> successions_of(History& history) {
  std::unordered_map<std::uint32_t, std::vector<Story>> by_key;
  for (const Story& story : stories_of(history)) by_key[story.told->key].push_back(story);
  std::vector<Succession> found;
  for (const auto& [key, stories] : by_key) {
    if (history.keys[key][0] != 'L') continue;
    for (std::size_t i = 1; i < stories.size(); ++i) {
      found.push_back({&history, stories[i - 1], stories[i]});
      if (i + 1 < stories.size()) found.back().next = stories[i + 1].told->completed;
    }
  }
  return found;
}

void retoken(const Story& story, Token token) {
  story.told->token = token;
  for (Operation* const use : story.uses) use->token = token;
}

/// Released with success, and nothing else was done with it.
bool is_plain(const Story& story) {
  return story.uses.size() == 1 && story.uses[0]->verb == Verb::kRelease &&
         story.uses[0]->reply == Reply::kOk;
}

bool are_acquired(const Succession& one) {
  return one.before.is_exclusive() && one.after.is_exclusive() &&
         one.before.told->verb == Verb::kAcquire && one.after.told->verb == Verb::kAcquire;
}

bool come_one_after_the_other(const Succession& one) {
  return are_acquired(one) && one.before.told->completed < one.after.told->invoked;
}

/// The second could have been answered well before the first was released.
bool overlap(const Succession& one) {
  return is_plain(one.before) &&
         one.after.told->invoked < one.before.uses[0]->invoked - 50 * kMillisecond;
}

void answer_before_release(History& /*history*/, const Succession& place) {
  place.after.told->completed = place.before.uses[0]->invoked - kMillisecond;
}

/// Both were acquired, waited, and certainly came one after the other.
bool waited_in_order(const Succession& one) {
  const Operation& before = *one.before.told;
  const Operation& after = *one.after.told;
  return before.verb == Verb::kAcquire && after.verb == Verb::kAcquire &&
         before.seen < after.invoked && after.invoked < before.completed &&
         before.lease == after.lease && is_plain(one.before) && is_plain(one.after);
}

void serve_in_the_other_order(History& /*history*/, const Succession& place) {
  std::swap(place.before.told->completed, place.after.told->completed);
  std::swap(*place.before.uses[0], *place.after.uses[0]);
  std::swap(place.before.told->token, place.after.told->token);
}

/// It times out instead of being granted, and what was done with the grant was not done.
void time_out_instead(History& history, const Succession& place) {
  Operation& told = *place.after.told;
  const Token token = told.token;
  told.reply = Reply::kTimeout;
  told.completed = told.invoked + told.timeout + kMillisecond;
  told.token = {};
  std::erase_if(history.operations, [&](const Operation& op) { return op.token == token; });
}

/// The first, just acquired, came back once to its ref, when it certainly was still there.
bool comes_back(const Succession& one) {
  const Operation& told = *one.before.told;
  if (told.verb != Verb::kAcquire || one.before.hand_backs.size() != 1) return false;
  const Operation& back = *one.before.hand_backs[0];
  const Time left = one.history->connections[told.connection].ended;
  return back.verb == Verb::kAcquire && back.invoked > left + 100 * kMillisecond &&
         back.completed < left + 1900 * kMillisecond &&
         back.completed < told.invoked + told.lease &&
         std::ranges::all_of(one.before.uses,
                             [&](const Operation* use) { return use->invoked > back.completed; });
}

/// Corrupts the histories of many seeds, each in one place picked by chance among those that fulfil
/// `condition`, and expects that the checker sees it.
template <class Condition, class Corrupt>
void expect_seen(std::string_view rule, Condition condition, Corrupt corrupt,
                 std::uint64_t most_without = kSeeds / 2) {
  std::uint64_t corrupted = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    History history = simulated_history(seed);
    std::vector<Succession> places = successions_of(history);
    std::erase_if(places, [&](const Succession& one) { return !condition(one); });
    if (places.empty()) continue;
    std::mt19937_64 random(seed);
    const Succession& place = places[random() % places.size()];
    const std::string where = history.where(place.after.told->place);
    corrupt(history, place);
    std::ranges::stable_sort(history.operations, {}, &Operation::invoked);
    EXPECT_THAT(violated(history, kTight), Contains(rule)) << "not seen: " << where;
    ++corrupted;
  }
  EXPECT_GT(corrupted, kSeeds - most_without);
}

TEST(Corruption, none) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Report report = check(simulated_history(seed), kTight);
    for (const Violation& violation : report.violations) {
      ADD_FAILURE() << name_of(violation.rule) << ": " << violation.text;
    }
    EXPECT_GT(report.totals.grants, 100U);
    EXPECT_GT(report.totals.certain_holds, 100U);
    EXPECT_GT(report.totals.ordered_pairs, 20U);
    EXPECT_GT(report.totals.waits, 20U);
    EXPECT_GT(report.totals.shared_grants, 20U);
    EXPECT_GT(report.totals.hand_backs, 5U);
    EXPECT_GT(report.totals.certain_hand_backs, 1U);
  }
}

TEST(Corruption, two_grants_swapped) {
  expect_seen("fence", come_one_after_the_other, [](History&, const Succession& place) {
    const Token token = place.before.told->token;
    retoken(place.before, place.after.told->token);
    retoken(place.after, token);
  });
}

TEST(Corruption, a_token_twice) {
  expect_seen("token", are_acquired, [](History&, const Succession& place) {
    place.after.told->token = place.before.told->token;
  });
}

TEST(Corruption, a_fence_lowered) {
  expect_seen("fence", come_one_after_the_other, [](History&, const Succession& place) {
    retoken(place.after, {1, place.after.told->token.salt});
  });
}

TEST(Corruption, two_holders_at_once) {
  expect_seen(
      "exclusion",
      [](const Succession& one) {
        return one.before.is_exclusive() && one.after.is_exclusive() && overlap(one);
      },
      answer_before_release);
}

TEST(Corruption, a_reader_beside_a_writer) {
  expect_seen(
      "exclusion",
      [](const Succession& one) {
        return one.before.is_exclusive() && one.after.is_shared() && overlap(one);
      },
      answer_before_release);
}

TEST(Corruption, a_writer_beside_a_reader) {
  expect_seen(
      "exclusion",
      [](const Succession& one) {
        return one.before.is_shared() && one.after.is_exclusive() && overlap(one);
      },
      answer_before_release);
}

TEST(Corruption, a_release_refused) {
  expect_seen(
      "release",
      [](const Succession& one) {
        return is_plain(one.before) &&
               one.before.uses[0]->completed - one.before.told->invoked < kSecond;
      },
      [](History&, const Succession& place) { place.before.uses[0]->reply = Reply::kError; });
}

TEST(Corruption, a_renewal_after_the_end) {
  expect_seen(
      "renewal", [](const Succession& one) { return is_plain(one.before); },
      [](History& history, const Succession& place) {
        Operation renewal = *place.before.uses[0];
        renewal.verb = Verb::kRenew;
        renewal.lease = renewal.reply_lease = kSecond;
        renewal.invoked = renewal.completed + kMillisecond;
        renewal.completed = renewal.invoked + kMillisecond;
        history.operations.push_back(renewal);
      });
}

TEST(Corruption, a_wake_up_dropped) {
  // Whoever waited for a lock that was released, with nobody behind, times out instead.
  expect_seen(
      "wakeup",
      [](const Succession& one) {
        const Operation& told = *one.after.told;
        const auto is_lost = [&](const Operation& op) {
          return op.key == told.key && op.reply == Reply::kNone &&
                 std::abs(op.invoked - told.completed) < 10 * kSecond;
        };
        return one.before.is_exclusive() && one.after.is_exclusive() &&
               std::ranges::none_of(one.history->operations, is_lost) &&
               told.verb == Verb::kAcquire && told.completed - told.invoked > 200 * kMillisecond &&
               std::min(one.next, told.invoked + told.timeout) >
                   told.completed + 400 * kMillisecond;
      },
      time_out_instead);
}

TEST(Corruption, a_reader_left_behind_by_those_it_came_with) {
  expect_seen(
      "wakeup",
      [](const Succession& one) {
        const Operation& told = *one.after.told;
        const auto is_writer_about = [&](const Operation& op) {
          const bool asks = op.verb == Verb::kAcquire || op.verb == Verb::kEnqueue;
          return asks && op.key == told.key && !op.shared &&
                 op.invoked > told.invoked - 10 * kSecond &&
                 op.invoked < told.completed + 300 * kMillisecond &&
                 (op.completed > told.completed || op.reply == Reply::kQueued);
        };
        return one.before.is_shared() && one.after.is_shared() && told.verb == Verb::kAcquire &&
               told.completed - told.invoked > 200 * kMillisecond &&
               told.completed - one.before.told->completed < 5 * kMillisecond &&
               told.invoked + told.timeout > told.completed + 400 * kMillisecond &&
               std::ranges::none_of(one.history->operations, is_writer_about);
      },
      time_out_instead, kRare);
}

TEST(Corruption, a_waiter_overtaken) {
  // Two that certainly came one after the other, and waited, are served in the other order.
  expect_seen(
      "order",
      [](const Succession& one) {
        return one.before.is_exclusive() && one.after.is_exclusive() && waited_in_order(one);
      },
      serve_in_the_other_order, kRare);
}

TEST(Corruption, a_writer_overtaken_by_a_reader) {
  expect_seen(
      "order",
      [](const Succession& one) {
        return one.before.is_exclusive() && one.after.is_shared() && waited_in_order(one);
      },
      serve_in_the_other_order, kRare);
}

TEST(Corruption, a_grant_handed_back_to_another_ref) {
  expect_seen("token", comes_back, [](History& history, const Succession& place) {
    ++history.connections[place.before.hand_backs[0]->connection].ref;
  });
}

TEST(Corruption, a_grant_handed_back_beside_its_owner) {
  expect_seen("ref", comes_back, [](History& history, const Succession& place) {
    const Operation& back = *place.before.hand_backs[0];
    history.connections[place.before.told->connection].ended = back.completed + kMillisecond;
  });
}

TEST(Corruption, a_grant_not_handed_back) {
  expect_seen("ref", comes_back, [](History&, const Succession& place) {
    place.before.hand_backs[0]->token = {place.before.told->token.fence + 1'000'000, 1};
  });
}

TEST(Corruption, a_grant_beside_an_orphan) {
  expect_seen(
      "exclusion",
      [](const Succession& one) {
        const Time left = one.history->connections[one.before.told->connection].ended;
        const bool shares = one.after.is_shared() && one.before.told->shared;
        return comes_back(one) && (one.after.is_exclusive() || one.after.is_shared()) && !shares &&
               one.after.told->invoked < left + 50 * kMillisecond;
      },
      [](History& history, const Succession& place) {
        const Time left = history.connections[place.before.told->connection].ended;
        place.after.told->completed = left + 60 * kMillisecond;
      },
      kRare);
}

}  // namespace

}  // namespace dflockd::history
